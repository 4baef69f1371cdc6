//! What the plugin wrote down.

use netcheck_cni::{
    attachment::{self, Progress},
    disk::DiskError,
    store::Store,
};
use netcheck_cni_intent::Attachment;

/// The attachments whose ADD has come to its end and whose namespaces are there. What cannot be read is for collection to deal with.
pub fn finished(store: &Store) -> Result<Vec<Attachment>, DiskError> {
    if store.is_gone() {
        return Ok(Vec::new());
    }
    let recorded = store.attachments()?.into_values();
    let readable = recorded.filter_map(Result::ok);
    let done = readable.filter(|one| one.state == Progress::Done && one.has_its_netns());
    Ok(done.map(reduce).collect())
}

fn reduce(recorded: attachment::Attachment) -> Attachment {
    Attachment {
        key: recorded.key(),
        ips: recorded.ips,
        mac: Some(recorded.mac),
        pod: recorded.pod,
        link_mtu: recorded.link_mtu,
        netns: Some(recorded.netns),
    }
}
