//! Taking away what pods that are gone have left: containerd never calls GC (SPEC.md, section 7.3).

use crate::cluster::View;
use netcheck_cni::{
    attachment::{Attachment, has_its_netns},
    detach::detach,
    store::Store,
};
use netcheck_cni_intent::{AttachmentKey, names::PLUGIN};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant, SystemTime},
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
    /// Looks at all attachments; takes away those that were not alive in two passes in a row.
    pub fn pass(&mut self, store: &Store, view: &View, now: Instant) -> Collected {
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
        // What cannot be read is a pod's all the same; what another plugin gave out only the runtime's DEL can give back.
        let ours: Vec<Attachment> = recorded
            .into_values()
            .filter_map(Result::ok)
            .filter(|attachment| attachment.ipam == PLUGIN)
            .collect();
        self.note_gone(&ours, view, now);
        let mut inhabited = None;
        let mut dead = BTreeSet::new();
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
        collected.failed.extend(release_orphans(store).err());
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

/// Gives back addresses whose owner has no attachment: an ADD was killed between the two.
fn release_orphans(store: &Store) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| error.to_string();
    let links = store.links().map_err(|error| failed(&error))?;
    let known = store.keys().map_err(|error| failed(&error))?;
    let orphans: BTreeMap<AttachmentKey, Vec<IpAddr>> = links
        .into_iter()
        .filter_map(|(ip, owner)| Some((owner.filter(|owner| !known.contains(owner))?, ip)))
        .fold(BTreeMap::new(), |mut orphans, (owner, ip)| {
            orphans.entry(owner).or_insert_with(Vec::new).push(ip);
            orphans
        });
    for (owner, ips) in orphans {
        let is_old = |ip: &IpAddr| age(&store.link(*ip)).is_some_and(|age| age >= LINK_AGE);
        if ips.iter().all(is_old) {
            detach(store, &owner, || Ok(())).map_err(|error| failed(&error))?;
            tracing::info!(%owner, "addresses given back: nobody has them");
        }
    }
    Ok(())
}

fn age(link: &Path) -> Option<Duration> {
    let modified = fs::symlink_metadata(link).ok()?.modified().ok()?;
    SystemTime::now().duration_since(modified).ok()
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
