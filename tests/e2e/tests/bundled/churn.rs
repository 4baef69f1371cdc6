//! Pods by the hundred, and deaths of whoever makes them in the middle of it: no address twice, nothing lost, nothing left.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, delete, kill_daemon, reach, settled, two_pods},
    lab::{Lab, Namespace},
    ledger,
    runner::Case,
    stream::Stream,
};
use netcheck_rig::{Part, Stderr, wait_until};
use std::{collections::BTreeSet, time::Instant};

pub const CASES: &[Case] = &[
    (
        "bundled: a hundred pods at once, runtime and kubelet killed, leave nothing",
        hundred,
    ),
    (
        "bundled: a daemon killed ten times while pods come and go",
        daemon_killed,
    ),
    ("bundled: a node that boots is whole again", rebooted),
];

/// kubelets take 110 each.
const PODS: usize = 100;
/// How often the daemon dies.
const KILLS: usize = 10;

fn hundred(lab: &Lab) -> Result<()> {
    ledger::wait(&lab.rig, PATIENCE, "what was before")?;
    let start = Instant::now();
    let namespace = lab.namespace("privileged")?;
    lab.kubectl(&format!(
        "-n {} create deployment many --image=docker.io/rig/workload:1 --replicas={PODS}",
        namespace.name
    ))?;
    // What they had begun is begun again, or taken away.
    for (running, node, part) in [(10, "n2", Part::Containerd), (40, "n1", Part::Kubelet)] {
        wait_until(&format!("{running} pods to run"), PATIENCE, || {
            match count(lab, &namespace, "--field-selector=status.phase=Running") {
                Ok(now) if now >= running => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
        let node = lab.rig.node(node)?;
        node.kill_part(part)?;
        node.start_part(part)?;
    }
    lab.kubectl(&format!(
        "-n {} rollout status deployment/many --timeout=300s",
        namespace.name
    ))?;
    println!("bundled: {PODS} pods ready after {} s", start.elapsed().as_secs());
    let ips = lab.kubectl(&format!(
        "-n {} get pods -o jsonpath={{.items[*].status.podIPs[*].ip}}",
        namespace.name
    ))?;
    let all: Vec<&str> = ips.split_whitespace().collect();
    let different: BTreeSet<&str> = all.iter().copied().collect();
    // Both families each.
    ensure!(
        different.len() == 2 * PODS && all.len() == different.len(),
        "{} addresses, {} different",
        all.len(),
        different.len()
    );
    ledger::wait(&lab.rig, PATIENCE, "a hundred pods")?;
    delete(lab, &namespace)?;
    ledger::wait(&lab.rig, PATIENCE, "their end")?;
    println!("bundled: and gone after {} s", start.elapsed().as_secs());
    Ok(())
}

fn count(lab: &Lab, namespace: &Namespace<'_>, which: &str) -> Result<usize> {
    let names = lab.kubectl(&format!("-n {} get pods {which} -o name", namespace.name))?;
    Ok(names.lines().count())
}

fn daemon_killed(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let n1 = lab.rig.node("n1")?;
    let stream = Stream::open(lab, &namespace, "on-n1", "on-n2", false)?;
    let conflist = ["cat", "/etc/cni/net.d/05-netcheck.conflist"];
    let before = n1.run(conflist)?;
    let comers = lab.namespace("privileged")?;
    lab.kubectl(&format!(
        "-n {} create deployment comers --image=docker.io/rig/workload:1 --replicas=1",
        comers.name
    ))?;
    let gap = stream.gap(PATIENCE, || {
        for kill in 1..=KILLS {
            let replicas = if kill % 2 == 1 { 8 } else { 1 };
            lab.kubectl(&format!(
                "-n {} scale deployment comers --replicas={replicas}",
                comers.name
            ))?;
            kill_daemon(lab, &n1).with_context(|| format!("kill {kill}"))?;
            ensure!(
                n1.run(conflist)? == before,
                "the conflist is another one after kill {kill}"
            );
        }
        Ok(())
    })?;
    println!(
        "bundled: daemon killed {KILLS} times: at most {} ms without a round",
        gap.as_millis()
    );
    settled(lab)?;
    ledger::wait(&lab.rig, PATIENCE, "ten deaths of the daemon")?;
    delete(lab, &comers)?;
    ledger::wait(&lab.rig, PATIENCE, "the end of the pods that came meanwhile")
}

/// What is in memory goes, what is on disk stays: the conflist is there before `node.json` is.
fn rebooted(lab: &Lab) -> Result<()> {
    let namespace = two_pods(lab)?;
    let start = Instant::now();
    lab.rig.reboot_node("n2", &Stderr::start())?;
    namespace.wait_ready()?;
    reach(&namespace, "on-n1", "on-n2", "the boot of n2")?;
    reach(&namespace, "on-n2", "on-n1", "the boot of n2")?;
    println!(
        "bundled: n2 booted, its pod reached again after {} s",
        start.elapsed().as_secs()
    );
    settled(lab)?;
    ledger::wait(&lab.rig, PATIENCE, "the boot of n2")?;
    let later = two_pods(lab)?;
    delete(lab, &later)?;
    delete(lab, &namespace)?;
    ledger::wait(&lab.rig, PATIENCE, "the end of its pods")
}
