use super::*;
use crate::{cluster::fake, flags::KubectlFlags, output::Interrupt};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

#[test]
fn nodes_are_known_by_mark_or_pod() {
    let node = |name: &str, annotations: Value| -> Node {
        serde_json::from_value(json!({ "metadata": { "name": name, "annotations": annotations } })).unwrap()
    };
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "namespace": NAME, "name": "p", "labels": { LABEL: NAME } },
        "spec": { "containers": [], "nodeName": "n2" },
    }))
    .unwrap();
    let nodes = vec![
        node("n1", json!({ "cni.netcheck.dev/schema": "1" })),
        node("n2", json!({})),
        node("n3", json!({ "flannel.alpha.coreos.com/backend-type": "vxlan" })),
    ];
    let names: Vec<_> = touched(nodes, &[pod])
        .into_iter()
        .filter_map(|node| node.metadata.name)
        .collect();
    assert_eq!(names, ["n1", "n2"]);
}

#[test]
fn pods_that_came_meanwhile_are_told_of() {
    let pod = |name: &str, node: &str, ip: &str| -> Pod {
        serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": name, "uid": name },
            "spec": { "containers": [], "nodeName": node },
            "status": { "phase": "Running", "podIP": ip },
        }))
        .unwrap()
    };
    let before = Installed {
        nodes: vec![serde_json::from_value(json!({ "metadata": { "name": "n1" } })).unwrap()],
        daemon: None,
        namespace: None,
        wired: vec![pod("known", "n1", "10.244.1.2")],
    };
    let now = [
        pod("known", "n1", "10.244.1.2"),
        pod("tolerant", "n1", "10.244.1.3"),
        pod("elsewhere", "n2", "10.244.2.2"),
        pod("without", "n1", ""),
    ];
    assert_eq!(unknown_to(&before, &now), ["shop/tolerant"]);
}

fn args(evict: bool) -> UninstallArgs {
    UninstallArgs {
        evict,
        timeout: Duration::from_secs(30),
        image: None,
    }
}

/// n1 with our marks, and a pod of a Deployment that lives there until it is evicted. What the cluster is asked to change is recorded
/// in order, and happens at once; a Job of the uninstall succeeds if `succeeds`.
fn cluster(succeeds: bool) -> (Cluster, Arc<Mutex<Vec<String>>>) {
    let changes: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&changes);
    let job = Arc::new(Mutex::new(Value::Null));
    let (cluster, _) = fake::cluster(move |asked| {
        let (method, uri) = asked.line.split_once(' ').unwrap();
        let path = uri.split('?').next().unwrap();
        let mut seen = seen.lock().unwrap();
        let has = |start: &str, seen: &[String]| seen.iter().any(|line| line.starts_with(start));
        let node = json!({
            "metadata": { "name": "n1", "annotations": { "cni.netcheck.dev/schema": "1" } },
            "status": { "conditions": [{ "type": "cni.netcheck.dev/Degraded", "status": "False" }] },
        });
        if method != "GET" {
            seen.push(format!("{method} {path}"));
            if path.ends_with("/jobs") {
                if method == "DELETE" {
                    return fake::list(&json!([]));
                }
                *job.lock().unwrap() = asked.body.clone();
            }
            return (
                200,
                if path.contains("/nodes/") {
                    node
                } else {
                    asked.body.clone()
                },
            );
        }
        let pod = json!({
            "metadata": { "namespace": "shop", "name": "web", "uid": "u-1" },
            "spec": { "containers": [], "nodeName": "n1" },
            "status": { "phase": "Running", "podIP": "10.244.1.2" },
        });
        match path {
            "/api/v1/nodes" => fake::list(&json!([node])),
            "/api/v1/nodes/n1" => (200, node),
            "/api/v1/pods" if !has("POST /api/v1/namespaces/shop/pods/web/eviction", &seen) => {
                fake::list(&json!([pod]))
            }
            path if path.ends_with("/pods") => fake::list(&json!([])),
            path if path.ends_with("/jobs") => {
                let mut job = job.lock().unwrap().clone();
                job["status"] = if succeeds { json!({ "succeeded": 1 }) } else { json!({}) };
                fake::list(&json!([job]))
            }
            "/api/v1/namespaces/netcheck-cni" if !has("DELETE /api/v1/namespaces/netcheck-cni", &seen) => (
                200,
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAME, "resourceVersion": "1" } }),
            ),
            _ => fake::status(404, "NotFound", "not found"),
        }
    });
    (cluster, changes)
}

async fn uninstalled(evict: bool, succeeds: bool) -> (CniUninstallReport, Vec<String>) {
    let (cluster, changes) = cluster(succeeds);
    let shared = Shared {
        flags: KubectlFlags::default(),
        printer: Printer::silent(),
        interrupt: Interrupt::never(),
    };
    let installed = Installed::read(&cluster).await.unwrap();
    assert_eq!(installed.wired.len(), 1);
    let report = uninstall(&cluster, &args(evict), &installed, &shared).await.unwrap();
    let changes = changes.lock().unwrap().clone();
    (report, changes)
}

/// A daemon that lives puts back what is removed; a node's object that is written to before its kernel is clean would hide it from the
/// next attempt; without namespace and rights nothing runs.
#[tokio::test(start_paused = true)]
async fn each_step_comes_when_it_can() {
    let (report, changes) = Box::pin(uninstalled(true, true)).await;
    assert_eq!(report.exit(), Exit::Held);
    let at = |what: &str| {
        let found = changes.iter().position(|line| line.starts_with(what));
        found.unwrap_or_else(|| panic!("{what} is not in {changes:#?}"))
    };
    let order = [
        "PATCH /api/v1/namespaces/netcheck-cni",
        "POST /apis/coordination.k8s.io/v1/namespaces/netcheck-cni/leases",
        "PATCH /api/v1/nodes/n1",
        "POST /api/v1/namespaces/shop/pods/web/eviction",
        "DELETE /apis/apps/v1/namespaces/netcheck-cni/daemonsets/netcheck-cni",
        "POST /apis/batch/v1/namespaces/netcheck-cni/jobs",
        "PATCH /api/v1/nodes/n1/status",
        "DELETE /apis/batch/v1/namespaces/netcheck-cni/jobs",
        "DELETE /apis/rbac.authorization.k8s.io/v1/clusterroles/netcheck-cni",
        "DELETE /api/v1/namespaces/netcheck-cni",
    ];
    let positions = order.map(at);
    assert!(positions.is_sorted(), "{positions:?} of {changes:#?}");
    assert!(
        changes
            .iter()
            .any(|line| line.contains("/namespaces/default/rolebindings/")),
        "{changes:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_keeps_its_marks_and_is_told_of() {
    let (report, changes) = Box::pin(uninstalled(false, false)).await;
    assert_eq!(report.exit(), Exit::Unknown);
    assert!(
        report.items[0]
            .finding
            .as_ref()
            .unwrap()
            .actual
            .contains("did not end in time")
    );
    assert!(
        !changes.iter().any(|line| line.starts_with("PATCH /api/v1/nodes")),
        "{changes:#?}"
    );
    assert!(
        changes
            .iter()
            .any(|line| line == "DELETE /api/v1/namespaces/netcheck-cni"),
        "{changes:#?}"
    );
}
