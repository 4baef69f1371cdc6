//! The whole way of packets, from a pod on the rig to a file here: `kubectl netcheck capture` against what people do today,
//! `kubectl exec POD -- tcpdump -w - > FILE`, in turn. Both are flooded with more than they can carry, so that the file shows what they can.

#![allow(clippy::print_stdout, reason = "figures are this program's output")]

use crate::{
    capture_file,
    capturing::{Capturing, Told, Who, toolbox},
    flood::{self, Flood, PORT},
    lab::Lab,
    meter::{Meter, Usage},
};
use anyhow::{Context, Result, ensure};
use netcheck_rig::{RigSpec, wait_until};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Rounds of each with each kind of traffic, unless the benchmark is told otherwise.
const ROUNDS: usize = 3;
/// How long a flood lasts.
const MS: u64 = 3000;
/// Most memory of the plugin, in bytes, whatever is sent.
const MEMORY: u64 = 100 << 20;
/// How long agents of a run may take to vanish after it.
const CLEAN: Duration = Duration::from_mins(1);
const POD: &str = "toolbox";
const SINK: &str = "on-n2";

/// What one or more runs came to.
#[derive(Debug, Clone, Default)]
struct Figures {
    sent: u64,
    in_file: u64,
    /// Of what passed the filter in the kernel, by the tool's own account.
    lost: u64,
    bytes: u64,
    /// From the beginning of the flood to the last byte.
    time: Duration,
    /// From the command to the first packet in the file.
    first: Vec<Duration>,
    usage: BTreeMap<String, Usage>,
}

impl Figures {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.in_file += other.in_file;
        self.lost += other.lost;
        self.bytes += other.bytes;
        self.time += other.time;
        self.first.extend(other.first);
        for (role, usage) in other.usage {
            let sum = self.usage.entry(role).or_default();
            sum.cpu += usage.cpu;
            sum.peak = sum.peak.max(usage.peak);
        }
    }

    /// MB a second.
    fn rate(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.time.as_secs_f64()
    }

    fn line(&self, unit: &str) -> String {
        let first = self.first.iter().max().copied().unwrap_or_default();
        format!(
            "{} {unit} sent, {} packets in the file, {} lost; {:.1} MB in {:.2} s: {:.1} MB/s; first packet after {:.2} s",
            self.sent,
            self.in_file,
            self.lost,
            self.bytes as f64 / 1e6,
            self.time.as_secs_f64(),
            self.rate(),
            first.as_secs_f64()
        )
    }

    /// Who used how much, the greatest first.
    fn costs(&self) -> String {
        let mut all: Vec<_> = self
            .usage
            .iter()
            .filter(|(_, usage)| usage.cpu.as_millis() >= 20)
            .collect();
        all.sort_by_key(|(_, usage)| std::cmp::Reverse(usage.cpu));
        let words: Vec<_> = all
            .into_iter()
            .map(|(role, usage)| format!("{role} {:.2} s, {} MB", usage.cpu.as_secs_f64(), usage.peak >> 20))
            .collect();
        words.join("; ")
    }
}

/// Runs it and prints the figures. Arguments: rounds of each, and with what the names of the traffic to be sent begin.
pub fn run(arguments: &[&str]) -> Result<()> {
    let rounds = arguments.first().map_or(Ok(ROUNDS), |rounds| rounds.parse())?;
    let wanted = arguments.get(1).copied().unwrap_or_default();
    let lab = Lab::up(&RigSpec {
        name: "capbench".into(),
        nodes: 2,
        ..RigSpec::default()
    })?;
    let measured = measure(&lab, rounds, wanted);
    lab.down()?;
    measured
}

fn measure(lab: &Lab, rounds: usize, wanted: &str) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n2"])?;
    toolbox(lab, &namespace.name, POD, "n1")?;
    flood::dead_end(lab, &namespace.name, POD)?;
    let _sink = flood::sink(lab, &namespace.name, SINK)?;
    let to = namespace.address(SINK, false)?;
    let datagrams = |payload| Flood::Datagrams {
        payload,
        most: u64::MAX,
        ms: MS,
    };
    let traffics = [
        ("UDP, 64 B frames", "packets", datagrams(22)),
        ("UDP, 1400 B frames", "packets", datagrams(1358)),
        ("TCP, frames up to 64 KiB", "bytes", Flood::Stream { to, ms: MS }),
    ];
    round(lab, &namespace.name, Who::Ours, traffics[0].2).context("a first run, not counted")?;
    let mut ratios = Vec::new();
    for (name, unit, traffic) in traffics.into_iter().filter(|(name, ..)| name.starts_with(wanted)) {
        println!("{name}, for {MS} ms as fast as it goes:");
        let [mut ours, mut theirs] = [Figures::default(), Figures::default()];
        for _ in 0..rounds {
            for (who, sum) in [(Who::Ours, &mut ours), (Who::Exec, &mut theirs)] {
                let figures = round(lab, &namespace.name, who, traffic)?;
                println!("  {who:?}: {}", figures.line(unit));
                sum.add(figures);
            }
        }
        println!("  ours:   {}", ours.line(unit));
        println!("          {}", ours.costs());
        println!("  theirs: {} (kubectl exec … tcpdump -w -)", theirs.line(unit));
        println!("          {}", theirs.costs());
        ratios.push(format!("{:.2}x ({name})", ours.rate() / theirs.rate()));
    }
    println!("ratio:  {} of the throughput of kubectl exec", ratios.join(", "));
    Ok(())
}

/// One capture of one flood.
fn round(lab: &Lab, namespace: &str, who: Who, traffic: Flood) -> Result<Figures> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("capture.pcapng");
    // What a run before this one left is on its way out; a user who waits for it would not be waiting for the capture.
    wait_until("nothing is left of the run before", CLEAN, || {
        let left = lab.remains().map_err(|error| error.to_string())?;
        if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
    })?;
    let trickle = flood::trickle(lab, namespace, POD)?;
    let start = Instant::now();
    let mut capturing = Capturing::start(lab, namespace, POD, who, &file)?;
    let meter = Meter::start(&lab.rig, capturing.id())?;
    capturing.wait_for_packets()?;
    let first = start.elapsed();
    drop(trickle);
    capturing.wait_until_at_rest()?;
    let before = capturing.length()?;
    let start = Instant::now();
    let sent = traffic.send(lab, namespace, POD)?;
    let time = capturing.wait_until_at_rest()? - start;
    let bytes = capturing.length()? - before;
    let Told { lost, .. } = capturing.stop()?;
    let usage = meter.stop()?;
    let plugin = usage.get("kubectl-netcheck").copied().unwrap_or_default();
    ensure!(plugin.peak < MEMORY, "the plugin held {} MB", plugin.peak >> 20);
    let mut in_file = 0;
    capture_file::packets(&file, |bytes| in_file += u64::from(is_of_flood(bytes)))?;
    Ok(Figures {
        sent,
        in_file,
        lost,
        bytes,
        time,
        first: vec![first],
        usage,
    })
}

/// Whether an Ethernet frame with IPv4 is of the flood and not of the trickle before it.
fn is_of_flood(frame: &[u8]) -> bool {
    let is_udp = frame.get(23) == Some(&17);
    !is_udp || frame.get(36..38) == Some(&PORT.to_be_bytes())
}
