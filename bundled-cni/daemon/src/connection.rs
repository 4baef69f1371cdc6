//! The way to the API server: a client, and the watches that go by it.

use crate::cluster::Cluster;
use anyhow::{Context as _, Result};
use kube::Client;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Connections to the API server. Nobody tells one that its node's address is gone: it would be waited on for minutes. So they can be
/// made anew, and what is known of the cluster stays meanwhile.
pub struct Connection {
    /// For requests.
    pub client: Client,
    watching: JoinHandle<()>,
}

impl Connection {
    /// Reads where the API server is, and begins to watch for `cluster`.
    pub async fn open(cluster: &Arc<Cluster>, node: &str) -> Result<Self> {
        let client = Client::try_default()
            .await
            .context("cannot tell where the API server is; the service account's token, or KUBECONFIG, is needed")?;
        let watching = tokio::spawn({
            let (cluster, client, node) = (cluster.clone(), client.clone(), node.to_owned());
            async move { cluster.watch(&client, &node).await }
        });
        Ok(Self { client, watching })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watching.abort();
    }
}
