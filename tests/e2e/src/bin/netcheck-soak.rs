//! The long counts: the healthy matrix twenty times without a false result, the plugin killed fifty times without a trace. An argument
//! names one of them; none runs both.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use anyhow::{Context, Result, ensure};
use netcheck_e2e::lab::{Lab, said};
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
/// Longest life of what a killed run may leave: the agents' idle time, and the garbage collector's pace on top.
const GONE: Duration = Duration::from_secs(90);

fn main() -> Result<()> {
    let lab = Lab::up(&RigSpec {
        name: "soak".into(),
        ..RigSpec::default()
    })?;
    let outcome = match std::env::args().nth(1).as_deref() {
        None => healthy(&lab).and_then(|()| kills(&lab)),
        Some("healthy") => healthy(&lab),
        Some("kills") => kills(&lab),
        Some(other) => Err(anyhow::anyhow!("no count {other:?}; there are: healthy, kills")),
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
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2", "n3"])?;
    let start = Instant::now();
    lab.matrix(["-n", &namespace.name, "--full"])?;
    let whole = start.elapsed();
    let (mut killed, mut ended) = (0, 0);
    // A kill that comes after the end kills nothing, and does not count; the run it missed must have been a good one.
    while killed < KILLS {
        let fraction = RandomState::new().hash_one(0) % 1000;
        let mut child = lab
            .plugin(["matrix", "-n", &namespace.name, "--full"])
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
            ensure!(ended < KILLS, "{ended} runs ended before their kill, {killed} did not");
        } else {
            killed += 1;
        }
    }
    let start = Instant::now();
    lab.wait_until_clean(GONE)?;
    println!(
        "killed: {KILLS} times in mid-run ({ended} runs were quicker); nothing left {:.0} s after the last",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
