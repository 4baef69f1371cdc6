//! Which nodes count (SPEC.md, section 3). The same on every node, whatever order the objects come in.

use crate::{
    config::{Config, range},
    derive::vtep_mac,
    family::{Family, PerFamily},
    inputs::NodeObject,
    names::{ANNOTATION_MTU, ANNOTATION_UNDERLAY},
};
use ipnet::IpNet;
use netcheck_node_state::Mac;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// Why a node, or a pair of nodes, does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The Node has no podCIDR yet.
    NoPodCIDR,
    /// A podCIDR cannot be used.
    InvalidPodCIDR,
    /// The Node has no InternalIP of a family that is wanted.
    NoInternalIP,
    /// An older node has its InternalIP.
    DuplicateInternalIP,
    /// An older node has a podCIDR that overlaps.
    DuplicatePodCIDR,
    /// Its podCIDR contains some node's InternalIP.
    PodCIDRHoldsNodeAddress,
    /// An older node has the same derived hardware address.
    DuplicateVtepMAC,
    /// Of a pair: their underlay families differ.
    NoCommonUnderlay,
    /// Of a pair: they are not on one link, and the backend wants that.
    NotOnLink,
    /// Of a pair: one of them has not published yet where it is.
    AwaitingUnderlay,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are named as SPEC.md names them.
        fmt::Debug::fmt(self, formatter)
    }
}

/// A node, read from its object.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// Its object.
    pub object: &'a NodeObject,
    /// Its ranges, those that can be read.
    pub ranges: Vec<IpNet>,
    /// The first InternalIP of each family.
    pub internal: PerFamily<IpAddr>,
    /// Its underlay family, if it has an InternalIP for one.
    pub underlay: Option<Family>,
    /// Its derived hardware address.
    pub mac: Mac,
    /// What it published of its underlay, if it did: the first address of each family, with the interface's prefix.
    pub published: Option<PerFamily<IpNet>>,
    /// The MTU that it published, or the text that is none.
    pub published_mtu: Option<Result<u32, &'a str>>,
}

impl<'a> Member<'a> {
    fn read(object: &'a NodeObject, config: &Config) -> Self {
        let mut internal = PerFamily::default();
        for ip in object
            .internal_ips
            .iter()
            .filter_map(|text| text.parse::<IpAddr>().ok())
        {
            internal.put_first(Family::of(ip), ip);
        }
        let mut families = Family::BOTH.into_iter();
        let underlay = match config.underlay {
            Some(family) => Some(family).filter(|&family| internal.get(family).is_some()),
            None => families.find(|&family| internal.get(family).is_some()),
        };
        let published_mtu = object.annotations.get(ANNOTATION_MTU);
        Self {
            object,
            ranges: object.pod_cidrs.iter().filter_map(|text| range(text)).collect(),
            internal,
            underlay,
            mac: vtep_mac(&object.name),
            published: object
                .annotations
                .get(ANNOTATION_UNDERLAY)
                .map(|text| underlay_of(text)),
            published_mtu: published_mtu.map(|text| text.parse().map_err(|_| text.as_str())),
        }
    }

    /// Its name.
    pub fn name(&self) -> &'a str {
        &self.object.name
    }

    /// The families of its ranges.
    pub fn range_families(&self) -> BTreeSet<Family> {
        self.ranges.iter().map(Family::of_net).collect()
    }

    /// What is wrong with it alone.
    fn own_fault(&self) -> Option<Reason> {
        if self.object.pod_cidrs.is_empty() {
            return Some(Reason::NoPodCIDR);
        }
        let one_of_each = self.range_families().len() == self.object.pod_cidrs.len();
        // The first two addresses and IPv4's last are kept; smaller ranges would hold hardly a pod.
        let large = |net: &IpNet| net.prefix_len() <= net.max_prefix_len() - if net.addr().is_ipv4() { 3 } else { 5 };
        if self.ranges.len() != self.object.pod_cidrs.len() || !one_of_each || !self.ranges.iter().all(large) {
            return Some(Reason::InvalidPodCIDR);
        }
        self.underlay.is_none().then_some(Reason::NoInternalIP)
    }
}

/// Reads the annotation: addresses with prefix lengths, with commas between them. What cannot be read is as if not said.
fn underlay_of(text: &str) -> PerFamily<IpNet> {
    let mut published = PerFamily::default();
    for net in text.split(',').filter_map(|word| word.trim().parse::<IpNet>().ok()) {
        published.put_first(Family::of_net(&net), net);
    }
    published
}

/// All nodes, divided into those that count and those that do not.
#[derive(Debug, Clone)]
pub struct Census<'a> {
    /// Those that count, by name.
    pub accepted: BTreeMap<&'a str, Member<'a>>,
    /// Those that do not, by name, each with the first reason that applies.
    pub refused: BTreeMap<&'a str, (Member<'a>, Reason)>,
}

