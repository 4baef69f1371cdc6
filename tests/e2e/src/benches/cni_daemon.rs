//! The daemon in a large cluster: the real process, a real kernel in a namespace, Nodes from a watch. How long its passes take, and how much
//! memory it holds. There is no peer that does the same; the targets stand in its place.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use super::{
    fake_api::{FakeApi, node},
    namespace::Namespace,
    node_daemon::{NodeDaemon, Passes, passes},
};
use anyhow::{Context, Result, ensure};
use std::{
    thread,
    time::{Duration, Instant},
};

/// Most seconds of the first pass, and most MiB at any time, for a thousand nodes.
const SECONDS: f64 = 2.0;
const MEBIBYTES: f64 = 50.0;
/// Passes that find nothing to do: one each second, as the ConfigMap asks.
const IDLE_PASSES: f64 = 5.0;

/// Runs it and prints the figures; the one option is the number of nodes.
pub fn run(options: &[&str]) -> Result<()> {
    let count: usize = match options {
        [] => 1000,
        [count, ..] => count
            .parse()
            .with_context(|| format!("{count} is no number of nodes"))?,
    };
    let namespace = Namespace::new("node")?;
    namespace.ip("link add eth0 type veth peer name far")?;
    namespace.ip("link set far up")?;
    namespace.ip("link set eth0 up")?;
    namespace.ip("addr add 172.16.0.1/16 dev eth0")?;
    let config = [
        ("clusterCIDRs", "10.128.0.0/9,fd00:10::/32"),
        ("chain", ""),
        ("periodSeconds", "1"),
    ];
    let api = FakeApi::start(&namespace, (0..count).map(numbered).collect(), &config)?;

    let start = Instant::now();
    let mut daemon = NodeDaemon::start(&namespace, "n0", &api)?;
    let peers = count - 1;
    daemon.wait_for("the first pass", |state| state["peers"] == peers)?;
    let whole = start.elapsed().as_secs_f64();
    // It is among the metrics only when it has ended; those before it had nothing to go by.
    let before = passes(&namespace)?;
    let first = idle(&namespace, before.count + 1.0)?;
    println!(
        "{count} nodes, two ranges each, Node objects of {} bytes",
        numbered(0).to_string().len()
    );
    println!("from start to the end of the first whole pass: {whole:.2} s");
    println!("  of that in passes: {:.2} s", first.seconds);
    check_kernel(&namespace, peers)?;

    // The pass after the first may still find something to do; those after that must not.
    let begin = idle(&namespace, first.count + 1.0)?;
    let processor_time = daemon.processor_time()?;
    let end = idle(&namespace, begin.count + IDLE_PASSES)?;
    let between = end.count - begin.count;
    println!(
        "a pass that finds nothing to do: {:.0} ms, {:.0} ms of processor time",
        (end.seconds - begin.seconds) / between * 1e3,
        (daemon.processor_time()? - processor_time) / between * 1e3
    );
    let start = Instant::now();
    api.remove_node("n1")?;
    daemon.wait_for("a pass without n1", |state| state["peers"] == peers - 1)?;
    println!(
        "from a node's end in the API to its end in the kernel: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    namespace.ip("link del ncvx0")?;
    daemon.wait_for("a pass that builds all behind the overlay", |state| {
        state["lastPass"]["ops"].as_u64() > Some(count as u64)
    })?;
    println!(
        "from the end of the overlay device to all of it again: {:.2} s",
        start.elapsed().as_secs_f64()
    );
    let (most, now) = (daemon.memory("VmHWM")?, daemon.memory("VmRSS")?);
    println!("memory: {most:.1} MiB at most, {now:.1} MiB now");
    println!(
        "ratio:  {:.2}x of {SECONDS} s for the first passes, {:.2}x of {MEBIBYTES} MiB",
        first.seconds / SECONDS,
        most / MEBIBYTES
    );
    Ok(())
}

/// Waits until so many passes have been; they follow each other by themselves.
fn idle(namespace: &Namespace, count: f64) -> Result<Passes> {
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let now = passes(namespace)?;
        if now.count >= count {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "{now:?}, but {count} passes were expected");
        thread::sleep(Duration::from_millis(200));
    }
}

/// A pass that says that it is whole must be: `ip` and `bridge` count routes, neighbours and FDB entries.
fn check_kernel(namespace: &Namespace, peers: usize) -> Result<()> {
    for (what, command) in [
        ("IPv4 routes", "ip -4 route show dev ncvx0 proto 147"),
        ("IPv6 routes", "ip -6 route show dev ncvx0 proto 147"),
        ("IPv4 neighbours", "ip -4 neigh show dev ncvx0 nud permanent"),
        ("FDB entries", "bridge fdb show dev ncvx0"),
    ] {
        let there = namespace.run(command)?.lines().count();
        ensure!(there == peers, "{there} {what} for {peers} peers");
    }
    Ok(())
}

fn numbered(number: usize) -> serde_json::Value {
    let (high, low) = (number / 200, number % 200);
    let created = format!(
        "2026-01-01T{:02}:{:02}:{:02}Z",
        number / 3600,
        number / 60 % 60,
        number % 60
    );
    let ranges = [
        format!("10.{}.{low}.0/24", 128 + high),
        format!("fd00:10:{high:x}:{low:x}::/64"),
    ];
    node(
        &format!("n{number}"),
        &created,
        &format!("172.16.{high}.{}", low + 1),
        16,
        &ranges,
    )
}
