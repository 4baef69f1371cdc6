//! Running a piece of code in other namespaces than the rest of the program: on a thread of its own, which ends with it.
//!
//! Linux keeps namespaces per thread. A child process started from such a thread is born in them, a PID namespace included,
//! so nothing has to be forked by hand and no helper program is needed.

use crate::{Result, error::Context};
use rustix::{
    process::{Pid, PidfdFlags, pidfd_open},
    thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces},
};
use std::{os::fd::AsFd, panic, thread};

/// Everything a node has of its own.
pub const NODE: ThreadNameSpaceType = ThreadNameSpaceType::MOUNT
    .union(ThreadNameSpaceType::NETWORK)
    .union(ThreadNameSpaceType::PROCESS_ID)
    .union(ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME)
    .union(ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION);

/// The same set, to make anew.
pub const NEW_NODE: UnshareFlags = UnshareFlags::NEWNS
    .union(UnshareFlags::NEWNET)
    .union(UnshareFlags::NEWPID)
    .union(UnshareFlags::NEWUTS)
    .union(UnshareFlags::NEWIPC);

/// Runs `work` in new namespaces. They live on only in processes that `work` starts.
pub fn in_new<T: Send>(namespaces: UnshareFlags, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_own_thread(|| {
        unshare(namespaces).context("make namespaces")?;
        work()
    })
}

/// Runs `work` in namespaces of other processes, entered in the given order.
pub fn within<T: Send>(entered: &[(Pid, ThreadNameSpaceType)], work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_own_thread(|| {
        // A mount namespace is only entered by who shares its root and working directory with no other thread.
        unshare(UnshareFlags::FS).context("give a thread its own working directory")?;
        // Opened first: the processes' numbers mean nothing in a PID or mount namespace entered on the way.
        let mut handles = Vec::with_capacity(entered.len());
        for (pid, which) in entered {
            let pid_number = pid.as_raw_nonzero();
            handles.push((
                pidfd_open(*pid, PidfdFlags::empty()).context(format!("open process {pid_number}"))?,
                *which,
            ));
        }
        for (handle, which) in &handles {
            move_into_thread_name_spaces(handle.as_fd(), *which).context("enter namespaces")?;
        }
        work()
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|payload| panic::resume_unwind(payload))
    })
}

#[allow(unsafe_code, reason = "unshare has no safe form")]
fn unshare(what: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the call is unsafe for CLONE_FILES alone, which would invalidate other threads' borrowed descriptors;
    // no caller in this module passes it.
    unsafe { rustix::thread::unshare_unsafe(what) }
}