/// Takes the nodes in the order of (creation, name); what an older one has, a younger one cannot have.
pub fn census<'a>(nodes: &'a [NodeObject], config: &Config) -> Census<'a> {
    let mut members: Vec<_> = nodes.iter().map(|object| Member::read(object, config)).collect();
    members.sort_by_key(|member| (&member.object.created, &member.object.name));
    let addresses: BTreeSet<IpAddr> = members
        .iter()
        .flat_map(|member| member.internal.iter().copied())
        .collect();
    let mut taken = Taken::default();
    let mut found = Census {
        accepted: BTreeMap::new(),
        refused: BTreeMap::new(),
    };
    for member in members {
        let fault = member.own_fault().or_else(|| taken.clash(&member, &addresses));
        if let Some(reason) = fault {
            found.refused.insert(member.name(), (member, reason));
        } else {
            taken.take(&member);
            found.accepted.insert(member.name(), member);
        }
    }
    found
}

/// What accepted nodes have.
#[derive(Default)]
struct Taken {
    internal: BTreeSet<IpAddr>,
    /// First address of each range → its last; they do not overlap.
    ranges: BTreeMap<IpAddr, IpAddr>,
    macs: BTreeSet<Mac>,
}

impl Taken {
    fn clash(&self, member: &Member<'_>, addresses: &BTreeSet<IpAddr>) -> Option<Reason> {
        // IPv4 sorts before IPv6, so one map serves both families.
        let overlaps = |net: &IpNet| {
            let before = self.ranges.range(..=net.broadcast()).next_back();
            before.is_some_and(|(_, &last)| last >= net.network())
        };
        let holds_node = |net: &IpNet| addresses.range(net.network()..=net.broadcast()).next().is_some();
        if member.internal.iter().any(|ip| self.internal.contains(ip)) {
            Some(Reason::DuplicateInternalIP)
        } else if member.ranges.iter().any(overlaps) {
            Some(Reason::DuplicatePodCIDR)
        } else if member.ranges.iter().any(holds_node) {
            Some(Reason::PodCIDRHoldsNodeAddress)
        } else {
            self.macs.contains(&member.mac).then_some(Reason::DuplicateVtepMAC)
        }
    }

    fn take(&mut self, member: &Member<'_>) {
        self.internal.extend(member.internal.iter().copied());
        self.ranges
            .extend(member.ranges.iter().map(|net| (net.network(), net.broadcast())));
        self.macs.insert(member.mac);
    }
}

#[cfg(test)]
mod tests {
    use super::{Census, Reason, census};
    use crate::{
        config::Config,
        family::Family,
        inputs::NodeObject,
        names::{ANNOTATION_MTU, ANNOTATION_UNDERLAY},
    };
    use std::collections::BTreeMap;

    fn config(underlay: &str) -> Config {
        let data = [("clusterCIDRs", "10.244.0.0/16"), ("underlay", underlay)];
        Config::parse(&BTreeMap::from(
            data.map(|(key, value)| (key.to_owned(), value.to_owned())),
        ))
        .unwrap()
    }

    fn node(name: &str, created: u8, ranges: &[&str], internal: &[&str]) -> NodeObject {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        NodeObject {
            name: name.to_owned(),
            created: format!("2026-01-01T00:00:{created:02}Z"),
            pod_cidrs: owned(ranges),
            internal_ips: owned(internal),
            ..NodeObject::default()
        }
    }

    fn reason(found: &Census<'_>, name: &str) -> Option<Reason> {
        found.refused.get(name).map(|(_, reason)| *reason)
    }

