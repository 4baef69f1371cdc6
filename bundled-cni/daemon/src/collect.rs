//! Taking away what pods that are gone have left: containerd never calls GC (SPEC.md, section 7.3).

use crate::cluster::View;
use netcheck_cni::{
    Failure,
    attachment::{Attachment, has_its_netns},
    detach::detach,
    store::Store,
};
use netcheck_cni_intent::{AttachmentKey, names::PLUGIN};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    time::{Duration, Instant},
};

/// How long a pod's UID must have been gone from the API.
const GONE_FOR: Duration = Duration::from_mins(5);
/// How old an address's link without an attachment must be: an ADD makes the one just before the other.
const LINK_AGE: Duration = Duration::from_mins(1);

/// What collection remembers from pass to pass.
#[derive(Debug, Default)]
pub struct Collector {
    /// Those that were not alive in the last pass.
    suspects: BTreeSet<AttachmentKey>,
    /// Pods that the API does not list, and since when.
    gone: BTreeMap<String, Instant>,
}

/// What a collection came to.
#[derive(Debug, Default)]
pub struct Collected {
    /// How many attachments were taken away.
    pub removed: u64,
    /// What failed, a line each.
    pub failed: Vec<String>,
}

/// What is known of an attachment when it is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signs {
    /// Its network namespace is the one it was added to.
    has_netns: bool,
    /// Its pod is known and gone from the API for long enough.
    is_gone: bool,
    /// A process is in its network namespace.
    is_inhabited: bool,
}

impl Signs {
    fn is_alive(self) -> bool {
        self.has_netns && (!self.is_gone || self.is_inhabited)
    }
}

impl Collector {
    /// Looks at all attachments; takes away those that were not alive in two passes in a row. `devices` are the node's.
    pub fn pass(&mut self, store: &Store, devices: &BTreeSet<String>, view: &View, now: Instant) -> Collected {
        let mut collected = Collected::default();
        if store.is_gone() {
            return collected;
        }
        let recorded = match store.attachments() {
            Ok(recorded) => recorded,
            Err(error) => {
                collected.failed.push(error.to_string());
                return collected;
            }
        };
        let has_veth = |key: &AttachmentKey| devices.contains(&key.host_veth());
        let mut ours = Vec::new();
        let mut dead = BTreeSet::new();
        for (key, recorded) in recorded {
            match recorded {
                Ok(attachment) if attachment.ipam == PLUGIN => ours.push(attachment),
                // What another plugin gave out only the runtime's DEL can give back.
                Ok(_) => {}
                // A pod's all the same, as long as anything of it is there.
                Err(_) if has_veth(&key) => {}
                Err(_) => {
                    dead.insert(key);
                }
            }
        }
        self.note_gone(&ours, view, now);
        let mut inhabited = None;
        for attachment in &ours {
            let is_gone = self
                .gone
                .get(&attachment.pod.uid)
                .is_some_and(|since| now.duration_since(*since) >= GONE_FOR);
            let signs = Signs {
                has_netns: has_its_netns(attachment),
                is_gone,
                // Looked at only where it decides: it is a walk through all processes.
                is_inhabited: is_gone
                    && inhabited
                        .get_or_insert_with(inhabited_netns)
                        .contains(&attachment.netns_ino),
            };
            if !signs.is_alive() {
                dead.insert(attachment.key());
            }
        }
        for key in dead.intersection(&self.suspects) {
            match detach(store, key, || Ok(())) {
                Ok(()) => {
                    tracing::info!(%key, "taken away: its pod is gone");
                    collected.removed += 1;
                }
                Err(error) => collected.failed.push(format!("{key}: {error}")),
            }
        }
        self.suspects = dead;
        let cleaned = clean(store, has_veth);
        collected
            .failed
            .extend(cleaned.err().map(|failure| failure.to_string()));
        collected
    }

    /// Notes since when the API has not listed a pod. Before the first whole list it lists nothing, and that says nothing.
    fn note_gone(&mut self, attachments: &[Attachment], view: &View, now: Instant) {
        let Some(pods) = &view.pods else {
            self.gone.clear();
            return;
        };
        let uids = attachments.iter().map(|attachment| &attachment.pod.uid);
        let missing: BTreeSet<&String> = uids.filter(|uid| !uid.is_empty() && !pods.contains(*uid)).collect();
        self.gone.retain(|uid, _| missing.contains(uid));
        for uid in missing {
            self.gone.entry(uid.clone()).or_insert(now);
        }
    }
}

/// Inodes of the network namespaces that processes are in.
fn inhabited_netns() -> BTreeSet<u64> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let netns = processes.filter_map(|process| fs::metadata(process.path().join("ns/net")).ok());
    netns.map(|netns| netns.ino()).collect()
}

/// Clears away what processes left that died: addresses of an ADD that had come no further, and files that were not whole yet.
fn clean(store: &Store, has_veth: impl Fn(&AttachmentKey) -> bool) -> Result<(), Failure> {
    let locked = store.lock()?;
    for (ip, owner) in locked.release_orphans(LINK_AGE, has_veth)? {
        let owner = owner.map_or_else(|| "nobody".to_owned(), |owner| owner.to_string());
        tracing::info!(%ip, %owner, "an address is given back: nobody has it");
    }
    locked.remove_leftovers()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_that_is_gone_is_enough_and_a_gone_pod_is_not() {
        let signs = |has_netns, is_gone, is_inhabited| Signs {
            has_netns,
            is_gone,
            is_inhabited,
        };
        assert!(signs(true, false, false).is_alive());
        assert!(signs(true, true, true).is_alive());
        assert!(!signs(true, true, false).is_alive());
        assert!(!signs(false, false, true).is_alive());
    }

    #[test]
    fn a_pod_is_gone_only_by_a_list_that_lacks_it() {
        let attachment: Attachment = serde_json::from_value(serde_json::json!({
            "schema": 1, "state": "done", "network": "netcheck", "containerID": "c", "ifName": "eth0", "netns": "/nowhere",
            "netnsDev": 4, "netnsIno": 1, "ips": ["10.244.1.2"], "mac": "0a:58:0a:f4:01:02", "hostVeth": "nc0", "linkMtu": 1500,
            "routeMtu": 1450, "ipam": "netcheck-cni", "pod": { "namespace": "d", "name": "p", "uid": "u" }, "created": ""
        }))
        .unwrap();
        let mut collector = Collector::default();
        let start = Instant::now();
        let mut view = View::default();
        collector.note_gone(std::slice::from_ref(&attachment), &view, start);
        assert!(collector.gone.is_empty());
        view.pods = Some(BTreeSet::new());
        collector.note_gone(std::slice::from_ref(&attachment), &view, start);
        collector.note_gone(std::slice::from_ref(&attachment), &view, start + GONE_FOR);
        assert_eq!(collector.gone["u"], start);
        view.pods = Some(BTreeSet::from(["u".to_owned()]));
        collector.note_gone(&[attachment], &view, start + GONE_FOR);
        assert!(collector.gone.is_empty());
    }
}
