//! What a node says of itself: annotations, conditions, `node.json` (SPEC.md, sections 7.2 and 9.4).

use crate::{
    census::Reason,
    family::{Family, PerFamily},
    inputs::LocalAddress,
    names::{
        ANNOTATION_CONFIG, ANNOTATION_MTU, ANNOTATION_SCHEMA, ANNOTATION_UNDERLAY, ANNOTATION_VTEP_MAC,
        CONDITION_DEGRADED, CONDITION_NETWORK_UNAVAILABLE, CONDITION_POLICY, SCHEMA,
    },
};
use ipnet::IpNet;
use netcheck_node_state::Mac;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// What the daemon tells the plugin: the content of [`NODE_JSON`](crate::names::NODE_JSON).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeJson {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The Node's name.
    pub node: String,
    /// Whether pods can be started here.
    pub ready: bool,
    /// Why not: a reason of SPEC.md, section 3; empty if they can.
    pub reason: String,
    /// Ranges that pods get their addresses from, at most one for each family.
    #[serde(rename = "podCIDRs", default)]
    pub pod_cidrs: Vec<IpNet>,
    /// L: MTU of both ends of a new pod's veth, in bytes.
    pub link_mtu: u32,
    /// M: MTU in the pods' default routes, in bytes.
    pub route_mtu: u32,
}

impl NodeJson {
    /// That of a refused node.
    pub(crate) fn refused(node: &str, reason: Reason) -> Self {
        Self {
            schema: SCHEMA,
            node: node.to_owned(),
            ready: false,
            reason: reason.to_string(),
            pod_cidrs: Vec::new(),
            link_mtu: 0,
            route_mtu: 0,
        }
    }
}

/// Something that is not as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Degraded {
    /// This node itself does not count.
    Refused(Reason),
    /// Some peer and this node cannot have each other.
    PeerRefused,
    /// A newer ConfigMap was refused.
    ConfigInvalid,
    /// The node's InternalIP is on none of its devices.
    InternalIPNotOnNode,
    /// Somebody's firewall drops what is forwarded.
    ForwardDropped,
    /// A device has our name and not our mark.
    NameTaken,
    /// Another vxlan has our identifier and port.
    VniTaken,
    /// A foreign route wins against one of ours.
    RouteShadowed,
    /// The MTU is too small.
    MtuTooSmall,
    /// Nodes' addresses are among the destinations that see pods' own addresses.
    NodesNotMasqueraded,
    /// The node's range is none of the cluster's.
    PodCIDROutsideClusterCIDRs,
    /// Pods have addresses that peers do not route here.
    PodsOutsidePodCIDR,
    /// The published hardware address is not the derived one.
    VtepMacMismatch,
    /// Nothing is counted.
    BpfOff,
    /// A chained plugin's binary is missing.
    ChainPluginMissing,
    /// Another CNI configuration wins.
    ForeignCniFirst,
    /// Hardly any address is free.
    RangeAlmostFull,
    /// What the plugin wrote down of a pod is cut or foreign.
    AttachmentUnreadable,
    /// Some change failed.
    ApplyFailed,
}

impl fmt::Display for Degraded {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => reason.fmt(formatter),
            // The other variants are named as SPEC.md names them.
            other => fmt::Debug::fmt(other, formatter),
        }
    }
}

/// A condition of the Node, without its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its type.
    pub kind: &'static str,
    /// `True` or `False`.
    pub status: bool,
    /// Its reason.
    pub reason: String,
    /// For people.
    pub message: String,
}

/// The conditions, from what is degraded and why in words. Before the first whole pass the first of them must not be published as
/// `False`: that is for the caller to know.
pub fn conditions(degraded: &BTreeMap<Degraded, BTreeSet<String>>) -> [Condition; 3] {
    let refused = degraded
        .iter()
        .find(|(reason, _)| matches!(reason, Degraded::Refused(_)));
    let words = |details: &BTreeSet<String>| details.iter().cloned().collect::<Vec<_>>().join("; ");
    let network = Condition {
        kind: CONDITION_NETWORK_UNAVAILABLE,
        status: refused.is_some(),
        reason: refused.map_or("NetcheckCniReady".to_owned(), |(reason, _)| reason.to_string()),
        message: refused.map_or("the pod network is set up".to_owned(), |(_, details)| words(details)),
    };
    let policy = Condition {
        kind: CONDITION_POLICY,
        status: false,
        reason: "NotImplemented".to_owned(),
        message: "netcheck-cni does not enforce NetworkPolicy".to_owned(),
    };
    let reasons: Vec<String> = degraded.keys().map(ToString::to_string).collect();
    let messages: Vec<String> = degraded
        .iter()
        .map(|(reason, details)| format!("{reason}: {}", words(details)))
        .collect();
    let state = if reasons.is_empty() {
        ("AsExpected".to_owned(), "everything is as it should be".to_owned())
    } else {
        (reasons.join(","), messages.join("\n"))
    };
    let degraded = Condition {
        kind: CONDITION_DEGRADED,
        status: !degraded.is_empty(),
        reason: state.0,
        message: state.1,
    };
    [network, policy, degraded]
}

/// The annotations of the own Node. A thing that is not known here and now is left out, and the published value stays.
pub(crate) fn annotations(
    mac: Mac,
    internal: &PerFamily<IpAddr>,
    local: &PerFamily<LocalAddress>,
    mtu: Option<u32>,
    config_hash: &str,
) -> BTreeMap<String, String> {
    let underlay: Vec<String> = Family::BOTH
        .into_iter()
        .filter_map(|family| local.holding(internal, family))
        .map(|local| local.address.to_string())
        .collect();
    let known = [
        (ANNOTATION_SCHEMA, Some(SCHEMA.to_string())),
        (ANNOTATION_VTEP_MAC, Some(mac.to_string())),
        (
            ANNOTATION_UNDERLAY,
            Some(underlay.join(",")).filter(|text| !text.is_empty()),
        ),
        (ANNOTATION_MTU, mtu.map(|mtu| mtu.to_string())),
        (ANNOTATION_CONFIG, Some(config_hash.to_owned())),
    ];
    known
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Degraded, conditions};
    use crate::census::Reason;
    use std::collections::{BTreeMap, BTreeSet};

    fn why(text: &str) -> BTreeSet<String> {
        BTreeSet::from([text.to_owned()])
    }

    #[test]
    fn conditions_say_what_and_why() {
        let [network, policy, degraded] = conditions(&BTreeMap::new());
        assert_eq!((network.status, network.reason.as_str()), (false, "NetcheckCniReady"));
        assert_eq!((policy.status, policy.reason.as_str()), (false, "NotImplemented"));
        assert_eq!((degraded.status, degraded.reason.as_str()), (false, "AsExpected"));

        let troubles = BTreeMap::from([
            (Degraded::BpfOff, why("off")),
            (Degraded::PeerRefused, why("n3: NotOnLink")),
        ]);
        let [network, _, degraded] = conditions(&troubles);
        assert!(!network.status);
        assert_eq!(
            (degraded.status, degraded.reason.as_str()),
            (true, "PeerRefused,BpfOff")
        );
        assert_eq!(degraded.message, "PeerRefused: n3: NotOnLink\nBpfOff: off");

        let refused = BTreeMap::from([(Degraded::Refused(Reason::NoPodCIDR), why("set one"))]);
        let [network, _, degraded] = conditions(&refused);
        assert_eq!((network.status, network.reason.as_str()), (true, "NoPodCIDR"));
        assert_eq!(network.message, "set one");
        assert_eq!(degraded.reason, "NoPodCIDR");
    }
}
