//! One node's interval: what was counted in which of its namespaces, and what was dropped there.

use super::{Interval, ObservedNode, Probed};
use crate::verify::{evidence::Evidence, objects::Objects};
use netcheck_node_state::{
    LinkKind,
    counters::{Counters, Numbers, grown},
};
use std::collections::{BTreeMap, BTreeSet};

/// Where something was counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the node's own network namespace.
    Node,
    /// In a pod's: `NAMESPACE/NAME`.
    Pod(String),
}

impl Place {
    /// For people.
    pub fn name(&self) -> String {
        match self {
            Self::Node => "node".to_owned(),
            Self::Pod(name) => name.clone(),
        }
    }
}

/// Packets that were dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    pub place: Place,
    /// The device that they were on, if they were on one.
    pub device: Option<String>,
    pub reason: String,
    pub packets: u64,
}

impl Lost {
    /// Whether such drops are part of a healthy node's day: closed sockets and connections, empty queues, what is for nobody here.
    pub fn is_usual(&self, overlays: &BTreeSet<String>) -> bool {
        const USUAL: [&str; 7] = [
            "CONSUMED",
            "IPV6DISABLED",
            "NO_SOCKET",
            "PACKET_SOCK_ERROR",
            "QUEUE_PURGE",
            "UNHANDLED_PROTO",
            "XDP",
        ];
        const STARTS: [&str; 3] = ["TCP_", "SOCKET_", "UNIX_"];
        // Damaged packets are nobody's wish, whatever they carry.
        let is_damage = self.reason.ends_with("_CSUM");
        let is_overlays = self.device.as_ref().is_some_and(|device| overlays.contains(device));
        let is_for_others = self.reason == "OTHERHOST" && self.place == Place::Node && !is_overlays;
        let has_start = STARTS.iter().any(|start| self.reason.starts_with(start)) && !is_damage;
        USUAL.contains(&self.reason.as_str()) || has_start || is_for_others
    }
}

/// One node's interval.
#[derive(Debug)]
pub struct Scene<'a> {
    pub node: &'a str,
    /// What was counted in each namespace.
    pub counters: BTreeMap<Place, Counters>,
    /// What the processors counted.
    pub softnet: Numbers,
    /// What was dropped in these namespaces.
    pub lost: Vec<Lost>,
    /// Packets that were dropped elsewhere: in other namespaces of the node, or in none.
    pub unattributed: u64,
    /// Packets of which nothing more is known.
    pub uncounted: u64,
    /// Why nothing is known of dropped packets.
    pub no_reasons: Option<&'a str>,
    /// Tunnels of the node.
    pub overlays: BTreeSet<String>,
    /// Probes that began or were to end here.
    pub probes: Vec<&'a Probed>,
    /// Whether there were any probes at all.
    pub was_probed: bool,
}

impl<'a> Scene<'a> {
    /// Of a node that was observed.
    pub fn new(evidence: &'a Evidence, interval: &'a Interval, node: &'a str, observed: &'a ObservedNode) -> Self {
        let observation = &observed.observation;
        let pods = pods(&evidence.objects, observed);
        let mut counters = BTreeMap::from([(Place::Node, observation.node.counters.between())]);
        // A pod in the node's own namespace counts there.
        let mut inodes = BTreeMap::new();
        let mut devices: BTreeMap<(u64, u32), &str> = BTreeMap::new();
        let read = observation.pods.iter().filter_map(|(number, space)| {
            let name = pods.get(number)?;
            Some((Place::Pod(name.clone()), space.as_ref().ok()?))
        });
        for (place, space) in read.chain([(Place::Node, &observation.node)]) {
            counters.insert(place.clone(), space.counters.between());
            inodes.insert(space.inode, place);
            for (name, device) in space
                .counters
                .before
                .devices
                .iter()
                .chain(&space.counters.after.devices)
            {
                devices.insert((space.inode, device.index), name);
            }
        }
        let drops = observation.drops.as_ref();
        let (mut lost, mut unattributed) = (Vec::new(), 0_u64);
        for one in drops.ok().into_iter().flat_map(|drops| &drops.counts) {
            match inodes.get(&one.inode) {
                Some(place) => lost.push(Lost {
                    place: place.clone(),
                    device: devices.get(&(one.inode, one.device)).map(|name| (*name).to_owned()),
                    reason: one.reason.clone(),
                    packets: one.packets,
                }),
                None => unattributed = unattributed.saturating_add(one.packets),
            }
        }
        lost.sort_by_key(|one| std::cmp::Reverse(one.packets));
        Self {
            node,
            counters,
            softnet: match &observation.softnet {
                Ok(ends) => grown(&ends.after, &ends.before),
                Err(_) => Numbers::new(),
            },
            lost,
            unattributed,
            uncounted: drops.map_or(0, |drops| drops.uncounted),
            no_reasons: drops.err().map(String::as_str),
            overlays: overlays(evidence, node),
            probes: interval
                .probes
                .iter()
                .filter(|probed| probed.from.node == node || probed.to.node == node)
                .collect(),
            was_probed: !interval.probes.is_empty(),
        }
    }

    /// Whether packets got lost on the way to or from this node, or nobody has tried.
    pub fn may_lose(&self) -> bool {
        !self.was_probed || self.probes.iter().any(|probed| probed.lost() > 0)
    }
}

/// Names of pods by their number.
fn pods(objects: &Objects, observed: &ObservedNode) -> BTreeMap<u32, String> {
    let places: BTreeMap<&str, u32> = observed
        .places
        .iter()
        .map(|(uid, number)| (uid.as_str(), *number))
        .collect();
    let named = |pod: &crate::verify::objects::PodObject| Some((*places.get(pod.uid.as_str())?, pod.full_name()));
    objects.pods.iter().filter_map(named).collect()
}

/// VXLAN devices of a node.
fn overlays(evidence: &Evidence, node: &str) -> BTreeSet<String> {
    let links = evidence.nodes.get(node).and_then(|looked| looked.as_ref().ok());
    let links = links.into_iter().flat_map(|looked| &looked.record.node.net.links);
    let tunnels = links.filter(|(_, link)| matches!(link.kind, LinkKind::Vxlan(_)));
    tunnels.map(|(name, _)| name.clone()).collect()
}
