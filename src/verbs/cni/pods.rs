//! What matters of a pod here. Pure.

use k8s_openapi::api::core::v1::Pod;

/// A pod that lives in a network namespace of its own.
pub fn is_wired(pod: &Pod) -> bool {
    let (spec, status) = (pod.spec.as_ref(), pod.status.as_ref());
    let phase = status.and_then(|status| status.phase.as_deref());
    let has_address = status.is_some_and(|status| status.pod_ip.as_ref().is_some_and(|ip| !ip.is_empty()));
    spec.is_some_and(|spec| spec.host_network != Some(true))
        && has_address
        && !matches!(phase, Some("Succeeded" | "Failed"))
}

/// The node that a pod is on.
pub fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Made by a DaemonSet, which cannot be kept from it by a cordon.
pub fn is_of_daemon_set(pod: &Pod) -> bool {
    pod.metadata
        .owner_references
        .iter()
        .flatten()
        .any(|owner| owner.kind == "DaemonSet")
}

/// Why a container does not run, in the kubelet's word; else the pod's phase.
pub fn waiting_or_phase(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?;
    let mut containers = status.container_statuses.iter().flatten();
    containers
        .find_map(|container| container.state.as_ref()?.waiting.as_ref()?.reason.clone())
        .or_else(|| status.phase.clone())
}
