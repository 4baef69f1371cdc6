//! How long the daemon's passes take on a real kernel in a large cluster, and how much memory: `unshare --net passes [NODES]`, 1,000
//! unless told. To be run as root in a network namespace of its own, which holds nothing but `lo`.
#![allow(clippy::print_stdout, reason = "its figures are its output")]

use anyhow::{Context as _, Result, ensure};
use netcheck_cni_daemon::{
    arguments::{Arguments, Places},
    cluster::View,
    keeper::Keeper,
};
use netcheck_cni_intent::NodeObject;
use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    process::Command,
    time::Instant,
};

/// The node that keeps itself.
const OWN: &str = "n0";

fn node(number: usize) -> NodeObject {
    let (high, low) = (number / 200, number % 200);
    let ip = format!("172.16.{high}.{}", low + 1);
    let annotations = [("underlay", format!("{ip}/16")), ("mtu", "1500".to_owned())];
    NodeObject {
        name: format!("n{number}"),
        created: format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            number / 3600,
            number / 60 % 60,
            number % 60
        ),
        pod_cidrs: vec![
            format!("10.{}.{low}.0/24", 128 + high),
            format!("fd00:10:{high:x}:{low:x}::/64"),
        ],
        annotations: annotations
            .map(|(key, value)| (format!("cni.netcheck.dev/{key}"), value))
            .into(),
        internal_ips: vec![ip],
        ..NodeObject::default()
    }
}

fn sh(script: &str) -> Result<()> {
    let status = Command::new("sh").args(["-ec", script]).status()?;
    ensure!(status.success(), "{script}: {status}");
    Ok(())
}

/// `VmHWM` of proc_pid_status(5).
fn most_memory() -> Result<String> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"));
    Ok(line
        .context("no VmHWM")?
        .split_whitespace()
        .skip(1)
        .collect::<Vec<_>>()
        .join(" "))
}

fn main() -> Result<()> {
    let count: usize = env::args().nth(1).map_or(Ok(1000), |word| word.parse())?;
    let links = fs::read_to_string("/proc/net/dev")?;
    ensure!(
        links.lines().count() == 3,
        "not in a namespace of its own; call it by unshare --net"
    );
    sh(
        "ip link set lo up; ip link add eth0 type veth peer name far; ip link set far up; ip link set eth0 up
        ip addr add 172.16.0.1/16 dev eth0",
    )?;

    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name);
    let arguments = Arguments {
        node: OWN.to_owned(),
        listen: ([127, 0, 0, 1], 0).into(),
        plugin: place("plugin"),
        places: Places {
            bin: place("bin"),
            conf: place("conf"),
            state: place("state"),
            bpf: place("bpf"),
        },
        instead: None,
    };
    let mut keeper = Keeper::new(arguments, b"the plugin".to_vec());
    let config = [("clusterCIDRs", "10.128.0.0/9,fd00:10::/32"), ("chain", "")];
    let config = config.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let mut view = View {
        nodes: Some((0..count).map(node).map(|node| (node.name.clone(), node)).collect()),
        config: Some(Some(BTreeMap::from(config))),
        pods: Some(BTreeSet::new()),
    };
    let mut pass = |what: &str, view: &View| -> Result<()> {
        let start = Instant::now();
        let outcome = keeper.pass(view, false);
        let took = start.elapsed().as_secs_f64() * 1000.0;
        ensure!(
            outcome.applied.failed.is_empty(),
            "{what}: {:?}",
            outcome.applied.failed
        );
        println!("{what:<24} {took:9.1} ms  {:6} changes", outcome.applied.total());
        Ok(())
    };
    pass("first", &view)?;
    for _ in 0..3 {
        pass("nothing to do", &view)?;
    }
    if let Some(nodes) = &mut view.nodes {
        nodes.remove("n1");
    }
    pass("a node left", &view)?;
    sh("ip link del ncvx0")?;
    pass("the overlay was deleted", &view)?;
    println!("most memory at any time  {}", most_memory()?);
    Ok(())
}
