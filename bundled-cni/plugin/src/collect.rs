//! What the daemon's collection needs of the disk (SPEC.md 7.3 "Collection"): finding what nobody will come for.
//!
//! An attachment that is no longer alive goes by [`detach`](crate::detach::detach), which takes the lock itself: do not hold it then.

use crate::{
    disk::{self, DiskError},
    store::Locked,
};
use netcheck_cni_intent::AttachmentKey;
use std::{fs, net::IpAddr, path::Path, time::Duration};

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
            if !is_owned && disk::is_older(&path, age) && is_link(&path) {
                disk::remove(&path)?;
                released.push((ip, owner));
            }
        }
        Ok(released)
    }

    /// Removes temporary files of writers that died: all there are, since only whoever holds the lock writes. Says how many.
    pub fn remove_leftovers(&self) -> Result<u64, DiskError> {
        let folders = self.store().folders_with_files().into_iter();
        folders
            .map(|folder| disk::remove_leftovers(folder, Duration::ZERO))
            .sum()
    }
}

fn is_link(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|status| status.is_symlink())
}
