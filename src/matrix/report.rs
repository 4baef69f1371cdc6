//! The report, as `-o json` and `-o yaml` show it: Kubernetes-shaped, its schema committed and only ever growing.
//!
//! Kept free for later: a row's expected verdict (`expected`), further protocols (UDP), path MTU, NodePorts.

use super::{class::Class, evidence::Protocol, family::Family, select::Relation};
pub use crate::report::{API_VERSION, Conclusion, Metadata};
use crate::{findings::Finding, verify::report::NodeFinding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::SocketAddr};

/// Kind of the report.
pub const KIND: &str = "MatrixReport";

/// Who can reach whom, by one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MatrixReport {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `MatrixReport`.
    pub kind: String,
    /// About the run.
    pub metadata: Metadata,
    /// What was asked.
    pub spec: Spec,
    /// What was found.
    pub status: Status,
}

/// What was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Namespaces; empty for all.
    pub namespaces: Vec<String>,
    /// Label selector.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// Named sources; empty for all in scope.
    pub sources: Vec<String>,
    /// Named destinations; empty for all in scope.
    pub destinations: Vec<String>,
    /// Protocols.
    pub protocols: Vec<Protocol>,
    /// IP families.
    pub families: Vec<Family>,
    /// Every ordered pair instead of representatives.
    pub full: bool,
    /// How long one probe waits for its answer, in milliseconds.
    pub timeout_ms: u64,
    /// Probes at most; absent if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_probes: Option<u64>,
    /// Nodes at most; absent if there is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<u64>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The run's result in one word.
    pub conclusion: Conclusion,
    /// How agents got into the cluster: `node` or `ephemeral`, with why.
    pub way: String,
    /// How much was tested of what could have been.
    pub coverage: Coverage,
    /// Rows by class.
    pub summary: Summary,
    /// How long it took.
    pub timing: Timing,
    /// What is wrong, or could not be told: rows that did not hold, those with one reason together.
    #[serde(default)]
    pub findings: Vec<Finding>,
    /// What `verify` found on the nodes of rows that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub node_findings: Vec<NodeFinding>,
    /// One row for each probe.
    pub rows: Vec<Row>,
}

/// How much was tested of what could have been.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Coverage {
    /// Ordered pairs that were tested.
    pub pairs_tested: u64,
    /// Ordered pairs in scope.
    pub pairs_in_scope: u64,
    /// Probes that were sent.
    pub probes_sent: u64,
    /// Probes that `maxProbes` left out.
    pub probes_over_limit: u64,
    /// Nodes used, by name.
    pub nodes: Vec<String>,
    /// Nodes in scope.
    pub nodes_in_scope: u64,
    /// What was sampled and how, one line.
    pub sampling: String,
    /// What no run can test, one line each: Windows and virtual nodes, completed pods.
    pub out_of_scope: Vec<String>,
    /// What is no row, and why, one line each.
    pub notes: Vec<String>,
    /// What was to be tested and could not even be made rows. With any, a run is not called good.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub untold: Vec<Untold>,
}

/// Something that was to be tested and could not even be made rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Untold {
    /// What, by a name that is the same from run to run.
    pub what: String,
    /// Which right or object is missing, one line.
    pub why: String,
    /// What the user can do, one line.
    pub hint: String,
}

/// Rows by class.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// All rows.
    pub rows: u64,
    /// Rows that held.
    pub held: u64,
    /// Rows that failed.
    pub failed: u64,
    /// Rows that could not be told.
    pub inconclusive: u64,
    /// Number of rows of each class that came up.
    pub classes: BTreeMap<String, u64>,
    /// Why rows that could not be told are allowed, if they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inconclusive_allowed: Option<String>,
}

/// How long it took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Until agents ran and their namespaces were found.
    pub agents_ms: u64,
    /// From the first probe to the last verdict.
    pub probe_phase_ms: u64,
    /// The whole run, removal of what it created included.
    pub total_ms: u64,
}

/// One probe and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Unique in the run; holds the pods' names.
    pub id: String,
    /// The same from run to run: names workloads instead of pods. Several rows may share it.
    pub case: String,
    /// What became of it.
    pub class: Class,
    /// Id of the finding, for `kubectl netcheck explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finding: Option<String>,
    /// Who asked.
    pub source: Party,
    /// Who was asked.
    pub destination: Party,
    /// Whether both are on one node; absent for Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// How.
    pub protocol: Protocol,
    /// IP family of the packets.
    pub family: Family,
    /// The destination's port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port's name by the API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port_name: Option<String>,
    /// Address and port the probe was sent to; port 0 for ICMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<SocketAddr>,
    /// What policies say should happen. Not computed yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found, one line.
    pub reason: String,
    /// What the API says that explains it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Who said no, or who answered instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Who got the probe, for destinations with several backends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// For names: what became of the query's packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Class>,
    /// From sending to the outcome, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elapsed_us: Option<u64>,
    /// What the source saw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_saw: Option<Observation>,
    /// What each place saw where the probe may have arrived.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub destinations_saw: Vec<Observation>,
    /// What the nodes on the way saw, in the request's direction; asked only if the probe did not succeed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub transit_saw: Vec<Observation>,
    /// What is wrong on the nodes of its path, a line each, by `status.nodeFindings`; asked only if the probe failed.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub on_path: Vec<String>,
    /// A command that looks further.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_step: Option<String>,
}

/// A source or a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Party {
    /// `Pod`, `Node`, `Service` or `DNS`.
    pub kind: String,
    /// Its namespace, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The workload that owns a pod, as `Deployment/web`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The node it is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

impl Party {
    /// Where it stands in lists: pods, then nodes, then Services, then DNS.
    pub fn rank(&self) -> u8 {
        match self.kind.as_str() {
            "Pod" => 0,
            "Node" => 1,
            "Service" => 2,
            _ => 3,
        }
    }
}

/// What one place saw of a probe.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// Whose network namespace.
    pub place: String,
    /// Why it could not be watched, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_watched: Option<String>,
    /// Packets the watch may have missed; if not 0, absence proves nothing.
    pub missed: u64,
    /// How the probe ended for the socket that sent it; at the source only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Packets, in the order of time.
    pub packets: Vec<PacketSeen>,
}

/// One packet of a probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PacketSeen {
    /// Microseconds after the first packet seen at this place.
    pub after_us: u64,
    /// The interface.
    pub interface: String,
    /// `in` or `out`, as seen from the namespace.
    pub direction: String,
    /// `SYN`, `SYN-ACK`, `RST`, `request`, `reply`, or the ICMP error in words.
    pub packet: String,
    /// Source address and port.
    pub from: SocketAddr,
    /// Destination address and port.
    pub to: SocketAddr,
}
