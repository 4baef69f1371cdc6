//! The file to source for working with a rig, and the folder of programs it puts on the PATH.

use super::Rig;
use crate::{
    Result,
    error::Context,
    layout::{DIRECTORY_VARIABLE, NAME_VARIABLE, target_directory},
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

impl Rig {
    /// The file to source, and the folder of programs it puts on the PATH.
    pub(super) fn write_environment(&self) -> Result<()> {
        let bin = self.layout.bin();
        fs::create_dir_all(&bin).context(format!("create {}", bin.display()))?;
        let programs = [
            ("kubectl", self.state.binaries.kubernetes.clone()),
            ("kubectl-netcheck", newest_build("kubectl-netcheck")),
            ("netcheck-rig", newest_build("netcheck-rig")),
        ];
        for (name, target) in programs {
            let link = bin.join(name);
            let _ = fs::remove_file(&link);
            symlink(&target, &link).context(format!("link {}", link.display()))?;
        }
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
        let text = format!(
            "# Source me: . {}\nexport KUBECONFIG={}\nexport {DIRECTORY_VARIABLE}={}\nexport {NAME_VARIABLE}={}\nexport PATH={}:\"$PATH\"\n",
            self.layout.environment().display(),
            quoted(&self.layout.kubeconfig()),
            quoted(self.layout.directory()),
            self.state.spec.name,
            quoted(&bin),
        );
        let path = self.layout.environment();
        fs::write(&path, text).context(format!("write {}", path.display()))
    }
}

/// The newest of cargo's builds of a program; where a release build would be if there is none.
fn newest_build(name: &str) -> PathBuf {
    let candidates = ["release", "debug"].map(|profile| target_directory().join(profile).join(name));
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let [release, _] = &candidates;
    candidates
        .iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| modified(path))
        .unwrap_or(release)
        .clone()
}
