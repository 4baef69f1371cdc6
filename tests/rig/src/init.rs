//! PID 1 of a sandbox: mounts `/proc` for its PID namespace, says so, and from then on collects orphans (containerd's shims
//! are re-parented to it).

use crate::{Result, error::Context, mounts};
use rustix::{
    io::Errno,
    process::{WaitOptions, setsid, wait},
};
use std::{
    convert::Infallible,
    io::{Write, stdout},
    thread,
    time::Duration,
};

/// The hidden subcommand that is a sandbox's init.
pub(crate) const SUBCOMMAND: &str = "sandbox-init";

/// What it writes to stdout when `/proc` is there.
pub(crate) const READY: &str = "ready\n";

/// Never returns but with an error.
///
/// # Errors
/// When `/proc` cannot be mounted, or the starter is gone.
pub fn run() -> Result<Infallible> {
    // A terminal's interrupt is meant for whoever started the rig, not for the rig.
    setsid().context("start a session for a sandbox's init")?;
    mounts::mount_proc()?;
    stdout()
        .write_all(READY.as_bytes())
        .context("report a sandbox's init ready")?;
    loop {
        // No children at all: there is nothing to wait on, so look again in a while.
        if let Err(Errno::CHILD) = wait(WaitOptions::empty()) {
            thread::sleep(Duration::from_millis(200));
        }
    }
}
