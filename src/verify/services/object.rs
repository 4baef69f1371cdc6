//! Services and their endpoints, reduced to what kube-proxy acts on.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What the API says of Services.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Services {
    /// Those with a ClusterIP that kube-proxy programs.
    pub services: Vec<ServiceObject>,
    /// All EndpointSlices of Services.
    pub slices: Vec<SliceObject>,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceObject {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.clusterIPs`.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.ports`.
    pub ports: Vec<ServicePort>,
    /// `spec.internalTrafficPolicy`.
    #[serde(default)]
    pub internal: Policy,
    /// `spec.externalTrafficPolicy`.
    #[serde(default)]
    pub external: Policy,
}

/// Which endpoints a node may send to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// All.
    #[default]
    Cluster,
    /// Its own.
    Local,
}

/// A port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServicePort {
    /// Empty if it has none.
    #[serde(default)]
    pub name: String,
    /// `TCP`, `UDP`, `SCTP`.
    pub protocol: String,
    /// The Service's port.
    pub port: u16,
    /// `nodePort`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_port: Option<u16>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceObject {
    /// `metadata.namespace`.
    pub namespace: String,
    /// Label `kubernetes.io/service-name`.
    pub service: String,
    /// Ports by name, with their protocol and number.
    pub ports: Vec<ServicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// An endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The first of its addresses: others mean nothing to kube-proxy.
    pub ip: Option<IpAddr>,
    /// By its conditions.
    pub readiness: Readiness,
    /// `nodeName`.
    #[serde(default)]
    pub node: Option<String>,
    /// Whether there are hints for which zones or nodes it is.
    #[serde(default)]
    pub hinted: bool,
}

/// Whether connections go to an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readiness {
    /// `ready`.
    Ready,
    /// `serving` and `terminating`: where none is ready.
    Leaving,
    /// No.
    #[default]
    Unready,
}

impl ServiceObject {
    /// `NAMESPACE/NAME`.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    pub(super) fn has_family(&self, is_v6: bool) -> bool {
        self.cluster_ips.iter().any(|ip| ip.is_ipv6() == is_v6)
    }
}
