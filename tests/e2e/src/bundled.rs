//! What cases and counts of the bundled CNI share: pods on two nodes, its configuration, its daemons.

use crate::lab::{Lab, Namespace, said};
use anyhow::{Context, Result, ensure};
use netcheck_rig::{Node, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::{
    collections::hash_map::RandomState,
    fs,
    hash::BuildHasher,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// For what takes the API server and kubelets, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(150);

/// The image as `make cni-image` puts it.
#[must_use]
pub fn image() -> PathBuf {
    crate::lab::target_directory().join("cni-image/netcheck-cni.tar")
}

/// A pod on each of the first two nodes, in a namespace of the case's own.
pub fn two_pods(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    reach(&namespace, "on-n1", "on-n2", "the start")?;
    Ok(namespace)
}

/// Waits until one pod reaches the other in both families. Either may be just about to get other addresses.
pub fn reach(namespace: &Namespace<'_>, from: &str, to: &str, why: &str) -> Result<()> {
    for v6 in [false, true] {
        wait_until(&format!("traffic from {from} to {to} after {why}"), PATIENCE, || {
            let to = namespace.address(to, v6).map_err(|error| error.to_string())?;
            let ping = namespace.in_pod(from, &format!("ping -c 1 -W 1 {to}"));
            ping.map(drop).map_err(|error| error.to_string())
        })?;
    }
    Ok(())
}

/// Ends a case's pods and waits until the API has nothing of them any more.
pub fn delete(lab: &Lab, namespace: &Namespace<'_>) -> Result<()> {
    let seconds = PATIENCE.as_secs();
    lab.kubectl(&format!("delete namespace {} --timeout={seconds}s", namespace.name))
        .map(drop)
}

/// Sets keys of its configuration, `null` for the default, and waits until each node has applied it.
pub fn configure(lab: &Lab, keys: &Value) -> Result<()> {
    let patch = json!({ "data": keys }).to_string();
    let of = [
        "-n",
        "netcheck-cni",
        "patch",
        "configmap",
        "netcheck-cni",
        "--type=merge",
        "-p",
        &patch,
    ];
    lab.rig.kubectl(of)?;
    settled(lab).with_context(|| format!("with {keys}"))
}

/// Waits until each node is ready and has applied the current configuration, as the product says it.
pub fn settled(lab: &Lab) -> Result<()> {
    let timeout = format!("{}s", PATIENCE.as_secs());
    let status = lab
        .plugin(["cni", "status", "--wait", "--timeout", &timeout])
        .output()?;
    ensure!(status.status.success(), "{}", said(&status));
    Ok(())
}

/// The daemon's process on a node, if it runs.
pub fn daemon(lab: &Lab, node: &Node) -> Option<Pid> {
    let cgroup = format!(":/{}/{}/", lab.rig.cgroup(), node.name());
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let is_daemon = line.starts_with(b"/netcheck-cni-daemon\0")
            && fs::read_to_string(entry.path().join("cgroup")).ok()?.contains(&cgroup);
        is_daemon.then_some(pid)
    })
}

/// Kills the daemon of a node within half a second of its being there, whatever it does then, and waits until another process of it runs.
/// The dead pod is deleted: kubelet would wait longer each time before it starts it again.
pub fn kill_daemon(lab: &Lab, node: &Node) -> Result<()> {
    let one = || daemon(lab, node).ok_or_else(|| "it does not run".to_owned());
    let what = format!("the daemon of {}", node.name());
    let pid = wait_until(&what, PATIENCE, || {
        let pid = one()?;
        thread::sleep(Duration::from_millis(random(500)));
        // One that kubelet had started in a pod on its way out is gone by then: the next one is waited for.
        kill_process(pid, Signal::KILL).map_err(|error| error.to_string())?;
        Ok(pid)
    })?;
    lab.kubectl(&format!(
        "-n netcheck-cni delete pod -l app.kubernetes.io/component=daemon --field-selector spec.nodeName={} --wait=false",
        node.name()
    ))?;
    wait_until(&format!("another process of {what}"), PATIENCE, || {
        let now = one()?;
        if now == pid {
            Err("it is still there".to_owned())
        } else {
            Ok(())
        }
    })?;
    Ok(())
}

/// Does something while no daemon runs, and brings them back.
pub fn without_daemons(lab: &Lab, during: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    // No daemon is left, and none comes: no node has this label.
    select_nodes(lab, "\"true\"")?;
    wait_until("the daemons to be gone", PATIENCE, || {
        let pods = lab
            .kubectl("-n netcheck-cni get pods -o name")
            .map_err(|error| error.to_string())?;
        if pods.is_empty() { Ok(()) } else { Err(pods) }
    })?;
    let outcome = during(lab);
    select_nodes(lab, "null")?;
    outcome?;
    let seconds = PATIENCE.as_secs();
    lab.kubectl(&format!(
        "-n netcheck-cni rollout status ds/netcheck-cni --timeout={seconds}s"
    ))?;
    settled(lab)
}

fn select_nodes(lab: &Lab, value: &str) -> Result<()> {
    let patch = format!(r#"{{"spec":{{"template":{{"spec":{{"nodeSelector":{{"nowhere":{value}}}}}}}}}}}"#);
    lab.rig
        .kubectl(["-n", "netcheck-cni", "patch", "ds", "netcheck-cni", "-p", &patch])?;
    Ok(())
}

/// Some number below another.
#[must_use]
pub fn random(below: u64) -> u64 {
    RandomState::new().hash_one(Instant::now()) % below.max(1)
}
