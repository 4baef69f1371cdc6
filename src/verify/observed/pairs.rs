//! Which probes are sent while nodes are observed: between pods of different nodes, one pair for each way between two nodes.

use crate::verify::objects::{Objects, PodObject};
use std::{collections::BTreeMap, net::IpAddr};

/// Ways between nodes that are probed at most, each with its families.
pub const MOST: usize = 200;

/// An end and another end's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The node and the pod that sends; without a pod, the node itself does.
    pub from: (&'a str, Option<&'a PodObject>),
    /// The pod that is to answer.
    pub to: &'a PodObject,
    /// Its address.
    pub address: IpAddr,
}

/// Pairs between these nodes, those that are next to each other in the list first, so that the limit leaves each node some. Only pods that
/// `is_reached` says an agent is in send or are sent to.
pub fn pairs<'a>(objects: &'a Objects, nodes: &'a [String], is_reached: impl Fn(&PodObject) -> bool) -> Vec<Pair<'a>> {
    let mut pods: BTreeMap<&str, &PodObject> = BTreeMap::new();
    for node in nodes {
        let mut there: Vec<&PodObject> = objects
            .wired_on(node)
            .filter(|pod| !pod.ips.is_empty() && is_reached(pod))
            .collect();
        there.sort_by_key(|pod| pod.full_name());
        pods.extend(there.first().map(|pod| (node.as_str(), *pod)));
    }
    let ways = (1..nodes.len()).flat_map(|step| (0..nodes.len()).map(move |at| (at, (at + step) % nodes.len())));
    let mut found = Vec::new();
    for (from, to) in ways {
        let from = nodes[from].as_str();
        let Some(to) = pods.get(nodes[to].as_str()).copied() else {
            continue;
        };
        let sender = pods.get(from).copied();
        // A pod sends in the families that it has; of a node it is not known.
        let can_send = |ip: &&IpAddr| sender.is_none_or(|pod| pod.ips.iter().any(|own| own.is_ipv4() == ip.is_ipv4()));
        found.extend(to.ips.iter().filter(can_send).map(|address| Pair {
            from: (from, sender),
            to,
            address: *address,
        }));
        if found.len() >= MOST {
            found.truncate(MOST);
            break;
        }
    }
    found
}