    /// podCIDRs, InternalIPs, `underlay`, and what becomes of the node.
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, Option<Reason>);

    #[test]
    fn a_node_alone_is_refused_for_its_first_fault() {
        let ip: &[&str] = &["192.0.2.11"];
        let good = "10.244.1.0/24";
        let cases: [Case<'_>; 17] = [
            (&[], ip, "auto", Some(Reason::NoPodCIDR)),
            (&[], &[], "auto", Some(Reason::NoPodCIDR)),
            (&["10.244.1/24"], ip, "auto", Some(Reason::InvalidPodCIDR)),
            (&["10.244.1.1/24"], ip, "auto", Some(Reason::InvalidPodCIDR)),
            (&[good, "10.244.2.0/24"], ip, "auto", Some(Reason::InvalidPodCIDR)),
            (&[good, "x"], ip, "auto", Some(Reason::InvalidPodCIDR)),
            (&["10.244.1.0/30"], ip, "auto", Some(Reason::InvalidPodCIDR)),
            (&["10.244.1.0/29"], ip, "auto", None),
            (&["fd00::/124"], ip, "auto", Some(Reason::InvalidPodCIDR)),
            (&["fd00::/123"], ip, "auto", None),
            (&[good], &[], "auto", Some(Reason::NoInternalIP)),
            (&[good], &["node.example"], "auto", Some(Reason::NoInternalIP)),
            (&[good], ip, "ipv6", Some(Reason::NoInternalIP)),
            (&[good], &["2001:db8::1"], "ipv4", Some(Reason::NoInternalIP)),
            (&["192.0.2.0/24"], ip, "auto", Some(Reason::PodCIDRHoldsNodeAddress)),
            (&[good, "fd00::/64"], ip, "auto", None),
            (&[good], ip, "ipv4", None),
        ];
        for (ranges, internal, underlay, wanted) in cases {
            let nodes = [node("n1", 1, ranges, internal)];
            let found = census(&nodes, &config(underlay));
            assert_eq!(reason(&found, "n1"), wanted, "{ranges:?} {internal:?} {underlay}");
            assert_eq!(found.accepted.contains_key("n1"), wanted.is_none());
        }
    }

    #[test]
    fn what_the_older_node_has_the_younger_one_cannot_have() {
        let older = node(
            "n9",
            1,
            &["10.244.0.0/20", "fd00:1::/64"],
            &["192.0.2.11", "2001:db8::1"],
        );
        let cases = [
            (&["10.244.99.0/24"], &["192.0.2.11"], Reason::DuplicateInternalIP),
            (&["10.244.99.0/24"], &["2001:db8::1"], Reason::DuplicateInternalIP),
            (&["10.244.15.0/24"], &["192.0.2.12"], Reason::DuplicatePodCIDR),
            (&["10.244.0.0/16"], &["192.0.2.12"], Reason::DuplicatePodCIDR),
            (&["fd00:1::/64"], &["192.0.2.12"], Reason::DuplicatePodCIDR),
            (&["192.0.2.0/28"], &["192.0.2.200"], Reason::PodCIDRHoldsNodeAddress),
        ];
        for (ranges, internal, wanted) in cases {
            for (created, name) in [(2, "n1"), (1, "n99")] {
                let nodes = [node(name, created, ranges, internal), older.clone()];
                let found = census(&nodes, &config("auto"));
                assert_eq!(reason(&found, name), Some(wanted), "{ranges:?} {internal:?}");
                assert!(found.accepted.contains_key("n9"));
            }
        }
    }

    #[test]
    fn a_refused_node_takes_nothing_away_from_a_younger_one_but_its_own_address() {
        let nodes = [
            node("n1", 1, &["10.244.1.0/24"], &["192.0.2.11"]),
            node("n2", 2, &["10.244.0.0/22"], &["10.244.5.5"]),
            node("n3", 3, &["10.244.2.0/24"], &["192.0.2.13"]),
            node("n4", 4, &["10.244.5.0/24"], &["192.0.2.14"]),
        ];
        let found = census(&nodes, &config("auto"));
        assert_eq!(found.accepted.keys().copied().collect::<Vec<_>>(), ["n1", "n3"]);
        assert_eq!(reason(&found, "n2"), Some(Reason::DuplicatePodCIDR));
        assert_eq!(reason(&found, "n4"), Some(Reason::PodCIDRHoldsNodeAddress));
    }

    #[test]
    fn the_first_internal_ip_of_each_family_counts() {
        let nodes = [node(
            "n1",
            1,
            &["10.244.1.0/24"],
            &["2001:db8::1", "192.0.2.11", "10.244.1.9"],
        )];
        let found = census(&nodes, &config("auto"));
        let member = &found.accepted["n1"];
        assert_eq!(member.internal.ipv4, Some("192.0.2.11".parse().unwrap()));
        assert_eq!(member.underlay, Some(Family::V4));
        let found = census(&nodes, &config("ipv6"));
        assert_eq!(found.accepted["n1"].underlay, Some(Family::V6));
    }

    #[test]
    fn annotations_that_cannot_be_read_count_as_saying_nothing() {
        let mut object = node("n1", 1, &["10.244.1.0/24"], &["192.0.2.11"]);
        object.annotations.insert(
            ANNOTATION_UNDERLAY.to_owned(),
            "x, 2001:db8::1/64,192.0.2.11".to_owned(),
        );
        object.annotations.insert(ANNOTATION_MTU.to_owned(), "big".to_owned());
        let nodes = [object];
        let found = census(&nodes, &config("auto"));
        let member = &found.accepted["n1"];
        let published = member.published.as_ref().unwrap();
        assert_eq!((published.ipv4, published.ipv6), (None, "2001:db8::1/64".parse().ok()));
        assert_eq!(member.published_mtu, Some(Err("big")));
    }
}
