//! One pair of two objects, unless both are one network namespace.

use super::{Goal, Pair, Relation};
use crate::cluster::inventory::{Node, Pod, Subject};

fn relation(from: Option<&str>, to: Option<&str>) -> Option<Relation> {
    let (from, to) = (from?, to?);
    Some(if from == to {
        Relation::SameNode
    } else {
        Relation::OtherNode
    })
}

/// A network namespace. A hostNetwork pod lives in its node's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Place<'a> {
    Node(&'a str),
    Pod(&'a str),
}

pub(super) fn place_of_pod(pod: &Pod) -> Place<'_> {
    match &pod.node {
        Some(node) if pod.host_network => Place::Node(node),
        _ => Place::Pod(&pod.uid),
    }
}

pub(super) fn place_of_node(node: &Node) -> Place<'_> {
    Place::Node(&node.name)
}

pub(super) fn pod_to_pod(from: &Pod, to: &Pod) -> Option<Pair> {
    let relation = relation(from.node.as_deref(), to.node.as_deref());
    (place_of_pod(from) != place_of_pod(to)).then(|| Pair {
        from: Subject::Pod(from.uid.clone()),
        to: Goal::Pod(to.uid.clone()),
        relation,
    })
}

pub(super) fn pod_to_node(from: &Pod, to: &Node) -> Option<Pair> {
    let relation = relation(from.node.as_deref(), Some(&to.name));
    (place_of_pod(from) != place_of_node(to)).then(|| Pair {
        from: Subject::Pod(from.uid.clone()),
        to: Goal::Node(to.name.clone()),
        relation,
    })
}

pub(super) fn node_to_pod(from: &Node, to: &Pod) -> Option<Pair> {
    let relation = relation(Some(&from.name), to.node.as_deref());
    (place_of_node(from) != place_of_pod(to)).then(|| Pair {
        from: Subject::Node(from.name.clone()),
        to: Goal::Pod(to.uid.clone()),
        relation,
    })
}

pub(super) fn node_to_node(from: &Node, to: &Node) -> Option<Pair> {
    let relation = relation(Some(&from.name), Some(&to.name));
    (place_of_node(from) != place_of_node(to)).then(|| Pair {
        from: Subject::Node(from.name.clone()),
        to: Goal::Node(to.name.clone()),
        relation,
    })
}
