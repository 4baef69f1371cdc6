//! Traffic of all kinds; a switch of the way between nodes under it; no daemon.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, configure, delete, reach, settled, two_pods},
    lab::{Lab, Namespace, said},
    ledger,
    runner::Case,
    shop,
    stream::Stream,
};
use netcheck_rig::wait_until;
use serde_json::json;

pub const CASES: &[Case] = &[
    ("bundled: the shop is reached by tcp, dns and icmp", healthy),
    ("bundled: a switch of the backend breaks no connection", switched),
    ("bundled: without its daemons traffic and new pods go on", daemonless),
];

fn healthy(lab: &Lab) -> Result<()> {
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])?;
    // The network says of itself what the matrix has shown.
    let output = lab.plugin(["cni", "status", "-o", "json"]).output()?;
    ensure!(output.status.success(), "{}", said(&output));
    ledger::wait(&lab.rig, PATIENCE, "the shop's opening")
}

fn switched(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    for (backend, mtu) in [("host-gw", 1500), ("vxlan", 1450), ("auto", 1500), ("vxlan", 1450)] {
        let gap = stream
            .gap(PATIENCE, || configure(lab, &json!({ "backend": backend })))
            .with_context(|| format!("the switch to {backend}"))?;
        println!("bundled: switch to {backend}: {} ms without a round", gap.as_millis());
        reach(&namespace, "on-n1", "on-n2", backend)?;
        has_mtu(&namespace, mtu).with_context(|| format!("after the switch to {backend}"))?;
    }
    ledger::wait(&lab.rig, PATIENCE, "the switches")
}

/// The pods' default routes say it, and a packet of that size passes whole.
fn has_mtu(namespace: &Namespace<'_>, mtu: u32) -> Result<()> {
    for pod in ["on-n1", "on-n2"] {
        for family in ["-4", "-6"] {
            let route = namespace.in_pod(pod, &format!("ip {family} route show default"))?;
            ensure!(route.contains(&format!("mtu {mtu}")), "{pod} has {route}");
        }
    }
    // IP and ICMP headers: 28 bytes, 48 with IPv6.
    for (v6, headers) in [(false, 28), (true, 48)] {
        let to = namespace.address("on-n2", v6)?;
        namespace.in_pod("on-n1", &format!("ping -c 1 -W 5 -M do -s {} {to}", mtu - headers))?;
    }
    Ok(())
}

fn daemonless(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    let gap = stream.gap(PATIENCE, || {
        // No daemon is left, and none comes: no node has this label.
        select_nodes(lab, "\"true\"")?;
        wait_until("the daemons to be gone", PATIENCE, || {
            let pods = lab
                .kubectl("-n netcheck-cni get pods -o name")
                .map_err(|error| error.to_string())?;
            if pods.is_empty() { Ok(()) } else { Err(pods) }
        })?;
        let outcome = come_and_go(lab);
        select_nodes(lab, "null")?;
        outcome?;
        let seconds = PATIENCE.as_secs();
        lab.kubectl(&format!(
            "-n netcheck-cni rollout status ds/netcheck-cni --timeout={seconds}s"
        ))?;
        settled(lab)
    })?;
    println!("bundled: daemons gone and back: {} ms without a round", gap.as_millis());
    ledger::wait(&lab.rig, PATIENCE, "the daemons' return")
}

fn select_nodes(lab: &Lab, value: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"nowhere":{value}}}}}}}}}}}"#);
    lab.rig
        .kubectl(["-n", "netcheck-cni", "patch", "ds", "netcheck-cni", "-p", &patch])?;
    Ok(())
}

fn come_and_go(lab: &Lab) -> Result<()> {
    let later = two_pods(lab).context("pods that came without a daemon")?;
    delete(lab, &later)
}
