//! What an interval showed, for the report.

use super::{
    Interval,
    scene::{Place, Scene},
    total,
};
use crate::{findings::Probed, verify::evidence::Evidence};
use netcheck_node_state::counters::{Counters, Numbers};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What nodes counted in an interval, and what their kernels dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedReport {
    /// How long it was to be, in milliseconds.
    pub interval_ms: u64,
    /// Nodes that were observed.
    pub nodes: Vec<ObservedRow>,
    /// Echo requests that were sent between pods of different nodes.
    pub probes: Vec<ProbeRow>,
    /// Why some were not sent.
    pub not_probed: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservedRow {
    /// Its name.
    pub node: String,
    /// How long it was observed, in milliseconds.
    pub elapsed_ms: u64,
    /// Packets that died in its namespace and its pods', the usual ones not counted.
    pub dropped: u64,
    /// All packets that died there, by place and reason, the most first.
    pub reasons: Vec<Reason>,
    /// Packets that died in other namespaces, or in none.
    pub unattributed: u64,
    /// Packets that died of which nothing more is known, since there were too many kinds.
    pub uncounted: u64,
    /// Why nothing is known of packets that died.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_reasons: Option<String>,
    /// By how much counters grew, by place: `node` or a pod's `NAMESPACE/NAME`.
    pub counters: BTreeMap<String, Grown>,
    /// By how much the processors' counters grew: `processed`, `dropped`, `time_squeeze`, `flow_limit`.
    pub processors: BTreeMap<String, u64>,
}

/// Packets that died for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reason {
    /// `node`, or a pod's `NAMESPACE/NAME`.
    pub place: String,
    /// The device that they were on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The kernel's word: `NETFILTER_DROP`.
    pub reason: String,
    /// How many.
    pub packets: u64,
    /// Part of a healthy node's day: a closed socket, a packet for nobody here.
    pub usual: bool,
}

/// By how much a namespace's counters grew, those that did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grown {
    /// Of protocols, under nstat(8)'s names.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub protocols: BTreeMap<String, u64>,
    /// Of connection tracking.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub conntrack: BTreeMap<String, u64>,
    /// Of devices.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub devices: BTreeMap<String, BTreeMap<String, u64>>,
}

/// Echo requests from one end to another.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeRow {
    /// Where they came from: a pod, or a node as `node/NAME`.
    pub from: String,
    /// Its node.
    pub from_node: String,
    /// Where they were to go.
    pub to: String,
    /// Its node.
    pub to_node: String,
    /// The address that they were sent to.
    pub address: String,
    /// How many left.
    pub sent: u32,
    /// How many were answered.
    pub answered: u32,
    /// What the kernel said of one that was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl ObservedReport {
    /// Of the evidence's interval, if there was one.
    pub fn new(evidence: &Evidence) -> Option<Self> {
        let interval: &Interval = evidence.observed.as_ref()?;
        let rows = interval.nodes.iter().filter_map(|(node, observed)| {
            let observed = observed.as_ref().ok()?;
            let scene = Scene::new(evidence, interval, node, observed);
            Some(row(&scene, observed.observation.elapsed_ms))
        });
        let probes = interval.probes.iter().map(|probed| ProbeRow {
            from: probed.from.name(),
            from_node: probed.from.node.clone(),
            to: probed.to.name(),
            to_node: probed.to.node.clone(),
            address: probed.address.to_string(),
            sent: probed.sent,
            answered: probed.answered,
            error: probed.error.clone(),
        });
        Some(Self {
            interval_ms: interval.wanted_ms,
            nodes: rows.collect(),
            probes: probes.collect(),
            not_probed: interval.not_probed.clone(),
        })
    }
}

fn row(scene: &Scene, elapsed_ms: u64) -> ObservedRow {
    let reasons: Vec<Reason> = scene
        .lost
        .iter()
        .map(|lost| Reason {
            place: lost.place.name(),
            device: lost.device.clone(),
            reason: lost.reason.clone(),
            packets: lost.packets,
            usual: lost.is_usual(&scene.overlays),
        })
        .collect();
    let counters = scene
        .counters
        .iter()
        .map(|(place, counters)| (place.name(), grown(counters)));
    ObservedRow {
        node: scene.node.to_owned(),
        elapsed_ms,
        dropped: total(reasons.iter().filter(|one| !one.usual).map(|one| one.packets)),
        reasons,
        unattributed: scene.unattributed,
        uncounted: scene.uncounted,
        no_reasons: scene.no_reasons.map(str::to_owned),
        counters: counters.filter(|(_, grown)| *grown != Grown::default()).collect(),
        processors: scene.softnet.clone(),
    }
}

fn grown(counters: &Counters) -> Grown {
    let devices = counters
        .devices
        .iter()
        .filter(|(_, device)| !device.counters.is_empty());
    let devices = devices.map(|(name, device)| (name.clone(), Numbers::clone(&device.counters)));
    Grown {
        protocols: counters.protocols.clone(),
        conntrack: counters.conntrack.clone(),
        devices: devices.collect(),
    }
}

impl ObservedReport {
    /// Echo requests that were sent, and those that were answered.
    pub fn probed(&self) -> (u64, u64) {
        let of = |count: fn(&ProbeRow) -> u32| total(self.probes.iter().map(|row| count(row).into()));
        (of(|row| row.sent), of(|row| row.answered))
    }

    /// What those from and to a node's pods showed; `None` if none were sent. What a node sends itself is not forwarded there, and shows less.
    pub fn probed_at(&self, node: &str) -> Option<Probed> {
        let is_here =
            |row: &&ProbeRow| row.to_node == node || (row.from_node == node && row.from != format!("node/{node}"));
        let here = || self.probes.iter().filter(is_here);
        let of = |count: fn(&ProbeRow) -> u32| total(here().map(|row| count(row).into()));
        Probed::new(of(|row| row.sent), of(|row| row.answered))
    }
}

impl ObservedRow {
    /// What packets died of, the most first: `NETFILTER_DROP 12 (eth0)`, at most so many.
    pub fn why(&self, most: usize) -> String {
        if let Some(why) = &self.no_reasons {
            return format!("not available: {why}");
        }
        let node = Place::Node.name();
        let unusual: Vec<&Reason> = self.reasons.iter().filter(|one| !one.usual).collect();
        let told = |one: &&Reason| {
            let place = (one.place != node).then_some(one.place.as_str());
            let at: Vec<&str> = place.into_iter().chain(one.device.as_deref()).collect();
            let at = if at.is_empty() {
                String::new()
            } else {
                format!(" ({})", at.join(" "))
            };
            format!("{} {}{at}", one.reason, one.packets)
        };
        let mut words: Vec<String> = unusual.iter().take(most).map(told).collect();
        let more = unusual.len().saturating_sub(most);
        words.extend((more > 0).then(|| format!("{more} more")));
        if words.is_empty() {
            "-".to_owned()
        } else {
            words.join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_sends_itself_says_nothing_of_what_it_forwards() {
        let row = |from: &str, from_node: &str, to_node: &str, answered| ProbeRow {
            from: from.to_owned(),
            from_node: from_node.to_owned(),
            to_node: to_node.to_owned(),
            sent: 2,
            answered,
            ..ProbeRow::default()
        };
        let report = ObservedReport {
            probes: vec![row("node/n1", "n1", "n2", 2), row("shop/web", "n2", "n3", 0)],
            ..ObservedReport::default()
        };
        assert_eq!(report.probed_at("n1"), None);
        assert_eq!(report.probed_at("n2"), Probed::new(4, 2));
        assert_eq!(report.probed_at("n3"), Probed::new(2, 0));
    }
}
