//! What was written down about attachments: the cache of libcni, which every runtime has whatever the plugin, and addresses that `host-local` has
//! given out.

use super::{Configuration, room};
use crate::verify::{
    found::Found,
    objects::{Objects, PodObject},
};
use ipnet::IpNet;
use netcheck_node_state::record::{Entry, NodeRecord};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// `CacheDir` of libcni, and where newer containerd keeps it.
const CACHES: [&str; 2] = ["/var/lib/cni/results", "/var/lib/cni/cache/results"];
const NAMESPACES: &str = "/run/netns";
/// What comes and goes is written down before it is there and after it is gone: a sandbox's removal may be tried again for minutes.
const GRACE_SECONDS: u64 = 600;

/// Folders that are read.
pub const FOLDERS: [(&str, bool); 5] = [
    (CACHES[0], true),
    (CACHES[1], true),
    (NAMESPACES, false),
    // A folder for each network: that of `host-local`, and kindnet's.
    ("/var/lib/cni/networks/*", true),
    ("/run/cni-ipam-state/*", true),
];

/// An attachment as libcni keeps it (`cachedInfo` of libcni/api.go).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    kind: String,
    container_id: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    netns: String,
    #[serde(default)]
    cni_args: Option<Vec<(String, String)>>,
    #[serde(default)]
    result: Option<Outcome>,
}

/// A plugin's result, as far as it counts (CNI spec 1.1.0, section 5).
#[derive(Debug, Default, Deserialize)]
struct Outcome {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
    #[serde(default)]
    routes: Vec<RouteTo>,
}

#[derive(Debug, Deserialize)]
struct Interface {
    #[serde(default)]
    sandbox: String,
}

#[derive(Debug, Deserialize)]
struct Ip {
    address: IpNet,
}

#[derive(Debug, Deserialize)]
struct RouteTo {
    dst: IpNet,
}

impl Cached {
    fn argument(&self, key: &str) -> Option<&str> {
        let mut all = self.cni_args.iter().flatten();
        all.find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// The path of its network namespace; libcni before 1.0 leaves it to the result.
    fn netns(&self) -> Option<&str> {
        let interfaces = self.result.iter().flat_map(|result| &result.interfaces);
        let mut paths = std::iter::once(&self.netns).chain(interfaces.map(|interface| &interface.sandbox));
        paths.find(|path| !path.is_empty()).map(String::as_str)
    }

    fn ips(&self) -> impl Iterator<Item = IpAddr> {
        self.result
            .iter()
            .flat_map(|result| &result.ips)
            .map(|ip| ip.address.addr())
    }
}

/// What was read of it: only what a runtime of Kubernetes has written for pods.
#[derive(Debug, Default)]
pub struct Attachments<'a> {
    /// By the UIDs of pods.
    by_pod: BTreeMap<String, Vec<Kept<'a>>>,
    namespaces: Option<&'a BTreeMap<String, Entry>>,
}

/// An entry of the cache.
#[derive(Debug)]
struct Kept<'a> {
    path: String,
    entry: &'a Entry,
    cached: Cached,
}

impl<'a> Attachments<'a> {
    /// Takes it from a record. Entries that are cut off are left out: libcni leaves them out as well.
    pub fn read(record: &'a NodeRecord) -> Self {
        let mut attachments = Self {
            by_pod: BTreeMap::new(),
            namespaces: record.folders.get(NAMESPACES).and_then(|folder| folder.as_ref().ok()),
        };
        for folder in CACHES {
            let Some(Ok(entries)) = record.folders.get(folder) else {
                continue;
            };
            for (name, entry) in entries {
                let Some(Ok(text)) = &entry.text else { continue };
                let Ok(cached) = serde_json::from_str::<Cached>(text) else {
                    continue;
                };
                let uid = cached.argument("K8S_POD_UID").map(str::to_owned);
                // A sandbox's loopback says nothing that its interface does not.
                let counts = cached.kind == "cniCacheV1" && cached.if_name != "lo";
                let Some(uid) = uid.filter(|_| counts) else {
                    continue;
                };
                let path = format!("{folder}/{name}");
                attachments
                    .by_pod
                    .entry(uid)
                    .or_default()
                    .push(Kept { path, entry, cached });
            }
        }
        attachments
    }

    /// Whether a plugin gave a pod a default route.
    pub fn gave_default(&self, pod: &PodObject, is_v4: bool) -> bool {
        let results = self.by_pod.get(&pod.uid).into_iter().flatten();
        let mut routes = results
            .filter_map(|kept| kept.cached.result.as_ref())
            .flat_map(|result| &result.routes);
        routes.any(|route| route.dst.prefix_len() == 0 && route.dst.addr().is_ipv4() == is_v4)
    }

    fn is_gone(&self, netns: &str) -> bool {
        let name = netns
            .strip_prefix("/var/run/netns/")
            .or_else(|| netns.strip_prefix("/run/netns/"));
        match (self.namespaces, name) {
            (Some(names), Some(name)) => !names.contains_key(name),
            _ => false,
        }
    }

