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

/// Whether pods mostly have addresses of their nodes' ranges: some networks give them out by books of their own.
pub fn has_ranges(objects: &Objects) -> bool {
    let ranges: BTreeMap<&str, Vec<IpNet>> = objects
        .nodes
        .iter()
        .map(|node| {
            let ranges = node.pod_cidrs.iter().filter_map(|range| range.parse().ok());
            (node.name.as_str(), ranges.collect())
        })
        .collect();
    let (mut inside, mut all) = (0_usize, 0_usize);
    for pod in objects.pods.iter().filter(|pod| pod.is_wired()) {
        let ranges = ranges.get(pod.node.as_str()).map(Vec::as_slice).unwrap_or_default();
        for ip in &pod.ips {
            all += 1;
            inside += usize::from(ranges.iter().any(|range| range.contains(ip)));
        }
    }
    inside * 2 > all
}

/// Pods of a node whose addresses are another's, or not of the node where they must be (`has_ranges`).
pub fn differences(objects: &Objects, owners: &Owners<'_>, has_ranges: bool, node: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let ranges = objects.ranges_of(node);
    for pod in objects.wired_on(node) {
        for ip in &pod.ips {
            let has_range = has_ranges && ranges.iter().any(|range| range.addr().is_ipv4() == ip.is_ipv4());
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
