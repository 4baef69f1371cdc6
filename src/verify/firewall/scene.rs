//! What test packets are made of: a node's addresses, pods and ways.

use crate::verify::{
    evidence::Looked,
    group::Group,
    network::{Differences, Unchecked},
    objects::Objects,
};
use ipnet::IpNet;
use netcheck_cni_intent::NodeObject;
use netcheck_node_state::{Route, RouteKind, record::NodeRecord};
use netcheck_ruleset::{Family, Flavour, Ruleset, Sets, Undecidable};
use std::{collections::BTreeSet, net::IpAddr};

/// Under this name a record has the answer to `ipset save`.
const IPSET: &str = "ipset";

/// `RT_TABLE_MAIN` of linux/rtnetlink.h.
const MAIN: u32 = 254;
/// Pods of each side that packets go between: a policy may keep one of them from another.
const PODS: usize = 3;
/// Nodes of which each is looked at by itself: every walk through the rules takes time, and each node walks for others.
const NODES: usize = 8;
/// How many of a range's addresses are looked at for one that no pod has.
const HOSTS: usize = 200;
/// Addresses that are nobody's (RFC 5737, RFC 3849), for what is outside.
const OUTSIDE: [&str; 5] = [
    "203.0.113.77",
    "198.51.100.77",
    "192.0.2.77",
    "2001:db8:ffff:77::77",
    "2001:db8:77::77",
];

/// A node, and what was read of it.
#[derive(Debug)]
pub struct Scene<'a> {
    /// What the API says.
    pub objects: &'a Objects,
    /// The node's name.
    pub node: &'a str,
    /// What was read of it.
    pub record: &'a NodeRecord,
    rules: Result<Ruleset, String>,
    /// What of the rules could not be read.
    unread: Vec<String>,
}

/// An address, and the device by which its packets come or leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End<'a> {
    /// The address.
    pub ip: IpAddr,
    /// The device; `None`: not known.
    pub device: Option<&'a str>,
}

impl<'a> Scene<'a> {
    /// Reads a node's rules.
    pub fn new(objects: &'a Objects, node: &'a str, looked: &'a Looked) -> Self {
        let record = &looked.record;
        let mut unread = Vec::new();
        let mut texts = Vec::new();
        // Without it, what asks a set is not decidable.
        let sets = record.iptables.get(IPSET).and_then(|text| text.as_ref().ok());
        let sets = Sets::read(sets.map(String::as_str).unwrap_or_default());
        for (program, text) in record.iptables.iter().filter(|(program, _)| *program != IPSET) {
            let family = if program.starts_with("ip6") {
                Family::Ip6
            } else {
                Family::Ip
            };
            let flavour = if program.contains("legacy") {
                Flavour::IptablesLegacy
            } else {
                Flavour::IptablesNft
            };
            match text {
                Ok(text) => texts.push((family, flavour, text.as_str())),
                Err(why) => unread.push(format!("{program}: {why}")),
            }
        }
        let addresses = record.node.net.addresses.iter().map(|address| address.ip);
        let rules = record.nft.as_ref();
        let rules = rules.map(|nft| Ruleset::read(Some(nft), texts, &sets).with_locals(addresses));
        Self {
            objects,
            node,
            record,
            rules: rules.map_err(Clone::clone),
            unread,
        }
    }

    /// The rules, if all of them could be read; else it is said why that group was not checked.
    pub fn ruleset(&self, group: Group, differences: &mut Differences) -> Option<&Ruleset> {
        let mut say = |why: &str| {
            differences.unchecked.push(Unchecked {
                group,
                why: why.to_owned(),
            });
        };
        match &self.rules {
            // A chain that was not read may drop anything.
            Ok(ruleset) if self.unread.is_empty() => Some(ruleset),
            Ok(_) => {
                self.unread.iter().for_each(|why| say(why));
                None
            }
            Err(why) => {
                say(why);
                None
            }
        }
    }

