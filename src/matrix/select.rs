//! Which pairs a run tests. Pure and deterministic: the same inventory gives the same pairs.
//!
//! By default every workload speaks to every workload once on the same node and once across nodes, through one representative pod each,
//! chosen so that as many ordered pairs of nodes as possible are crossed; pairs of nodes left over get one more pair of pods. Services and
//! DNS are asked from every workload and from every node, because their rules live on each node. `full` takes every ordered pair.

use crate::cluster::inventory::{Inventory, Node, Pod, Service, Subject, Workload};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What to choose from, and how much.
#[derive(Debug, Clone, Default)]
pub struct Choice {
    /// Namespaces in scope; `None` for all.
    pub namespaces: Option<BTreeSet<String>>,
    /// Only these as sources.
    pub sources: Option<Named>,
    /// Only these as destinations.
    pub destinations: Option<Named>,
    /// Every ordered pair instead of representatives.
    pub full: bool,
    /// Nodes to use at most.
    pub max_nodes: usize,
    /// Whether cluster DNS is a destination.
    pub dns: bool,
}

/// Objects that the user named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Named {
    /// UIDs of pods.
    pub pods: BTreeSet<String>,
    /// Names of nodes.
    pub nodes: BTreeSet<String>,
    /// Namespaces and names of Services.
    pub services: BTreeSet<(String, String)>,
}

/// A destination.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Goal {
    /// A pod, by UID.
    Pod(String),
    /// A node, by name.
    Node(String),
    /// A Service's cluster addresses, by namespace and name.
    Service(String, String),
    /// Cluster DNS, by the namespace and name of its Service.
    Dns(String, String),
}

/// Whether source and destination share a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Relation {
    /// Both on one node.
    SameNode,
    /// On two nodes.
    OtherNode,
}

impl Relation {
    /// Its name in row ids.
    pub fn id(self) -> &'static str {
        match self {
            Self::SameNode => "same-node",
            Self::OtherNode => "other-node",
        }
    }
}

/// An ordered pair to test.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pair {
    /// The source.
    pub from: Subject,
    /// The destination.
    pub to: Goal,
    /// Where they stand to each other; `None` for Services.
    pub relation: Option<Relation>,
}

/// What was chosen, and what was left out.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The pairs, in a stable order.
    pub pairs: Vec<Pair>,
    /// The nodes that are used, sorted.
    pub nodes: Vec<String>,
    /// Nodes that could have been used.
    pub nodes_in_scope: usize,
    /// Ordered pairs that could have been tested.
    pub pairs_in_scope: usize,
    /// What no run can test (Windows, virtual nodes, completed pods), one line each.
    pub out_of_scope: Vec<String>,
    /// Pods that do not run while others of their workload speak for them, by UID.
    pub asleep: Vec<String>,
}

/// Chooses.
pub fn select(inventory: &Inventory, choice: &Choice) -> Selection {
    let field = Field::new(inventory, choice);
    let pairs_in_scope = field.count_all();
    let small = field.on_nodes(&field.chosen_nodes(choice.max_nodes));
    let nodes = small.nodes.iter().map(|node| node.name.clone()).collect();
    let (pairs, asleep) = if choice.full {
        (small.all(), Vec::new())
    } else {
        let (awake, asleep) = small.awake();
        (awake.representatives(), asleep)
    };
    Selection {
        pairs: pairs.into_iter().collect(),
        nodes,
        nodes_in_scope: field.nodes.len(),
        pairs_in_scope,
        out_of_scope: field.out_of_scope,
        asleep,
    }
}

impl Selection {
    /// All that needs an agent: sources, destinations, backends of Services, and the nodes they are on, which reject in their own name.
    pub fn subjects(&self, inventory: &Inventory) -> BTreeSet<Subject> {
        let mut subjects: BTreeSet<Subject> = BTreeSet::new();
        let nodes: BTreeSet<&str> = self.nodes.iter().map(String::as_str).collect();
        let pods: HashMap<&str, &Pod> = inventory.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        let reachable = |uid: &str| {
            let pod = pods.get(uid);
            pod.is_some_and(|pod| pod.running && pod.node.as_deref().is_some_and(|node| nodes.contains(node)))
        };
        let mut services = BTreeSet::new();
        for pair in &self.pairs {
            if !matches!(&pair.from, Subject::Pod(uid) if !reachable(uid)) {
                subjects.insert(pair.from.clone());
            }
            match &pair.to {
                Goal::Pod(uid) if reachable(uid) => drop(subjects.insert(Subject::Pod(uid.clone()))),
                Goal::Pod(_) => {}
                Goal::Node(name) => drop(subjects.insert(Subject::Node(name.clone()))),
                Goal::Service(namespace, name) | Goal::Dns(namespace, name) => drop(services.insert((namespace, name))),
            }
        }
        let backends = inventory
            .services
            .iter()
            .filter(|service| services.contains(&(&service.namespace, &service.name)))
            .flat_map(|service| &service.endpoints)
            .filter_map(|endpoint| backend_of(inventory, endpoint));
        subjects.extend(
            backends
                .filter(|pod| reachable(&pod.uid))
                .map(|pod| Subject::Pod(pod.uid.clone())),
        );
        let homes: Vec<Subject> = (subjects.iter())
            .filter_map(|subject| match subject {
                Subject::Pod(uid) => pods.get(uid.as_str())?.node.clone().map(Subject::Node),
                Subject::Node(_) => None,
            })
            .collect();
        subjects.extend(homes);
        subjects
    }
}

