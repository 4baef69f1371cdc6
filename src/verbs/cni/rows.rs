//! What nodes say of the bundled CNI, put together: one row each. Pure.

use super::{
    complaints::{complaints, pending},
    config::{self, Data},
    decide::is_in_scope,
    names::{APPLIED, REFUSALS, SCHEMA},
    others::is_ready,
    pods::{node_of, waiting_or_phase},
    ranges::pod_cidrs,
    report::{CniNode, CniStatus, ConfigStatus, READY, State},
};
use crate::verbs::API_VERSION;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use std::collections::BTreeMap;

/// What the status is made of.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// The daemon's pods.
    pub pods: Vec<Pod>,
    /// The DaemonSet.
    pub daemon: DaemonSet,
    /// The ConfigMap's data.
    pub config: Data,
}

/// Puts it together.
pub fn status(sources: &Sources) -> CniStatus {
    let hash = config::hash(&sources.config);
    let pods: BTreeMap<&str, &Pod> = sources
        .pods
        .iter()
        // One that is going makes room for the next.
        .filter(|pod| pod.metadata.deletion_timestamp.is_none())
        .filter_map(|pod| Some((node_of(pod)?, pod)))
        .collect();
    let (scope, out): (Vec<&Node>, Vec<&Node>) = sources.nodes.iter().partition(|node| is_in_scope(node));
    let name = |node: &Node| node.metadata.name.clone().unwrap_or_default();
    let mut items: Vec<_> = scope
        .into_iter()
        .map(|node| {
            let daemon = daemon_state(pods.get(name(node).as_str()).copied(), &sources.daemon);
            row(node, daemon, &hash, &sources.config)
        })
        .collect();
    items.sort_by(|one, other| one.node.cmp(&other.node));
    let mut out_of_scope: Vec<_> = out.into_iter().map(name).collect();
    out_of_scope.sort();
    CniStatus {
        api_version: API_VERSION.to_owned(),
        kind: "CniStatus".to_owned(),
        config: ConfigStatus {
            hash,
            data: sources.config.clone(),
        },
        network_policy_enforced: false,
        out_of_scope,
        items,
    }
}

fn row(node: &Node, daemon: String, hash: &str, config: &Data) -> CniNode {
    let name = node.metadata.name.clone().unwrap_or_default();
    let annotation = |key: &str| node.metadata.annotations.as_ref()?.get(key).cloned();
    let applied = annotation(APPLIED);
    let is_applied = applied.as_deref() == Some(hash);
    let ready = is_ready(node);
    let mut complaints = complaints(node);
    let refused = complaints
        .iter()
        .any(|complaint| REFUSALS.contains(&complaint.reason.as_str()));
    let bpf = if annotation(SCHEMA).is_none() {
        "unknown"
    } else if config.get("ebpf").is_some_and(|value| value == "off")
        || complaints.iter().any(|complaint| complaint.reason == "BpfOff")
    {
        "off"
    } else {
        "on"
    };
    let pending = pending(ready, &daemon, is_applied, applied.as_deref());
    let state = if refused {
        State::Refused
    } else if !complaints.is_empty() {
        State::Degraded
    } else if pending.is_some() {
        State::Pending
    } else {
        State::Ready
    };
    complaints.extend(pending);
    CniNode {
        state,
        ready,
        daemon,
        applied: is_applied,
        config: applied,
        backend: config.get("backend").filter(|_| is_applied).cloned(),
        pod_cidrs: pod_cidrs(node).iter().map(ToString::to_string).collect(),
        underlay_mtu: annotation("cni.netcheck.dev/mtu").and_then(|mtu| mtu.parse().ok()),
        underlay: annotation("cni.netcheck.dev/underlay"),
        vtep_mac: annotation("cni.netcheck.dev/vtep-mac"),
        bpf: bpf.to_owned(),
        findings: complaints
            .iter()
            .filter_map(|complaint| complaint.finding(&name))
            .collect(),
        node: name,
    }
}

/// Where the API writes which version of a DaemonSet a pod is of (k8s.io/api, `apps/v1`): as its label, and the set's annotation.
const POD_GENERATION: &str = "pod-template-generation";
const SET_GENERATION: &str = "deprecated.daemonset.template.generation";

