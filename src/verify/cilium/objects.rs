//! What Cilium keeps in the API besides annotations, reduced to what counts.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// What of its ConfigMap is read.
pub const SETTINGS: [&str; 10] = [
    "auto-direct-node-routes",
    "cluster-id",
    "enable-ipv4",
    "enable-ipv6",
    "ipam",
    "kube-proxy-replacement",
    "routing-mode",
    "single-cluster-route",
    "tunnel",
    "tunnel-protocol",
];
/// Beside [`SETTINGS`], a number.
pub const TUNNEL_PORT: &str = "tunnel-port";

/// What Cilium has in the API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CiliumObjects {
    /// Of the ConfigMap kube-system/cilium-config, what counts.
    pub config: BTreeMap<String, String>,
    /// CiliumNodes by name, if they may be read.
    #[serde(default)]
    pub nodes: BTreeMap<String, CiliumNode>,
}

/// `spec` of a CiliumNode.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CiliumNode {
    /// Its addresses.
    pub addresses: Vec<NodeAddress>,
    /// Its ranges.
    pub ipam: NodeIpam,
}

/// An address of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeAddress {
    /// `CiliumInternalIP`, `InternalIP` …
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The address.
    pub ip: IpAddr,
}

/// `spec.ipam`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeIpam {
    /// Its ranges.
    #[serde(rename = "podCIDRs")]
    pub pod_cidrs: Vec<IpNet>,
}