/// The pod behind an endpoint: by UID, or by name, as a static pod's UID in EndpointSlices is its mirror's.
pub fn backend_of<'a>(inventory: &'a Inventory, endpoint: &crate::cluster::inventory::Endpoint) -> Option<&'a Pod> {
    inventory.pods.iter().find(|pod| {
        let same_uid = endpoint.pod_uid.as_deref() == Some(&pod.uid);
        same_uid || endpoint.pod_name.as_deref() == Some(&format!("{}/{}", pod.namespace, pod.name))
    })
}

/// The objects a run may choose from.
struct Field<'a> {
    sources: Vec<&'a Pod>,
    destinations: Vec<&'a Pod>,
    nodes: Vec<&'a Node>,
    node_sources: bool,
    source_nodes: Option<&'a BTreeSet<String>>,
    node_destinations: Vec<&'a Node>,
    services: Vec<&'a Service>,
    dns: Vec<&'a Service>,
    out_of_scope: Vec<String>,
}

impl<'a> Field<'a> {
    fn new(inventory: &'a Inventory, choice: &'a Choice) -> Self {
        let mut out_of_scope = Vec::new();
        let usable: BTreeMap<&str, bool> = inventory
            .nodes
            .iter()
            .map(|node| (node.name.as_str(), is_linux(node) && !node.is_virtual))
            .collect();
        for node in &inventory.nodes {
            if node.is_virtual {
                out_of_scope.push(format!("node {} is virtual", node.name));
            } else if !is_linux(node) {
                out_of_scope.push(format!("node {} runs {}", node.name, node.os));
            }
        }
        let in_namespace = |namespace: &str| {
            choice
                .namespaces
                .as_ref()
                .is_none_or(|chosen| chosen.contains(namespace))
        };
        let completed = |pod: &Pod| pod.reason.as_deref() == Some("Completed");
        let on_usable_node = |pod: &Pod| {
            pod.node
                .as_deref()
                .is_none_or(|node| usable.get(node).copied().unwrap_or(true))
        };
        let pods: Vec<&Pod> = inventory
            .pods
            .iter()
            .filter(|pod| !completed(pod) && on_usable_node(pod))
            .collect();
        let pick = |named: &Option<Named>| -> Vec<&'a Pod> {
            let chosen = pods.iter().copied();
            match named {
                Some(named) => chosen.filter(|pod| named.pods.contains(&pod.uid)).collect(),
                None => chosen.filter(|pod| in_namespace(&pod.namespace)).collect(),
            }
        };
        let finished = inventory
            .pods
            .iter()
            .filter(|pod| in_namespace(&pod.namespace) && completed(pod))
            .count();
        if finished > 0 {
            out_of_scope.push(format!("{finished} completed pods"));
        }
        let mut sources = pick(&choice.sources);
        if choice.sources.is_none() {
            // A hostNetwork pod speaks from its node's namespace, and the node is a source already.
            sources.retain(|pod| !pod.host_network);
        }
        let nodes: Vec<&Node> = inventory
            .nodes
            .iter()
            .filter(|node| usable[node.name.as_str()])
            .collect();
        let node_destinations = match &choice.destinations {
            Some(named) => nodes
                .iter()
                .copied()
                .filter(|node| named.nodes.contains(&node.name))
                .collect(),
            None => nodes.clone(),
        };
        let services = inventory
            .services
            .iter()
            .filter(|service| !service.cluster_ips.is_empty());
        let services = services.filter(|service| match &choice.destinations {
            Some(named) => named
                .services
                .contains(&(service.namespace.clone(), service.name.clone())),
            None => in_namespace(&service.namespace),
        });
        let dns = inventory.services.iter().filter(|service| choice.dns && service.is_dns);
        let dns = dns.filter(|service| {
            let key = (service.namespace.clone(), service.name.clone());
            choice
                .destinations
                .as_ref()
                .is_none_or(|named| named.services.contains(&key))
        });
        Self {
            sources,
            destinations: pick(&choice.destinations),
            nodes,
            node_sources: choice.sources.as_ref().is_none_or(|named| !named.nodes.is_empty()),
            source_nodes: choice.sources.as_ref().map(|named| &named.nodes),
            node_destinations,
            services: services.collect(),
            dns: dns.collect(),
            out_of_scope,
        }
    }

    /// Nodes to use: those of pods first, then named ones and the rest, each by name.
    fn chosen_nodes(&self, limit: usize) -> BTreeSet<&'a str> {
        let mut ranked: Vec<(usize, &'a str)> = self
            .nodes
            .iter()
            .map(|node| (self.rank(&node.name), node.name.as_str()))
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().take(limit).map(|(_, name)| name).collect()
    }

    fn rank(&self, node: &str) -> usize {
        let hosts = |pods: &[&Pod]| pods.iter().any(|pod| pod.node.as_deref() == Some(node));
        let named = self.source_nodes.is_some_and(|nodes| nodes.contains(node));
        match (named || hosts(&self.sources), hosts(&self.destinations)) {
            (true, _) => 0,
            (false, true) => 1,
            (false, false) => 2,
        }
    }

    /// The same field with no more than the given nodes.
    fn on_nodes(&self, chosen: &BTreeSet<&str>) -> Self {
        let stays = |pod: &&'a Pod| pod.node.as_deref().is_none_or(|node| chosen.contains(node));
        let keep = |nodes: &[&'a Node]| {
            nodes
                .iter()
                .copied()
                .filter(|node| chosen.contains(node.name.as_str()))
                .collect()
        };
        Self {
            sources: self.sources.iter().copied().filter(stays).collect(),
            destinations: self.destinations.iter().copied().filter(stays).collect(),
            nodes: keep(&self.nodes),
            node_destinations: keep(&self.node_destinations),
            services: self.services.clone(),
            dns: self.dns.clone(),
            out_of_scope: Vec::new(),
            ..*self
        }
    }

    /// The same field without pods that do not run, where a workload has others; and these.
    fn awake(self) -> (Self, Vec<String>) {
        let speaking: BTreeSet<(&str, &Workload)> = (self.sources.iter().chain(&self.destinations))
            .filter(|pod| pod.running)
            .map(|pod| (pod.namespace.as_str(), &pod.workload))
            .collect();
        let stays = |pod: &&'a Pod| pod.running || !speaking.contains(&(pod.namespace.as_str(), &pod.workload));
        let sleepers: BTreeSet<&str> = (self.sources.iter().chain(&self.destinations))
            .filter(|pod| !stays(pod))
            .map(|pod| pod.uid.as_str())
            .collect();
        let asleep = sleepers.into_iter().map(Into::into).collect();
        let sources = self.sources.iter().copied().filter(stays).collect();
        let destinations = self.destinations.iter().copied().filter(stays).collect();
        (
            Self {
                sources,
                destinations,
                ..self
            },
            asleep,
        )
    }

    fn node_sources(&self) -> impl Iterator<Item = &'a Node> {
        let named = self.source_nodes;
        self.nodes
            .iter()
            .copied()
            .filter(move |node| named.is_none_or(|named| named.contains(&node.name)))
            .filter(|_| self.node_sources)
    }

    fn count_all(&self) -> usize {
        let pods = self.sources.len() * self.destinations.len();
        let selves = self
            .sources
            .iter()
            .filter(|pod| self.destinations.iter().any(|other| other.uid == pod.uid))
            .count();
        let nodes = self.node_sources().count();
        let node_selves = self
            .node_sources()
            .filter(|node| self.node_destinations.iter().any(|other| other.name == node.name))
            .count();
        let services = self.services.len();
        pods - selves
            + self.sources.len() * (self.node_destinations.len() + services + self.dns.len())
            + nodes * (self.destinations.len() + self.node_destinations.len() + services)
            - node_selves
    }

    /// Every ordered pair.
    fn all(&self) -> BTreeSet<Pair> {
        let mut pairs = BTreeSet::new();
        for from in &self.sources {
            pairs.extend(self.destinations.iter().filter_map(|to| pod_to_pod(from, to)));
            pairs.extend(self.node_destinations.iter().filter_map(|to| pod_to_node(from, to)));
            pairs.extend(self.service_pairs(&Subject::Pod(from.uid.clone())));
            pairs.extend(self.dns_pairs(from));
        }
        for from in self.node_sources() {
            pairs.extend(self.destinations.iter().filter_map(|to| node_to_pod(from, to)));
            pairs.extend(self.node_destinations.iter().filter_map(|to| node_to_node(from, to)));
            pairs.extend(self.service_pairs(&Subject::Node(from.name.clone())));
        }
        pairs
    }

    /// Representatives.
    fn representatives(&self) -> BTreeSet<Pair> {
        let mut pairs = self.workload_pairs();
        let sources = by_node(&self.sources);
        let destinations = by_node(&self.destinations);
        // Services and DNS: from every workload, and from every node.
        let mut speakers: BTreeMap<&str, &Pod> = BTreeMap::new();
        for pods in by_workload(&self.sources).values() {
            speakers.extend(first(pods).map(|pod| (pod.uid.as_str(), pod)));
        }
        let spoken_for: BTreeSet<Option<&str>> = speakers.values().map(|pod| pod.node.as_deref()).collect();
        for (node, pods) in &sources {
            if !spoken_for.contains(&Some(*node)) {
                speakers.extend(first(pods).map(|pod| (pod.uid.as_str(), pod)));
            }
        }
        for pod in speakers.values() {
            pairs.extend(self.service_pairs(&Subject::Pod(pod.uid.clone())));
            pairs.extend(self.dns_pairs(pod));
        }
        // Pods and nodes: once for every ordered pair of nodes.
        for pods in sources.values() {
            let Some(pod) = first(pods) else { continue };
            pairs.extend(self.node_destinations.iter().filter_map(|node| pod_to_node(pod, node)));
        }
        for node in self.node_sources() {
            for pods in destinations.values() {
                let own_address: Vec<&Pod> = pods.iter().copied().filter(|pod| !pod.host_network).collect();
                pairs.extend(first(&own_address).and_then(|pod| node_to_pod(node, pod)));
            }
            pairs.extend(
                self.node_destinations
                    .iter()
                    .filter_map(|other| node_to_node(node, other)),
            );
            pairs.extend(self.service_pairs(&Subject::Node(node.name.clone())));
        }
        // Every workload once with a node it runs on: that is how the kubelet probes it.
        for pod in by_workload(&self.sources).values().filter_map(|pods| first(pods)) {
            let own = self
                .node_destinations
                .iter()
                .filter(|node| pod.node.as_deref() == Some(&node.name));
            pairs.extend(own.filter_map(|node| pod_to_node(pod, node)));
        }
        for pod in by_workload(&self.destinations).values().filter_map(|pods| first(pods)) {
            let own = self
                .node_sources()
                .filter(|node| pod.node.as_deref() == Some(&node.name));
            pairs.extend(own.filter_map(|node| node_to_pod(node, pod)));
        }
        pairs
    }

    /// One pair of pods for every ordered pair of workloads and relation, then for every ordered pair of nodes not crossed by these.
    fn workload_pairs(&self) -> BTreeSet<Pair> {
        let mut pairs = BTreeSet::new();
        let mut crossed: BTreeSet<(&str, &str)> = BTreeSet::new();
        let sources = by_workload(&self.sources);
        let destinations = by_workload(&self.destinations);
        for from in sources.values().map(|pods| by_node(pods)) {
            for to in destinations.values().map(|pods| by_node(pods)) {
                for relation in [Relation::SameNode, Relation::OtherNode] {
                    if let Some((from, to)) = best_pair(&from, &to, relation, &crossed) {
                        crossed.extend(from.node.as_deref().zip(to.node.as_deref()));
                        pairs.extend(pod_to_pod(from, to));
                    }
                }
            }
        }
        // Pods that are bound to no node have no relation; they are paired so that they show up as not tested.
        for from in self.sources.iter().filter(|pod| pod.node.is_none()) {
            pairs.extend(self.destinations.iter().find_map(|to| pod_to_pod(from, to)));
        }
        for to in self.destinations.iter().filter(|pod| pod.node.is_none()) {
            pairs.extend(self.sources.iter().find_map(|from| pod_to_pod(from, to)));
        }
        let (sources, destinations) = (by_node(&self.sources), by_node(&self.destinations));
        for (from_node, from) in &sources {
            for (to_node, to) in &destinations {
                if from_node != to_node && !crossed.contains(&(*from_node, *to_node)) {
                    pairs.extend(first(from).zip(first(to)).and_then(|(from, to)| pod_to_pod(from, to)));
                }
            }
        }
        pairs
    }

    fn service_pairs(&self, from: &Subject) -> impl Iterator<Item = Pair> {
        self.services.iter().map(move |service| Pair {
            from: from.clone(),
            to: Goal::Service(service.namespace.clone(), service.name.clone()),
            relation: None,
        })
    }

    fn dns_pairs(&self, from: &Pod) -> impl Iterator<Item = Pair> {
        let from = Subject::Pod(from.uid.clone());
        self.dns.iter().map(move |service| Pair {
            from: from.clone(),
            to: Goal::Dns(service.namespace.clone(), service.name.clone()),
            relation: None,
        })
    }
}

