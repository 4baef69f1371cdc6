//! The long counts: the healthy matrix twenty times without a false result, the plugin killed fifty times without a trace, and
//! ten times with nothing but ended ephemeral containers. An argument names one of them; without, all run.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use anyhow::{Context, Result, ensure};
use netcheck_e2e::lab::{Lab, Namespace, said};
use netcheck_rig::RigSpec;
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

const HEALTHY_RUNS: u32 = 20;
const KILLS: u32 = 50;
/// Fewer, because each leaves a container in each pod for good.
const KILLS_IN_PODS: u32 = 10;
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Longest life of what a killed run may leave: the agents' idle time, and the garbage collector's pace on top.
const GONE: Duration = Duration::from_secs(90);

fn main() -> Result<()> {
    let lab = Lab::up(&RigSpec {
        name: "soak".into(),
        ..RigSpec::default()
    })?;
    let outcome = match std::env::args().nth(1).as_deref() {
        None => healthy(&lab)
            .and_then(|()| kills(&lab))
            .and_then(|()| kills_in_pods(&lab)),
        Some("healthy") => healthy(&lab),
        Some("kills") => kills(&lab),
        Some("kills-in-pods") => kills_in_pods(&lab),
        Some(other) => Err(anyhow::anyhow!(
            "no count {other:?}; there are: healthy, kills, kills-in-pods"
        )),
    };
    lab.down()?;
    outcome
}

fn healthy(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    lab.rig.start_plain_pods(&namespace.name, "pod", 30)?;
    namespace.wait_ready()?;
    let start = Instant::now();
    let mut rows = 0;
    for run in 1..=HEALTHY_RUNS {
        let matrix = lab.matrix(["-n", &namespace.name, "--full", "--max-probes", "10000"])?;
        matrix.others_reached(|_| false).with_context(|| format!("run {run}"))?;
        matrix.expect_exit(0)?;
        rows += matrix.rows.len();
    }
    println!(
        "healthy: {HEALTHY_RUNS} of {HEALTHY_RUNS} runs, {rows} rows, none false, in {:.0} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn kills(lab: &Lab) -> Result<()> {
    let namespace = pods(lab)?;
    let quicker = kill_runs(lab, &namespace, "node", KILLS)?;
    let start = Instant::now();
    lab.wait_until_clean(GONE)?;
    println!(
        "killed: {KILLS} times in mid-run ({quicker} runs were quicker); nothing left {:.0} s after the last",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn kills_in_pods(lab: &Lab) -> Result<()> {
    let namespace = pods(lab)?;
    let quicker = kill_runs(lab, &namespace, "ephemeral", KILLS_IN_PODS)?;
    let start = Instant::now();
    // Nobody can take an ephemeral container out of a pod: what must end is what runs in it.
    lab.wait_until_clean(GONE)?;
    namespace.wait_until_ephemeral_ended(GONE)?;
    let ended = start.elapsed();
    let there = namespace.ephemeral_containers()?.len();
    // The whole run put one into each pod, every other one at most one more.
    let most = NODES.len() * (1 + KILLS_IN_PODS + quicker) as usize;
    ensure!(
        (NODES.len()..=most).contains(&there),
        "{there} ephemeral containers, {most} at most"
    );
    println!(
        "killed in pods: {KILLS_IN_PODS} times in mid-run ({quicker} runs were quicker); of {there} ephemeral containers none runs, \
         and no agent is left, {:.0} s after the last",
        ended.as_secs_f64()
    );
    Ok(())
}

fn pods(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&NODES)?;
    Ok(namespace)
}

/// Kills as many runs at random points; gives the number of those that ended before their kill.
fn kill_runs(lab: &Lab, namespace: &Namespace<'_>, via: &str, kills: u32) -> Result<u32> {
    let arguments = ["matrix", "-n", &namespace.name, "--full", "--via", via];
    let start = Instant::now();
    let output = lab.netcheck(arguments).output()?;
    ensure!(
        output.status.success(),
        "the run before all kills failed: {}",
        said(&output)
    );
    let whole = start.elapsed();
    let (mut killed, mut ended) = (0, 0);
    // A kill that comes after the end kills nothing, and does not count; the run it missed must have been a good one.
    while killed < kills {
        let fraction = RandomState::new().hash_one(0) % 1000;
        let mut child = lab
            .plugin(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        thread::sleep(whole.mul_f64(fraction as f64 / 1000.0));
        let over = child.try_wait()?.is_some();
        child.kill()?;
        let output = child.wait_with_output()?;
        if over {
            ended += 1;
            ensure!(output.status.success(), "a run between kills failed: {}", said(&output));
            ensure!(ended < kills, "{ended} runs ended before their kill, {killed} did not");
        } else {
            killed += 1;
        }
    }
    Ok(ended)
}
