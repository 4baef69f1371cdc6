//! The objects a run may choose from, and every pair of them.

use super::{
    Choice, Goal, Named, Pair,
    pairs::{Place, node_to_node, node_to_pod, place_of_node, place_of_pod, pod_to_node, pod_to_pod},
};
use crate::{
    cluster::inventory::{End, Inventory, Node, Pod, Service, Subject, Workload},
    matrix::words::list,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The objects a run may choose from.
pub(super) struct Field<'a> {
    pub(super) sources: Vec<&'a Pod>,
    pub(super) destinations: Vec<&'a Pod>,
    pub(super) nodes: Vec<&'a Node>,
    pub(super) node_sources: bool,
    pub(super) source_nodes: Option<&'a BTreeSet<String>>,
    pub(super) node_destinations: Vec<&'a Node>,
    pub(super) services: Vec<&'a Service>,
    pub(super) dns: Vec<&'a Service>,
    pub(super) out_of_scope: Vec<String>,
}

impl<'a> Field<'a> {
    pub(super) fn new(inventory: &'a Inventory, choice: &'a Choice) -> Self {
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
        let on_usable_node = |pod: &Pod| {
            pod.node
                .as_deref()
                .is_none_or(|node| usable.get(node).copied().unwrap_or(true))
        };
        let pods: Vec<&Pod> = inventory
            .pods
            .iter()
            .filter(|pod| pod.end.is_none() && on_usable_node(pod))
            .collect();
        let pick = |named: &Option<Named>| -> Vec<&'a Pod> {
            let chosen = pods.iter().copied();
            match named {
                Some(named) => chosen.filter(|pod| named.pods.contains(&pod.uid)).collect(),
                None => chosen.filter(|pod| in_namespace(&pod.namespace)).collect(),
            }
        };
        let in_scope = inventory.pods.iter().filter(|pod| in_namespace(&pod.namespace));
        out_of_scope.extend(of_ended(in_scope));
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
        let services = inventory.services.iter().filter(|service| match &choice.destinations {
            Some(named) => named
                .services
                .contains(&(service.namespace.clone(), service.name.clone())),
            None => in_namespace(&service.namespace),
        });
        let (services, bare): (Vec<&Service>, Vec<&Service>) =
            services.partition(|service| choice.destinations.is_some() || !service.cluster_ips.is_empty());
        if !bare.is_empty() {
            let names = bare
                .iter()
                .map(|service| format!("{}/{}", service.namespace, service.name));
            out_of_scope.push(format!(
                "Services without a cluster IP (headless or ExternalName): {}",
                list(&names.collect())
            ));
        }
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
            services,
            dns: dns.collect(),
            out_of_scope,
        }
    }

    /// Nodes to use: those of pods first, then named ones and the rest, each by name.
    pub(super) fn chosen_nodes(&self, limit: usize) -> BTreeSet<&'a str> {
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
    pub(super) fn on_nodes(&self, chosen: &BTreeSet<&str>) -> Self {
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
    pub(super) fn awake(self) -> (Self, Vec<String>) {
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

    pub(super) fn node_sources(&self) -> impl Iterator<Item = &'a Node> {
        let named = self.source_nodes;
        self.nodes
            .iter()
            .copied()
            .filter(move |node| named.is_none_or(|named| named.contains(&node.name)))
            .filter(|_| self.node_sources)
    }

    /// How many pairs [`Self::all`] has, without making them: there may be millions.
    pub(super) fn count_all(&self) -> usize {
        let to_pods = self.destinations.iter().copied().map(place_of_pod);
        let targets: Vec<Place<'_>> = to_pods
            .chain(self.node_destinations.iter().copied().map(place_of_node))
            .collect();
        let mut there: HashMap<Place<'_>, usize> = HashMap::new();
        for place in &targets {
            *there.entry(*place).or_default() += 1;
        }
        let from_pods = self.sources.iter().copied().map(place_of_pod);
        let from_anywhere = from_pods.chain(self.node_sources().map(place_of_node));
        let others = |place| targets.len() - there.get(&place).copied().unwrap_or_default();
        let pairs: usize = from_anywhere.map(|place| others(place) + self.services.len()).sum();
        pairs + self.sources.len() * self.dns.len()
    }

    /// Every ordered pair.
    pub(super) fn all(&self) -> BTreeSet<Pair> {
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

    pub(super) fn service_pairs(&self, from: &Subject) -> impl Iterator<Item = Pair> {
        self.services.iter().map(move |service| Pair {
            from: from.clone(),
            to: Goal::Service(service.namespace.clone(), service.name.clone()),
            relation: None,
        })
    }

    pub(super) fn dns_pairs(&self, from: &Pod) -> impl Iterator<Item = Pair> {
        let from = Subject::Pod(from.uid.clone());
        self.dns.iter().map(move |service| Pair {
            from: from.clone(),
            to: Goal::Dns(service.namespace.clone(), service.name.clone()),
            relation: None,
        })
    }
}

/// The pods that ended for good, counted: those that completed, and those that failed with the kubelet's reasons.
fn of_ended<'a>(pods: impl Iterator<Item = &'a Pod>) -> Vec<String> {
    let mut completed = 0;
    let mut failed: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods {
        match pod.end {
            Some(End::Completed) => completed += 1,
            Some(End::Failed) => {
                let reason = pod.reason.as_deref().unwrap_or("Failed");
                // What follows the word differs from pod to pod.
                let word = reason.split(':').next().unwrap_or(reason);
                *failed.entry(word).or_default() += 1;
            }
            None => {}
        }
    }
    let counted = |count: usize, what: &str| format!("{count} {what} pod{}", if count == 1 { "" } else { "s" });
    let mut lines = Vec::new();
    if completed > 0 {
        lines.push(counted(completed, "completed"));
    }
    if !failed.is_empty() {
        let reasons = failed.iter().map(|(reason, count)| format!("{reason} {count}"));
        let reasons = list(&reasons.collect());
        lines.push(format!("{} ({reasons})", counted(failed.values().sum(), "failed")));
    }
    lines
}

fn is_linux(node: &Node) -> bool {
    node.os.is_empty() || node.os == "linux"
}
