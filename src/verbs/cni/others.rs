//! Recognises networks that are not ours, so that nobody breaks a working one by mistake. Pure.

use super::{
    names::{LABEL, NAME, NETWORK_UNAVAILABLE, READY_REASON, REFUSALS, SCHEMA},
    pods::{is_wired, node_of},
};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use std::collections::{BTreeMap, BTreeSet};

/// How a network shows itself.
struct Known {
    /// Its name, as people know it.
    name: &'static str,
    /// Its DaemonSets; one that ends in `*` stands for all that begin so.
    daemon_sets: &'static [&'static str],
    /// Values of the labels that DaemonSets of networks carry.
    labels: &'static [&'static str],
    /// Prefix of its annotations on nodes.
    annotations: &'static str,
}

const fn known(
    name: &'static str,
    daemon_sets: &'static [&'static str],
    labels: &'static [&'static str],
    annotations: &'static str,
) -> Known {
    Known {
        name,
        daemon_sets,
        labels,
        annotations,
    }
}

/// Those in use. Policy-only and meta plugins (multus) are not here: they stand beside a network.
const KNOWN: [Known; 14] = [
    known("canal", &["canal", "rke2-canal"], &["canal"], ""),
    known(
        "flannel",
        &["kube-flannel", "kube-flannel-ds*"],
        &["flannel"],
        "flannel.alpha.coreos.com/",
    ),
    known("Calico", &["calico-node"], &["calico-node"], "projectcalico.org/"),
    known("Cilium", &["cilium", "anetd"], &["cilium"], "network.cilium.io/"),
    known("kindnet", &["kindnet", "kindnetd"], &["kindnet", "kindnetd"], ""),
    known("Weave Net", &["weave-net"], &["weave-net"], ""),
    known("Antrea", &["antrea-agent"], &["antrea"], "node.antrea.io/"),
    known("kube-router", &["kube-router"], &["kube-router"], "kube-router.io/"),
    known("the AWS VPC CNI", &["aws-node"], &["aws-node"], ""),
    known("Azure CNI", &["azure-cns", "azure-cni*"], &["azure-cns"], ""),
    known("GKE's network", &["netd"], &["netd"], ""),
    known(
        "OVN-Kubernetes",
        &["ovnkube-node*", "ovs-node"],
        &["ovnkube-node"],
        "k8s.ovn.org/",
    ),
    known("Kube-OVN", &["kube-ovn-cni"], &["kube-ovn-cni"], "ovn.kubernetes.io/"),
    known("OpenShift SDN", &["sdn"], &["sdn"], ""),
];

/// Labels by which DaemonSets of networks are known.
const LABEL_KEYS: [&str; 5] = [
    "k8s-app",
    "app",
    "name",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
];

/// Reasons that cloud providers' route controllers give (k8s.io/cloud-provider, `controllers/route`): routes, not a network on nodes.
const OF_ROUTE_CONTROLLERS: [&str; 2] = ["RouteCreated", "NoRouteCreated"];

/// A network that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Other {
    /// Its name.
    pub name: String,
    /// By what it was recognised.
    pub evidence: String,
    /// It is at work: a DaemonSet of it has pods. Otherwise it has only left something behind, or hides from the API.
    pub is_active: bool,
}

/// Networks that show themselves, those at work first, each once.
pub fn recognise(daemon_sets: &[DaemonSet], nodes: &[Node]) -> Vec<Other> {
    let mut found: BTreeMap<String, Other> = BTreeMap::new();
    let daemons = daemon_sets.iter().filter_map(of_daemon_set);
    for other in daemons.chain(nodes.iter().flat_map(of_node)) {
        found.entry(other.name.clone()).or_insert(other);
    }
    let mut others: Vec<_> = found.into_values().collect();
    others.sort_by_key(|other| !other.is_active);
    others
}

fn of_daemon_set(set: &DaemonSet) -> Option<Other> {
    let name = set.metadata.name.as_deref()?;
    let labels = set.metadata.labels.as_ref();
    let label = |key: &str| labels.and_then(|labels| labels.get(key)).map(String::as_str);
    if label(LABEL) == Some(NAME) {
        return None;
    }
    // One without pods has been switched off by a node selector that nothing fits.
    if set
        .status
        .as_ref()
        .is_none_or(|status| status.desired_number_scheduled == 0)
    {
        return None;
    }
    let fits = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    };
    let known = KNOWN.iter().find(|known| {
        known.daemon_sets.iter().any(&fits)
            || LABEL_KEYS
                .iter()
                .filter_map(|key| label(key))
                .any(|value| known.labels.contains(&value))
    })?;
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    Some(Other {
        name: known.name.to_owned(),
        evidence: format!("DaemonSet {namespace}/{name}"),
        is_active: true,
    })
}

