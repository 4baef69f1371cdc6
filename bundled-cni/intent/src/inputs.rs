//! What a node's state is a function of: Node objects, the ConfigMap, local facts (SPEC.md, before section 1).

use crate::{
    config::{Config, ConfigError},
    derive::AttachmentKey,
    family::{Family, PerFamily},
};
use ipnet::IpNet;
use netcheck_node_state::Mac;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::IpAddr};

/// A Node object, reduced to what counts. Texts are as the API has them: what cannot be read is dealt with by the rules of SPEC.md,
/// section 3, so that every node deals with it alike.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeObject {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.creationTimestamp` as the API writes it: RFC 3339, UTC, whole seconds, so that text sorts as time does.
    pub created: String,
    /// `spec.podCIDRs`, or else `spec.podCIDR` alone.
    pub pod_cidrs: Vec<String>,
    /// `status.addresses` of type `InternalIP`, in order.
    pub internal_ips: Vec<String>,
    /// `metadata.annotations`; others than ours may be left out.
    pub annotations: BTreeMap<String, String>,
}

/// Where an InternalIP of this node is found on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalAddress {
    /// The device that holds it.
    pub device: String,
    /// The address with the prefix length that it has on the device.
    pub address: IpNet,
    /// The device's MTU in bytes.
    pub mtu: u32,
}

/// A pod, as the runtime named it: empty where it did not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PodName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID as text.
    pub uid: String,
}

/// `NAMESPACE/NAME`, or `-` where the runtime named no pod.
impl fmt::Display for PodName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.namespace.is_empty() && self.name.is_empty() {
            formatter.write_str("-")
        } else {
            write!(formatter, "{}/{}", self.namespace, self.name)
        }
    }
}

/// An attachment that ADD finished: state `done` in its file (SPEC.md, section 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Whose it is.
    pub key: AttachmentKey,
    /// Its addresses.
    pub ips: Vec<IpAddr>,
    /// Hardware address inside the pod; `None` is the derived one.
    pub mac: Option<Mac>,
    /// The pod.
    pub pod: PodName,
    /// MTU of both ends of the veth in bytes, as ADD made them.
    pub link_mtu: u32,
    /// Path of its network namespace.
    pub netns: Option<String>,
}

/// Everything that decides one node's state.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Name of the node whose state is asked for.
    pub own: &'a str,
    /// All Node objects, in any order.
    pub nodes: &'a [NodeObject],
    /// The last good configuration.
    pub config: &'a Config,
    /// What is wrong with a newer one that was refused; empty if there is none.
    pub refused_config: &'a [ConfigError],
    /// Where this node's InternalIPs are found on it.
    pub local: &'a PerFamily<LocalAddress>,
    /// This node's attachments, in any order.
    pub attachments: &'a [Attachment],
}

impl PerFamily<LocalAddress> {
    /// The local address of a family, if it is the one that the Node object names.
    pub(crate) fn holding(&self, internal: &PerFamily<IpAddr>, family: Family) -> Option<&LocalAddress> {
        let local = self.get(family)?;
        (internal.get(family) == Some(&local.address.addr())).then_some(local)
    }
}
