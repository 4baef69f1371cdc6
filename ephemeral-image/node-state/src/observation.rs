//! What a node counted between two moments, and why its kernel dropped packets between them. Plain values that travel and are kept.

use crate::{
    counters::{Counters, Numbers},
    record::Reading,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The number of this layout. A reader of another one says so and reads nothing.
pub const OBSERVATION: u32 = 1;

/// What was observed on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeObservation {
    /// [`OBSERVATION`].
    pub observation: u32,
    /// `uname -r`.
    pub kernel: String,
    /// Milliseconds between the two moments.
    pub elapsed_ms: u64,
    /// The node's own network namespace.
    pub node: Observed,
    /// Namespaces of pods, by the number that they were asked for by.
    #[serde(default)]
    pub pods: BTreeMap<u32, Reading<Observed>>,
    /// What the processors counted of packets that wait to be taken in, in all namespaces: `processed`, `dropped`, `time_squeeze`, `flow_limit`.
    pub softnet: Reading<Ends<Numbers>>,
    /// Packets that the kernel dropped, or why it does not tell of them.
    pub drops: Reading<Drops>,
}

/// What was observed of one network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Observed {
    /// Number of its file, which tells it from others on the node.
    pub inode: u64,
    /// What it had counted.
    pub counters: Ends<Counters>,
}

/// A value at both ends of an interval.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ends<T> {
    /// At the first moment.
    pub before: T,
    /// At the last.
    pub after: T,
}

impl Ends<Counters> {
    /// What was counted between.
    pub fn between(&self) -> Counters {
        self.after.since(&self.before)
    }
}

/// Packets that the kernel dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Drops {
    /// By namespace, device and reason; the order means nothing.
    pub counts: Vec<Dropped>,
    /// Packets that were not counted there, because there were too many kinds of them.
    #[serde(default)]
    pub uncounted: u64,
}

/// Packets that were dropped for one reason at one place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Dropped {
    /// The network namespace's number; 0 of a packet that was in none any more.
    pub inode: u64,
    /// The device that it was on, by its number there; 0 if it was on none.
    pub device: u32,
    /// `enum skb_drop_reason` of the running kernel without its prefix: `NETFILTER_DROP`; of a subsystem with reasons of its own `subsys 3: 1`.
    pub reason: String,
    /// How many.
    pub packets: u64,
}