    /// Compares it with the API.
    pub fn judge(
        &self,
        objects: &Objects,
        node: &str,
        record: &NodeRecord,
        first: Option<&Configuration>,
        found: &mut Vec<Found>,
    ) {
        let pods: BTreeMap<&str, &PodObject> = objects
            .pods
            .iter()
            .filter(|pod| pod.node == node)
            .map(|pod| (pod.uid.as_str(), pod))
            .collect();
        for (uid, all) in &self.by_pod {
            match pods.get(uid.as_str()) {
                Some(pod) if pod.is_wired() => found.extend(unlike(pod, all)),
                Some(_) => {}
                None => found.extend(all.iter().filter(|kept| self.is_leaked(kept)).map(leaked)),
            }
        }
        if let Some((first, folder)) = first.and_then(|first| Some((first, first.host_local.as_deref()?))) {
            let folder = format!("{folder}/{}", first.name);
            if let Some(Ok(given)) = record.folders.get(&folder) {
                let all = given.keys().filter_map(|name| name.parse().ok()).collect();
                room::addresses(&objects.ranges_of(node), &all, &folder, found);
                self.addresses(&pods, &folder, given, found);
            }
        }
    }

    fn is_leaked(&self, kept: &Kept<'_>) -> bool {
        kept.entry.age_seconds > GRACE_SECONDS && kept.cached.netns().is_some_and(|netns| self.is_gone(netns))
    }

    /// Addresses that `host-local` has given out: a file for each, with the container's id and its interface.
    fn addresses(
        &self,
        pods: &BTreeMap<&str, &PodObject>,
        folder: &str,
        given: &BTreeMap<String, Entry>,
        found: &mut Vec<Found>,
    ) {
        let look = |ip: &IpAddr| format!("cat {folder}/{ip}");
        let containers: BTreeSet<&str> = self
            .by_pod
            .values()
            .flatten()
            .map(|kept| kept.cached.container_id.as_str())
            .collect();
        let given: BTreeMap<IpAddr, (&str, u64)> = given
            .iter()
            .filter_map(|(name, entry)| {
                let text = entry.text.as_ref()?.as_ref().ok()?;
                Some((name.parse().ok()?, (text.lines().next()?.trim(), entry.age_seconds)))
            })
            .collect();
        let mut owners: BTreeMap<IpAddr, &PodObject> = BTreeMap::new();
        for pod in pods.values().filter(|pod| pod.is_wired()) {
            owners.extend(pod.ips.iter().map(|ip| (*ip, *pod)));
        }
        for (ip, (container, age)) in &given {
            if !containers.contains(container) && !owners.contains_key(ip) && *age > GRACE_SECONDS {
                found.push(
                    Found::new(
                        "verify-address-leaked",
                        ip.to_string(),
                        "every address given out has a pod",
                        format!("container {container} has it, and there is none"),
                    )
                    .look(look(ip))
                    .fix(format!(
                        "rm {folder}/{ip}, once crictl pods shows no sandbox {container}"
                    )),
                );
            }
        }
        for (uid, kept) in &self.by_pod {
            let Some(pod) = pods.get(uid.as_str()).filter(|pod| pod.is_wired()) else {
                continue;
            };
            // Of several sandboxes only the pod's last counts.
            let ips = kept
                .iter()
                .flat_map(|kept| kept.cached.ips().map(|ip| (ip, kept.cached.container_id.as_str())));
            for (ip, container) in ips.filter(|(ip, _)| pod.ips.contains(ip)) {
                let actual = match given.get(&ip) {
                    None => "it counts as free: another pod may get it too".to_owned(),
                    Some((other, _)) if *other != container => format!("it is given out to container {other}"),
                    Some(_) => continue,
                };
                found.push(
                    Found::new(
                        "verify-address-lost",
                        ip.to_string(),
                        format!("{ip} is given out to {} (container {container})", pod.full_name()),
                        actual,
                    )
                    .look(look(&ip))
                    .fix(format!("kubectl -n {} delete pod {}", pod.namespace, pod.name)),
                );
            }
        }
    }
}

/// A pod for which no attachment says what the API tells.
fn unlike(pod: &PodObject, all: &[Kept<'_>]) -> Option<Found> {
    let told: BTreeSet<IpAddr> = pod.ips.iter().copied().collect();
    let given: BTreeSet<IpAddr> = all.iter().flat_map(|kept| kept.cached.ips()).collect();
    // Plugins of old tell nothing that is understood here.
    if given.is_empty() || told.is_subset(&given) {
        return None;
    }
    let list = |ips: &BTreeSet<IpAddr>| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    Some(
        Found::new(
            "verify-pod-address",
            pod.full_name(),
            format!("the addresses that the API tells: {}", list(&told)),
            format!("its plugin gave it {}", list(&given)),
        )
        .look(format!("cat {}", all.first()?.path))
        .fix(format!("kubectl -n {} delete pod {}", pod.namespace, pod.name)),
    )
}

fn leaked(kept: &Kept<'_>) -> Found {
    let cached = &kept.cached;
    let pod = [cached.argument("K8S_POD_NAMESPACE"), cached.argument("K8S_POD_NAME")];
    let pod: Vec<&str> = pod.into_iter().flatten().collect();
    Found::new(
        "verify-cache-leaked",
        format!("{} {} {}", cached.network_name, cached.container_id, cached.if_name),
        "nothing of a pod that is gone",
        format!(
            "{} is gone, and the runtime's CNI library still has its {}",
            pod.join("/"),
            cached.if_name
        ),
    )
    .look(format!("cat {}; crictl pods --id {}", kept.path, cached.container_id))
    .fix(format!("rm {}, once crictl pods shows no such sandbox", kept.path))
}
