//! What a rig shall be.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// IP families of nodes, pods and Services; for `Dual`, IPv4 is the primary one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Dual,
}

impl Families {
    /// Whether IPv4 is in use.
    pub fn has_v4(self) -> bool {
        self != Self::V6
    }

    /// Whether IPv6 is in use.
    pub fn has_v6(self) -> bool {
        self != Self::V4
    }
}

/// How kube-proxy programs Services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyMode {
    /// `iptables` (through nf_tables, as Debian's iptables does).
    Iptables,
    /// `nftables`.
    Nftables,
}

/// Which network plugin joins the pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Cni {
    /// Our own, `netcheck-cni`, as its manifests in `bundled-cni/deploy` bring it into any cluster.
    Bundled,
    /// The reference plugins `ptp`, `host-local` and `portmap`, with a static route on each node to every other node's pods.
    Plain,
    /// Real flannel: `flanneld` beside the node's other programs, its objects in the API, and the plugin `bridge` as flannel's own calls it.
    Flannel,
    /// None: nodes stay NotReady until somebody installs one.
    None,
}

/// What a rig shall be; two calls of [`crate::Rig::up`] with the same one give the same rig.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RigSpec {
    /// Short name, in its links', cgroups' and kubeconfig context's names.
    pub name: String,
    /// How many nodes to start with, `n1` and on.
    pub nodes: u8,
    /// IP families.
    pub families: Families,
    /// How kube-proxy works.
    pub proxy_mode: ProxyMode,
    /// The network plugin.
    pub cni: Cni,
    /// What differs from the network's default configuration, by key: the bundled CNI's (`underlay`: `ipv6`), or flannel's (`backend`:
    /// `host-gw`).
    #[serde(default)]
    pub cni_settings: BTreeMap<String, String>,
    /// Nodes whose containerd is of version 2, by name; unlike the machine's own it asks network plugins for STATUS.
    #[serde(default)]
    pub containerd2: BTreeSet<String>,
}

impl Default for RigSpec {
    fn default() -> Self {
        Self {
            name: "default".into(),
            nodes: 3,
            families: Families::Dual,
            proxy_mode: ProxyMode::Iptables,
            cni: Cni::Bundled,
            cni_settings: BTreeMap::new(),
            containerd2: BTreeSet::new(),
        }
    }
}
