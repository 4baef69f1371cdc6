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

pub(super) fn pod_to_pod(from: &Pod, to: &Pod) -> Option<Pair> {
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

pub(super) fn pod_to_node(from: &Pod, to: &Node) -> Option<Pair> {
    let relation = relation(from.node.as_deref(), Some(&to.name));
    let same_place = from.host_network && relation == Some(Relation::SameNode);
    (!same_place).then(|| Pair {
        from: Subject::Pod(from.uid.clone()),
        to: Goal::Node(to.name.clone()),
        relation,
    })
}

pub(super) fn node_to_pod(from: &Node, to: &Pod) -> Option<Pair> {
    let relation = relation(Some(&from.name), to.node.as_deref());
    let same_place = to.host_network && relation == Some(Relation::SameNode);
    (!same_place).then(|| Pair {
        from: Subject::Node(from.name.clone()),
        to: Goal::Pod(to.uid.clone()),
        relation,
    })
}

pub(super) fn node_to_node(from: &Node, to: &Node) -> Option<Pair> {
    let relation = relation(Some(&from.name), Some(&to.name));
    (from.name != to.name).then(|| Pair {
        from: Subject::Node(from.name.clone()),
        to: Goal::Node(to.name.clone()),
        relation,
    })
}
