//! How long it takes to read a network namespace with 5,000 peers into a record, and how large that is as JSON.
//!
//! `cargo run --release -p netcheck-node-state --example recording [PEERS]`, as root: it makes a namespace of its own, which ends with it.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "it prints, and stops at what it did not expect"
)]

use netcheck_node_state::record::space;
use std::{
    env,
    fmt::Write as _,
    io::Write as _,
    process::{Command, Stdio},
    time::Instant,
};

/// How often it is read.
const ROUNDS: usize = 15;
/// The parameters that are read, too.
const SYSCTLS: [&str; 4] = [
    "net.ipv4.ip_forward",
    "net.ipv4.conf.*.rp_filter",
    "net.ipv4.conf.*.forwarding",
    "net.ipv6.conf.*.forwarding",
];

fn main() {
    let words: Vec<String> = env::args().collect();
    let peers = words.get(1).map_or("5000", String::as_str);
    if words.get(2).is_some_and(|word| word == "inside") {
        return inside(peers.parse().expect("a number of peers"));
    }
    let status = Command::new("unshare")
        .args(["--net", &words[0], peers, "inside"])
        .status()
        .expect("unshare, as root");
    assert!(status.success(), "{status}");
}

/// Fills the namespace, and reads it.
fn inside(peers: u32) {
    let devices = "link add eth0 type veth peer name wire\naddr add 192.0.2.1/16 dev eth0\nlink set wire up\nlink set eth0 up
link add vx type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0 nolearning\nlink set vx addrgenmode none\nlink set vx up\n";
    let (mut ip, mut bridge) = (devices.to_owned(), String::new());
    for peer in 1..=peers {
        let (high, low) = (peer / 256, peer % 256);
        let mac = format!("0a:00:00:00:{high:02x}:{low:02x}");
        writeln!(ip, "neigh add 10.{high}.{low}.0 lladdr {mac} dev vx nud permanent").unwrap();
        writeln!(
            ip,
            "route add 10.{high}.{low}.0/24 via 10.{high}.{low}.0 dev vx onlink proto 147"
        )
        .unwrap();
        writeln!(bridge, "fdb add {mac} dev vx dst 172.16.{high}.{low} self permanent").unwrap();
    }
    batch("ip", &ip);
    batch("bridge", &bridge);

    let mut times = Vec::new();
    let mut bytes = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let space = space(&SYSCTLS).unwrap();
        let read = start.elapsed();
        bytes = serde_json::to_vec(&space).unwrap();
        times.push((start.elapsed(), read));
        let net = &space.net;
        assert!(net.fdb.len().min(net.routes.len()).min(net.neighbours.len()) >= peers as usize);
    }
    times.sort_unstable();
    let ((least, _), (middle, read), (most, _)) = (times[0], times[ROUNDS / 2], times[ROUNDS - 1]);
    println!(
        "{peers} FDB entries, neighbours and routes: {middle:.1?} in the middle of {ROUNDS} rounds ({least:.1?} to {most:.1?}), of which reading \
         {read:.1?}; {} kB of JSON",
        bytes.len() / 1000
    );
}

fn batch(program: &str, lines: &str) {
    let mut command = Command::new(program);
    let mut child = command.args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{program}");
}
