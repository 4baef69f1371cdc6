//! What Calico keeps in the API besides annotations, reduced to what counts. All of it is optional: it may be kept in an etcd, or be forbidden.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Group and version of its objects.
pub const GROUP: &str = "crd.projectcalico.org";
/// The version.
pub const VERSION: &str = "v1";

/// Its objects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CalicoObjects {
    /// Block affinities and pools, or why they were not read.
    pub ways: Result<Ways, String>,
    /// The FelixConfiguration `default`, as far as it could be read.
    #[serde(default)]
    pub felix: Felix,
}

impl Default for CalicoObjects {
    fn default() -> Self {
        Self {
            ways: Err("Calico's pools and block affinities were not read".to_owned()),
            felix: Felix::default(),
        }
    }
}

/// What decides about routes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ways {
    /// IPPools that are in use.
    pub pools: Vec<Pool>,
    /// Which node has which block.
    pub blocks: Vec<Block>,
}

/// An IPPool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pool {
    /// `spec.cidr`.
    pub cidr: IpNet,
    /// `spec.vxlanMode`: `Never` if it is not there.
    #[serde(default)]
    pub vxlan_mode: Mode,
    /// `spec.ipipMode`.
    #[serde(default)]
    pub ipip_mode: Mode,
    /// `spec.disabled`: no addresses are given out; the pools of other clusters are so.
    #[serde(default)]
    pub disabled: bool,
}

/// When packets go by a tunnel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// To no node.
    #[default]
    Never,
    /// To every node.
    Always,
    /// To nodes of other subnets.
    CrossSubnet,
}

/// `spec` of a BlockAffinity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Block {
    /// Its addresses.
    pub cidr: IpNet,
    /// The node.
    pub node: String,
    /// `confirmed`; `pending` and `pendingDeletion` are under way.
    #[serde(default)]
    pub state: String,
}

impl Block {
    /// Whether it is settled that the node has it.
    pub fn is_confirmed(&self) -> bool {
        self.state == "confirmed"
    }
}

/// `spec` of a FelixConfiguration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Felix {
    /// `vxlanVNI`.
    #[serde(rename = "vxlanVNI")]
    pub vni: Option<u32>,
    /// `vxlanPort`.
    #[serde(rename = "vxlanPort")]
    pub port: Option<u16>,
    /// `vxlanMTU`; 0 is as if it was not there.
    #[serde(rename = "vxlanMTU")]
    pub mtu: Option<u32>,
    /// `bpfEnabled`.
    pub bpf_enabled: bool,
}
