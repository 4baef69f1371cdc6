//! How this cluster's nodes do it, by all that were read: what all others have, one must have too.

use super::{Concern, Configuration, lookup::Routes};
use crate::verify::{
    evidence::{Evidence, Looked},
    network::Network,
    objects::Objects,
};
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// How nodes of the cluster do it, and where its pods are.
#[derive(Debug, Default)]
pub struct Habits<'a> {
    /// Some node has a route to another's range that is no default: the fabric does not do it for them.
    pub has_ways: bool,
    /// Name of the network where pods get their interfaces from plugins of containernetworking/plugins, and routes are made by hand.
    pub style: Option<&'static str>,
    /// Ranges of all nodes that pods there really have addresses in.
    pub ranges: Vec<Range<'a>>,
    /// Nodes by their InternalIPs.
    pub owners: BTreeMap<IpAddr, &'a str>,
}

/// A range of a node.
#[derive(Debug)]
pub struct Range<'a> {
    /// The node.
    pub node: &'a str,
    /// Its addresses.
    pub net: IpNet,
    /// The node's own address of that family.
    pub internal_ip: Option<IpAddr>,
    /// Pods' addresses in it; never empty.
    pub ips: Vec<IpAddr>,
}

/// Plugins that make interfaces which the node routes to.
const STYLES: [(&str, &str); 2] = [
    ("ptp", "reference plugins (ptp)"),
    ("bridge", "reference plugins (bridge)"),
];
/// All of containernetworking/plugins but for those that make interfaces of other kinds.
const REFERENCE: [&str; 12] = [
    "ptp",
    "bridge",
    "host-local",
    "dhcp",
    "static",
    "portmap",
    "bandwidth",
    "tuning",
    "firewall",
    "sbr",
    "vrf",
    "loopback",
];

impl<'a> Habits<'a> {
    /// By everything that was read; nothing where the network knows its ways itself.
    pub fn of(evidence: &'a Evidence, network: Option<&dyn Network>) -> Self {
        if !super::is_left(network, Concern::Ways) {
            return Self::default();
        }
        let mut habits = Self {
            has_ways: false,
            style: network.is_none().then(|| style_of_all(evidence)).flatten(),
            ranges: ranges(&evidence.objects),
            owners: BTreeMap::new(),
        };
        for node in &evidence.objects.nodes {
            let ips = node.internal_ips.iter().filter_map(|ip| ip.parse().ok());
            habits.owners.extend(ips.map(|ip| (ip, node.name.as_str())));
        }
        habits.has_ways = looked(evidence).any(|(node, looked)| {
            let routes = Routes::of(&looked.record.node.net);
            habits.ranges.iter().filter(|other| other.node != node).any(|other| {
                let best = other.ips.first().and_then(|ip| routes.best(*ip));
                best.is_some_and(|route| route.destination.contains(&other.net))
            })
        });
        habits
    }
}

fn looked(evidence: &Evidence) -> impl Iterator<Item = (&str, &Looked)> {
    evidence
        .nodes
        .iter()
        .filter_map(|(node, looked)| Some((node.as_str(), looked.as_ref().ok()?)))
}

/// The style of all nodes, if they have one.
fn style_of_all(evidence: &Evidence) -> Option<&'static str> {
    let mut styles = looked(evidence)
        .filter_map(|(_, looked)| Configuration::first(&looked.record).ok().flatten())
        .map(|configuration| style(&configuration));
    let first = styles.next()??;
    styles.all(|other| other == Some(first)).then_some(first)
}

/// The style of a configuration of reference plugins.
pub fn style(configuration: &Configuration) -> Option<&'static str> {
    let is_reference = |kind: &String| REFERENCE.contains(&kind.as_str());
    let (_, name) = STYLES.iter().find(|(kind, _)| *kind == configuration.first)?;
    configuration.types.iter().all(is_reference).then_some(*name)
}

fn ranges(objects: &Objects) -> Vec<Range<'_>> {
    let mut by_node: BTreeMap<&str, Vec<IpAddr>> = BTreeMap::new();
    for pod in objects.pods.iter().filter(|pod| pod.is_wired()) {
        by_node.entry(&pod.node).or_default().extend(&pod.ips);
    }
    let mut ranges = Vec::new();
    for node in &objects.nodes {
        let all = by_node.get(node.name.as_str()).map(Vec::as_slice).unwrap_or_default();
        for net in node.pod_cidrs.iter().filter_map(|range| range.parse::<IpNet>().ok()) {
            let ips: Vec<IpAddr> = all.iter().copied().filter(|ip| net.contains(ip)).collect();
            let mut own = node.internal_ips.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
            if !ips.is_empty() {
                ranges.push(Range {
                    node: &node.name,
                    net,
                    internal_ip: own.find(|ip| ip.is_ipv4() == net.addr().is_ipv4()),
                    ips,
                });
            }
        }
    }
    ranges
}
