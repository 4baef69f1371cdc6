//! A rig's cgroup folders: one for the rig, one below it for each node, under every hierarchy the machine has.
//!
//! With cgroup v1 kubelet's `cgroupRoot` must exist under every controller, and a new cpuset has neither CPUs nor memory
//! nodes until somebody writes them. With cgroup v2 controllers must be switched on from the root downwards.

use crate::{Result, error::Context, wait_until};
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long a killed container's folder may stay busy.
const REMOVED_WITHIN: Duration = Duration::from_secs(10);

/// Mount points of all cgroup hierarchies.
fn hierarchies() -> Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mounts").context("read /proc/self/mounts")?;
    Ok(table
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_ascii_whitespace().skip(1);
            let (target, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup" || kind == "cgroup2").then(|| PathBuf::from(target))
        })
        .collect())
}

/// Creates `path` (relative, as `rig/n1`) in every hierarchy.
pub fn create(path: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let mut folder = hierarchy;
        for part in path.split('/') {
            let child = folder.join(part);
            match fs::create_dir(&child) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).context(format!("create cgroup {}", child.display()));
                }
                _ => {}
            }
            inherit_cpuset(&folder, &child)?;
            delegate_controllers(&folder);
            folder = child;
        }
        delegate_controllers(&folder);
    }
    Ok(())
}

fn inherit_cpuset(parent: &Path, child: &Path) -> Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        // In cgroup v2 the file has an `.effective` companion, and empty means "as the parent".
        if !parent.join(file).exists() || parent.join(format!("{file}.effective")).exists() {
            continue;
        }
        let value = fs::read_to_string(parent.join(file)).context(format!("read {file}"))?;
        fs::write(child.join(file), value.trim()).context(format!("write {file} of {}", child.display()))?;
    }
    Ok(())
}

fn delegate_controllers(folder: &Path) {
    let Ok(controllers) = fs::read_to_string(folder.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_ascii_whitespace() {
        // Refused for a controller that a v1 hierarchy holds; kubelet names what it misses.
        let _ = fs::write(folder.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// Removes `path` and all below it from every hierarchy; its processes must have ended.
pub fn remove(path: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        let folder = hierarchy.join(path);
        wait_until(
            &format!("cgroup {} to be removed", folder.display()),
            REMOVED_WITHIN,
            || remove_tree(&folder).map_err(|error| error.to_string()),
        )?;
    }
    Ok(())
}

/// Whether any hierarchy has this folder.
pub fn exists(path: &str) -> bool {
    hierarchies()
        .unwrap_or_default()
        .iter()
        .any(|hierarchy| hierarchy.join(path).exists())
}

fn remove_tree(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten() {
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
