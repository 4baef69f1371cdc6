//! Names in the cluster's DNS. Pure.

use super::inventory::Service;

/// The domain of a cluster that nobody named otherwise.
pub const USUAL_DOMAIN: &str = "cluster.local";

/// The cluster's domain by a pod's search list, which the kubelet fills with `NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN`.
pub fn cluster_domain(search: &[String]) -> Option<&str> {
    search
        .iter()
        .find_map(|entry| entry.strip_prefix("svc."))
        .map(|domain| domain.trim_end_matches('.'))
}

/// A Service's own name: of the DNS Service the one name whose right answer is known in every cluster.
pub fn own_name(service: &Service, domain: &str) -> String {
    format!("{}.{}.svc.{domain}", service.name, service.namespace)
}
