//! Things to diagnose.

use super::{PATIENCE, Rig};
use crate::{Result, wait_until, workloads};
use serde_json::{Value, json};

impl Rig {
    /// Starts `count` plain pods `NAME-0` and on, serving TCP 8080, spread over the nodes, and waits until they are ready.
    ///
    /// # Errors
    /// When one does not become ready.
    pub fn start_plain_pods(&self, namespace: &str, name: &str, count: usize) -> Result<()> {
        let nodes: Vec<_> = self.nodes().iter().map(|node| node.name.clone()).collect();
        self.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }).to_string())?;
        self.wait_for_default_service_account(namespace)?;
        self.apply(&workloads::plain_pods(namespace, name, count, &nodes))?;
        let selector = format!("app={name}");
        self.kubectl([
            "wait",
            "pod",
            "--for=condition=Ready",
            "--timeout=120s",
            "-n",
            namespace,
            "-l",
            &selector,
        ])
        .map(drop)
    }

    /// Applies the shop (namespace `shop`: web, api, db and their Services) and waits until it is available.
    ///
    /// # Errors
    /// When it does not become available.
    pub fn open_shop(&self) -> Result<()> {
        self.apply(workloads::SHOP)?;
        self.kubectl([
            "wait",
            "deployment",
            "--all",
            "--for=condition=Available",
            "--timeout=120s",
            "-n",
            "shop",
        ])?;
        wait_until("the shop's Services to have all their pods", PATIENCE, || {
            self.pods_that_no_service_knows().and_then(|unknown| {
                if unknown.is_empty() {
                    Ok(())
                } else {
                    Err(unknown.join(", "))
                }
            })
        })
    }

    /// Ready pods that a Service of the shop selects and that are in none of its EndpointSlices yet, or not as ready.
    fn pods_that_no_service_knows(&self) -> std::result::Result<Vec<String>, String> {
        let list = |kind: &str| -> std::result::Result<Vec<Value>, String> {
            let list = self
                .kubectl_json(&["get", kind, "-n", "shop"])
                .map_err(|error| error.to_string())?;
            Ok(list["items"].as_array().cloned().unwrap_or_default())
        };
        let (services, pods, slices) = (list("services")?, list("pods")?, list("endpointslices")?);
        let mut unknown = Vec::new();
        for service in &services {
            let Some(selector) = service["spec"]["selector"].as_object() else {
                continue;
            };
            let name = &service["metadata"]["name"];
            let families = service["spec"]["ipFamilies"].as_array().map_or(0, Vec::len);
            let is_selected = |pod: &&Value| {
                selector
                    .iter()
                    .all(|(key, value)| pod["metadata"]["labels"][key] == *value)
            };
            let is_ready = |pod: &&Value| {
                let mut conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
                pod["metadata"]["deletionTimestamp"].is_null()
                    && conditions.any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
            };
            for pod in pods
                .iter()
                .filter(is_selected)
                .filter(is_ready)
                .map(|pod| &pod["metadata"]["name"])
            {
                let of_service = slices
                    .iter()
                    .filter(|slice| slice["metadata"]["labels"]["kubernetes.io/service-name"] == *name);
                let known = of_service
                    .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten())
                    .filter(|endpoint| {
                        endpoint["targetRef"]["name"] == *pod && endpoint["conditions"]["ready"] == true
                    });
                if known.count() < families {
                    unknown.push(format!("{pod} of {name}"));
                }
            }
        }
        Ok(unknown)
    }

    fn wait_for_default_service_account(&self, namespace: &str) -> Result<()> {
        wait_until(&format!("service account {namespace}/default"), PATIENCE, || {
            self.kubectl(["get", "serviceaccount", "default", "-n", namespace])
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }
}
