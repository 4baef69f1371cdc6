//! What the machine must have for a rig.

use super::{bundled_cni, flannel};
use crate::{Cni, Error, Result, RigSpec, mounts, namespaces, sandbox};
use std::{env, path::Path};

/// Programs that must be installed; see `install-packages.sh`.
const PROGRAMS: [&str; 8] = [
    "etcd",
    "containerd",
    "ctr",
    "runc",
    "ip",
    "iptables",
    "nft",
    "conntrack",
];

/// Root, and everything that is started must be installed; said before anything is made.
pub fn check(spec: &RigSpec) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if !(1..=32).contains(&spec.nodes) {
        return Err(Error::Usage(format!("a rig has 1 to 32 nodes, not {}", spec.nodes)));
    }
    let fits = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    if spec.name.is_empty() || spec.name.len() > 32 || !spec.name.chars().all(fits) {
        let message = format!("{:?} is no name for a rig: use up to 32 of a-z, 0-9 and -", spec.name);
        return Err(Error::Usage(message));
    }
    let is_node = |name: &String| (1..=32).any(|number| *name == format!("n{number}"));
    if let Some(name) = spec.containerd2.iter().find(|name| !is_node(name)) {
        return Err(Error::Usage(format!(
            "{name:?} is no name for a node: they are n1 to n32"
        )));
    }
    match spec.cni {
        Cni::Bundled => bundled_cni::check(spec)?,
        Cni::Flannel => flannel::check(spec)?,
        Cni::Plain | Cni::None => {}
    }
    let path = env::var("PATH").unwrap_or_default();
    let folders: Vec<_> = path.split(':').chain(sandbox::PATH.split(':')).map(Path::new).collect();
    for program in PROGRAMS {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            return Err(Error::MissingProgram {
                program: program.into(),
            });
        }
    }
    if !Path::new(mounts::CNI_PLUGINS).join("ptp").is_file() {
        return Err(Error::MissingProgram {
            program: format!("{}/ptp", mounts::CNI_PLUGINS),
        });
    }
    // The one thing no package brings; asked for in advance, as its failure later would be hard to read.
    namespaces::in_new(namespaces::NEW_NODE, || Ok(()))
}
