//! What a rig writes down about itself: only what the process table cannot tell.

use super::HUB;
use crate::{
    Addresses, Error, Progress, Result, RigSpec, binaries::Binaries, error::Context, layout::Layout, processes,
};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, TryLockError};

/// What a rig writes down about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct State {
    pub spec: RigSpec,
    pub addresses: Addresses,
    pub binaries: Binaries,
    /// Numbers of the nodes there are now.
    pub nodes: Vec<u8>,
    /// Number of the next node; numbers are not used twice.
    pub next_node: u8,
    /// Numbers of the nodes that have their other addresses.
    pub moved: Vec<u8>,
    /// Whether namespaces and links of all of it were made to the end.
    pub built: bool,
}

impl State {
    /// What is written down in the rig's directory, if anything is.
    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = layout.spec();
        if !path.exists() {
            return Ok(None);
        }
        let text = fs::read_to_string(&path).context(format!("read {}", path.display()))?;
        // Written by another version of this program: as good as none, the rig is built anew.
        Ok(serde_json::from_str(&text).ok())
    }

    /// Whether every sandbox it names runs.
    pub fn runs(&self, layout: &Layout) -> bool {
        let running = sandboxes(layout);
        let wanted = self
            .nodes
            .iter()
            .map(|number| format!("n{number}"))
            .chain([HUB.to_owned()]);
        wanted.into_iter().all(|name| running.contains(&name))
    }

    /// Writes it down.
    pub fn write(&self, layout: &Layout) -> Result<()> {
        let path = layout.spec();
        let text = serde_json::to_string_pretty(self).map_err(|cause| Error::Json {
            what: "the rig's own state".into(),
            cause,
        })?;
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, text).context(format!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).context(format!("put {} in place", path.display()))
    }
}

/// One command at a time changes a rig.
pub(super) fn lock(layout: &Layout, progress: &dyn Progress) -> Result<File> {
    let path = layout.lock();
    let file = File::create(&path).context(format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress.step("waiting for another command to finish with this rig"),
        Err(TryLockError::Error(cause)) => {
            return Err(Error::Io {
                what: format!("lock {}", path.display()),
                cause,
            });
        }
    }
    file.lock().context(format!("lock {}", path.display()))?;
    Ok(file)
}

/// Names of the sandboxes that run, found in the process table alone.
pub(super) fn sandboxes(layout: &Layout) -> Vec<String> {
    let directory = layout.directory().to_string_lossy();
    processes::all()
        .into_iter()
        .filter_map(|process| match process.arguments.as_slice() {
            [_, subcommand, rig, name] if subcommand == crate::init::SUBCOMMAND && *rig == directory => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect()
}
