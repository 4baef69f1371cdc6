//! What the daemon's collection needs of the disk (SPEC.md 7.3 "Collection"): finding what nobody will come for.
//!
//! An attachment that is no longer alive goes by [`detach`](crate::detach::detach), which takes the lock itself: do not hold it then.

use crate::{
    disk::{self, DiskError},
    store::Locked,
};
use netcheck_cni_intent::AttachmentKey;
use std::{
    fs,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

impl Locked<'_> {
    /// Releases addresses that were given out at least `age` ago to someone who has neither a file nor, as `has_veth` says, an interface:
    /// an ADD that died and whose runtime did not call DEL. A link whose target is no key counts as nobody's. Gives back what was released.
    pub fn release_orphans(
        &self,
        age: Duration,
        has_veth: impl Fn(&AttachmentKey) -> bool,
    ) -> Result<Vec<(IpAddr, Option<AttachmentKey>)>, DiskError> {
        let store = self.store();
        let mut released = Vec::new();
        for (ip, owner) in store.links()? {
            let path = store.link(ip);
            let is_owned = match &owner {
                Some(key) => store.attachment(key)?.is_some() || has_veth(key),
                None => false,
            };
            if !is_owned && is_older(&path, age) && is_link(&path) {
                disk::remove(&path)?;
                released.push((ip, owner));
            }
        }
        Ok(released)
    }

    /// Removes temporary files of writers that died: all there are, since only whoever holds the lock writes. Says how many.
    pub fn remove_leftovers(&self) -> Result<usize, DiskError> {
        let mut removed = 0;
        for folder in self.store().folders_with_files() {
            let entries = fs::read_dir(folder).map_err(DiskError::at("list", folder))?;
            for entry in entries {
                let entry = entry.map_err(DiskError::at("list", folder))?;
                if entry.file_name().as_encoded_bytes().starts_with(b".") {
                    disk::remove(&entry.path())?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|status| status.is_symlink())
}

/// One whose age cannot be told, because a clock was set back, counts as new.
fn is_older(path: &Path, age: Duration) -> bool {
    let made = fs::symlink_metadata(path).and_then(|status| status.modified());
    let since = made.ok().and_then(|made| SystemTime::now().duration_since(made).ok());
    since.is_some_and(|since| since >= age)
}
