//! Whether nodes' ranges of addresses for pods are pods' alone, by the API.

use super::{
    found::Found,
    generic::{Concern, is_left},
    network::Network,
    objects::Objects,
};
use ipnet::IpNet;
use std::{collections::BTreeMap, net::IpAddr};

/// Who has what addresses, sorted: it is asked for every node.
#[derive(Debug, Default)]
pub struct Claims<'a> {
    /// Of Nodes and Services.
    addresses: BTreeMap<IpAddr, Claim<'a>>,
    /// Ranges of Nodes.
    ranges: BTreeMap<IpNet, Vec<&'a str>>,
}

/// Whose an address is.
#[derive(Debug)]
enum Claim<'a> {
    Node(&'a str),
    Service { namespace: &'a str, name: &'a str },
}

impl<'a> Claims<'a> {
    /// Of everything that the API tells; without Nodes where the network has its own words for that.
    pub fn of(objects: &'a Objects, network: Option<&dyn Network>) -> Self {
        let mut claims = Self::default();
        let services = objects.services.iter().flatten().flat_map(|all| &all.services);
        for service in services {
            let claim = || Claim::Service {
                namespace: &service.namespace,
                name: &service.name,
            };
            claims
                .addresses
                .extend(service.cluster_ips.iter().map(|ip| (*ip, claim())));
        }
        if is_left(network, Concern::Ranges) {
            for node in &objects.nodes {
                let ips = node.internal_ips.iter().filter_map(|ip| ip.parse().ok());
                claims.addresses.extend(ips.map(|ip| (ip, Claim::Node(&node.name))));
                for range in node.pod_cidrs.iter().filter_map(|text| text.parse::<IpNet>().ok()) {
                    claims.ranges.entry(range.trunc()).or_default().push(&node.name);
                }
            }
        }
        claims
    }

    /// A node's ranges that hold what is no pod's of that node, told once each: packets to it go one way or the other.
    pub fn differences(&self, objects: &Objects, node: &str) -> Vec<Found> {
        let ranges = objects.ranges_of(node).into_iter();
        let told = ranges.filter_map(|range| {
            let range = range.trunc();
            let who = self.within(&range).or_else(|| self.of_another(&range, node))?;
            let found = Found::new(
                "verify-range-overlap",
                range.to_string(),
                "addresses of the node's pods alone",
                who,
            );
            Some(found.look("kubectl get nodes -o wide; kubectl get services -A"))
        });
        told.collect()
    }

    /// An address in a range that a Node or a Service has.
    fn within(&self, range: &IpNet) -> Option<String> {
        let mut inside = self.addresses.range(range.network()..=range.broadcast());
        inside.next().map(|(ip, claim)| match claim {
            Claim::Node(name) => format!("node {name} has {ip}"),
            Claim::Service { namespace, name } => format!("Service {namespace}/{name} has {ip}"),
        })
    }

    /// Another node's range that shares addresses: two of them do only if one is part of the other.
    fn of_another(&self, range: &IpNet, node: &str) -> Option<String> {
        let around = (0..range.prefix_len()).filter_map(|length| {
            let wider = IpNet::new(range.addr(), length).ok()?.trunc();
            self.ranges.get_key_value(&wider)
        });
        let parts = self.ranges.range(range..).take_while(|(part, _)| range.contains(*part));
        let mut others = around
            .chain(parts)
            .flat_map(|(other, names)| names.iter().map(move |name| (other, *name)));
        let (other, name) = others.find(|(_, name)| *name != node)?;
        Some(format!("node {name} has {other}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{
        bundled::Bundled,
        services::{ServiceObject, Services},
    };
    use netcheck_cni_intent::NodeObject;

    fn node(name: &str, ip: &str, range: &str) -> NodeObject {
        NodeObject {
            name: name.to_owned(),
            internal_ips: vec![ip.to_owned()],
            pod_cidrs: vec![range.to_owned()],
            ..NodeObject::default()
        }
    }

    fn objects(nodes: Vec<NodeObject>, cluster_ip: &str) -> Objects {
        let service = ServiceObject {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            cluster_ips: vec![cluster_ip.parse().unwrap()],
            ..ServiceObject::default()
        };
        Objects {
            nodes,
            services: Some(Ok(Services {
                services: vec![service],
                ..Services::default()
            })),
            ..Objects::default()
        }
    }

    /// What is told of each node.
    fn told(objects: &Objects, network: Option<&dyn Network>) -> Vec<String> {
        let claims = Claims::of(objects, network);
        let found = objects
            .nodes
            .iter()
            .map(|node| (node, claims.differences(objects, &node.name)));
        found
            .flat_map(|(node, found)| {
                found
                    .into_iter()
                    .map(|one| format!("{}: {} {}", node.name, one.object, one.actual))
            })
            .collect()
    }

    #[test]
    fn ranges_are_held_against_nodes_services_and_each_other() {
        let two = |range: &str| vec![node("n1", "192.0.2.1", "10.244.0.0/24"), node("n2", "192.0.2.2", range)];
        let apart = objects(two("10.244.1.0/24"), "10.96.0.1");
        assert_eq!(told(&apart, None), [""; 0]);
        let wide = objects(two("10.244.0.0/16"), "10.96.0.1");
        let both = [
            "n1: 10.244.0.0/24 node n2 has 10.244.0.0/16",
            "n2: 10.244.0.0/16 node n1 has 10.244.0.0/24",
        ];
        assert_eq!(told(&wide, None), both);
        let part = objects(two("10.244.0.128/25"), "10.96.0.1");
        let both = [
            "n1: 10.244.0.0/24 node n2 has 10.244.0.128/25",
            "n2: 10.244.0.128/25 node n1 has 10.244.0.0/24",
        ];
        assert_eq!(told(&part, None), both);
        let same = objects(two("10.244.0.0/24"), "10.96.0.1");
        assert_eq!(told(&same, None).len(), 2);
        let nodes = objects(two("192.0.2.0/24"), "10.96.0.1");
        assert_eq!(told(&nodes, None), ["n2: 192.0.2.0/24 node n1 has 192.0.2.1"]);
        let services = objects(two("10.244.1.0/24"), "10.244.1.9");
        assert_eq!(
            told(&services, None),
            ["n2: 10.244.1.0/24 Service shop/web has 10.244.1.9"]
        );
    }

    #[test]
    fn a_network_that_refuses_such_nodes_tells_of_them_itself() {
        let nodes = vec![
            node("n1", "192.0.2.1", "10.244.0.0/24"),
            node("n2", "192.0.2.2", "10.244.0.0/24"),
        ];
        let objects = objects(nodes, "10.244.0.9");
        let of_service = "n1: 10.244.0.0/24 Service shop/web has 10.244.0.9";
        assert_eq!(told(&objects, Some(&Bundled))[0], of_service);
        let apart = Objects {
            services: None,
            ..objects
        };
        assert_eq!(told(&apart, Some(&Bundled)), [""; 0]);
    }
}
