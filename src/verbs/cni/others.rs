//! Recognises networks that are not ours, so that nobody breaks a working one by mistake. Pure.

use super::{
    names::SCHEMA,
    pods::{is_wired, node_of},
};
use crate::networks::{self, Trace};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use std::collections::BTreeSet;

/// Networks that are not ours, those at work first, each once.
pub fn recognise(daemon_sets: &[DaemonSet], nodes: &[Node]) -> Vec<Trace> {
    let mut traces = networks::recognise(daemon_sets, nodes);
    traces.retain(|trace| trace.name != networks::BUNDLED);
    traces
}

/// Nodes that a network which shows itself nowhere serves: they are ready, pods with a network of their own run there, and the node
/// carries no mark of ours.
pub fn served_by_unknown<'a>(nodes: &'a [Node], pods: &[Pod]) -> Vec<&'a str> {
    let running: BTreeSet<&str> = pods.iter().filter(|pod| is_wired(pod)).filter_map(node_of).collect();
    nodes
        .iter()
        .filter(|node| is_ready(node) && !is_ours(node))
        .filter_map(|node| node.metadata.name.as_deref())
        .filter(|name| running.contains(name))
        .collect()
}

/// The daemon has been there.
pub fn is_ours(node: &Node) -> bool {
    node.metadata.annotations.iter().flatten().any(|(key, _)| key == SCHEMA)
}

/// The node's own word.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::networks::tests::node;
    use serde_json::json;

    #[test]
    fn our_own_traces_are_none_of_others() {
        let set: DaemonSet = serde_json::from_value(json!({
            "metadata": { "namespace": "netcheck-cni", "name": "netcheck-cni" },
            "status": { "desiredNumberScheduled": 1, "currentNumberScheduled": 1, "numberMisscheduled": 0, "numberReady": 0 },
        }))
        .unwrap();
        let nodes = [
            node("cni.netcheck.dev/schema", "NetcheckCniReady"),
            node("x", "NoPodCIDR"),
        ];
        assert_eq!(recognise(&[set], &nodes), []);
        assert_eq!(recognise(&[], &[node("x", "FlannelIsUp")])[0].name, "flannel");
    }

    #[test]
    fn pods_that_run_on_a_ready_node_without_our_mark_have_a_network_nobody_knows() {
        let pod = |host: bool, phase: &str, ip: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": { "name": "p" },
                "spec": { "containers": [], "nodeName": "n1", "hostNetwork": host },
                "status": { "phase": phase, "podIP": ip },
            }))
            .unwrap()
        };
        let (theirs, ours) = ([node("x", "")], [node("cni.netcheck.dev/schema", "")]);
        assert_eq!(served_by_unknown(&theirs, &[pod(false, "Running", "10.1.0.2")]), ["n1"]);
        assert!(served_by_unknown(&ours, &[pod(false, "Running", "10.1.0.2")]).is_empty());
        for idle in [
            pod(true, "Running", "10.1.0.2"),
            pod(false, "Succeeded", "10.1.0.2"),
            pod(false, "Pending", ""),
        ] {
            assert!(served_by_unknown(&theirs, &[idle]).is_empty());
        }
    }
}
