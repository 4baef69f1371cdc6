//! What nodes counted in an interval with probes in it, and what that says of packets that die.

mod fingerprints;
mod judge;
pub mod pairs;
pub mod report;
mod scene;
#[cfg(test)]
mod tests;

pub use judge::with_observed;

use super::objects::{Objects, PodObject};
use netcheck_node_state::observation::NodeObservation;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// An interval that was observed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// How long it was to be, in milliseconds.
    pub wanted_ms: u64,
    /// Probes that were sent in it.
    #[serde(default)]
    pub probes: Vec<Probed>,
    /// Why some were not, a line each.
    #[serde(default)]
    pub not_probed: Vec<String>,
    /// Nodes that were to be observed, by name; or why they were not.
    pub nodes: BTreeMap<String, Result<ObservedNode, String>>,
}

impl Interval {
    /// Whether some probes were not answered.
    pub fn has_losses(&self) -> bool {
        self.probes.iter().any(|probe| probe.lost() > 0)
    }

    /// Whether a node got what carries pods' packets, or anything else by UDP, with wrong checksums.
    pub fn has_wrong_checksums(&self) -> bool {
        const COUNTERS: [&str; 2] = ["UdpInCsumErrors", "Udp6InCsumErrors"];
        self.nodes.values().flatten().any(|observed| {
            let moved = observed.observation.node.counters.between().protocols;
            COUNTERS
                .iter()
                .any(|name| moved.get(*name).is_some_and(|count| *count > 0))
        })
    }

    /// Without probes of pods, or to pods, that do not run any more.
    pub fn without_ended(&mut self, now: &Objects) {
        let running: BTreeSet<String> = now
            .pods
            .iter()
            .filter(|pod| pod.running)
            .map(PodObject::full_name)
            .collect();
        let runs = |end: &End| end.pod.as_ref().is_none_or(|pod| running.contains(pod));
        let before = self.probes.len();
        self.probes.retain(|probe| runs(&probe.from) && runs(&probe.to));
        let ended = before - self.probes.len();
        if ended > 0 {
            self.not_probed
                .push(format!("{ended} ways are not counted: their pods ended meanwhile"));
        }
    }
}

/// What was observed of one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObservedNode {
    /// What its agent told.
    pub observation: NodeObservation,
    /// Pods whose network namespaces were read, by UID: their number in the observation.
    pub places: BTreeMap<String, u32>,
}

/// Echo requests from one end to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probed {
    /// Where they came from.
    pub from: End,
    /// Where they were to go.
    pub to: End,
    /// The address that they were sent to.
    pub address: IpAddr,
    /// How many left.
    pub sent: u32,
    /// How many were answered.
    pub answered: u32,
    /// What the kernel said of one that was not: `EHOSTUNREACH`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Probed {
    /// Those that were not answered.
    pub fn lost(&self) -> u32 {
        self.sent.saturating_sub(self.answered)
    }
}

/// An end of probes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct End {
    /// Its node.
    pub node: String,
    /// Its pod, as `NAMESPACE/NAME`; `None`: the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
}

impl End {
    /// For people: the pod, else the node.
    pub fn name(&self) -> String {
        self.pod.clone().unwrap_or_else(|| format!("node/{}", self.node))
    }
}

/// A sum of numbers that may come from an archive, and so may be anything.
fn total(numbers: impl IntoIterator<Item = u64>) -> u64 {
    numbers.into_iter().fold(0, u64::saturating_add)
}
