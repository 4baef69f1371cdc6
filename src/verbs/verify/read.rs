//! What `verify` reads of the API.

use super::services;
use crate::{
    cluster::{
        Cluster,
        inventory::Inventory,
        list::{allowed, convert, list},
        request::{self, attempt},
    },
    exit::Failure,
    verify::{
        calico::{
            self,
            objects::{Block, CalicoObjects, Felix, Pool, Ways},
        },
        cilium::objects::{CiliumNode, CiliumObjects, SETTINGS, TUNNEL_PORT},
        flannel::has_agent,
        objects::{Objects, PodObject},
    },
};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::{
    Api,
    api::{ApiResource, DynamicObject, GroupVersionKind},
};
use netcheck_cni_intent::{NodeObject, names::NAMESPACE};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// What was read, in the shapes of those who use it.
#[derive(Debug)]
pub struct Read {
    /// For judgement.
    pub objects: Objects,
    /// Name of the kubeconfig's context, if it has one.
    pub context: Option<String>,
    nodes: Vec<Node>,
    pods: Vec<Pod>,
}

impl Read {
    /// For agents to be placed.
    pub fn inventory(&self) -> Inventory {
        Inventory {
            nodes: self.nodes.iter().filter_map(convert::node).collect(),
            pods: self.pods.iter().filter_map(convert::pod).collect(),
            ..Inventory::default()
        }
    }
}

fn architecture(node: &Node) -> Option<(String, String)> {
    let info = node.status.as_ref()?.node_info.as_ref()?;
    Some((node.metadata.name.clone()?, info.architecture.clone()))
}

/// Reads Nodes, pods of all namespaces, and the configurations of networks.
///
/// # Errors
/// If nodes or pods may not be listed, or the API server does not answer.
pub async fn read(cluster: &Cluster) -> Result<Read, Failure> {
    let client = &cluster.client;
    let (node_api, pod_api): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::all(client.clone()));
    let map_api: Api<ConfigMap> = Api::namespaced(client.clone(), NAMESPACE);
    let (nodes, pods, services, bundled) = tokio::join!(
        list(cluster, &node_api, None),
        list(cluster, &pod_api, None),
        Box::pin(services::read(cluster)),
        attempt(request::limit(cluster.request_timeout), map_api.get_opt(NAMESPACE)),
    );
    let nodes = nodes.map_err(|problem| problem.into_failure("list nodes"))?;
    let pods = pods.map_err(|problem| problem.into_failure("list pods in all namespaces"))?;
    let bundled = allowed(bundled, "look up ConfigMap netcheck-cni/netcheck-cni")?.flatten();
    let flannel = if bundled.is_some() {
        None
    } else {
        flannel(cluster).await?
    };
    let mut objects = Objects {
        nodes: nodes.iter().filter_map(node_object).collect(),
        architectures: nodes.iter().filter_map(architecture).collect(),
        pods: pods.iter().filter_map(pod_object).collect(),
        bundled: bundled.map(|map| map.data.unwrap_or_default()),
        flannel,
        services: Some(services?),
        calico: None,
        cilium: None,
    };
    if objects.bundled.is_none() && (objects.flannel.is_none() || !has_agent(&objects)) {
        objects.cilium = cilium(cluster).await?;
    }
    if has_annotations(&objects, calico::PREFIX) {
        objects.calico = Some(calico(cluster).await?);
    }
    objects.nodes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Read {
        objects,
        context: cluster.context.clone(),
        nodes,
        pods,
    })
}

/// flannel's `net-conf.json`: its manifests keep it in a namespace of their own, older ones and kubespray's in kube-system.
async fn flannel(cluster: &Cluster) -> Result<Option<String>, Failure> {
    const NAME: &str = "kube-flannel-cfg";
    for namespace in ["kube-flannel", "kube-system"] {
        let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), namespace);
        let map = attempt(request::limit(cluster.request_timeout), api.get_opt(NAME)).await;
        let map = allowed(map, &format!("look up ConfigMap {namespace}/{NAME}"))?.flatten();
        let text = map
            .and_then(|map| map.data)
            .and_then(|mut data| data.remove("net-conf.json"));
        if text.is_some() {
            return Ok(text);
        }
    }
    Ok(None)
}

/// Whether any Node has annotations that begin so.
fn has_annotations(objects: &Objects, start: &str) -> bool {
    let mut keys = objects.nodes.iter().flat_map(|node| node.annotations.keys());
    keys.any(|key| key.starts_with(start))
}

/// Calico's pools, block affinities and settings, as far as they are in the API and may be read.
async fn calico(cluster: &Cluster) -> Result<CalicoObjects, Failure> {
    let kind = |kind| GroupVersionKind::gvk(calico::objects::GROUP, calico::objects::VERSION, kind);
    let (pools, blocks, felix) = tokio::join!(
        specs::<Pool>(cluster, kind("IPPool"), "ippools"),
        specs::<Block>(cluster, kind("BlockAffinity"), "blockaffinities"),
        specs::<Felix>(cluster, kind("FelixConfiguration"), "felixconfigurations"),
    );
    let ways = match (pools?, blocks?) {
        (Ok(pools), Ok(blocks)) => Ok(Ways {
            pools: pools.into_iter().map(|(_, pool)| pool).collect(),
            blocks: blocks.into_iter().map(|(_, block)| block).collect(),
        }),
        (Err(why), _) | (_, Err(why)) => Err(why),
    };
    // Settings of single nodes are kept beside it.
    let felix = felix?
        .unwrap_or_default()
        .into_iter()
        .find(|(name, _)| name == "default");
    let felix = felix.map(|(_, felix)| felix).unwrap_or_default();
    Ok(CalicoObjects {
        ways,
        felix: Felix {
            mtu: felix.mtu.filter(|mtu| *mtu > 0),
            ..felix
        },
    })
}

