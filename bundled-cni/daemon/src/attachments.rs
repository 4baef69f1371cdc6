//! What the plugin wrote down.

use netcheck_cni::{
    attachment::{Progress, has_its_netns},
    disk::DiskError,
    store::Store,
};
use netcheck_cni_intent::{Attachment, AttachmentKey, recorded};
use std::collections::BTreeMap;

/// What is known of the node's attachments.
#[derive(Debug, Default)]
pub struct Known {
    /// Those whose ADD has come to its end and whose namespaces are there.
    pub finished: Vec<Attachment>,
    /// Those whose file is cut or foreign, and what is wrong with it: a pod's all the same.
    pub unreadable: BTreeMap<AttachmentKey, String>,
}

/// Reads the attachments' files.
pub fn known(store: &Store) -> Result<Known, DiskError> {
    let mut known = Known::default();
    if store.is_gone() {
        return Ok(known);
    }
    for (key, recorded) in store.attachments()? {
        match recorded {
            Ok(one) if one.state == Progress::Done && has_its_netns(&one) => {
                known.finished.push(recorded::Attachment::reduced(one));
            }
            Ok(_) => {}
            Err(why) => {
                known.unreadable.insert(key, why);
            }
        }
    }
    Ok(known)
}