fn of_node(node: &Node) -> Vec<Other> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let annotations: Vec<&String> = node.metadata.annotations.iter().flatten().map(|(key, _)| key).collect();
    let annotated = KNOWN
        .iter()
        .filter(|known| !known.annotations.is_empty())
        .filter_map(|known| {
            let key = annotations.iter().find(|key| key.starts_with(known.annotations))?;
            Some(Other {
                name: known.name.to_owned(),
                evidence: format!("annotation {key} of node {name}"),
                is_active: false,
            })
        });
    let reason = network_reason(node).filter(|reason| {
        *reason != READY_REASON && !REFUSALS.contains(reason) && !OF_ROUTE_CONTROLLERS.contains(reason)
    });
    let said = reason.map(|reason| Other {
        // FlannelIsUp, CalicoIsUp, CiliumIsUp, WeaveIsUp …
        name: by_reason(reason),
        evidence: format!("condition {NETWORK_UNAVAILABLE} of node {name}, reason {reason}"),
        is_active: false,
    });
    annotated.chain(said).collect()
}

fn by_reason(reason: &str) -> String {
    let start = reason.to_lowercase();
    let known = KNOWN.iter().find(|known| {
        let word = known.name.split(' ').next().unwrap_or_default().to_lowercase();
        start.starts_with(&word)
    });
    known.map_or_else(
        || format!("the network that says {reason}"),
        |known| known.name.to_owned(),
    )
}

fn network_reason(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == NETWORK_UNAVAILABLE)?;
    condition.reason.as_deref().filter(|reason| !reason.is_empty())
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
    use serde_json::{Value, json};

    fn set(name: &str, labels: &Value, desired: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": { "namespace": "kube-system", "name": name, "labels": labels },
            "status": { "desiredNumberScheduled": desired, "currentNumberScheduled": desired, "numberMisscheduled": 0, "numberReady": 0 },
        }))
        .unwrap()
    }

    fn node(annotation: &str, reason: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "n1", "annotations": { annotation: "x" } },
            "status": { "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "NetworkUnavailable", "status": "False", "reason": reason },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn networks_at_work_are_known_by_their_daemon_sets() {
        for (name, labels, expected) in [
            ("kube-flannel-ds", json!({}), Some("flannel")),
            ("kube-flannel-ds-amd64", json!({}), Some("flannel")),
            ("my-own-name", json!({ "k8s-app": "calico-node" }), Some("Calico")),
            (
                "cilium",
                json!({ "app.kubernetes.io/part-of": "cilium" }),
                Some("Cilium"),
            ),
            ("kindnet", json!({ "app": "kindnet" }), Some("kindnet")),
            ("weave-net", json!({}), Some("Weave Net")),
            ("antrea-agent", json!({}), Some("Antrea")),
            ("canal", json!({}), Some("canal")),
            ("kube-router", json!({}), Some("kube-router")),
            ("aws-node", json!({}), Some("the AWS VPC CNI")),
            ("azure-cns", json!({}), Some("Azure CNI")),
            ("netd", json!({}), Some("GKE's network")),
            ("ovnkube-node", json!({}), Some("OVN-Kubernetes")),
            ("kube-proxy", json!({ "k8s-app": "kube-proxy" }), None),
            ("kube-multus-ds", json!({ "app": "multus" }), None),
            (
                "netcheck-cni",
                json!({ "app.kubernetes.io/name": "netcheck-cni" }),
                None,
            ),
        ] {
            let found = recognise(&[set(name, &labels, 3)], &[]);
            assert_eq!(found.first().map(|other| other.name.as_str()), expected, "{name}");
            assert!(found.iter().all(|other| other.is_active));
        }
        assert_eq!(
            recognise(&[set("kube-flannel-ds", &json!({}), 0)], &[]),
            [],
            "switched off"
        );
    }

    #[test]
    fn what_nodes_say_is_remembered_but_is_not_at_work() {
        for (annotation, reason, expected) in [
            ("flannel.alpha.coreos.com/backend-type", "", Some("flannel")),
            ("x", "FlannelIsUp", Some("flannel")),
            ("x", "CalicoIsUp", Some("Calico")),
            ("x", "CiliumIsUp", Some("Cilium")),
            ("x", "WeaveIsUp", Some("Weave Net")),
            ("x", "NobodyKnows", Some("the network that says NobodyKnows")),
            ("x", "RouteCreated", None),
            ("x", "NetcheckCniReady", None),
            ("x", "DuplicatePodCIDR", None),
            ("cni.netcheck.dev/schema", "", None),
        ] {
            let found = recognise(&[], &[node(annotation, reason)]);
            assert_eq!(
                found.first().map(|other| other.name.as_str()),
                expected,
                "{annotation} {reason}"
            );
            assert!(found.iter().all(|other| !other.is_active));
        }
    }

    #[test]
    fn a_daemon_set_outweighs_what_nodes_say_and_comes_first() {
        let found = recognise(
            &[set("kube-flannel-ds", &json!({}), 1)],
            &[node("projectcalico.org/IPv4Address", "FlannelIsUp")],
        );
        let names: Vec<_> = found
            .iter()
            .map(|other| (other.name.as_str(), other.is_active))
            .collect();
        assert_eq!(names, [("flannel", true), ("Calico", false)]);
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
