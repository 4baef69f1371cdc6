//! The process table: which processes belong to a rig, and ending them.

use crate::{Error, Result, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    process::Child,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// How long a killed process may take to vanish.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A process as seen from the root PID namespace.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: Pid,
    pub arguments: Vec<String>,
    /// Inode of its PID namespace.
    pid_namespace: Option<String>,
}

impl Process {
    fn read(pid: Pid) -> Option<Self> {
        let directory = format!("/proc/{}", pid.as_raw_nonzero());
        let command_line = fs::read(format!("{directory}/cmdline")).ok()?;
        // A zombie has no command line: it is nothing any more but an entry to collect.
        if command_line.is_empty() {
            return None;
        }
        let arguments = command_line
            .strip_suffix(b"\0")
            .unwrap_or(&command_line)
            .split(|byte| *byte == 0)
            .map(|argument| String::from_utf8_lossy(argument).into_owned())
            .collect();
        Some(Self {
            pid,
            arguments,
            pid_namespace: pid_namespace(pid),
        })
    }
}

fn pid_namespace(pid: Pid) -> Option<String> {
    let link = fs::read_link(format!("/proc/{}/ns/pid", pid.as_raw_nonzero())).ok()?;
    Some(link.to_string_lossy().into_owned())
}

/// All processes of the machine but kernel threads and zombies.
pub fn all() -> Vec<Process> {
    every_pid().filter_map(Process::read).collect()
}

fn every_pid() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(Pid::from_raw)
}

/// Processes that live directly in the PID namespace whose init is `init` (those of containers in there have another).
pub fn in_pid_namespace_of(init: Pid) -> Vec<Process> {
    let Some(namespace) = pid_namespace(init) else {
        return Vec::new();
    };
    all()
        .into_iter()
        .filter(|process| process.pid_namespace.as_ref() == Some(&namespace))
        .collect()
}

/// A process whose cgroup lies under `cgroup` and names `part` (for example a pod's UID).
pub fn in_cgroup(cgroup: &str, part: &str) -> Option<Pid> {
    every_pid().find(|pid| {
        fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero()))
            .is_ok_and(|text| text.lines().any(|line| line.contains(cgroup) && line.contains(part)))
            // A process that has ended keeps its cgroup until it is collected, but has no namespaces.
            && fs::read_link(format!("/proc/{}/ns/net", pid.as_raw_nonzero())).is_ok()
    })
}

/// Sends a signal; a process that is gone already is fine.
pub fn signal(pid: Pid, signal: Signal) -> Result<()> {
    match kill_process(pid, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::Io {
            what: format!("signal process {}", pid.as_raw_nonzero()),
            cause: errno.into(),
        }),
    }
}

/// Lasting processes that this process started and has not collected. The kernel lets go of a PID namespace only after all
/// its members are collected, and those whose parent is outside of it are the parent's to collect.
static CHILDREN: Mutex<Vec<Child>> = Mutex::new(Vec::new());

/// Takes charge of a child that may outlive this process.
pub fn adopt(child: Child) {
    CHILDREN.lock().unwrap_or_else(PoisonError::into_inner).push(child);
}

fn collect_ended() {
    let mut children = CHILDREN.lock().unwrap_or_else(PoisonError::into_inner);
    children.retain_mut(|child| matches!(child.try_wait(), Ok(None)));
}

/// Waits until the process has ended and let go of its namespaces.
pub fn wait_until_ended(pid: Pid, what: &str) -> Result<()> {
    wait_until(
        &format!("{what} (process {}) to end", pid.as_raw_nonzero()),
        GONE_WITHIN,
        || {
            let there = holds_namespaces(pid);
            collect_ended();
            if there { Err("still there".into()) } else { Ok(()) }
        },
    )
}

/// False for a zombie: it keeps its number but nothing more.
fn holds_namespaces(pid: Pid) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())) else {
        return false;
    };
    // The state follows the name, which is in parentheses and may hold anything (proc_pid_stat(5)).
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}
