//! The long count of the bundled CNI: rounds in which pods come and go while whoever makes them is killed, and what nodes hold is
//! falsified, at random. After each round every node holds exactly what it must, and the matrix is healthy.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use crate::{
    bundled::{PATIENCE, configure, kill_daemon, random},
    lab::Lab,
    ledger,
};
use anyhow::{Context, Result};
use netcheck_rig::{Cni, Part, RigSpec};
use serde_json::json;
use std::{
    fmt::Write as _,
    thread,
    time::{Duration, Instant},
};

/// About five minutes on two cores.
pub const ROUNDS: u32 = 20;
/// Pods at the height of a round, and at its end, at most.
const PODS: (u64, u64) = (50, 8);
/// Seconds; the default would make up most of the count.
const PERIOD: &str = "10";

/// What is done to a node with its own tools.
const FALSIFICATIONS: [&str; 14] = [
    "ip link set ncvx0 down",
    "ip link delete ncvx0",
    "ip link set ncvx0 address 02:00:00:00:00:01",
    "ip link set ncvx0 mtu 1200",
    "ip address flush dev ncvx0",
    "ip -4 route flush proto 147",
    "ip -6 route flush proto 147",
    "ip neigh flush dev ncvx0 nud permanent",
    "bridge fdb show dev ncvx0 | while read mac rest; do bridge fdb delete $mac dev ncvx0; done",
    "nft delete table inet netcheck-cni",
    "sysctl -qw net.ipv4.ip_forward=0",
    "rm -r /sys/fs/bpf/netcheck-cni",
    "rm /etc/cni/net.d/05-netcheck.conflist",
    "rm /run/netcheck-cni/node.json",
];

/// The cluster to count on.
#[must_use]
pub fn spec() -> RigSpec {
    RigSpec {
        name: "soak-cni".into(),
        nodes: 2,
        cni: Cni::Bundled,
        ..RigSpec::default()
    }
}

/// So many rounds.
pub fn count(lab: &Lab, rounds: u32) -> Result<()> {
    lab.rig.open_shop()?;
    configure(lab, &json!({ "periodSeconds": PERIOD }))?;
    let namespace = lab.namespace("privileged")?;
    let name = &namespace.name;
    lab.kubectl(&format!(
        "-n {name} create deployment churn --image=docker.io/rig/workload:1 --replicas=0"
    ))?;
    let start = Instant::now();
    let mut most = 0;
    for round in 1..=rounds {
        let began = Instant::now();
        let (up, down) = (1 + random(PODS.0), random(PODS.1 + 1));
        let mut told = format!("{up} pods");
        let outcome = turn(lab, name, up, down, &mut told);
        println!(
            "cni: round {round}: {told}, {down} left: {:.0} s",
            began.elapsed().as_secs_f64()
        );
        outcome.with_context(|| format!("round {round}: {told}"))?;
        most = most.max(began.elapsed().as_secs());
    }
    println!(
        "cni: {rounds} of {rounds} rounds, nothing lost and nothing left, in {:.0} s, the longest in {most} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// One round; what is done is told as it is done.
fn turn(lab: &Lab, namespace: &str, up: u64, down: u64, told: &mut String) -> Result<()> {
    scale(lab, namespace, up)?;
    for _ in 0..2 {
        thread::sleep(Duration::from_millis(random(1500)));
        let nodes = lab.rig.nodes();
        let node = &nodes[random(nodes.len() as u64) as usize];
        let what = match random(4) {
            0 => {
                node.kill_part(Part::Kubelet)?;
                node.start_part(Part::Kubelet)?;
                "kubelet killed"
            }
            1 => {
                node.kill_part(Part::Containerd)?;
                node.start_part(Part::Containerd)?;
                "containerd killed"
            }
            2 => {
                kill_daemon(lab, node)?;
                "daemon killed"
            }
            _ => {
                let deed = FALSIFICATIONS[random(FALSIFICATIONS.len() as u64) as usize];
                // What it is to change may be missing just now, by a deed before.
                let _ = node.exec(["sh", "-c", deed])?;
                deed
            }
        };
        let _ = write!(told, ", {} {what}", node.name());
    }
    rolled_out(lab, namespace)?;
    scale(lab, namespace, down)?;
    rolled_out(lab, namespace)?;
    ledger::wait(&lab.rig, PATIENCE, told)?;
    let matrix = lab.matrix(["-n", "shop"])?;
    matrix.others_reached(|_| false)?;
    matrix.expect_exit(0)
}

fn scale(lab: &Lab, namespace: &str, replicas: u64) -> Result<()> {
    lab.kubectl(&format!("-n {namespace} scale deployment churn --replicas={replicas}"))
        .map(drop)
}

fn rolled_out(lab: &Lab, namespace: &str) -> Result<()> {
    let seconds = PATIENCE.as_secs();
    lab.kubectl(&format!(
        "-n {namespace} rollout status deployment/churn --timeout={seconds}s"
    ))
    .map(drop)
}
