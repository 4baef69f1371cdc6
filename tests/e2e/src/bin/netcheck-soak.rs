//! The long counts: the healthy matrix twenty times without a false result, the plugin killed fifty times without a trace, ten times with
//! nothing but ended ephemeral containers, thirty times in a throw-away pod's session, two million packets captured whole ten times, the bundled CNI through twenty rounds of deaths and
//! falsifications, ten minutes of pods that come and go without a finding of `verify`. An argument names one of them; without, all run. After
//! `packets`: how many times, and packets a second; after `verify`: how many minutes; after `cni`: how many rounds.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture_file,
    capturing::{Capturing, Told, Who},
    churn,
    flood::{self, Flood, PORT},
    lab::{Lab, Namespace, said},
    manifests,
    verify::Verify,
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
/// Fewer, because each leaves a container in each pod for good.
const KILLS_IN_PODS: u32 = 10;
/// Of sessions in throw-away pods.
const KILLS_OF_SESSIONS: u32 = 30;
/// What sessions run: any image with a shell will do.
const SHELL_IMAGE: &str = "docker.io/rig/busybox:1";
const NODES: [&str; 3] = ["n1", "n2", "n3"];
/// Captures, packets in each, and how many of these are sent a second.
const CAPTURES: u32 = 10;
const PACKETS: u64 = 2_000_000;
const PACKETS_PER_SECOND: u64 = 50_000;
/// How long pods come and go under `verify`, and how many there are at most.
const CHURN: Duration = Duration::from_mins(10);
const COMERS: u64 = 24;
/// Longest life of what a killed run may leave: the agents' idle time, and the garbage collector's pace on top.
const GONE: Duration = Duration::from_secs(90);

fn main() -> Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    if let [flood::FLOOD, what @ ..] = &arguments[..] {
        return flood::run(what);
    }
    let plain = RigSpec {
        name: "soak".into(),
        ..RigSpec::default()
    };
    match arguments[..] {
        [] => {
            on(&plain, |lab| {
                healthy(lab)?;
                kills(lab)?;
                kills_in_pods(lab)?;
                kills_of_sessions(lab)?;
                packets(lab, &[])
            })?;
            on(&churn::spec(), |lab| {
                verify(lab, CHURN)?;
                churn::count(lab, churn::ROUNDS)
            })
        }
        ["healthy"] => on(&plain, healthy),
        ["kills"] => on(&plain, kills),
        ["kills-in-pods"] => on(&plain, kills_in_pods),
        ["kills-of-sessions"] => on(&plain, kills_of_sessions),
        ["packets", ref options @ ..] => on(&plain, |lab| packets(lab, options)),
        ["verify"] => on(&churn::spec(), |lab| verify(lab, CHURN)),
        ["verify", minutes] => {
            let minutes = Duration::from_mins(minutes.parse().context("how many minutes")?);
            on(&churn::spec(), |lab| verify(lab, minutes))
        }
        ["cni"] => on(&churn::spec(), |lab| churn::count(lab, churn::ROUNDS)),
        ["cni", rounds] => {
            let rounds = rounds.parse().context("how many rounds")?;
            on(&churn::spec(), |lab| churn::count(lab, rounds))
        }
        _ => Err(anyhow::anyhow!(
            "no count {arguments:?}; there are: healthy, kills, kills-in-pods, kills-of-sessions, packets [TIMES [PACKETS-PER-SECOND]], verify [MINUTES], cni [ROUNDS]"
        )),
    }
}

/// Counts on a cluster that goes afterwards.
fn on(spec: &RigSpec, count: impl FnOnce(&Lab) -> Result<()>) -> Result<()> {
    let lab = Lab::up(spec)?;
    let outcome = count(&lab);
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

/// Pods come and go all the time, and `verify` finds nothing wrong.
fn verify(lab: &Lab, during: Duration) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.kubectl("create deployment comers --image=docker.io/rig/workload:1 --replicas=1")?;
    let start = Instant::now();
    let (mut runs, mut pods) = (0, 1);
    while start.elapsed() < during {
        let next = 1 + RandomState::new().hash_one(runs) % COMERS;
        namespace.kubectl(&format!("scale deployment comers --replicas={next}"))?;
        let verify = Verify::run(lab, [] as [&str; 0])?;
        ensure!(
            verify.held(),
            "run {runs}, from {pods} to {next} pods: {}",
            verify.told()
        );
        (runs, pods) = (runs + 1, next);
    }
    println!(
        "verify: {runs} runs while pods came and went for {:.0} s, none with a finding",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

fn kills(lab: &Lab) -> Result<()> {
    let namespace = pods(lab)?;
    let quicker = kill_runs(lab, &matrix(&namespace, "node"), KILLS)?;
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
    let quicker = kill_runs(lab, &matrix(&namespace, "ephemeral"), KILLS_IN_PODS)?;
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

/// Throw-away pods are of the user's namespace.
fn kills_of_sessions(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let session = ["run", "-n", &namespace.name, "--image", SHELL_IMAGE, "--", "sleep", "2"];
    let quicker = kill_runs(lab, &session, KILLS_OF_SESSIONS)?;
    let start = Instant::now();
    lab.wait_until_clean(GONE)?;
    namespace.wait_until_clean(GONE)?;
    println!(
        "killed sessions: {KILLS_OF_SESSIONS} times at any point ({quicker} were quicker); nothing left {:.0} s after the last",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A run between all of them.
fn matrix<'a>(namespace: &'a Namespace<'_>, via: &'a str) -> [&'a str; 6] {
    ["matrix", "-n", &namespace.name, "--full", "--via", via]
}

fn pods(lab: &Lab) -> Result<Namespace<'_>> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&NODES)?;
    Ok(namespace)
}

/// Kills as many runs at random points; gives the number of those that ended before their kill.
fn kill_runs(lab: &Lab, arguments: &[&str], kills: u32) -> Result<u32> {
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
