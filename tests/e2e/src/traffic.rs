//! Known traffic, sent from inside a pod's network namespace.

use crate::{
    lab::{Lab, Namespace},
    manifests,
};
use anyhow::{Context, Result, ensure};
use netcheck_node_state::{Netns, within};
use std::{
    io::{Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);
/// A UDP port on which every pod of [`talkers`] answers.
pub const ECHO: u16 = 9999;

/// A pod's network namespace, in which threads of ours can work.
#[derive(Debug)]
pub struct Inside(Netns);

impl Inside {
    /// Of this pod.
    pub fn pod(lab: &Lab, namespace: &Namespace<'_>, pod: &str) -> Result<Self> {
        let mut waiting = Command::new("cat");
        waiting.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = lab.rig.pod_spawn(&namespace.name, pod, waiting)?;
        let netns = Netns::open(Path::new(&format!("/proc/{}/ns/net", child.id())));
        drop(child.stdin.take());
        child.wait().context("wait for cat")?;
        Ok(Self(netns?))
    }

    /// Runs something in it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(&self.0, work)?
    }

    /// So many datagrams of so many bytes from one socket. The first four bytes are a number, the others a pattern. Gives how many the kernel took.
    pub fn datagrams(&self, to: SocketAddr, count: u32, length: usize) -> Result<u64> {
        self.run(|| {
            let socket = socket(to)?;
            let mut bytes: Vec<u8> = (0..length.max(4)).map(|index| b'a' + (index % 26) as u8).collect();
            let mut sent = 0;
            for number in 0..count {
                bytes[..4].copy_from_slice(&number.to_be_bytes());
                // Nobody may be listening: what was refused comes back as the next one's error.
                sent += u64::from(socket.send(&bytes).is_ok());
            }
            Ok(sent)
        })
    }

    /// A datagram, and its answer.
    pub fn ask(&self, to: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
        self.run(|| {
            let socket = socket(to)?;
            socket.set_read_timeout(Some(ANSWER))?;
            socket.send(question)?;
            let mut answer = vec![0; 65536];
            let length = socket.recv(&mut answer).with_context(|| format!("an answer of {to}"))?;
            answer.truncate(length);
            Ok(answer)
        })
    }

    /// A connection that says a line and reads the answer to its end.
    pub fn connection(&self, to: SocketAddr, line: &str) -> Result<String> {
        self.run(|| {
            let mut stream = TcpStream::connect_timeout(&to, ANSWER).with_context(|| format!("connect to {to}"))?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(line.as_bytes())?;
            stream.write_all(b"\n")?;
            stream.shutdown(Shutdown::Write)?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        })
    }
}

fn socket(to: SocketAddr) -> Result<UdpSocket> {
    let any: IpAddr = if to.is_ipv6() { [0; 16].into() } else { [0; 4].into() };
    let socket = UdpSocket::bind((any, 0)).context("open a socket")?;
    socket.connect(to).with_context(|| format!("connect to {to}"))?;
    Ok(socket)
}

/// A DNS query (RFC 1035 section 4) for the address of a name made of these labels, which may hold any byte.
pub fn query(id: u16, labels: &[&[u8]]) -> Vec<u8> {
    let mut query = id.to_be_bytes().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in labels {
        query.push(label.len() as u8);
        query.extend(*label);
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

/// Pods by name and node that answer on TCP 8080 and UDP [`ECHO`]: from a scratch image, not root, nothing writable.
pub fn talkers(lab: &Lab, namespace: &Namespace<'_>, pods: &[(&str, &str)]) -> Result<()> {
    let echo = ECHO.to_string();
    let arguments = ["serve", "--tcp", "8080", "--udp-echo", &echo];
    let pods: Vec<_> = pods
        .iter()
        .map(|(pod, node)| manifests::server_pod(&namespace.name, pod, node, &arguments, 8080))
        .collect();
    lab.apply(&serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": pods }))?;
    namespace.wait_ready()
}

/// Some of each kind: TCP with payload, UDP, DNS, ICMP, in both families, to another pod and to the cluster's DNS.
pub fn everything(lab: &Lab, namespace: &Namespace<'_>, from: &str, to: &str) -> Result<()> {
    let inside = Inside::pod(lab, namespace, from)?;
    for v6 in [false, true] {
        let address = namespace.address(to, v6)?;
        inside.connection((address, 8080).into(), &"hello ".repeat(300))?;
        inside.ask((address, ECHO).into(), b"are you there?")?;
        // Nobody listens: ICMP says so.
        inside.datagrams((address, 7).into(), 2, 100)?;
        namespace.in_pod(from, &format!("ping -n -q -c 2 -i 0.2 {address}"))?;
    }
    let dns = lab.kubectl("-n kube-system get service kube-dns -o jsonpath={.spec.clusterIP}")?;
    let dns: IpAddr = dns.trim().parse().with_context(|| format!("parse {dns:?}"))?;
    let name: [&[u8]; 5] = [b"kubernetes", b"default", b"svc", b"cluster", b"local"];
    let answer = inside.ask((dns, 53).into(), &query(7, &name))?;
    ensure!(answer.len() > 40, "no address in the answer: {answer:?}");
    Ok(())
}
