//! A network of its own for each test: client, router and server, each a namespace, IPv4 and IPv6.

use super::{PATIENCE, wait_for};
use netcheck_node_state::{Netns, within};
use netcheck_wire::probe::{Place, Whereabouts};
use std::{
    io::{self, BufRead as _, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::fd::AsFd,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
};

/// The place number of the client.
pub const CLIENT: u32 = 1;
/// The place number of the server.
pub const SERVER: u32 = 2;

/// The network.
pub struct World {
    name: String,
    octet: u32,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl World {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let world = Self {
            name: format!("ncagent-{}-{number}", std::process::id()),
            octet: number,
        };
        for node in ["client", "router", "server"] {
            Self::ip(&format!("netns add {}", world.ns(node)));
            // Addresses are good at once, without the second that looking for duplicates takes.
            world.run(
                node,
                "echo 0 > /proc/sys/net/ipv6/conf/default/dad_transmits; ip link set lo up",
            );
        }
        for (node, side) in [("client", 0), ("server", 1)] {
            let (ns, router) = (world.ns(node), world.ns("router"));
            Self::ip(&format!(
                "-n {router} link add to-{node} type veth peer name eth0 netns {ns}"
            ));
            let (v4, v6) = (world.v4(side, 0), world.v6(side, 0));
            let gateways = (world.v4(side, 1), world.v6(side, 1));
            world.run(
                    node,
                    &format!(
                        "ip addr add {v4}/24 dev eth0; ip addr add {v6}/64 dev eth0 nodad; ip link set eth0 up
                         ip -n {router} addr add {}/24 dev to-{node}; ip -n {router} addr add {}/64 dev to-{node} nodad; ip -n {router} link set to-{node} up
                         ip route add default via {}; ip -6 route add default via {}",
                        gateways.0, gateways.1, gateways.0, gateways.1
                    ),
                );
        }
        world.run(
            "router",
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        for node in ["client", "router", "server"] {
            wait_for("IPv6 to be ready", || {
                world
                    .output(node, "ip -6 addr show tentative; ip link | grep 'state DOWN' || true")
                    .is_empty()
            });
        }
        world
    }

    fn v4(&self, side: u32, host: u32) -> IpAddr {
        format!("198.{}.{}.{}", 18 + side, self.octet, 10 - host)
            .parse()
            .unwrap()
    }

    fn v6(&self, side: u32, host: u32) -> IpAddr {
        format!("2001:db8:{}:{}::{}", self.octet, side, 10 - host)
            .parse()
            .unwrap()
    }

    /// The server's address of a family.
    pub fn server(&self, is_v6: bool) -> IpAddr {
        if is_v6 { self.v6(1, 0) } else { self.v4(1, 0) }
    }

    /// The router's address on the client's side.
    pub fn router(&self, is_v6: bool) -> IpAddr {
        if is_v6 { self.v6(0, 1) } else { self.v4(0, 1) }
    }

    fn ns(&self, node: &str) -> String {
        format!("{}-{node}", self.name)
    }

    pub fn path(&self, node: &str) -> PathBuf {
        format!("/run/netns/{}", self.ns(node)).into()
    }

    pub fn netns(&self, node: &str) -> Netns {
        Netns::open(&self.path(node)).unwrap()
    }

    fn ip(arguments: &str) {
        let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
        assert!(status.success(), "ip {arguments}");
    }

    /// A command in a node's namespace.
    pub fn command(&self, node: &str, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path(node).display())).arg(program);
        command
    }

    /// Runs shell commands in a node's namespace.
    pub fn run(&self, node: &str, script: &str) {
        self.output(node, script);
    }

    /// What they print.
    pub fn output(&self, node: &str, script: &str) -> String {
        let output = self.command(node, "sh").args(["-ec", script]).output().unwrap();
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Puts one nftables rule into a chain at a hook.
    pub fn rule(&self, node: &str, hook: &str, rule: &str) {
        self.run(node, &format!("nft 'add table inet t; add chain inet t c {{ type filter hook {hook} priority 0; }}; add rule inet t c {rule}'"));
    }

    /// Client and server for a locate task, to be found by their addresses.
    pub fn places(&self) -> Vec<Place> {
        [(CLIENT, 0), (SERVER, 1)]
            .map(|(id, side)| Place {
                id,
                whereabouts: Whereabouts::Pod {
                    uid: "no-process".to_owned(),
                    ips: vec![self.v4(side, 0), self.v6(side, 0)],
                },
            })
            .into()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for node in ["client", "router", "server"] {
            Self::ip(&format!("netns delete {}", self.ns(node)));
        }
    }
}

/// A TCP server on a port of the server, both families, that says something first and reads until the end.
pub struct Tcp {
    listener: Arc<TcpListener>,
    thread: Option<JoinHandle<()>>,
    /// How each connection ended for the server.
    pub ends: Arc<Mutex<Vec<io::Result<usize>>>>,
}

impl Tcp {
    pub fn new(world: &World, port: u16, banner: &'static [u8]) -> Self {
        let address = SocketAddr::from(([0; 8], port));
        let listener = Arc::new(
            within(&world.netns("server"), || TcpListener::bind(address))
                .unwrap()
                .unwrap(),
        );
        // The standard library's 128 are too few for hundreds of probes at once: what does not fit is connected only a second later.
        rustix::net::listen(&*listener, 1024).unwrap();
        let ends = Arc::new(Mutex::new(Vec::new()));
        let (accepting, all_ends) = (listener.clone(), ends.clone());
        let thread = thread::spawn(move || {
            while let Ok((mut connection, _)) = accepting.accept() {
                // The other end may be gone without a word.
                let limited = connection.set_read_timeout(Some(PATIENCE));
                let sent = limited.and_then(|()| connection.write_all(banner));
                let end = sent.and_then(|()| connection.read_to_end(&mut Vec::new()));
                all_ends.lock().unwrap().push(end);
            }
        });
        Self {
            listener,
            thread: Some(thread),
            ends,
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        rustix::net::shutdown(self.listener.as_fd(), rustix::net::Shutdown::Both).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// A name server that answers every question with one address, from the query it is given, after leaving some unanswered.
pub struct Dns {
    socket: Arc<UdpSocket>,
    thread: Option<JoinHandle<()>>,
}

impl Dns {
    pub fn new(world: &World, port: u16, mut leave: usize) -> Self {
        let address = SocketAddr::from(([0; 8], port));
        let socket = Arc::new(
            within(&world.netns("server"), || UdpSocket::bind(address))
                .unwrap()
                .unwrap(),
        );
        let answering = socket.clone();
        let thread = thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = answering.recv_from(&mut query) {
                if length == 0 {
                    return;
                }
                if leave > 0 {
                    leave -= 1;
                    continue;
                }
                let mut answer = query[..length].to_vec();
                answer[2..4].copy_from_slice(&[0x81, 0x80]);
                answer[6..8].copy_from_slice(&[0, 1]);
                // A pointer to the question's name, type A, class IN, one minute, 192.0.2.7.
                answer.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                answering.send_to(&answer, from).unwrap();
            }
        });
        Self {
            socket,
            thread: Some(thread),
        }
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        // Wakes the thread with an empty read; the kernel says that the socket has no peer, and does it all the same.
        let _ = rustix::net::shutdown(self.socket.as_fd(), rustix::net::Shutdown::Both);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// tcpdump in a node's namespace: another pair of eyes.
pub struct Tcpdump {
    child: Child,
    /// Held open: what it says at its end would otherwise kill it.
    _stderr: std::process::ChildStderr,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Tcpdump {
    pub fn start(world: &World, node: &str) -> Self {
        let mut child = world
            .command(node, "tcpdump")
            .args(["-i", "eth0", "-n", "-S", "-l", "--immediate-mode", "-U"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let mut said = Vec::new();
        wait_for("tcpdump", || {
            let mut byte = [0; 256];
            let length = stderr.read(&mut byte).unwrap();
            said.extend_from_slice(&byte[..length]);
            String::from_utf8_lossy(&said).contains("listening on")
        });
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn({
            let lines = lines.clone();
            move || {
                stdout
                    .lines()
                    .for_each(|line| lines.lock().unwrap().push(line.unwrap()));
            }
        });
        Self {
            child,
            _stderr: stderr,
            lines,
            reader: Some(reader),
        }
    }

    /// Ends it once its lines hold what is looked for: what it has not taken from the kernel when it is ended, it never shows.
    pub fn stop_once(mut self, what: &str, holds: impl Fn(&[String]) -> bool) -> Vec<String> {
        wait_for(&format!("tcpdump to show {what}"), || {
            holds(&self.lines.lock().unwrap())
        });
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        wait_for("tcpdump to end", || self.child.try_wait().unwrap().is_some());
        self.reader.take().unwrap().join().unwrap();
        std::mem::take(&mut self.lines.lock().unwrap())
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        // Where a test failed, it still runs.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}
