//! Groups of checks: the columns of the overview.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Nodes, ranges and addresses in the API.
    Api,
    /// The overlay device, its settings and addresses.
    Device,
    /// Routes to other nodes.
    Routes,
    /// Neighbours and forwarding entries of other nodes.
    Neighbours,
    /// Pods: veths, their routes and neighbours, the inside of their namespaces.
    Pods,
    /// Masquerading, and firewalls in the way.
    Firewall,
    /// Kernel parameters.
    Sysctls,
    /// BPF programs, hooks and maps.
    Bpf,
    /// Files: CNI configuration, plugins, addresses given out.
    Disk,
}

impl Group {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 9] = [
        Self::Api,
        Self::Device,
        Self::Routes,
        Self::Neighbours,
        Self::Pods,
        Self::Firewall,
        Self::Sysctls,
        Self::Bpf,
        Self::Disk,
    ];

    /// Its column's head.
    pub fn head(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Device => "DEVICE",
            Self::Routes => "ROUTES",
            Self::Neighbours => "NEIGH/FDB",
            Self::Pods => "PODS",
            Self::Firewall => "FIREWALL",
            Self::Sysctls => "SYSCTLS",
            Self::Bpf => "BPF",
            Self::Disk => "DISK",
        }
    }

    /// The group of a check.
    pub fn of(id: &str) -> Self {
        let named = |starts: &[&str]| {
            starts
                .iter()
                .any(|start| id.strip_prefix("verify-").is_some_and(|id| id.starts_with(start)))
        };
        if named(&["pod-range", "pod-ip", "node-", "peer-", "internal-ip"]) {
            Self::Api
        } else if named(&["pod-", "veth-"]) {
            Self::Pods
        } else if named(&["overlay-", "name-taken", "vni-taken", "device-"]) {
            Self::Device
        } else if named(&["route-", "range-route"]) {
            Self::Routes
        } else if named(&["neighbour-", "fdb-"]) {
            Self::Neighbours
        } else if named(&["nft-", "forward-dropped"]) {
            Self::Firewall
        } else if named(&["sysctl", "forwarding-off"]) {
            Self::Sysctls
        } else if named(&["bpf-"]) {
            Self::Bpf
        } else {
            Self::Disk
        }
    }
}
