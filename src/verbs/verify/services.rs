//! Services and EndpointSlices, reduced to what nodes must do with packets to them.

use crate::{
    cluster::{
        Cluster,
        list::{allowed, list},
    },
    exit::Failure,
    verify::services::{Endpoint, Policy, Readiness, ServiceObject, ServicePort, Services, SliceObject},
};
use k8s_openapi::api::{core::v1::Service, discovery::v1 as discovery};
use kube::Api;

/// Who has it is somebody else's to program (KEP-2447), and headless ones nobody's.
const NOT_KUBE_PROXYS: &str = "service.kubernetes.io/service-proxy-name";

/// Reads them of all namespaces. The inner error: they may not be listed.
///
/// # Errors
/// If the API server does not answer.
pub async fn read(cluster: &Cluster) -> Result<Result<Services, String>, Failure> {
    let service_api: Api<Service> = Api::all(cluster.client.clone());
    let slice_api: Api<discovery::EndpointSlice> = Api::all(cluster.client.clone());
    let (services, slices) = tokio::join!(list(cluster, &service_api, None), list(cluster, &slice_api, None));
    let services = allowed(services, "list Services in all namespaces")?;
    let slices = allowed(slices, "list EndpointSlices in all namespaces")?;
    let missing = match (&services, &slices) {
        (Some(_), Some(_)) => None,
        (None, Some(_)) => Some("services"),
        (Some(_), None) => Some("endpointslices.discovery.k8s.io"),
        (None, None) => Some("services and endpointslices.discovery.k8s.io"),
    };
    if let Some(what) = missing {
        let advice = "kubectl netcheck rbac verify prints the role that allows it";
        return Ok(Err(format!("{what} may not be listed in all namespaces: {advice}")));
    }
    let (services, slices) = (services.unwrap_or_default(), slices.unwrap_or_default());
    Ok(Ok(Services {
        services: services.iter().filter_map(service).collect(),
        slices: slices.iter().filter_map(slice).collect(),
    }))
}

fn service(service: &Service) -> Option<ServiceObject> {
    let spec = service.spec.as_ref()?;
    let labels = service.metadata.labels.as_ref();
    let is_elsewhere = labels.is_some_and(|labels| labels.contains_key(NOT_KUBE_PROXYS));
    let is_leaving = service.metadata.deletion_timestamp.is_some();
    if is_elsewhere || is_leaving || spec.type_.as_deref() == Some("ExternalName") {
        return None;
    }
    // A headless Service has the word "None" there, which is no address.
    let ips = spec.cluster_ips.iter().flatten();
    let cluster_ips: Vec<_> = ips.filter_map(|ip| ip.parse().ok()).collect();
    if cluster_ips.is_empty() {
        return None;
    }
    let policy = |text: Option<&String>| match text.map(String::as_str) {
        Some("Local") => Policy::Local,
        _ => Policy::Cluster,
    };
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: u16::try_from(port.port).ok()?,
            node_port: port
                .node_port
                .and_then(|port| u16::try_from(port).ok())
                .filter(|port| *port != 0),
        })
    });
    Some(ServiceObject {
        namespace: service.metadata.namespace.clone()?,
        name: service.metadata.name.clone()?,
        cluster_ips,
        ports: ports.collect(),
        internal: policy(spec.internal_traffic_policy.as_ref()),
        external: policy(spec.external_traffic_policy.as_ref()),
    })
}

fn slice(slice: &discovery::EndpointSlice) -> Option<SliceObject> {
    let labels = slice.metadata.labels.as_ref()?;
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        Some(ServicePort {
            name: port.name.clone().unwrap_or_default(),
            protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            port: u16::try_from(port.port?).ok()?,
            node_port: None,
        })
    });
    Some(SliceObject {
        namespace: slice.metadata.namespace.clone()?,
        service: labels.get("kubernetes.io/service-name")?.clone(),
        ports: ports.collect(),
        endpoints: slice.endpoints.iter().map(endpoint).collect(),
    })
}

fn endpoint(endpoint: &discovery::Endpoint) -> Endpoint {
    let conditions = endpoint.conditions.as_ref();
    let said = |of: fn(&discovery::EndpointConditions) -> Option<bool>| conditions.and_then(of);
    // Not said is ready, and serving if it is ready.
    let ready = said(|conditions| conditions.ready).unwrap_or(true);
    let serving = said(|conditions| conditions.serving).unwrap_or(ready);
    let terminating = said(|conditions| conditions.terminating).unwrap_or(false);
    Endpoint {
        ip: endpoint.addresses.first().and_then(|ip| ip.parse().ok()),
        readiness: match (ready, serving && terminating) {
            (true, _) => Readiness::Ready,
            (false, true) => Readiness::Leaving,
            (false, false) => Readiness::Unready,
        },
        node: endpoint.node_name.clone(),
        hinted: endpoint.hints.is_some(),
    }
}
