//! Everything that a judgement stands on, as plain data: it can be kept in an archive and judged again.

use super::{objects::Objects, observed::Interval};
use netcheck_node_state::record::NodeRecord;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What was read of the API and of the nodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When it was read, RFC 3339.
    pub taken: String,
    /// The kubeconfig's context.
    #[serde(default)]
    pub context: Option<String>,
    /// What the API says.
    pub objects: Objects,
    /// Nodes that were to be looked at, by name: what was read there, or why nothing was.
    pub nodes: BTreeMap<String, Result<Looked, String>>,
    /// What was observed of them in an interval, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Interval>,
}

/// What was read of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Looked {
    /// What the agent read.
    pub record: NodeRecord,
    /// Pods whose network namespaces were found, by UID: their number in the record, or why they were not found.
    pub places: BTreeMap<String, Result<u32, String>>,
}
