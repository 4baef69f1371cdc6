//! What the API says, as far as a verifier asks: of Nodes, pods and the networks' configurations.

use super::{calico::objects::CalicoObjects, cilium::objects::CiliumObjects, services::Services};
use crate::networks;
use ipnet::IpNet;
use netcheck_cni_intent::NodeObject;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// What the API says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Objects {
    /// All Nodes.
    pub nodes: Vec<NodeObject>,
    /// `status.nodeInfo.architecture` of Nodes, by name.
    #[serde(default)]
    pub architectures: BTreeMap<String, String>,
    /// All pods that have a node, in all namespaces.
    pub pods: Vec<PodObject>,
    /// Data of the bundled CNI's ConfigMap; `None` if it is not there.
    #[serde(default)]
    pub bundled: Option<BTreeMap<String, String>>,
    /// `net-conf.json` of flannel's ConfigMap; `None` if that is not there.
    #[serde(default)]
    pub flannel: Option<String>,
    /// Services and their endpoints, or why they could not be read; `None`: nobody asked.
    #[serde(default)]
    pub services: Option<Result<Services, String>>,
    /// Calico's objects; `None` if no Node says anything of it.
    #[serde(default)]
    pub calico: Option<CalicoObjects>,
    /// Cilium's objects; `None` if its ConfigMap is not there.
    #[serde(default)]
    pub cilium: Option<CiliumObjects>,
}

/// A pod, reduced to what counts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodObject {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; of a static pod what its kubelet calls it, too.
    pub uid: String,
    /// `spec.nodeName`.
    pub node: String,
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// `spec.hostNetwork`.
    #[serde(default)]
    pub host_network: bool,
    /// `Running`, and not being deleted.
    #[serde(default)]
    pub running: bool,
    /// `spec.runtimeClassName`: such runtimes may take addresses into a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime_class: Option<String>,
    /// Annotation `k8s.v1.cni.cncf.io/networks`: further networks that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub networks: Option<String>,
    /// Annotation `k8s.v1.cni.cncf.io/network-status`: what it was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_status: Option<String>,
}

impl PodObject {
    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// Whether a network must have given it an interface.
    pub fn is_wired(&self) -> bool {
        self.running && !self.host_network
    }
}

impl Objects {
    /// Whether an agent of a network runs, by the network's name.
    pub fn has_agent_of(&self, network: &str) -> bool {
        let mut agents = self.pods.iter().filter(|pod| pod.host_network);
        networks::named(network).is_some_and(|known| agents.any(|pod| known.is_agent(&pod.name)))
    }

    /// The ranges that pods of a node have addresses of; what is none is left out.
    pub fn ranges_of(&self, node: &str) -> Vec<IpNet> {
        let own = self.nodes.iter().filter(|object| object.name == node);
        let ranges = own.flat_map(|own| &own.pod_cidrs);
        ranges.filter_map(|range| range.parse().ok()).collect()
    }

    /// Pods of a node that must have an interface.
    pub fn wired_on<'a>(&'a self, node: &'a str) -> impl Iterator<Item = &'a PodObject> {
        self.pods.iter().filter(move |pod| pod.node == node && pod.is_wired())
    }
}
