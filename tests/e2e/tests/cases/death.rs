//! Streams that are cut, and a plugin that is killed: never a wrong result, nothing left behind.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    cutting_proxy::{Cut, CuttingProxy},
    lab::{Lab, said},
    matrix::Matrix,
};
use std::{
    process::{Child, Stdio},
    thread,
    time::{Duration, Instant},
};

pub const CASES: &[Case] = &[
    (
        "death: a stream that is cut once is resumed or the run says it could not tell",
        cut_once,
    ),
    ("death: a stream that stays cut is never a success", cut_for_good),
    ("death: kill -9 at five points leaves nothing", killed),
    (
        "death: kill -9 of a run through ephemeral containers leaves none that runs, and cleanup counts them",
        killed_in_pods,
    ),
    ("death: Ctrl-C stops cleanly with 130 and leaves nothing", interrupted),
    ("death: cleanup removes what a killed run left, at once", cleanup),
];

/// Longest life of what a killed run may leave: the agents' idle time and the Jobs' own end, with the garbage collector's pace on top.
pub const GONE: Duration = Duration::from_secs(90);

fn through_proxy(lab: &Lab, namespace: &str, cut: Cut) -> Result<(CuttingProxy, std::process::Output)> {
    let proxy = CuttingProxy::start(lab.server()?, cut)?;
    let kubeconfig = lab.kubeconfig_through(proxy.address())?;
    let arguments = [
        "matrix",
        "-n",
        namespace,
        "--full",
        "--protocol",
        "tcp",
        "-o",
        "json",
        "--via",
        "node",
    ];
    let output = lab.netcheck_as(&kubeconfig, arguments).output()?;
    Ok((proxy, output))
}

fn cut_once(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let (whole, output) = through_proxy(lab, &namespace.name, Cut::OnceAfter(u64::MAX))?;
    let healthy = Matrix::of(&output)?;
    healthy.expect_exit(0)?;
    let total = whole.carried();
    let mut cut = 0;
    for step in 1..=8 {
        let at = total * step / 9;
        let (proxy, output) = through_proxy(lab, &namespace.name, Cut::OnceAfter(at))?;
        // How much a run carries varies with what its watches see, so the last cut may come too late.
        cut += proxy.cuts();
        match output.status.code() {
            Some(0) => {
                let matrix = Matrix::of(&output)?;
                ensure!(
                    matrix.verdicts() == healthy.verdicts(),
                    "cut at {at}: other rows than uncut: {}",
                    said(&output)
                );
            }
            Some(3) => {}
            _ => anyhow::bail!("cut at {at} of {total}: {}", said(&output)),
        }
    }
    ensure!(cut >= 4, "only {cut} of 8 runs were cut");
    lab.wait_until_clean(GONE)
}

fn cut_for_good(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let (whole, output) = through_proxy(lab, &namespace.name, Cut::OnceAfter(u64::MAX))?;
    let healthy = Matrix::of(&output)?;
    // How much a run carries varies: a cut may come too late for the run, or after the last stream has said all.
    let mut noticed = false;
    for part in 2..=6 {
        let (_proxy, output) = through_proxy(lab, &namespace.name, Cut::ForGoodAfter(whole.carried() / part))?;
        noticed = output.status.code() == Some(3);
        if noticed {
            break;
        }
        ensure!(output.status.code() == Some(0), "{}", said(&output));
        ensure!(
            Matrix::of(&output)?.verdicts() == healthy.verdicts(),
            "other rows than uncut: {}",
            said(&output)
        );
    }
    ensure!(noticed, "no cut came in time");
    // What vanishes by itself does; the namespace cannot, and nobody could reach the API server to remove it.
    netcheck_rig::wait_until("only the namespace is left", GONE, || {
        let mut left = lab.remains().map_err(|error| error.to_string())?;
        left.retain(|name| !name.starts_with("namespace/"));
        left.extend(lab.agent_processes());
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    })?;
    let output = lab.netcheck(["cleanup"]).output()?;
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    lab.wait_until_clean(Duration::from_secs(30))
}

/// Times a whole run, then kills as many others at points spread over that time.
fn kill_runs(lab: &Lab, namespace: &str, via: &str, times: u32) -> Result<()> {
    let arguments = ["matrix", "-n", namespace, "--full", "--protocol", "tcp", "--via", via];
    let start = Instant::now();
    let output = lab.netcheck(arguments).output()?;
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    let whole = start.elapsed();
    for step in 1..=times {
        let mut child = lab
            .plugin(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the plugin")?;
        thread::sleep(whole * step / (times + 1));
        child.kill().context("kill the plugin")?;
        child.wait()?;
    }
    Ok(())
}

fn killed(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    kill_runs(lab, &namespace.name, "node", 5)?;
    lab.wait_until_clean(GONE)
}

fn killed_in_pods(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    kill_runs(lab, &namespace.name, "ephemeral", 4)?;
    // Nobody can take an ephemeral container out of a pod: what must end is what runs in it.
    lab.wait_until_clean(GONE)?;
    namespace.wait_until_ephemeral_ended(GONE)?;
    let there = namespace.ephemeral_containers()?.len();
    // The whole run put one into each pod; a killed one at most one more each.
    ensure!(
        (2..=10).contains(&there),
        "{there} ephemeral containers after five runs over two pods"
    );
    let output = lab.netcheck(["cleanup", "-o", "json"]).output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
    let counted = report["items"].as_array().map_or(0, |items| {
        let ours = items.iter().filter(|item| item["namespace"] == namespace.name.as_str());
        ours.filter(|item| item["kind"] == "EphemeralContainer" && item["action"] == "cannot-be-removed")
            .count()
    });
    ensure!(
        counted == there,
        "cleanup counts {counted} of {there}: {}",
        said(&output)
    );
    Ok(())
}

/// Starts a matrix and waits until it has created a Job.
fn started(lab: &Lab, namespace: &str) -> Result<Child> {
    let child = lab
        .plugin(["matrix", "-n", namespace, "--full"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the plugin")?;
    netcheck_rig::wait_until("the run has created something", Duration::from_secs(20), || {
        let left = lab.remains().map_err(|error| error.to_string())?;
        if left.iter().any(|name| name.starts_with("job")) {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })?;
    Ok(child)
}

fn interrupted(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let child = started(lab, &namespace.name)?;
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.code() == Some(130), "{}", said(&output));
    lab.wait_until_clean(Duration::from_secs(20))
}

fn cleanup(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let mut child = started(lab, &namespace.name)?;
    child.kill()?;
    child.wait()?;
    let output = lab.netcheck(["cleanup", "--all"]).output()?;
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    lab.wait_until_clean(Duration::from_secs(30))
}