fn is_linux(node: &Node) -> bool {
    node.os.is_empty() || node.os == "linux"
}

type ByNode<'a> = BTreeMap<&'a str, Vec<&'a Pod>>;

fn by_node<'a>(pods: &[&'a Pod]) -> ByNode<'a> {
    let mut nodes = ByNode::new();
    for pod in pods {
        if let Some(node) = &pod.node {
            nodes.entry(node.as_str()).or_default().push(pod);
        }
    }
    nodes
}

fn by_workload<'a>(pods: &[&'a Pod]) -> BTreeMap<(&'a str, &'a Workload), Vec<&'a Pod>> {
    let mut workloads: BTreeMap<_, Vec<&'a Pod>> = BTreeMap::new();
    for pod in pods {
        workloads
            .entry((pod.namespace.as_str(), &pod.workload))
            .or_default()
            .push(pod);
    }
    workloads
}

/// Best to speak for others: running, with declared ports, first by name.
fn first<'a>(pods: &[&'a Pod]) -> Option<&'a Pod> {
    pods.iter()
        .copied()
        .min_by_key(|pod| (!pod.running, pod.ports.is_empty(), &pod.namespace, &pod.name))
}

/// The pair that crosses a pair of nodes not crossed yet, if there is one.
fn best_pair<'a>(
    from: &ByNode<'a>,
    to: &ByNode<'a>,
    relation: Relation,
    crossed: &BTreeSet<(&str, &str)>,
) -> Option<(&'a Pod, &'a Pod)> {
    let mut best: Option<(_, (&Pod, &Pod))> = None;
    for (from_node, sources) in from {
        for (to_node, destinations) in to {
            if (from_node == to_node) != (relation == Relation::SameNode) {
                continue;
            }
            let Some(source) = first(sources) else { continue };
            let others: Vec<&Pod> = destinations
                .iter()
                .copied()
                .filter(|pod| pod.uid != source.uid)
                .collect();
            let Some(destination) = first(&others) else { continue };
            let asleep = usize::from(!source.running) + usize::from(!destination.running);
            let rank = (asleep, crossed.contains(&(*from_node, *to_node)));
            if best.as_ref().is_none_or(|(least, _)| rank < *least) {
                best = Some((rank, (source, destination)));
            }
        }
    }
    best.map(|(_, pair)| pair)
}

