//! Traffic for captures, sent by a process of its own in a pod's namespace: exactly as much as asked for, and counted.
//!
//! A benchmark or a long count starts its own program again with [`FLOOD`], so that the sender needs nothing in the pod's image.

#![allow(clippy::print_stdout, reason = "what was sent is this process's output")]

use crate::lab::{Lab, said};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The argument with which a program starts itself as the sender.
pub const FLOOD: &str = "flood";
/// Where datagrams go: nobody has it (TEST-NET-3, RFC 5737), and [`dead_end`] makes it a neighbour that takes everything in silence.
pub const NOBODY: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
/// The port that floods go to, and the one for the trickle that shows that a capture has begun.
pub const PORT: u16 = 9;
const TRICKLE_PORT: u16 = 10;
/// Where a TCP stream goes to in another pod.
const SINK_PORT: u16 = 9009;
/// What a filter has to let through: floods and the trickle, not the ARP and ICMP beside them.
pub const FILTER: &str = "udp dst port 9 or udp dst port 10 or tcp dst port 9009";
/// How often a paced sender looks at the clock.
const TICK: Duration = Duration::from_millis(1);

/// What is sent.
#[derive(Debug, Clone, Copy)]
pub enum Flood {
    /// Datagrams as fast as possible.
    Datagrams {
        /// Bytes of each, at least 8: its number, then noise.
        payload: usize,
        /// How many at most.
        most: u64,
        /// For how many milliseconds at most.
        ms: u64,
    },
    /// Datagrams of `8 + n % 16 * 16` bytes.
    Paced {
        /// How many.
        count: u64,
        /// How many a second.
        per_second: u64,
    },
    /// One connection to a [`sink`].
    Stream {
        /// The sink's address.
        to: IpAddr,
        /// For how many milliseconds.
        ms: u64,
    },
}

impl Flood {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Datagrams { payload, most, ms } => {
                vec![
                    "datagrams".into(),
                    payload.to_string(),
                    most.to_string(),
                    ms.to_string(),
                ]
            }
            Self::Paced { count, per_second } => vec!["paced".into(), count.to_string(), per_second.to_string()],
            Self::Stream { to, ms } => vec!["stream".into(), to.to_string(), ms.to_string()],
        }
    }

    /// Sends it from a pod's namespace; how many packets (or, of a stream, bytes) that were.
    pub fn send(self, lab: &Lab, namespace: &str, pod: &str) -> Result<u64> {
        let output = spawn(lab, namespace, pod, &self.arguments())?.wait_with_output()?;
        ensure!(output.status.success(), "the sender failed: {}", said(&output));
        let sent = String::from_utf8_lossy(&output.stdout);
        sent.trim().parse().with_context(|| format!("the sender said {sent:?}"))
    }
}

/// A process in a pod's namespace that ends with this.
#[derive(Debug)]
pub struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A thousand small datagrams a second from a pod, until dropped.
pub fn trickle(lab: &Lab, namespace: &str, pod: &str) -> Result<Background> {
    spawn(lab, namespace, pod, &["trickle".to_owned()]).map(Background)
}

/// Reads what comes by TCP in a pod's namespace, until dropped.
pub fn sink(lab: &Lab, namespace: &str, pod: &str) -> Result<Background> {
    let mut child = spawn(lab, namespace, pod, &["sink".to_owned()])?;
    let mut ready = [0];
    // It says a byte when it listens.
    child.stdout.take().context("stdout")?.read_exact(&mut ready)?;
    Ok(Background(child))
}

/// Makes [`NOBODY`] a neighbour of a pod: the node's side of its interface drops what is for another's hardware address.
pub fn dead_end(lab: &Lab, namespace: &str, pod: &str) -> Result<()> {
    for line in [
        format!("ip route replace {NOBODY}/32 dev eth0"),
        format!("ip neigh replace {NOBODY} lladdr 02:00:00:00:00:09 dev eth0"),
    ] {
        let output = lab.rig.pod_exec(namespace, pod, line.split(' '))?;
        ensure!(output.status.success(), "`{line}` in {pod}: {}", said(&output));
    }
    Ok(())
}

fn spawn(lab: &Lab, namespace: &str, pod: &str, arguments: &[String]) -> Result<Child> {
    let mut command = Command::new(env::current_exe()?);
    command
        .arg(FLOOD)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    Ok(lab.rig.pod_spawn(namespace, pod, command)?)
}

/// Is the sender.
pub fn run(arguments: &[&str]) -> Result<()> {
    match arguments {
        ["datagrams", payload, most, ms] => datagrams(payload.parse()?, most.parse()?, ms.parse()?),
        ["paced", count, per_second] => paced(count.parse()?, per_second.parse()?, PORT),
        ["trickle"] => paced(u64::MAX, 1000, TRICKLE_PORT),
        ["stream", to, ms] => stream(to.parse()?, ms.parse()?),
        ["sink"] => drain(),
        _ => bail!("no flood {arguments:?}"),
    }
}

fn socket(port: u16) -> Result<UdpSocket> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.connect(SocketAddr::from((NOBODY, port)))?;
    Ok(socket)
}

fn datagrams(payload: usize, most: u64, ms: u64) -> Result<()> {
    let socket = socket(PORT)?;
    let mut payload = noise(payload);
    let (start, time) = (Instant::now(), Duration::from_millis(ms));
    let mut sent = 0u64;
    while sent < most && start.elapsed() < time {
        payload[..8].copy_from_slice(&sent.to_be_bytes());
        socket.send(&payload)?;
        sent += 1;
    }
    println!("{sent}");
    Ok(())
}

fn paced(count: u64, per_second: u64, port: u16) -> Result<()> {
    let socket = socket(port)?;
    let mut payload = noise(8 + 15 * 16);
    let start = Instant::now();
    let mut sent = 0u64;
    while sent < count {
        let due = (start.elapsed().as_nanos() * u128::from(per_second) / 1_000_000_000) as u64;
        while sent < due.min(count) {
            payload[..8].copy_from_slice(&sent.to_be_bytes());
            socket.send(&payload[..8 + (sent % 16) as usize * 16])?;
            sent += 1;
        }
        thread::sleep(TICK);
    }
    println!("{sent}");
    Ok(())
}

fn stream(to: IpAddr, ms: u64) -> Result<()> {
    let mut stream = TcpStream::connect((to, SINK_PORT))?;
    let chunk = noise(1 << 20);
    let (start, time) = (Instant::now(), Duration::from_millis(ms));
    let mut sent = 0;
    while start.elapsed() < time {
        stream.write_all(&chunk)?;
        sent += chunk.len() as u64;
    }
    println!("{sent}");
    Ok(())
}

fn drain() -> Result<()> {
    let listener = TcpListener::bind(("::", SINK_PORT))?;
    print!(".");
    std::io::stdout().flush()?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let (mut stream, _) = listener.accept()?;
        while stream.read(&mut buffer)? > 0 {}
    }
}

/// Bytes that no compression on the way makes fewer (a xorshift generator).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_be_bytes());
    }
    bytes.truncate(length);
    bytes
}