/// Cilium's settings, as far as they count, and its nodes, as far as they may be read.
async fn cilium(cluster: &Cluster) -> Result<Option<CiliumObjects>, Failure> {
    const NAME: &str = "cilium-config";
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    let map = attempt(request::limit(cluster.request_timeout), api.get_opt(NAME)).await;
    let map = allowed(map, &format!("look up ConfigMap kube-system/{NAME}"))?.flatten();
    let Some(mut config) = map.and_then(|map| map.data) else {
        return Ok(None);
    };
    config.retain(|key, _| key == TUNNEL_PORT || SETTINGS.contains(&key.as_str()));
    let kind = GroupVersionKind::gvk("cilium.io", "v2", "CiliumNode");
    let nodes = specs::<CiliumNode>(cluster, kind, "ciliumnodes").await?;
    Ok(Some(CiliumObjects {
        config,
        nodes: nodes.unwrap_or_default().into_iter().collect(),
    }))
}

/// The `spec` of all objects of a network's own kind, by name, or why they were not read. One that says something else is left out.
async fn specs<T: DeserializeOwned>(
    cluster: &Cluster,
    kind: GroupVersionKind,
    plural: &str,
) -> Result<Result<Vec<(String, T)>, String>, Failure> {
    let resource = ApiResource::from_gvk_with_plural(&kind, plural);
    let api: Api<DynamicObject> = Api::all_with(cluster.client.clone(), &resource);
    let listed = match list(cluster, &api, None).await {
        Err(problem) if problem.is_not_found() => {
            return Ok(Err(format!(
                "the API server has no {plural}.{}",
                calico::objects::GROUP
            )));
        }
        listed => allowed(listed, &format!("list {plural}"))?,
    };
    let Some(listed) = listed else {
        return Ok(Err(format!("{plural}.{} may not be listed", kind.group)));
    };
    let spec = |object: DynamicObject| {
        let spec = object.data.get("spec")?.clone();
        Some((object.metadata.name?, serde_json::from_value(spec).ok()?))
    };
    Ok(Ok(listed.into_iter().filter_map(spec).collect()))
}

/// Names of the nodes that a selector chooses; `None` without one.
///
/// # Errors
/// If they cannot be listed.
pub async fn labelled(cluster: &Cluster, selector: Option<&str>) -> Result<Option<BTreeSet<String>>, Failure> {
    let Some(selector) = selector else {
        return Ok(None);
    };
    let api: Api<Node> = Api::all(cluster.client.clone());
    let nodes = list(cluster, &api, Some(selector)).await;
    let nodes = nodes.map_err(|problem| problem.into_failure("list nodes"))?;
    Ok(Some(nodes.into_iter().filter_map(|node| node.metadata.name).collect()))
}

/// A Node as the intents of networks take it.
fn node_object(node: &Node) -> Option<NodeObject> {
    let spec = node.spec.as_ref();
    let addresses = node.status.as_ref().and_then(|status| status.addresses.as_ref());
    let ranges = spec
        .and_then(|spec| spec.pod_cidrs.clone())
        .filter(|ranges| !ranges.is_empty());
    let range = || spec.and_then(|spec| spec.pod_cidr.clone()).into_iter().collect();
    Some(NodeObject {
        name: node.metadata.name.clone()?,
        uid: node.metadata.uid.clone().unwrap_or_default(),
        created: node
            .metadata
            .creation_timestamp
            .as_ref()
            .map(|time| time.0.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
            .unwrap_or_default(),
        pod_cidrs: ranges.unwrap_or_else(range),
        internal_ips: addresses
            .into_iter()
            .flatten()
            .filter(|address| address.type_ == "InternalIP")
            .map(|address| address.address.clone())
            .collect(),
        annotations: of_networks(node.metadata.annotations.as_ref()),
    })
}

/// Annotations by which networks work: others may be anybody's, and long.
fn of_networks(annotations: Option<&BTreeMap<String, String>>) -> BTreeMap<String, String> {
    const STARTS: [&str; 4] = [
        "cni.netcheck.dev/",
        "flannel.alpha.coreos.com/",
        "projectcalico.org/",
        "network.cilium.io/",
    ];
    let of_a_network = |(key, _): &(&String, &String)| STARTS.iter().any(|start| key.starts_with(start));
    let annotations = annotations.into_iter().flatten().filter(of_a_network);
    annotations.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn pod_object(pod: &Pod) -> Option<PodObject> {
    let annotation = |name: &str| {
        let annotations = pod.metadata.annotations.as_ref()?;
        annotations.get(&format!("k8s.v1.cni.cncf.io/{name}")).cloned()
    };
    let (networks, network_status) = (annotation("networks"), annotation("network-status"));
    let runtime_class = pod.spec.as_ref().and_then(|spec| spec.runtime_class_name.clone());
    let pod = convert::pod(pod)?;
    Some(PodObject {
        node: pod.node?,
        namespace: pod.namespace,
        name: pod.name,
        uid: pod.uid,
        ips: pod.ips,
        host_network: pod.host_network,
        running: pod.running,
        runtime_class,
        networks,
        network_status,
    })
}
