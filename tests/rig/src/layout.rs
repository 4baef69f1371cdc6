//! Where a rig keeps its things, and what it calls them. All of it follows from the rig's directory, so that a rig whose
//! files are gone can still be found and cleared.

use crate::fingerprint::Fingerprint;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// Environment variable that names the rig's directory.
pub const DIRECTORY_VARIABLE: &str = "NETCHECK_RIG_DIR";
/// Environment variable that names the rig which lives in that directory (`default` if it is not set).
pub const NAME_VARIABLE: &str = "NETCHECK_RIG_NAME";

/// The repository this crate was built from.
pub(crate) fn repository() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.ancestors().nth(2).unwrap_or(crate_dir).to_owned()
}

/// The workspace's target directory.
pub(crate) fn target_directory() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// `$NETCHECK_RIG_DIR` if it is this rig's, else `target/rig` for the rig called `default` and `target/rig-NAME` for another.
pub fn default_directory(name: &str) -> PathBuf {
    let named = env::var(NAME_VARIABLE).unwrap_or_else(|_| "default".into());
    match env::var_os(DIRECTORY_VARIABLE) {
        Some(directory) if named == name => directory.into(),
        _ if name == "default" => target_directory().join("rig"),
        _ => target_directory().join(format!("rig-{name}")),
    }
}

/// Paths and names of one rig.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    directory: PathBuf,
    /// Eight hex digits that tell rigs apart.
    id: String,
}

impl Layout {
    /// `directory` is made absolute; it need not exist.
    pub fn new(directory: &Path) -> io::Result<Self> {
        let absolute = std::path::absolute(directory)?;
        // One rig reached by two names (a symlink, `/proc/self/cwd`) must be one rig.
        let directory = fs::canonicalize(&absolute).unwrap_or(absolute);
        let id = Fingerprint::default()
            .add(directory.as_os_str().as_encoded_bytes())
            .hex(4);
        Ok(Self { directory, id })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Eight hex digits that tell rigs apart.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The number from which the search for a free underlay network starts.
    pub fn underlay_hint(&self) -> u8 {
        u8::from_str_radix(&self.id[..2], 16).unwrap_or(0)
    }

    /// The rig's folder under every cgroup controller.
    pub fn cgroup(&self) -> String {
        format!("netcheck-rig-{}", self.id)
    }

    /// The link by which the root namespace reaches the underlay (at most 15 characters).
    pub fn root_link(&self) -> String {
        format!("rig-{}", self.id)
    }

    pub fn spec(&self) -> PathBuf {
        self.directory.join("rig.json")
    }

    /// Archives that were loaded into all nodes, a path a line, for nodes that come later.
    pub fn loaded_images(&self) -> PathBuf {
        self.directory.join("loaded-images")
    }

    pub fn lock(&self) -> PathBuf {
        self.directory.join("lock")
    }

    pub fn environment(&self) -> PathBuf {
        self.directory.join("env")
    }

    pub fn bin(&self) -> PathBuf {
        self.directory.join("bin")
    }

    pub fn pki(&self) -> PathBuf {
        self.directory.join("pki")
    }

    pub fn kubeconfig(&self) -> PathBuf {
        self.directory.join("kubeconfig")
    }

    /// Kubeconfigs of the components and of users made later.
    pub fn kubeconfigs(&self) -> PathBuf {
        self.directory.join("kubeconfigs")
    }

    pub fn etcd(&self) -> PathBuf {
        self.directory.join("etcd")
    }

    pub fn config(&self) -> PathBuf {
        self.directory.join("config")
    }

    pub fn logs(&self) -> PathBuf {
        self.directory.join("logs")
    }

    pub fn audit_log(&self) -> PathBuf {
        self.logs().join("audit.log")
    }

    /// containerd's `certs.d`, the same for all nodes.
    pub fn registries(&self) -> PathBuf {
        self.directory.join("registries")
    }

    pub fn nodes(&self) -> PathBuf {
        self.directory.join("nodes")
    }

    /// What one node keeps on disk.
    pub fn node(&self, name: &str) -> PathBuf {
        self.nodes().join(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_from_the_directory_and_fit_the_kernel() {
        let one = Layout::new(Path::new("/nowhere/rig")).unwrap();
        let again = Layout::new(Path::new("/nowhere/rig")).unwrap();
        let other = Layout::new(Path::new("/nowhere/rig-two")).unwrap();
        assert_eq!(one.root_link(), again.root_link());
        assert_ne!(one.root_link(), other.root_link());
        assert!(one.root_link().len() <= 15);
    }
}
