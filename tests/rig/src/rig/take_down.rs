//! How a rig ends: by what the process table, the links and the cgroups say, whatever its own files say.

use super::{
    Rig, layout,
    state::{lock, sandboxes},
};
use crate::{Error, Progress, Result, cgroups, error::Context, layout::Layout, network, sandbox::Sandbox};
use std::{fs, panic, path::Path, thread};

impl Rig {
    /// Ends a rig and everything it left, in whatever state it is; nothing to end is fine.
    ///
    /// # Errors
    /// [`Error::Leftovers`] names what could not be removed.
    pub fn down_in(directory: &Path, progress: &dyn Progress) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let layout = layout(directory)?;
        if !layout.directory().exists() && sandboxes(&layout).is_empty() {
            return Ok(());
        }
        fs::create_dir_all(layout.directory()).context(format!("create {}", layout.directory().display()))?;
        let _lock = lock(&layout, progress)?;
        clear(&layout)?;
        progress.step("nothing of the rig is left but its logs");
        Ok(())
    }

    /// Ends the rig.
    ///
    /// # Errors
    /// As [`Self::down_in`].
    pub fn down(self) -> Result<()> {
        Self::down_in(self.layout.directory(), &crate::Silent)
    }
}

/// Ends all of a rig in whatever state it is, without stopping at the first failure; only logs stay.
pub(super) fn clear(layout: &Layout) -> Result<()> {
    let mut leftovers = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            leftovers.push(error.to_string());
        }
    };
    // At once: the kernel takes a second or two for each.
    let names = sandboxes(layout);
    let stopped: Vec<_> = thread::scope(|scope| {
        let stopping: Vec<_> = names
            .iter()
            .map(|name| scope.spawn(|| Sandbox::new(layout, name).stop()))
            .collect();
        stopping
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|payload| panic::resume_unwind(payload)))
            .collect()
    });
    for result in stopped {
        note(result);
    }
    note(network::remove_root_link(layout));
    if cgroups::exists(&layout.cgroup()) {
        note(cgroups::remove(&layout.cgroup()));
    }
    for folder in [
        layout.nodes(),
        layout.etcd(),
        layout.pki(),
        layout.config(),
        layout.kubeconfigs(),
        layout.registries(),
        layout.bin(),
    ] {
        if folder.exists() {
            note(fs::remove_dir_all(&folder).context(format!("remove {}", folder.display())));
        }
    }
    for file in [
        layout.kubeconfig(),
        layout.environment(),
        layout.loaded_images(),
        layout.spec(),
    ] {
        if file.exists() {
            note(fs::remove_file(&file).context(format!("remove {}", file.display())));
        }
    }
    if leftovers.is_empty() {
        Ok(())
    } else {
        Err(Error::Leftovers(leftovers))
    }
}
