//! What `cni status` says of each node, and of all of them together. Pure.

use super::config::Data;
use crate::{exit::Exit, findings::Finding, output::Table};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of a daemon's pod that is as it should be.
pub const READY: &str = "ready";

/// What `cni status` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CniStatus {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `CniStatus`.
    pub kind: String,
    /// The configuration that is to be in force.
    pub config: ConfigStatus,
    /// Always false: NetworkPolicies are not enforced.
    pub network_policy_enforced: bool,
    /// Nodes that cannot have the daemon: of another operating system, or virtual.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub out_of_scope: Vec<String>,
    /// One entry per node, by name.
    pub items: Vec<CniNode>,
}

/// The ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigStatus {
    /// Its hash, as nodes publish it once they have applied it.
    pub hash: String,
    /// Its data.
    pub data: Data,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CniNode {
    /// Its name.
    pub node: String,
    /// All in one word.
    pub state: State,
    /// The node is ready, by its own word.
    pub ready: bool,
    /// The daemon's pod: `ready`, or why not.
    pub daemon: String,
    /// Hash of the configuration that it has applied last, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<String>,
    /// That is the one of the ConfigMap.
    pub applied: bool,
    /// Way between nodes that is in force there, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// Its pod ranges.
    pub pod_cidrs: Vec<String>,
    /// MTU of its underlay in bytes, as it published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay_mtu: Option<u32>,
    /// Its addresses with prefix lengths, as it published them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub underlay: Option<String>,
    /// Hardware address of its tunnel's end, as it published it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vtep_mac: Option<String>,
    /// Whether packets are counted by BPF: `on`, `off`, `unknown`.
    pub bpf: String,
    /// What is not as it should be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// How a node stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Ready, the current configuration applied, nothing to complain about.
    Ready,
    /// The daemon is not ready there, or has not applied the current configuration yet.
    Pending,
    /// Works, or did, but something is not as it should be.
    Degraded,
    /// Not part of the network.
    Refused,
}

impl CniNode {
    /// Whether waiting may change it: a node that is refused for what its Node object says, or complains although it has applied
    /// everything, stays so until somebody mends it.
    pub fn is_settled(&self) -> bool {
        let there = self.ready && self.applied && self.daemon == READY;
        match self.state {
            State::Ready => true,
            State::Pending => false,
            State::Degraded => there,
            State::Refused => {
                let waits = |finding: &Finding| {
                    ["NoPodCIDR", "NoInternalIP"]
                        .iter()
                        .any(|word| finding.actual.starts_with(word))
                };
                self.daemon == READY && !self.findings.iter().any(waits)
            }
        }
    }

    /// Its problems in a few words, each with its reason.
    pub fn problems(&self) -> String {
        let words = self
            .findings
            .iter()
            .map(|finding| finding.actual.strip_prefix("Pending: ").unwrap_or(&finding.actual));
        words.collect::<Vec<_>>().join("; ")
    }
}

impl CniStatus {
    /// By the contract: 1 if a node is refused or degraded, else 3 if one is not there yet, else 0.
    pub fn exit(&self) -> Exit {
        let any = |states: &[State]| self.items.iter().any(|node| states.contains(&node.state));
        if any(&[State::Refused, State::Degraded]) {
            Exit::Failed
        } else if any(&[State::Pending]) {
            Exit::Unknown
        } else {
            Exit::Held
        }
    }

    /// How many nodes are in this state.
    pub fn count(&self, state: State) -> usize {
        self.items.iter().filter(|node| node.state == state).count()
    }

    /// As a table.
    pub fn table(&self, wide: bool) -> Table {
        let mut heads = vec!["NODE", "READY", "CONFIG", "BACKEND", "POD CIDR", "BPF"];
        if wide {
            heads.extend(["DAEMON", "MTU", "UNDERLAY", "VTEP MAC"]);
        }
        heads.push("PROBLEMS");
        self.items.iter().fold(Table::new(heads), |table, node| {
            let config = match (&node.config, node.applied) {
                (_, true) => "applied".to_owned(),
                (Some(hash), false) => format!("older ({hash})"),
                (None, false) => "none".to_owned(),
            };
            let or_dash = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
            let mut cells = vec![
                node.node.clone(),
                if node.ready { "yes" } else { "no" }.to_owned(),
                config,
                or_dash(node.backend.as_ref()),
                node.pod_cidrs.join(","),
                node.bpf.clone(),
            ];
            if wide {
                cells.extend([
                    node.daemon.clone(),
                    or_dash(node.underlay_mtu.map(|mtu| mtu.to_string()).as_ref()),
                    or_dash(node.underlay.as_ref()),
                    or_dash(node.vtep_mac.as_ref()),
                ]);
            }
            let problems = node.problems();
            cells.push(if problems.is_empty() { "-".to_owned() } else { problems });
            table.row(cells)
        })
    }
}
