//! A cluster of two pods, as far as a run looks at it before it starts agents.

use serde_json::{Value, json};

use crate::{
    fake_api::{Answer, FakeApi, Request},
    plugin::Plugin,
};

/// Answers what is read of a namespace `shop` with the pods `web-1` and `api-1`; everything else is an empty list.
pub fn answer(request: &Request) -> Answer {
    let path = request.path().split('?').next().unwrap_or_default();
    let found = match path {
        "/api/v1/namespaces/shop/pods" => list(&json!([pod("web"), pod("api")])),
        "/api/v1/namespaces/shop/pods/web-1" => pod("web"),
        "/api/v1/namespaces/shop/pods/api-1" => pod("api"),
        "/api/v1/nodes" => list(&json!([{
            "metadata": { "name": "n1" },
            "status": {
                "addresses": [{ "type": "InternalIP", "address": "192.0.2.1" }],
                "conditions": [{ "type": "Ready", "status": "True" }],
                "nodeInfo": { "operatingSystem": "linux" },
            },
        }])),
        _ => list(&json!([])),
    };
    Answer::Json(200, found.to_string())
}

/// A plugin whose kubeconfig names the shop's cluster.
pub fn plugin(api: &FakeApi) -> Plugin {
    Plugin::with_server(&api.url(), "{}")
}

/// A list that is whole.
pub fn list(items: &Value) -> Value {
    json!({ "apiVersion": "v1", "kind": "List", "metadata": {}, "items": items })
}

fn pod(app: &str) -> Value {
    let ip = if app == "web" { "10.0.0.2" } else { "10.0.0.3" };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "namespace": "shop", "name": format!("{app}-1"), "uid": format!("u-{app}"), "labels": { "app": app } },
        "spec": {
            "nodeName": "n1",
            "containers": [{ "name": app, "image": app, "ports": [{ "containerPort": 80 }] }],
        },
        "status": { "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }] },
    })
}
