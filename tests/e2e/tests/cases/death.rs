//! Streams that are cut, and a plugin that is killed: never a wrong result, nothing left behind.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    cutting_proxy::{Cut, CuttingProxy},
    helpers::helpers_of,
    lab::{Lab, Namespace, said},
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
    ("death: Ctrl-C ends ephemeral containers too", interrupted_in_pods),
    (
        "death: a second Ctrl-C leaves at once, and nothing stays all the same",
        interrupted_twice,
    ),
    ("death: cleanup removes what a killed run left, at once", cleanup),
    (
        "death: what a run left whose sentinel died too goes with the next cleanup after its Lease has expired",
        expired,
    ),
    ("death: two runs at once do not disturb each other", side_by_side),
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
    let namespace = pods(lab)?;
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
    let namespace = pods(lab)?;
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
    leaves_only_the_namespace(lab)
}

/// What a run that lost its API server cannot take away itself goes by its own clocks; the namespace waits for a cleanup.
pub fn leaves_only_the_namespace(lab: &Lab) -> Result<()> {
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
    let mut killed = 0;
    for step in 1..=times {
        let mut child = lab
            .plugin(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start the plugin")?;
        thread::sleep(whole * step / (times + 1));
        killed += u32::from(child.try_wait()?.is_none());
        child.kill().context("kill the plugin")?;
        child.wait()?;
    }
    // How long a run takes varies, so the last kill may come too late.
    ensure!(killed + 1 >= times, "only {killed} of {times} runs were still running");
    Ok(())
}

fn killed(lab: &Lab) -> Result<()> {
    let namespace = pods(lab)?;
    kill_runs(lab, &namespace.name, "node", 5)?;
    lab.wait_until_clean(GONE)
}

fn killed_in_pods(lab: &Lab) -> Result<()> {
    let namespace = pods(lab)?;
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

/// Starts a matrix and waits until it has created something: a Job, or a container in a pod.
fn started(lab: &Lab, namespace: &Namespace<'_>, via: &str) -> Result<Child> {
    let child = lab
        .plugin([
            "matrix",
            "-n",
            &namespace.name,
            "--full",
            "--via",
            via,
            "--timeout",
            "60s",
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("start the plugin")?;
    netcheck_rig::wait_until("the run has created something", Duration::from_secs(20), || {
        let left = lab.remains().map_err(|error| error.to_string())?;
        let containers = namespace.ephemeral_containers().map_err(|error| error.to_string())?;
        if left.iter().any(|name| name.starts_with("job")) || !containers.is_empty() {
            Ok(())
        } else {
            Err(left.join(", "))
        }
    })?;
    Ok(child)
}

fn interrupt(child: &Child) -> Result<()> {
    let pid = rustix::process::Pid::from_child(child);
    Ok(rustix::process::kill_process(pid, rustix::process::Signal::INT)?)
}

fn pods(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    Ok(namespace)
}

/// As [`pods`], one of which does not answer: a run waits for it, and is not over before it is interrupted.
fn silent_pods(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = pods(lab)?;
    for words in [
        "table inet fault",
        "chain inet fault input { type filter hook input priority 0 ; }",
        "rule inet fault input tcp dport 8080 drop",
    ] {
        let line = format!("nft add {words}");
        let output = lab.rig.pod_exec(&namespace.name, "on-n2", line.split_whitespace())?;
        ensure!(output.status.success(), "{}", said(&output));
    }
    Ok(namespace)
}

fn interrupted(lab: &Lab) -> Result<()> {
    let namespace = silent_pods(lab)?;
    let child = started(lab, &namespace, "node")?;
    interrupt(&child)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.code() == Some(130), "{}", said(&output));
    lab.wait_until_clean(Duration::from_secs(20))
}

fn interrupted_in_pods(lab: &Lab) -> Result<()> {
    let namespace = silent_pods(lab)?;
    let child = started(lab, &namespace, "ephemeral")?;
    interrupt(&child)?;
    let output = child.wait_with_output()?;
    ensure!(output.status.code() == Some(130), "{}", said(&output));
    // One that was still being started is told by nobody, and ends by its own clock.
    lab.wait_until_clean(GONE)?;
    namespace.wait_until_ephemeral_ended(GONE)
}

fn interrupted_twice(lab: &Lab) -> Result<()> {
    let namespace = silent_pods(lab)?;
    let mut child = started(lab, &namespace, "node")?;
    interrupt(&child)?;
    interrupt(&child)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(130), "{status}");
    // The plugin itself had no time: its sentinel did it.
    lab.wait_until_clean(GONE)
}

fn cleanup(lab: &Lab) -> Result<()> {
    let namespace = silent_pods(lab)?;
    let mut child = started(lab, &namespace, "node")?;
    child.kill()?;
    child.wait()?;
    let output = lab.netcheck(["cleanup", "--all"]).output()?;
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    lab.wait_until_clean(Duration::from_secs(30))
}

fn expired(lab: &Lab) -> Result<()> {
    let namespace = silent_pods(lab)?;
    let mut child = started(lab, &namespace, "node")?;
    for sentinel in helpers_of(rustix::process::Pid::from_child(&child))? {
        rustix::process::kill_process(sentinel, rustix::process::Signal::KILL)?;
    }
    child.kill()?;
    child.wait()?;
    let leases = |lab: &Lab| lab.kubectl("-n netcheck get leases -o name --ignore-not-found");
    let kept = lab.netcheck(["cleanup"]).output()?;
    ensure!(
        said(&kept).contains("kept") && !leases(lab)?.is_empty(),
        "a run that may be at work is not kept: {}",
        said(&kept)
    );
    let lease = leases(lab)?;
    lab.rig.kubectl([
        "-n",
        "netcheck",
        "patch",
        lease.trim(),
        "--type=merge",
        "-p",
        r#"{"spec":{"leaseDurationSeconds":1}}"#,
    ])?;
    // A second must have passed since the Lease was made, by the server's clock, which tells whole seconds.
    netcheck_rig::wait_until("a cleanup finds the run expired", Duration::from_secs(20), || {
        let output = lab.netcheck(["cleanup"]).output().map_err(|error| error.to_string())?;
        if output.status.code() == Some(0) && said(&output).contains("removed") {
            Ok(())
        } else {
            Err(said(&output))
        }
    })?;
    lab.wait_until_clean(Duration::from_secs(30))
}

fn side_by_side(lab: &Lab) -> Result<()> {
    let namespace = pods(lab)?;
    let first = started(lab, &namespace, "node")?;
    let second = lab.matrix(["-n", &namespace.name, "--full"])?;
    let first = first.wait_with_output()?;
    ensure!(first.status.code() == Some(0), "{}", said(&first));
    second.others_reached(|_| false)?;
    second.expect_exit(0)?;
    lab.wait_until_clean(Duration::from_secs(30))
}
