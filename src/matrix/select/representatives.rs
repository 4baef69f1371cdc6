//! Pairs that stand for all others: see [`super`].

use super::{
    Pair, Relation,
    field::Field,
    pairs::{node_to_node, node_to_pod, pod_to_node, pod_to_pod},
};
use crate::cluster::inventory::{Pod, Subject, Workload};
use std::collections::{BTreeMap, BTreeSet};

impl Field<'_> {
    /// Representatives.
    pub(super) fn representatives(&self) -> BTreeSet<Pair> {
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
