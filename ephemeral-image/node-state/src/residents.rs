//! Which pods' processes live in which network namespace, cheaply enough to be asked many times a second.

use crate::cgroup::pod_uid;
use rustix::{
    param::clock_ticks_per_second,
    time::{ClockId, clock_gettime},
};
use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    time::{SystemTime, UNIX_EPOCH},
};

/// A process of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resident {
    /// The UID in its cgroup folder's name.
    pub uid: String,
    /// The process, as numbered in the reader's PID namespace.
    pub pid: u32,
    /// Inode of its network namespace.
    pub inode: u64,
}

/// All processes of the pods that `wanted` accepts by UID, in ascending order. A process that is gone or hidden is left out.
pub fn residents(wanted: impl Fn(&str) -> bool) -> Vec<Resident> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut residents: Vec<Resident> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| {
            let uid = pod_uid(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)?;
            let inode = wanted(&uid)
                .then(|| fs::metadata(format!("/proc/{pid}/ns/net")).ok())??
                .ino();
            Some(Resident { uid, pid, inode })
        })
        .collect();
    residents.sort_unstable_by_key(|resident| resident.pid);
    residents
}

/// When a process started, in nanoseconds since 1970, to the kernel's clock tick (proc_pid_stat(5), field 22).
pub fn started_ns(pid: u32) -> Option<u64> {
    let ticks = start_ticks(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let since_boot_ns = u128::from(ticks) * 1_000_000_000 / u128::from(clock_ticks_per_second().max(1));
    let up = clock_gettime(ClockId::Boottime);
    let up_ns = u128::try_from(up.tv_sec).ok()? * 1_000_000_000 + u128::try_from(up.tv_nsec).ok()?;
    let now_ns = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_nanos();
    u64::try_from(now_ns.checked_sub(up_ns.saturating_sub(since_boot_ns))?).ok()
}

/// Field 22 of `/proc/PID/stat`; the second field, a name in brackets, may hold blanks and brackets of its own.
fn start_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_start_is_read_whatever_the_name() {
        let stat = "7 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(start_ticks(stat), Some(4242));
        assert_eq!(start_ticks("7 (a"), None);
        assert_eq!(start_ticks(""), None);
    }

    #[test]
    fn a_process_that_was_just_started_is_young() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let started = started_ns(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.saturating_sub(Duration::from_nanos(started.unwrap()));
        assert!(age < Duration::from_mins(1), "{age:?}");
    }

    #[test]
    fn processes_outside_pods_are_nobodys_residents() {
        let own = std::process::id();
        assert!(residents(|_| true).iter().all(|resident| resident.pid != own));
    }
}