fn relation(from: Option<&str>, to: Option<&str>) -> Option<Relation> {
    let (from, to) = (from?, to?);
    Some(if from == to {
        Relation::SameNode
    } else {
        Relation::OtherNode
    })
}

fn pod_to_pod(from: &Pod, to: &Pod) -> Option<Pair> {
    let relation = relation(from.node.as_deref(), to.node.as_deref());
    // Two hostNetwork pods of one node are one namespace.
    let same_place =
        from.uid == to.uid || (from.host_network && to.host_network && relation == Some(Relation::SameNode));
    (!same_place).then(|| Pair {
        from: Subject::Pod(from.uid.clone()),
        to: Goal::Pod(to.uid.clone()),
        relation,
    })
}

fn pod_to_node(from: &Pod, to: &Node) -> Option<Pair> {
    let relation = relation(from.node.as_deref(), Some(&to.name));
    let same_place = from.host_network && relation == Some(Relation::SameNode);
    (!same_place).then(|| Pair {
        from: Subject::Pod(from.uid.clone()),
        to: Goal::Node(to.name.clone()),
        relation,
    })
}

fn node_to_pod(from: &Node, to: &Pod) -> Option<Pair> {
    let relation = relation(Some(&from.name), to.node.as_deref());
    let same_place = to.host_network && relation == Some(Relation::SameNode);
    (!same_place).then(|| Pair {
        from: Subject::Node(from.name.clone()),
        to: Goal::Pod(to.uid.clone()),
        relation,
    })
}

fn node_to_node(from: &Node, to: &Node) -> Option<Pair> {
    let relation = relation(Some(&from.name), Some(&to.name));
    (from.name != to.name).then(|| Pair {
        from: Subject::Node(from.name.clone()),
        to: Goal::Node(to.name.clone()),
        relation,
    })
}

#[cfg(test)]
mod tests;
