//! The way to the API server: a client, and what goes by it all the time.

use crate::{
    cluster::Cluster,
    publish::{Publisher, Statement},
};
use anyhow::{Context as _, Result};
use kube::Client;
use std::sync::Arc;
use tokio::{sync::watch, task::JoinSet};

/// Connections to the API server. Nobody tells one that its node's address is gone: it would be waited on for minutes. So they can be
/// made anew, and what is known of the cluster, and what is to be said of the node, stays meanwhile.
pub struct Connection {
    /// For requests.
    pub client: Client,
    /// Watching and publishing; both end with it.
    _tasks: JoinSet<()>,
}

impl Connection {
    /// Reads where the API server is, and begins to watch for `cluster`, and to say what is stated of the node.
    pub async fn open(cluster: &Arc<Cluster>, node: &str, statements: &watch::Sender<Statement>) -> Result<Self> {
        let client = Client::try_default()
            .await
            .context("cannot tell where the API server is; the service account's token, or KUBECONFIG, is needed")?;
        let mut tasks = JoinSet::new();
        let publisher = Publisher::new(client.clone(), node);
        tasks.spawn(publisher.follow(statements.subscribe(), cluster.clone()));
        tasks.spawn({
            let (cluster, client, node) = (cluster.clone(), client.clone(), node.to_owned());
            async move { cluster.watch(&client, &node).await }
        });
        Ok(Self { client, _tasks: tasks })
    }
}
