//! What the plugin wrote down.

use netcheck_cni::{
    attachment::{self, Progress},
    disk::DiskError,
    store::Store,
};
use netcheck_cni_intent::{
    Attachment, PodName,
    derive::{AttachmentKey, pod_mac},
};

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
    let pod = recorded.pod.clone();
    Attachment {
        key: AttachmentKey {
            network: recorded.network.clone(),
            container_id: recorded.container_id.clone(),
            if_name: recorded.if_name.clone(),
        },
        mac: (pod_mac(&recorded.ips) != Some(recorded.mac)).then_some(recorded.mac),
        ips: recorded.ips,
        pod: (!pod.name.is_empty()).then_some(PodName {
            namespace: pod.namespace,
            name: pod.name,
            uid: pod.uid,
        }),
        link_mtu: recorded.link_mtu,
        netns: Some(recorded.netns),
    }
}
