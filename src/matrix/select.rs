//! Which pairs a run tests. Pure and deterministic: the same inventory gives the same pairs.
//!
//! By default every workload speaks to every workload once on the same node and once across nodes, through one representative pod each,
//! chosen so that as many ordered pairs of nodes as possible are crossed; pairs of nodes left over get one more pair of pods. Services and
//! DNS are asked from every workload and from every node, because their rules live on each node. `full` takes every ordered pair.

use crate::cluster::inventory::{Inventory, Pod, Subject};
use field::Field;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};

mod field;
mod pairs;
mod representatives;

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

#[cfg(test)]
mod tests;
