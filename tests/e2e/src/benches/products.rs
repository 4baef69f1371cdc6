//! Where what we ship lies once `make` has built it, and where its state may lie.

use anyhow::{Result, ensure};
use std::{
    env,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Where Debian has the reference plugins.
pub const REFERENCE_PLUGINS: &str = "/usr/lib/cni";

/// The plugin as in the image.
pub fn plugin() -> Result<PathBuf> {
    built("agent/netcheck-cni")
}

/// The daemon as in the image.
pub fn daemon() -> Result<PathBuf> {
    built("cni-daemon/netcheck-cni-daemon")
}

fn built(path: &str) -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let program = root.join("target").join(host).join(path);
    ensure!(
        program.is_file(),
        "{} is missing: `make cni-image` builds it",
        program.display()
    );
    Ok(program.canonicalize()?)
}

/// A folder in memory where that is possible: a disk's moods are not what is measured.
pub fn folder_in_memory() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    let temporary = env::temp_dir();
    Ok(tempfile::tempdir_in(if memory.is_dir() { memory } else { &temporary })?)
}
