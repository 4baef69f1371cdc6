//! What can be said of pods' addresses by the API alone, whatever the network.

use super::{
    found::Found,
    objects::{Objects, PodObject},
};
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// Which pods have an address.
pub type Owners<'a> = BTreeMap<IpAddr, Vec<&'a PodObject>>;

/// Who has which address, of all pods that must have one.
pub fn owners(objects: &Objects) -> Owners<'_> {
    let mut owners = Owners::new();
    for pod in objects.pods.iter().filter(|pod| pod.is_wired()) {
        for ip in &pod.ips {
            owners.entry(*ip).or_default().push(pod);
        }
    }
    owners
}

/// Pods of a node whose addresses are another's, or not of the node.
pub fn differences(objects: &Objects, owners: &Owners<'_>, node: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let ranges: Vec<IpNet> = objects
        .nodes
        .iter()
        .filter(|object| object.name == node)
        .flat_map(|object| &object.pod_cidrs)
        .filter_map(|range| range.parse().ok())
        .collect();
    for pod in objects.wired_on(node) {
        for ip in &pod.ips {
            let has_range = ranges.iter().any(|range| range.addr().is_ipv4() == ip.is_ipv4());
            if has_range && !ranges.iter().any(|range| range.contains(ip)) {
                let ranges: Vec<String> = ranges.iter().map(ToString::to_string).collect();
                found.push(
                    Found::new(
                        "verify-pod-range",
                        format!("{} {ip}", pod.full_name()),
                        format!("an address in {}", ranges.join(" or ")),
                        ip.to_string(),
                    )
                    .fix(format!("kubectl -n {} delete pod {}", pod.namespace, pod.name)),
                );
            }
            let others: Vec<String> = owners
                .get(ip)
                .into_iter()
                .flatten()
                .filter(|other| other.uid != pod.uid)
                .map(|other| other.full_name())
                .collect();
            if !others.is_empty() {
                found.push(
                    Found::new(
                        "verify-pod-ip-shared",
                        format!("{} {ip}", pod.full_name()),
                        "an address of its own",
                        format!("{} has it too", others.join(", ")),
                    )
                    .fix("delete the younger of them; a controller makes it anew"),
                );
            }
        }
    }
    found
}