fn daemon_state(pod: Option<&Pod>, daemon: &DaemonSet) -> String {
    let Some(pod) = pod else { return "no pod".to_owned() };
    let status = pod.status.as_ref();
    let generation = pod
        .metadata
        .labels
        .as_ref()
        .and_then(|labels| labels.get(POD_GENERATION));
    let current = daemon
        .metadata
        .annotations
        .as_ref()
        .and_then(|annotations| annotations.get(SET_GENERATION));
    if generation.is_some() && current.is_some() && generation != current {
        return "of the version before".to_owned();
    }
    let conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready");
    if ready.any(|condition| condition.status == "True") {
        return READY.to_owned();
    }
    match waiting_or_phase(pod) {
        Some(phase) if phase == "Running" => "not ready".to_owned(),
        Some(word) => word,
        None => "Pending".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        exit::Exit,
        verbs::cni::names::{DEGRADED, NETWORK_UNAVAILABLE},
    };
    use serde_json::{Value, json};

    pub fn sources(nodes: Value, pods: Value) -> Sources {
        Sources {
            nodes: serde_json::from_value(nodes).unwrap(),
            pods: serde_json::from_value(pods).unwrap(),
            daemon: serde_json::from_value(json!({
                "metadata": { "name": "netcheck-cni", "annotations": { SET_GENERATION: "2" } },
            }))
            .unwrap(),
            config: Data::from([
                ("backend".to_owned(), "vxlan".to_owned()),
                ("clusterCIDRs".to_owned(), "10.244.0.0/16".to_owned()),
            ]),
        }
    }

    pub fn node(name: &str, config: Option<&str>, conditions: Value) -> Value {
        let mut annotations = json!({
            "cni.netcheck.dev/schema": "1", "cni.netcheck.dev/mtu": "1500",
            "cni.netcheck.dev/underlay": "192.0.2.11/24", "cni.netcheck.dev/vtep-mac": "0a:3d:1f:b3:8c:45",
        });
        match config {
            Some(hash) => annotations[APPLIED] = json!(hash),
            None => annotations = json!({}),
        }
        let mut all = vec![json!({ "type": "Ready", "status": "True" })];
        let Value::Array(more) = conditions else {
            panic!("{conditions} is no list")
        };
        all.extend(more);
        json!({
            "metadata": { "name": name, "annotations": annotations },
            "spec": { "podCIDRs": ["10.244.1.0/24", "fd00:10:244:1::/64"] },
            "status": { "conditions": all },
        })
    }

    pub fn pod(node: &str, generation: &str, status: Value) -> Value {
        let mut pod = json!({
            "metadata": { "name": format!("netcheck-cni-{node}"), "labels": { POD_GENERATION: generation } },
            "spec": { "containers": [], "nodeName": node },
        });
        pod["status"] = status;
        pod
    }

    pub fn up() -> Value {
        json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] })
    }

    fn current() -> String {
        config::hash(&sources(json!([]), json!([])).config)
    }

    fn all() -> CniStatus {
        let hash = current();
        let degraded = |reason: &str, message: &str| json!([{ "type": DEGRADED, "status": "True", "reason": reason, "message": message }]);
        let crash = json!({ "phase": "Running", "containerStatuses": [{
            "name": "daemon", "ready": false, "restartCount": 4, "image": "", "imageID": "",
            "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        }] });
        let refused = json!([{ "type": NETWORK_UNAVAILABLE, "status": "True", "reason": "DuplicatePodCIDR", "message": "n1 has it" }]);
        let mut windows = node("n9", None, json!([]));
        windows["metadata"]["labels"] = json!({ "kubernetes.io/os": "windows" });
        let nodes = json!([
            node(
                "n2",
                Some(&hash),
                degraded("PeerRefused,BpfOff", "PeerRefused: n3: NotOnLink\nBpfOff: no bpffs")
            ),
            node(
                "n1",
                Some(&hash),
                json!([{ "type": DEGRADED, "status": "False", "reason": "AsExpected" }])
            ),
            node("n3", Some(&hash), refused),
            node("n4", Some("0123456789ab"), json!([])),
            node("n5", None, json!([])),
            node("n6", Some(&hash), json!([])),
            node("n7", Some(&hash), json!([])),
            windows,
        ]);
        let pods = json!([
            pod("n1", "2", up()),
            pod("n2", "2", up()),
            pod("n3", "2", up()),
            pod("n4", "2", up()),
            pod("n6", "1", up()),
            pod("n7", "2", crash),
        ]);
        status(&sources(nodes, pods))
    }

    #[test]
    fn each_node_is_one_row() {
        insta::assert_snapshot!(all().table(true).render());
    }

    #[test]
    fn states_and_what_waiting_may_change() {
        let report = all();
        let states: Vec<_> = report
            .items
            .iter()
            .map(|node| (node.node.as_str(), node.state, node.is_settled()))
            .collect();
        assert_eq!(
            states,
            [
                ("n1", State::Ready, true),
                ("n2", State::Degraded, true),
                ("n3", State::Refused, true),
                ("n4", State::Pending, false),
                ("n5", State::Pending, false),
                ("n6", State::Pending, false),
                ("n7", State::Pending, false),
            ]
        );
        assert_eq!(report.out_of_scope, ["n9"]);
        assert_eq!(report.exit(), Exit::Failed);
    }

    #[test]
    fn findings_name_the_page_that_explains_them() {
        let status = all();
        let ids = |at: usize| -> Vec<&str> {
            status.items[at]
                .findings
                .iter()
                .map(|finding| finding.id.as_str())
                .collect()
        };
        assert_eq!(ids(1), ["cni-peer-refused", "cni-bpf-off"]);
        assert_eq!(ids(2), ["cni-node-refused"]);
        assert_eq!(ids(3), ["cni-node-pending"]);
        assert_eq!(status.items[1].findings[0].actual, "PeerRefused: n3: NotOnLink");
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let hash = current();
        let one = |config: Option<&str>, conditions: Value| {
            status(&sources(
                json!([node("n1", config, conditions)]),
                json!([pod("n1", "2", up())]),
            ))
            .exit()
        };
        assert_eq!(one(Some(&hash), json!([])), Exit::Held);
        assert_eq!(one(None, json!([])), Exit::Unknown);
        let degraded = json!([{ "type": DEGRADED, "status": "True", "reason": "ForwardDropped" }]);
        assert_eq!(one(Some(&hash), degraded), Exit::Failed);
    }
}
