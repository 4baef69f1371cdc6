//! What `debug` needs: a container in a pod, and the streams to it; on nodes besides what agents there need.

use super::{Grant, Place, Way, grant};

const ATTACH: &str = "the session; a WebSocket is authorised as get, by newer servers as create too";
const EXEC: &str = "signs of life, so that a session ends when nobody is there any more; as get and create, too";

/// A row for streams to containers.
const fn stream(place: Place, way: Way, resource: &'static str, why: &'static str) -> Grant {
    grant(place, way, "", resource, &["get", "create"], true, why)
}

/// A row for what is only in pods' namespaces.
const fn in_pods(resource: &'static str, verbs: &'static [&'static str], required: bool, why: &'static str) -> Grant {
    grant(Place::Targets, Way::Ephemeral, "", resource, verbs, required, why)
}

pub(super) const DEBUG: [Grant; 8] = [
    in_pods(
        "pods",
        &["get", "list", "watch"],
        true,
        "to find the pod, and to see the container start",
    ),
    in_pods(
        "pods/ephemeralcontainers",
        &["patch"],
        true,
        "one container for each session; it stays listed until its pod goes",
    ),
    stream(Place::Targets, Way::Ephemeral, "pods/attach", ATTACH),
    stream(Place::Targets, Way::Ephemeral, "pods/exec", EXEC),
    in_pods("services", &["get"], false, "targets named svc/NAME"),
    grant(
        Place::Cluster,
        Way::Node,
        "",
        "nodes",
        &["get"],
        false,
        "whether a node is there, and what it runs",
    ),
    stream(Place::Agents, Way::Node, "pods/attach", ATTACH),
    stream(Place::Agents, Way::Node, "pods/exec", EXEC),
];

/// What of a matrix's permissions it needs as well: Jobs on nodes, and workloads by their names.
pub(super) fn shares(grant: &Grant) -> bool {
    let is_on_nodes = grant.way == Way::Node && grant.resource != "pods/exec";
    let is_workload = grant.place == Place::Targets
        && (["apps", "batch"].contains(&grant.group) || grant.resource == "replicationcontrollers");
    is_on_nodes || is_workload
}
