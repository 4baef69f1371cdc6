//! What the plugin wrote down about one attachment, and what of it is on the node.

use netcheck_cni_intent::names::HOST_MAC;
pub use netcheck_cni_intent::recorded::{Attachment, Progress};
use netcheck_node_state::VethEnd;
use rustix::fs::FsWord;
use std::{fs::File, os::unix::fs::MetadataExt, path::Path};

/// `NSFS_MAGIC` of linux/magic.h: the file system of open namespaces.
const NSFS: FsWord = 0x6e73_6673;

/// The veth's end on the node.
pub fn host_end(attachment: &Attachment) -> VethEnd {
    VethEnd {
        name: attachment.host_veth.clone(),
        mac: HOST_MAC,
        mtu: attachment.link_mtu,
    }
}

/// The veth's end in the pod.
pub fn pod_end(attachment: &Attachment) -> VethEnd {
    VethEnd {
        name: attachment.if_name.clone(),
        mac: attachment.mac,
        mtu: attachment.link_mtu,
    }
}

/// Whether the namespace that it was added to is still there: the file is of a namespace, with the recorded device and inode.
pub fn has_its_netns(attachment: &Attachment) -> bool {
    let (device, inode) = (attachment.netns_dev, attachment.netns_ino);
    netns_identity(Path::new(&attachment.netns)).is_some_and(|identity| identity == (device, inode))
}

/// Device and inode of a namespace's file, as `stat -Lc '%d %i'` shows them; `None` if it is no such file.
pub fn netns_identity(path: &Path) -> Option<(u64, u64)> {
    // Only the path: opening a FIFO or a device could wait or do something.
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).ok()?;
    let is_nsfs = rustix::fs::fstatfs(&file).is_ok_and(|system| system.f_type == NSFS);
    let status = File::from(file).metadata().ok()?;
    is_nsfs.then(|| (status.dev(), status.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_namespaces_file_has_an_identity() {
        assert!(netns_identity(Path::new("/proc/self/ns/net")).is_some());
        assert_eq!(netns_identity(Path::new("/etc/passwd")), None);
        assert_eq!(netns_identity(Path::new("/nowhere")), None);
    }
}
