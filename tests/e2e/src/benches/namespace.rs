//! A network namespace by name, which vanishes with its value.

use anyhow::{Context, Result, ensure};
use netcheck_node_state::{Netns, within};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

/// What is mounted from here on, and namespaces named by `ip netns`, end with this process. To be called before any thread is started.
pub fn leave_mounts() -> Result<()> {
    // SAFETY: only the mount namespace is left, and there is one thread: nobody's view changes unexpectedly.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("cannot leave the mount namespace; to be run as root")?;
    for arguments in [&["--make-rprivate", "/"][..], &["-t", "tmpfs", "tmpfs", "/run/netns"]] {
        fs::create_dir_all("/run/netns")?;
        let status = Command::new("mount")
            .args(arguments)
            .status()
            .context("cannot run mount")?;
        ensure!(status.success(), "mount {}: {status}", arguments.join(" "));
    }
    Ok(())
}

/// A network namespace under `/run/netns`.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// With `lo` up.
    pub fn new(role: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self {
            name: format!("ncbench-{}-{number}-{role}", std::process::id()),
        };
        ip(&format!("netns add {}", namespace.name))?;
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        Path::new("/run/netns").join(&self.name)
    }

    /// Does something on a thread that is in it; processes started there are in it too.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        Ok(within(&Netns::open(&self.path())?, work)?)
    }

    /// Runs `ip` in it.
    pub fn ip(&self, arguments: &str) -> Result<()> {
        ip(&format!("-n {} {arguments}", self.name))
    }

    /// Runs lines of a shell in it, which see its own `/proc/sys/net`; what they print.
    pub fn run(&self, script: &str) -> Result<String> {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.name, "sh", "-ec", script])
            .stdin(Stdio::null())
            .output()
            .context("cannot run ip")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{script}: {}: {said}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&format!("netns del {}", self.name));
    }
}

fn ip(arguments: &str) -> Result<()> {
    let status = Command::new("ip")
        .args(arguments.split_whitespace())
        .status()
        .context("cannot run ip")?;
    ensure!(status.success(), "ip {arguments}: {status}");
    Ok(())
}
