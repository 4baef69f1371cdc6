//! What a difference is made of.

use crate::{
    bpf::{BpfConfig, Endpoint, NodeEntry},
    names::OVERLAY,
    publish::Degraded,
};
use ipnet::IpNet;
use netcheck_node_state::{Change, ruleset::NftTable};
use std::{fmt, net::IpAddr};

/// What a delta concerns; in the order in which things are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A kernel parameter.
    Sysctl,
    /// A device.
    Link,
    /// An address.
    Address,
    /// A neighbour.
    Neighbour,
    /// A forwarding entry.
    Fdb,
    /// A route.
    Route,
    /// A default route inside a pod.
    PodRoute,
    /// The nftables table.
    Nft,
    /// An entry of a BPF map.
    Bpf,
}

impl fmt::Display for Kind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Sysctl => "sysctl",
            Self::Link => "link",
            Self::Address => "address",
            Self::Neighbour => "neighbour",
            Self::Fdb => "fdb",
            Self::Route => "route",
            Self::PodRoute => "pod route",
            Self::Nft => "nft",
            Self::Bpf => "bpf",
        })
    }
}

/// Why a change is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// Something differs.
    Differs,
    /// Nothing differs yet, but an earlier change of this device takes it away.
    Follows(String),
    /// Somebody else's object is in the place of one of ours, which is put back.
    Foreign,
}

impl Cause {
    /// Why something is not on a device: `was_there` before changes that this pass makes.
    pub(super) fn new(was_there: bool, device: Option<&str>) -> Self {
        match device {
            Some(device) if was_there => Self::Follows(device.to_owned()),
            _ => Self::Differs,
        }
    }
}

/// One difference, and the one change that mends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delta {
    /// What it concerns.
    pub kind: Kind,
    /// Which one: `ncvx0`, `10.244.2.0/24`, `nc_node 10.244.2.0/24`.
    pub object: String,
    /// What should be; `None`: nothing.
    pub expected: Option<String>,
    /// What is; `None`: nothing.
    pub actual: Option<String>,
    /// Why it is here.
    pub cause: Cause,
    /// What mends it.
    pub mend: Mend,
}

impl Delta {
    /// Whether it takes the overlay device away for good: after a switch of the backend that waits for a period, so that slower peers
    /// still get through (SPEC.md, section 10).
    pub fn removes_overlay(&self) -> bool {
        self.expected.is_none() && self.mend == Mend::Node(Change::DeleteLink(OVERLAY.to_owned()))
    }
}

impl fmt::Display for Delta {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nothing = "nothing";
        let expected = self.expected.as_deref().unwrap_or(nothing);
        let actual = self.actual.as_deref().unwrap_or(nothing);
        write!(
            formatter,
            "{} {}: expected {expected}, found {actual}",
            self.kind, self.object
        )?;
        match &self.cause {
            Cause::Differs => Ok(()),
            Cause::Follows(device) => write!(formatter, " (goes when {device} is changed)"),
            Cause::Foreign => formatter.write_str(" (not ours, in the place of ours)"),
        }
    }
}

/// A change, and where it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mend {
    /// In the node's network namespace.
    Node(Change),
    /// In an attachment's.
    Pod {
        /// The attachment's key.
        key: String,
        /// Path of the namespace, if it was told.
        netns: Option<String>,
        /// What.
        change: Change,
    },
    /// The whole table is written, in one transaction.
    WriteNft(NftTable),
    /// The whole table of this name is removed.
    DeleteNft(&'static str),
    /// In the BPF maps.
    Bpf(BpfChange),
}

/// A change of a BPF map. Counters begin at zero; those that are there stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BpfChange {
    /// Writes `nc_cfg`.
    SetConfig(BpfConfig),
    /// Writes an entry of `nc_ep`.
    PutEndpoint(IpAddr, Endpoint),
    /// Removes one.
    DeleteEndpoint(IpAddr),
    /// Makes an entry of `nc_ep_count`.
    CountEndpoint(IpAddr),
    /// Removes one.
    ForgetEndpoint(IpAddr),
    /// Writes an entry of `nc_node`, and gives it a place in `nc_peer` if it has none of its own.
    PutNode(IpNet, NodeEntry),
    /// Removes one.
    DeleteNode(IpNet),
}

/// What is not as it should be and is not ours to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A device has a name of ours and is not ours.
    #[error("device {device} is not ours ({actual}); nothing of ours is put on it until it is removed or renamed")]
    NameTaken {
        /// The device.
        device: String,
        /// What it is.
        actual: String,
    },
    /// Another vxlan has our identifier and port.
    #[error(
        "vxlan {device} has VNI {vni} and port {port}, as {OVERLAY} should; remove it, or set another vni in the ConfigMap"
    )]
    VniTaken {
        /// The device.
        device: String,
        /// VXLAN network identifier.
        vni: u32,
        /// UDP port.
        port: u16,
    },
    /// A foreign route wins against one of ours: by its metric, or since it is for a part of ours.
    #[error(
        "route {foreign} is not ours and wins against {ours}; remove it, or find out who put it there by its proto"
    )]
    RouteShadowed {
        /// Ours.
        ours: String,
        /// The other.
        foreign: String,
    },
    /// A foreign route comes back into the place of ours again and again.
    #[error(
        "route {foreign} comes back into the place of {ours} whenever it is replaced; stop who writes it: its proto says who"
    )]
    RouteContested {
        /// Ours.
        ours: String,
        /// The other.
        foreign: String,
    },
    /// Somebody's firewall drops what pods send.
    #[error("chain {chain} drops by {how} what pods of {range} send through this node; let it through: {fix}")]
    ForwardDropped {
        /// Family, table and name of the chain.
        chain: String,
        /// What of it.
        how: &'static str,
        /// Range of the pods.
        range: IpNet,
        /// A command that mends it.
        fix: String,
    },
    /// The host's end of an attachment's veth is gone.
    #[error(
        "host veth {device} of an attachment is gone (expected {expected}); its pod is cut off until it is made anew"
    )]
    HostVethMissing {
        /// The device.
        device: String,
        /// What it should be.
        expected: String,
    },
    /// A veth with our mark belongs to no attachment that is known: ADD may be under way.
    #[error("host veth {device} ({alias}) belongs to no finished attachment")]
    VethUnclaimed {
        /// The device.
        device: String,
        /// Its alias.
        alias: String,
    },
    /// A pod's inside was changed.
    #[error("inside of {key}: {object} is missing or changed; a new pod mends it")]
    PodChanged {
        /// The attachment's key.
        key: String,
        /// What should be there.
        object: String,
    },
}

impl Finding {
    /// The reason that the Node's condition shows for it, if it shows one.
    pub fn degraded(&self) -> Option<Degraded> {
        match self {
            Self::NameTaken { .. } => Some(Degraded::NameTaken),
            Self::VniTaken { .. } => Some(Degraded::VniTaken),
            Self::RouteShadowed { .. } | Self::RouteContested { .. } => Some(Degraded::RouteShadowed),
            Self::ForwardDropped { .. } => Some(Degraded::ForwardDropped),
            Self::HostVethMissing { .. } | Self::VethUnclaimed { .. } | Self::PodChanged { .. } => None,
        }
    }
}

/// A table's name, as `nft` takes it.
pub(super) fn nft_object(name: &str) -> String {
    format!("inet {name}")
}
