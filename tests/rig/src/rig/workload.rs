//! Things to diagnose.

use super::{PATIENCE, Rig};
use crate::{Result, wait_until, workloads};
use serde_json::json;

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
        ])
        .map(drop)
    }

    fn wait_for_default_service_account(&self, namespace: &str) -> Result<()> {
        wait_until(&format!("service account {namespace}/default"), PATIENCE, || {
            self.kubectl(["get", "serviceaccount", "default", "-n", namespace])
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }
}
