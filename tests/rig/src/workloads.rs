//! Things to run on a rig: the shop of the demo, and any number of plain pods.

use serde_json::json;

/// The shop: web, api and db in namespace `shop`, with dual-stack Services.
pub const SHOP: &str = include_str!("../manifests/shop.yaml");

/// `count` pods `NAME-0` and on in `namespace`, each serving TCP port 8080, spread over `nodes` by turns. They name their
/// nodes, so no scheduler is waited for.
pub fn plain_pods(namespace: &str, name: &str, count: usize, nodes: &[String]) -> String {
    let pods: Vec<_> = (0..count)
        .map(|index| {
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": format!("{name}-{index}"), "namespace": namespace, "labels": { "app": name } },
                "spec": {
                    "nodeName": nodes.get(index % nodes.len().max(1)),
                    "terminationGracePeriodSeconds": 1,
                    "automountServiceAccountToken": false,
                    "containers": [{
                        "name": "main",
                        "image": "docker.io/rig/workload:1",
                        "imagePullPolicy": "IfNotPresent",
                        "args": ["serve", "--tcp", "8080"],
                        "ports": [{ "containerPort": 8080 }],
                    }],
                },
            })
        })
        .collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": pods }).to_string()
}
