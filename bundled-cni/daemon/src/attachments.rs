//! What the plugin wrote down.

use netcheck_cni::{
    attachment::{Progress, has_its_netns},
    disk::DiskError,
    store::Store,
};
use netcheck_cni_intent::{Attachment, recorded};

/// The attachments whose ADD has come to its end and whose namespaces are there. What cannot be read is for collection to deal with.
pub fn finished(store: &Store) -> Result<Vec<Attachment>, DiskError> {
    if store.is_gone() {
        return Ok(Vec::new());
    }
    let recorded = store.attachments()?.into_values();
    let readable = recorded.filter_map(Result::ok);
    let done = readable.filter(|one| one.state == Progress::Done && has_its_netns(one));
    Ok(done.map(recorded::Attachment::reduced).collect())
}
