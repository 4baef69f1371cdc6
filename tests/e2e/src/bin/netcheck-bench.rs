//! Benchmarks: ours, the peer's, and last a line with the ratio, all in one run on one machine. An argument names one; none runs all.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use anyhow::{Context, Result, bail, ensure};
use netcheck_e2e::{
    benches::{capture_engine, capture_path, cni_add, cni_daemon, datapath, leave_mounts},
    flood,
    lab::Lab,
    matrix::Row,
};
use netcheck_rig::RigSpec;
use std::{
    env,
    process::Command,
    time::{Duration, Instant},
};

/// Pods in the matrix, and pairs that the peer is asked for: enough for a mean, since every pair costs it the same.
const PODS: u16 = 30;
const PEER_PAIRS: usize = 40;

/// Benchmarks of the bundled CNI, which leave the mount namespace.
const OF_CNI: [&str; 3] = ["cni-add", "cni-daemon", "datapath"];

fn main() -> Result<()> {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            capture_engine::run()?;
            capture_path::run(&[])?;
            matrix()?;
            OF_CNI.iter().try_for_each(|name| in_process_of_its_own(name))
        }
        ["capture-engine"] => capture_engine::run(),
        ["capture-path", ref options @ ..] => capture_path::run(options),
        [name, ref options @ ..] if OF_CNI.contains(&name) => {
            leave_mounts()?;
            match name {
                "cni-add" => cni_add::run(),
                "cni-daemon" => cni_daemon::run(options),
                _ => datapath::run(options),
            }
        }
        ["matrix"] => matrix(),
        [flood::FLOOD, ref what @ ..] => flood::run(what),
        [capture_engine::CAPTURE, interface, file] => capture_engine::capture(interface, file.as_ref()),
        _ => bail!(
            "no benchmark {arguments:?}; there is: capture-engine, capture-path [ROUNDS [TRAFFIC]], cni-add, cni-daemon [NODES], datapath [ROUNDS], matrix"
        ),
    }
}

/// What is left for good must be left by another process.
fn in_process_of_its_own(name: &str) -> Result<()> {
    let status = Command::new(env::current_exe()?).arg(name).status()?;
    ensure!(status.success(), "{name}: {status}");
    Ok(())
}

/// The full TCP matrix over thirty pods against one `kubectl exec` for each pair, as people script it.
fn matrix() -> Result<()> {
    let lab = Lab::up(&RigSpec {
        name: "bench".into(),
        ..RigSpec::default()
    })?;
    let measured = measure_matrix(&lab);
    lab.down()?;
    measured
}

fn measure_matrix(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    lab.rig.start_plain_pods(&namespace.name, "pod", usize::from(PODS))?;
    namespace.wait_ready()?;
    let arguments = [
        "-n",
        &namespace.name,
        "--full",
        "--protocol",
        "tcp",
        "--family",
        "4",
        "--max-probes",
        "10000",
    ];
    lab.matrix(arguments).context("a first run, not counted")?;
    let start = Instant::now();
    let report = lab.matrix(arguments)?;
    let whole = start.elapsed();
    let pairs: Vec<&Row> = report
        .rows
        .iter()
        .filter(|row| row.source.kind == "Pod" && row.destination.kind == "Pod")
        .collect();
    ensure!(
        pairs.len() == usize::from(PODS) * usize::from(PODS - 1),
        "{} pairs",
        pairs.len()
    );
    ensure!(pairs.iter().all(|row| row.class == "reached"), "{:?}", report.classes());
    let phase = report.report["status"]["timing"]["probePhaseMs"]
        .as_f64()
        .context("probePhaseMs")?
        / 1e3;

    let start = Instant::now();
    // Every 21st pair: spread over sources, destinations and nodes.
    for row in pairs.iter().step_by(pairs.len() / PEER_PAIRS).take(PEER_PAIRS) {
        let address = namespace.address(&row.destination.name, false)?;
        let port = row.port.context("a TCP row has a port")?;
        lab.kubectl(&format!(
            "-n {} exec {} -- /rig-workload connect {address} {port}",
            namespace.name, row.source.name
        ))?;
    }
    // Looking up an address is not part of an exec; it is measured alone and taken off.
    let with_lookups = start.elapsed();
    let start = Instant::now();
    for row in pairs.iter().step_by(pairs.len() / PEER_PAIRS).take(PEER_PAIRS) {
        namespace.address(&row.destination.name, false)?;
    }
    let peer = with_lookups.saturating_sub(start.elapsed()).as_secs_f64() / PEER_PAIRS as f64;

    let ours = phase / pairs.len() as f64;
    println!(
        "matrix, {PODS} pods, {} ordered pairs, agents' start included: {}",
        pairs.len(),
        seconds(whole)
    );
    println!(
        "ours:   {:.3} ms a pair (probe phase {phase:.3} s for {} rows)",
        ours * 1e3,
        report.rows.len()
    );
    println!(
        "theirs: {:.3} ms a pair (kubectl exec … connect, mean of {PEER_PAIRS})",
        peer * 1e3
    );
    println!("ratio:  {:.0}x", peer / ours);
    Ok(())
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
