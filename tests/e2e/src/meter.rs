//! What processes cost: those of a rig, and those that a benchmark names, by what they do.

use anyhow::{Context, Result};
use netcheck_rig::Rig;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

/// How often processes are looked at: what ends between two looks is known as it was at the first.
const EVERY: Duration = Duration::from_millis(50);

/// What processes with one role used.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Processor time, user and system.
    pub cpu: Duration,
    /// Most memory that one of them held (`VmHWM` of proc_pid_status(5)), in bytes.
    pub peak: u64,
}

/// Looks at processes until it is asked what it saw.
#[derive(Debug)]
pub struct Meter {
    is_over: Arc<AtomicBool>,
    watching: Option<JoinHandle<BTreeMap<u32, Seen>>>,
}

#[derive(Debug, Clone)]
struct Seen {
    role: String,
    first: Duration,
    last: Duration,
    peak: u64,
}

impl Meter {
    /// Begins to look at all processes of a rig, and at another one.
    pub fn start(rig: &Rig, other: u32) -> Result<Self> {
        let mark = format!("netcheck-rig-{}", Rig::mark(rig.directory())?);
        let inits = rig
            .nodes()
            .iter()
            .filter_map(netcheck_rig::Node::init_pid)
            .collect::<Vec<_>>();
        let namespaces: BTreeSet<u64> = inits
            .into_iter()
            .chain(rig.hub_init_pid())
            .filter_map(|pid| pid_namespace(&pid.to_string()))
            .collect();
        let is_over = Arc::<AtomicBool>::default();
        let watching = thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || {
                let mut seen = BTreeMap::new();
                // The rig's processes that are there now cost what they cost from now on; later ones, all.
                look(&mut seen, &mark, &namespaces, other, true);
                while !is_over.load(Ordering::Relaxed) {
                    thread::sleep(EVERY);
                    look(&mut seen, &mark, &namespaces, other, false);
                }
                seen
            }
        });
        Ok(Self {
            is_over,
            watching: Some(watching),
        })
    }

    /// What was used by role.
    pub fn stop(mut self) -> Result<BTreeMap<String, Usage>> {
        self.is_over.store(true, Ordering::Relaxed);
        let watching = self.watching.take().context("it runs once")?;
        let seen = watching.join().ok().context("the meter panicked")?;
        let mut usage = BTreeMap::<String, Usage>::new();
        for process in seen.into_values() {
            let sum = usage.entry(process.role).or_default();
            sum.cpu += process.last.saturating_sub(process.first);
            sum.peak = sum.peak.max(process.peak);
        }
        Ok(usage)
    }
}

fn look(seen: &mut BTreeMap<u32, Seen>, mark: &str, namespaces: &BTreeSet<u64>, other: u32, is_first: bool) {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()) {
        let is_known = seen.contains_key(&pid);
        let name = pid.to_string();
        let is_ours = || {
            pid == other
                || pid_namespace(&name).is_some_and(|namespace| namespaces.contains(&namespace))
                || fs::read_to_string(format!("/proc/{name}/cgroup")).is_ok_and(|cgroup| cgroup.contains(mark))
        };
        if !is_known && !is_ours() {
            continue;
        }
        let (Some(cpu), Some(role)) = (cpu(&name), role(&name)) else {
            continue;
        };
        let process = seen.entry(pid).or_insert_with(|| Seen {
            role: role.clone(),
            first: if is_first && pid != other { cpu } else { Duration::ZERO },
            last: cpu,
            peak: 0,
        });
        process.role = role;
        process.last = cpu.max(process.last);
        process.peak = peak(&name).unwrap_or(0).max(process.peak);
    }
}

fn pid_namespace(pid: &str) -> Option<u64> {
    Some(fs::metadata(format!("/proc/{pid}/ns/pid")).ok()?.ino())
}

/// The program's name, and what it was told to do first: `netcheck-agent serve`.
fn role(pid: &str) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next().filter(|program| !program.is_empty())?;
    let name = program.rsplit('/').next()?.to_owned();
    Some(match words.next() {
        Some(word) if name == "netcheck-agent" || name == "kubernetes" => format!("{name} {word}"),
        _ => name,
    })
}

/// User and system time (proc_pid_stat(5), fields 14 and 15) in ticks of 10 ms.
fn cpu(pid: &str) -> Option<Duration> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = line.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Duration::from_millis((user + system) * 10))
}

fn peak(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}
