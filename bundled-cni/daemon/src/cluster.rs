//! What the API server says: Nodes, the ConfigMap, the pods of this node; watched, reduced to what counts, and never half known.

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::{
    Api, Client, Resource,
    api::ListParams,
    runtime::{
        WatchStreamExt as _,
        watcher::{self, Event, watcher},
    },
};
use netcheck_cni_intent::NodeObject;
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Mutex,
};
use tokio::sync::Notify;

/// Namespace and name of the ConfigMap.
pub const CONFIG_MAP: &str = "netcheck-cni";
/// How many Nodes are listed at once. A Node is 12 kB of JSON and several times that when it is read, of which little counts: a page is what
/// there is of that at one time.
const PAGE: u32 = 50;

/// What is known of the cluster.
#[derive(Debug, Default)]
pub struct Cluster {
    view: Mutex<View>,
    /// Rung when the view changes.
    changed: Notify,
}

/// The cluster at one time. `None` until the first whole list has come: what is not known must not be taken for absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Node objects by name.
    pub nodes: Option<BTreeMap<String, NodeObject>>,
    /// Data of the ConfigMap; empty inside if there is no such object.
    pub config: Option<Option<BTreeMap<String, String>>>,
    /// UIDs of the pods of this node.
    pub pods: Option<BTreeSet<String>>,
}

impl Cluster {
    /// The cluster as it is known now.
    pub fn view(&self) -> View {
        self.lock().clone()
    }

    /// Waits until the view has changed since the last call.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn update<T: PartialEq>(&self, place: impl FnOnce(&mut View) -> &mut Option<T>, value: T) {
        let mut view = self.lock();
        let place = place(&mut view);
        // A node's heartbeat changes its object every few minutes and nothing that counts.
        if place.as_ref() != Some(&value) {
            *place = Some(value);
            drop(view);
            self.changed.notify_one();
        }
    }

    /// Lists the Nodes once more, for a state that is hard to believe.
    pub async fn list_nodes_again(&self, client: &Client) -> kube::Result<()> {
        let nodes = Api::<Node>::all(client.clone());
        let mut known = BTreeMap::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let listed = nodes.list(&page).await?;
            known.extend(listed.items.into_iter().filter_map(reduce_node));
            page.continue_token = listed.metadata.continue_.filter(|token| !token.is_empty());
            if page.continue_token.is_none() {
                break;
            }
        }
        self.update(|view| &mut view.nodes, known);
        Ok(())
    }

    /// Watches until the process ends. What cannot be watched for now is asked for again, more and more seldom; what was known stays.
    pub async fn watch(&self, client: &Client, node: &str) {
        let nodes = Api::<Node>::all(client.clone());
        let own_pods = Api::<Pod>::all(client.clone());
        let configs = Api::<ConfigMap>::namespaced(client.clone(), CONFIG_MAP);
        let of_this_node = watcher::Config::default().fields(&format!("spec.nodeName={node}"));
        let this_config = watcher::Config::default().fields(&format!("metadata.name={CONFIG_MAP}"));
        tokio::join!(
            follow(
                nodes,
                watcher::Config::default().page_size(PAGE),
                reduce_node,
                |known| self.update(|view| &mut view.nodes, known.clone())
            ),
            follow(
                own_pods,
                of_this_node,
                |pod: Pod| Some((pod.metadata.uid?, ())),
                |known| self.update(|view| &mut view.pods, known.keys().cloned().collect())
            ),
            follow(
                configs,
                this_config,
                |map: ConfigMap| Some((map.metadata.name?, map.data.unwrap_or_default())),
                |known| self.update(|view| &mut view.config, known.get(CONFIG_MAP).cloned()),
            ),
        );
    }
}

/// Follows all objects of a kind, each reduced to a key and a value; tells of every whole state.
async fn follow<K, V>(
    api: Api<K>,
    config: watcher::Config,
    reduce: impl Fn(K) -> Option<(String, V)>,
    tell: impl Fn(&BTreeMap<String, V>),
) where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let kind = K::kind(&());
    let mut events = watcher(api, config).default_backoff().boxed();
    let (mut known, mut listed, mut is_whole) = (BTreeMap::new(), BTreeMap::new(), false);
    loop {
        match events.try_next().await {
            Ok(Some(Event::Init)) => listed = BTreeMap::new(),
            Ok(Some(Event::InitApply(object))) => listed.extend(reduce(object)),
            Ok(Some(Event::InitDone)) => {
                known = std::mem::take(&mut listed);
                is_whole = true;
            }
            Ok(Some(Event::Apply(object))) => known.extend(reduce(object)),
            Ok(Some(Event::Delete(object))) => {
                if let Some((key, _)) = reduce(object) {
                    known.remove(&key);
                }
            }
            // It does not end by itself.
            Ok(None) => return,
            Err(error) => tracing::warn!(%kind, %error, "cannot watch for now"),
        }
        if is_whole {
            tell(&known);
        }
    }
}

/// What counts of a Node (SPEC.md, before section 1).
fn reduce_node(node: Node) -> Option<(String, NodeObject)> {
    let name = node.metadata.name?;
    let spec = node.spec.unwrap_or_default();
    let pod_cidrs = spec
        .pod_cidrs
        .filter(|cidrs| !cidrs.is_empty())
        .unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
    let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
    let internal_ips = addresses.into_iter().filter(|address| address.type_ == "InternalIP");
    let mut annotations = node.metadata.annotations.unwrap_or_default();
    annotations.retain(|key, _| key.starts_with("cni.netcheck.dev/"));
    let object = NodeObject {
        uid: node.metadata.uid.unwrap_or_default(),
        created: node
            .metadata
            .creation_timestamp
            .map(|time| time.0.to_string())
            .unwrap_or_default(),
        pod_cidrs,
        internal_ips: internal_ips.map(|address| address.address).collect(),
        annotations,
        name: name.clone(),
    };
    Some((name, object))
}
