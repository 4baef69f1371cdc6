//! The long counts: the healthy matrix twenty times without a false result, the plugin killed fifty times without a trace, two million
//! packets captured whole ten times. An argument names one of them; none runs all. After `packets`: how many times, and packets a second.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture_file,
    capturing::{Capturing, Told, Who},
    flood::{self, Flood, PORT},
    lab::{Lab, said},
    manifests,
};
use netcheck_rig::RigSpec;
use sha2::{Digest, Sha256};
use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    path::Path,
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

const HEALTHY_RUNS: u32 = 20;
const KILLS: u32 = 50;
/// Captures, packets in each, and how many of these are sent a second.
const CAPTURES: u32 = 10;
const PACKETS: u64 = 2_000_000;
const PACKETS_PER_SECOND: u64 = 50_000;
/// Longest life of what a killed run may leave: the agents' idle time, and the garbage collector's pace on top.
const GONE: Duration = Duration::from_secs(90);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let [flood::FLOOD, what @ ..] = &arguments[..] {
        return flood::run(what);
    }
    let lab = Lab::up(&RigSpec {
        name: "soak".into(),
        ..RigSpec::default()
    })?;
    let outcome = match arguments[..] {
        [] => healthy(&lab)
            .and_then(|()| kills(&lab))
            .and_then(|()| packets(&lab, &[])),
        ["healthy"] => healthy(&lab),
        ["kills"] => kills(&lab),
        ["packets", ref options @ ..] => packets(&lab, options),
        _ => Err(anyhow::anyhow!(
            "no count {arguments:?}; there are: healthy, kills, packets [TIMES [PACKETS-PER-SECOND]]"
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

/// Through agent, kubelet and API server into a file, beside a tcpdump in the same namespace: the same packets, byte for byte, in the same order.
fn packets(lab: &Lab, options: &[&str]) -> Result<()> {
    let times = options.first().map_or(Ok(CAPTURES), |times| times.parse())?;
    let per_second = options.get(1).map_or(Ok(PACKETS_PER_SECOND), |rate| rate.parse())?;
    let namespace = lab.namespace("privileged")?;
    let pod = "sender";
    lab.apply(&manifests::server_pod(&namespace.name, pod, "n1", &["sleep"], 8080))?;
    namespace.wait_ready()?;
    flood::dead_end(lab, &namespace.name, pod)?;
    let start = Instant::now();
    let mut bytes = 0;
    for time in 1..=times {
        let folder = tempfile::tempdir()?;
        let (ours, beside) = (folder.path().join("ours.pcapng"), folder.path().join("beside.pcap"));
        let trickle = flood::trickle(lab, &namespace.name, pod)?;
        let reference = Capturing::start(lab, &namespace.name, pod, Who::Beside, &beside)?;
        let mut capturing = Capturing::start(lab, &namespace.name, pod, Who::Ours, &ours)?;
        capturing.wait_for_packets()?;
        drop(trickle);
        let flood = Flood::Paced {
            count: PACKETS,
            per_second,
        };
        let sent = flood.send(lab, &namespace.name, pod)?;
        ensure!(sent == PACKETS, "{sent} packets sent");
        capturing.wait_until_at_rest()?;
        bytes += capturing.length()?;
        let Told { lost, .. } = capturing.stop()?;
        let Told { lost: unseen, .. } = reference.stop()?;
        ensure!(
            unseen == 0,
            "tcpdump itself lost {unseen} packets: nothing to compare with"
        );
        let (ours, beside) = (content(&ours)?, content(&beside)?);
        println!(
            "packets: run {time}: {} of {PACKETS} in our file, {} in tcpdump's, {lost} lost",
            ours.0, beside.0
        );
        ensure!(beside.0 == PACKETS, "tcpdump saw only {} packets", beside.0);
        ensure!(
            ours == beside,
            "run {time} differs from tcpdump's: {ours:x?}, {beside:x?}"
        );
    }
    println!(
        "packets: {PACKETS} complete and the same as tcpdump's {times} of {times} times, at {per_second} a second; {:.1} GB in {:.0} s",
        bytes as f64 / 1e9,
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// How many packets of the flood a file has, and a digest of them in their order.
fn content(path: &Path) -> Result<(u64, [u8; 32])> {
    let (mut count, mut digest) = (0, Sha256::new());
    capture_file::packets(path, |frame| {
        if frame.get(36..38) == Some(&PORT.to_be_bytes()) {
            count += 1;
            digest.update((frame.len() as u64).to_be_bytes());
            digest.update(frame);
        }
    })?;
    Ok((count, digest.finalize().into()))
}
