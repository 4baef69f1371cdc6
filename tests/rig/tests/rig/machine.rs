//! What the machine looks like from outside of any rig.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

/// Everything a rig could leave behind or change in the root namespace. Other rigs' links and cgroups are not in it: they may
/// come and go while a test runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// Looks at the machine; `own` is the part of names (link, cgroup) that are the test's rig's.
    pub fn now(own: &str) -> io::Result<Self> {
        let mut seen = BTreeSet::new();
        let foreign = |name: &str| name.contains("rig-") && !name.contains(own);
        for entry in fs::read_dir("/sys/class/net")? {
            seen.insert(format!("link {}", entry?.file_name().to_string_lossy()));
        }
        for line in fs::read_to_string("/proc/self/mounts")?.lines() {
            seen.insert(format!("mount {line}"));
        }
        for folder in [
            "/run/netns",
            "/opt",
            "/etc/cni",
            "/var/lib/cni",
            "/var/lib/kubelet",
            "/var/lib/containerd",
            "/sys/fs/bpf",
        ] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                seen.insert(format!("file {}", entry.path().display()));
            }
        }
        directories(Path::new("/sys/fs/cgroup"), &mut |path| {
            seen.insert(format!("cgroup {}", path.display()));
        })?;
        for tree in ["net", "vm", "kernel"] {
            files(&Path::new("/proc/sys").join(tree), &mut |path| {
                let name = path.display().to_string();
                // Counters and dice.
                let moving = [
                    "conntrack_count",
                    "random",
                    "ns_last_pid",
                    "pty/nr",
                    "nr_pages",
                    "sched_domain",
                ];
                if moving.iter().all(|part| !name.contains(part)) {
                    let value = fs::read_to_string(path).unwrap_or_default();
                    seen.insert(format!("setting {name} = {}", value.trim()));
                }
            })?;
        }
        for table in ["iptables-save", "ip6tables-save"] {
            let output = Command::new(table).output()?;
            for line in String::from_utf8_lossy(&output.stdout)
                .lines()
                .filter(|line| line.starts_with('-'))
            {
                seen.insert(format!("{table} {line}"));
            }
        }
        seen.retain(|item| !foreign(item));
        Ok(Self(seen))
    }

    /// What is there now and was not, a setting's new value included. What has gone since is not a rig's doing: other tests of
    /// the machine end meanwhile, and a rig removes only what carries its own mark.
    pub fn new_since<'a>(&'a self, before: &'a Self) -> Vec<&'a str> {
        self.0.difference(&before.0).map(String::as_str).collect()
    }
}

fn directories(folder: &Path, found: &mut impl FnMut(&Path)) -> io::Result<()> {
    for path in children(folder)? {
        if path.is_dir() && !path.is_symlink() {
            found(&path);
            directories(&path, found)?;
        }
    }
    Ok(())
}

fn files(folder: &Path, found: &mut impl FnMut(&Path)) -> io::Result<()> {
    for path in children(folder)? {
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found(&path);
        }
    }
    Ok(())
}

/// Nothing for a folder that has just gone: links and cgroups of others come and go.
fn children(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => Ok(entries.flatten().map(|entry| entry.path()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