    /// The route by which packets to an address leave, of the main table.
    pub fn route(&self, ip: IpAddr) -> Option<&'a Route> {
        let routes = self.record.node.net.routes.iter();
        let fit = routes.filter(|route| route.table == MAIN && route.destination.contains(&ip));
        fit.max_by_key(|route| (route.destination.prefix_len(), std::cmp::Reverse(route.metric)))
            .filter(|route| route.kind == RouteKind::Unicast)
    }

    /// The device by which packets to an address leave, and those of it come.
    pub fn device(&self, ip: IpAddr) -> Option<&'a str> {
        let route = self.route(ip)?;
        let first = route.next_hops.first().and_then(|hop| hop.device.as_deref());
        route.device.as_deref().or(first)
    }

    /// The device of the default route.
    pub fn device_outside(&self, is_v6: bool) -> Option<&'a str> {
        self.outside(is_v6)?.device
    }

    fn end(&self, ip: IpAddr) -> End<'a> {
        End {
            ip,
            device: self.device(ip),
        }
    }

    /// Some of the node's pods.
    pub fn pods_here(&self, is_v6: bool) -> Vec<End<'a>> {
        let pods = self.objects.wired_on(self.node).flat_map(|pod| &pod.ips);
        self.some(pods.copied(), is_v6, &mut |node| node == self.node)
    }

    /// Some of other nodes' pods.
    pub fn pods_elsewhere(&self, is_v6: bool) -> Vec<End<'a>> {
        let others = self.objects.pods.iter();
        let others = others.filter(|pod| pod.node != self.node && pod.is_wired());
        let pods = others.flat_map(|pod| &pod.ips);
        self.some(pods.copied(), is_v6, &mut |node| node != self.node)
    }

    /// Where there are no pods, an address that one could have, if the network gives them out of the nodes' ranges.
    fn some(
        &self,
        pods: impl Iterator<Item = IpAddr>,
        is_v6: bool,
        is_of: &mut dyn FnMut(&str) -> bool,
    ) -> Vec<End<'a>> {
        let of_family = pods.filter(|ip| ip.is_ipv6() == is_v6);
        let mut ends: Vec<End<'_>> = of_family.take(PODS).map(|ip| self.end(ip)).collect();
        if ends.is_empty() {
            let mut nodes = self.objects.nodes.iter().filter(|node| is_of(&node.name));
            let ip = nodes.find_map(|node| self.hosts(node, is_v6)?.next_back());
            ends.extend(ip.map(|ip| self.end(ip)));
        }
        ends
    }

    /// An address that a pod could have on each of some other nodes and none has, where packets to them go the pods' way. Nodes begin with
    /// this one's next, so that all nodes together look at each.
    pub fn spare_elsewhere(&self, given: &BTreeSet<IpAddr>, is_v6: bool) -> Vec<(&'a str, End<'a>)> {
        let nodes = &self.objects.nodes;
        let own = nodes.iter().position(|node| node.name == self.node).unwrap_or(0);
        let others = nodes.iter().cycle().skip(own + 1).take(nodes.len().saturating_sub(1));
        let spare = others.filter_map(|node| {
            let ip = self.hosts(node, is_v6)?.rev().find(|ip| !given.contains(ip))?;
            let has_route = self.route(ip).is_some_and(|route| route.destination.prefix_len() > 0);
            has_route.then(|| (node.name.as_str(), self.end(ip)))
        });
        spare.take(NODES).collect()
    }

    /// The first addresses that pods of a node could have, if the network gives them out of the nodes' ranges.
    fn hosts(&self, node: &NodeObject, is_v6: bool) -> Option<std::vec::IntoIter<IpAddr>> {
        let by_range = self.objects.bundled.is_some() || self.objects.flannel.is_some();
        let ranges = node.pod_cidrs.iter().filter_map(|range| range.parse::<IpNet>().ok());
        let mut ranges = ranges.filter(|range| by_range && range.addr().is_ipv6() == is_v6);
        let hosts: Vec<IpAddr> = ranges.next()?.hosts().take(HOSTS).collect();
        Some(hosts.into_iter())
    }

    /// Addresses by which other nodes are reached, of a family.
    pub fn peers(&self, is_v6: bool) -> Vec<IpAddr> {
        let others = self.objects.nodes.iter().filter(|node| node.name != self.node);
        addresses(others.flat_map(|node| &node.internal_ips), is_v6)
    }

    /// The node's own.
    pub fn own(&self, is_v6: bool) -> Vec<IpAddr> {
        let own = self.objects.nodes.iter().filter(|node| node.name == self.node);
        addresses(own.flat_map(|node| &node.internal_ips), is_v6)
    }

    /// Somebody outside of the cluster, behind the default route; `None` without one.
    pub fn outside(&self, is_v6: bool) -> Option<End<'a>> {
        let candidates = OUTSIDE.iter().filter_map(|ip| ip.parse::<IpAddr>().ok());
        let mut candidates = candidates.filter(|ip| ip.is_ipv6() == is_v6);
        // Behind any other route it may be a part of somebody's network.
        let ip = candidates.find(|ip| self.route(*ip).is_some_and(|route| route.destination.prefix_len() == 0))?;
        Some(self.end(ip))
    }
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>, is_v6: bool) -> Vec<IpAddr> {
    texts
        .filter_map(|text| text.parse::<IpAddr>().ok())
        .filter(|ip| ip.is_ipv6() == is_v6)
        .collect()
}

/// Says what cannot be decided, each once.
pub fn undecidable(differences: &mut Differences, group: Group, why: &BTreeSet<String>) {
    let more = why.iter().map(|why| Unchecked {
        group,
        why: why.clone(),
    });
    differences.unchecked.extend(more);
}

/// Collects what cannot be decided.
pub fn or_unknown<T>(result: Result<T, Undecidable>, unknown: &mut BTreeSet<String>) -> Option<T> {
    result.map_err(|why| unknown.insert(why.to_string())).ok()
}
