//! What an installation must know of the cluster, read once.

use super::{config::Data, names::NAME};
use crate::{
    cluster::{
        Cluster,
        list::{allowed, list, list_metadata},
        request::{self, Problem, attempt},
    },
    exit::Failure,
};
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Namespace, Node, Pod},
    networking::v1::NetworkPolicy,
};
use kube::Api;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// The cluster, as far as it matters to a network.
#[derive(Debug, Clone, Default)]
pub struct Scene {
    /// All nodes.
    pub nodes: Vec<Node>,
    /// All pods.
    pub pods: Vec<Pod>,
    /// All DaemonSets.
    pub daemon_sets: Vec<DaemonSet>,
    /// Our namespace, if it is there.
    pub namespace: Option<Namespace>,
    /// Our ConfigMap's data.
    pub config: Option<Data>,
    /// Our DaemonSet.
    pub daemon: Option<DaemonSet>,
    /// What kubeadm wrote down, if it may be read.
    pub kubeadm: Option<ConfigMap>,
    /// How many NetworkPolicies there are, if they may be listed.
    pub policies: Option<usize>,
}

/// Reads it. What tells whether another network is at work must be readable; of the rest, less is known.
///
/// # Errors
/// If nodes, pods or DaemonSets may not be listed, or the API server does not answer.
pub async fn read(cluster: &Cluster) -> Result<Scene, Failure> {
    let client = &cluster.client;
    let (node_api, pod_api, set_api, policy_api): (Api<Node>, Api<Pod>, Api<DaemonSet>, Api<NetworkPolicy>) = (
        Api::all(client.clone()),
        Api::all(client.clone()),
        Api::all(client.clone()),
        Api::all(client.clone()),
    );
    let (nodes, pods, daemon_sets, policies, namespace, config, daemon, kubeadm) = tokio::join!(
        list(cluster, &node_api, None),
        list(cluster, &pod_api, None),
        list(cluster, &set_api, None),
        list_metadata(cluster, &policy_api, None),
        get::<Namespace>(cluster, Api::all(client.clone()), NAME),
        get::<ConfigMap>(cluster, Api::namespaced(client.clone(), NAME), NAME),
        get::<DaemonSet>(cluster, Api::namespaced(client.clone(), NAME), NAME),
        get::<ConfigMap>(
            cluster,
            Api::namespaced(client.clone(), "kube-system"),
            "kubeadm-config"
        ),
    );
    Ok(Scene {
        nodes: needed(nodes, "list nodes")?,
        pods: needed(pods, "list pods in all namespaces")?,
        daemon_sets: needed(daemon_sets, "list DaemonSets in all namespaces")?,
        namespace: needed(namespace, "look up namespace netcheck-cni")?,
        config: needed(config, "look up ConfigMap netcheck-cni/netcheck-cni")?.and_then(|map| map.data),
        daemon: needed(daemon, "look up DaemonSet netcheck-cni/netcheck-cni")?,
        kubeadm: allowed(kubeadm, "look up ConfigMap kube-system/kubeadm-config")?.flatten(),
        policies: allowed(policies, "list NetworkPolicies")?.map(|list| list.len()),
    })
}

fn needed<T>(answer: Result<T, Problem>, doing: &str) -> Result<T, Failure> {
    answer.map_err(|problem| problem.into_failure(doing))
}

/// One object, or `None` if it is not there.
///
/// # Errors
/// Any answer but that.
pub async fn get<K>(cluster: &Cluster, api: Api<K>, name: &str) -> Result<Option<K>, Problem>
where
    K: Clone + DeserializeOwned + Debug,
{
    attempt(request::limit(cluster.request_timeout), api.get_opt(name)).await
}
