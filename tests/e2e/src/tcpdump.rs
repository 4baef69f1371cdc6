//! tcpdump beside netcheck, in a node's or a pod's namespace: an eye that is not ours.

use crate::{
    lab::{Lab, Namespace},
    tshark::{Frame, frames},
};
use anyhow::{Context, Result, ensure};
use netcheck_rig::Node;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
};

/// A running tcpdump on all interfaces of a node; ends when dropped.
#[derive(Debug)]
pub struct Tcpdump {
    child: Child,
}

/// A TCP packet that opens, answers or resets a connection, as one interface saw it. A report's JSON has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Seen {
    /// The interface.
    pub interface: String,
    /// `in` or `out`.
    pub direction: String,
    /// `SYN`, `SYN-ACK` or `RST`.
    pub packet: String,
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
}

impl Tcpdump {
    /// Starts one that watches handshakes, and waits until it does.
    pub fn start(node: &Node) -> Result<Self> {
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", "any", "-n", "-l", "--immediate-mode", "-B", "8192"])
            // Version 4.99 has no flags of TCP over IPv6: byte 13 of what follows the fixed header.
            .arg("tcp[tcpflags] & (tcp-syn|tcp-rst) != 0 or (ip6 proto 6 and ip6[53] & 6 != 0)")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = node.spawn(command).context("start tcpdump")?;
        // Its banner is the last thing it says before it listens.
        let mut errors = BufReader::new(child.stderr.take().context("stderr")?);
        let mut said = String::new();
        while !said.contains("listening on") {
            ensure!(errors.read_line(&mut said)? > 0, "tcpdump ended: {said}");
        }
        child.stderr = Some(errors.into_inner());
        Ok(Self { child })
    }

    /// Ends it, and counts what it saw; an error if it lost packets.
    pub fn stop(mut self) -> Result<BTreeMap<Seen, usize>> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("end tcpdump")?;
        let mut lines = String::new();
        let mut stdout = self.child.stdout.take().context("stdout")?;
        std::io::Read::read_to_string(&mut stdout, &mut lines)?;
        let mut words = String::new();
        let mut stderr = self.child.stderr.take().context("stderr")?;
        std::io::Read::read_to_string(&mut stderr, &mut words)?;
        self.child.wait()?;
        ensure!(words.contains("\n0 packets dropped by kernel"), "{words}");
        let mut seen = BTreeMap::new();
        // A line that does not begin with a time goes on about the packet before it.
        for line in lines
            .lines()
            .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
        {
            *seen
                .entry(parse(line).with_context(|| format!("a line of tcpdump: {line}"))?)
                .or_default() += 1;
        }
        Ok(seen)
    }
}

/// A tcpdump that writes a file, in a pod's network namespace; ends when dropped.
#[derive(Debug)]
pub struct Recording {
    child: Child,
    errors: BufReader<ChildStderr>,
    path: PathBuf,
}

impl Recording {
    /// Starts one on an interface of a pod, and waits until it listens.
    pub fn start(lab: &Lab, namespace: &Namespace<'_>, pod: &str, interface: &str, filter: &str) -> Result<Self> {
        let folder = tempfile::tempdir().context("make a folder for tcpdump")?.keep();
        let path = folder.join("tcpdump.pcap");
        let mut command = Command::new("tcpdump");
        command
            .args(["-i", interface, "-n", "-U", "-p", "-B", "16384", "-Z", "root"])
            // What waits in its ring when it is told to end would not be in its file.
            .arg("--immediate-mode")
            .args(["--time-stamp-precision=nano", "-w"])
            .arg(&path)
            .arg(filter)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = lab.rig.pod_spawn(&namespace.name, pod, command)?;
        let mut errors = BufReader::new(child.stderr.take().context("stderr")?);
        let mut said = String::new();
        while !said.contains("listening on") {
            ensure!(errors.read_line(&mut said)? > 0, "tcpdump ended: {said}");
        }
        Ok(Self { child, errors, path })
    }

    /// Ends it, and reads its file; an error if it lost packets.
    pub fn stop(mut self) -> Result<Vec<Frame>> {
        kill_process(Pid::from_child(&self.child), Signal::INT).context("end tcpdump")?;
        let mut words = String::new();
        std::io::Read::read_to_string(&mut self.errors, &mut words)?;
        self.child.wait()?;
        ensure!(words.contains("\n0 packets dropped by kernel"), "{words}");
        frames(&self.path)
    }
}

/// Makes the kernel stamp each packet once for all who listen, as it does while somebody asks for times; `ping` does. Without it each listener reads
/// the clock for itself.
#[derive(Debug)]
pub struct OneStamp(Child);

impl OneStamp {
    /// From now until it is dropped.
    pub fn start() -> Result<Self> {
        let mut ping = Command::new("ping");
        ping.args(["-q", "-i", "3600", "127.0.0.1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        Ok(Self(ping.spawn().context("start ping")?))
    }
}

impl Drop for OneStamp {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
        let _gone = self.path.parent().map(std::fs::remove_dir_all);
    }
}

impl Drop for Tcpdump {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// `12:00:00.000000 eth0  Out IP 10.0.1.2.40000 > 10.0.0.9.8080: Flags [S], seq …`
fn parse(line: &str) -> Option<Seen> {
    let mut words = line.split_whitespace().skip(1);
    let interface = words.next()?.to_owned();
    let direction = words.next()?.to_lowercase();
    let _ip = words.next()?;
    let from = address(words.next()?)?;
    let to = address(words.nth(1)?.trim_end_matches(':'))?;
    let flags = line.split_once('[')?.1.split(']').next()?;
    let packet = match (flags.contains('R'), flags) {
        (true, _) => "RST",
        (_, "S.") => "SYN-ACK",
        (_, _) => "SYN",
    };
    Some(Seen {
        interface,
        direction,
        packet: packet.to_owned(),
        from,
        to,
    })
}

/// `10.0.1.2.40000`
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.rsplit_once('.')?;
    Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, port.parse().ok()?))
}
