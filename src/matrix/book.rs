//! Whose address is this? Needed to name who rejected a packet and who answered in place of the destination.

use crate::cluster::inventory::{Inventory, Subject};
use netcheck_wire::probe::PlaceFacts;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

/// Owners of addresses, by the API and by what the namespaces themselves show.
#[derive(Debug, Clone, Default)]
pub struct Book {
    owners: HashMap<IpAddr, String>,
}

impl Book {
    /// Collects owners. Where the API and a namespace disagree, the API's word stands: it is what traffic is meant for.
    pub fn new(inventory: &Inventory, facts: &BTreeMap<Subject, PlaceFacts>) -> Self {
        let mut owners = HashMap::new();
        let mut own = |ip: IpAddr, name: String| {
            if !ip.is_loopback() && !ip.is_unspecified() {
                owners.entry(ip).or_insert(name);
            }
        };
        for node in &inventory.nodes {
            node.ips.iter().for_each(|ip| own(*ip, format!("node {}", node.name)));
        }
        for pod in inventory.pods.iter().filter(|pod| !pod.host_network) {
            pod.ips
                .iter()
                .for_each(|ip| own(*ip, format!("pod {}/{}", pod.namespace, pod.name)));
        }
        for service in &inventory.services {
            service
                .cluster_ips
                .iter()
                .for_each(|ip| own(*ip, format!("Service {}/{}", service.namespace, service.name)));
        }
        let pods: HashMap<&str, _> = inventory.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect();
        // Nodes first: a hostNetwork pod shares its node's addresses, which are the node's.
        for (subject, facts) in facts.iter().rev() {
            let name = match subject {
                Subject::Node(name) => format!("node {name}"),
                Subject::Pod(uid) => match pods.get(uid.as_str()) {
                    Some(pod) if !pod.host_network => format!("pod {}/{}", pod.namespace, pod.name),
                    _ => continue,
                },
            };
            // An IPv6 link-local address says nothing outside its link: every node may have fe80::1.
            let speaking = facts.addresses.iter().filter(|address| !is_link_local(address.ip));
            speaking.for_each(|address| own(address.ip, name.clone()));
        }
        Self { owners }
    }

    /// The owner's name, such as `node n1` or `pod shop/api-1`.
    pub fn owner(&self, ip: IpAddr) -> Option<&str> {
        self.owners.get(&ip.to_canonical()).map(String::as_str)
    }

    /// The owner's name with the address, or the address and that nobody is known to own it.
    pub fn describe(&self, ip: IpAddr) -> String {
        match self.owner(ip) {
            Some(owner) => format!("{owner} ({})", ip.to_canonical()),
            None => format!("{} (not a known pod, node or Service)", ip.to_canonical()),
        }
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::inventory::{Node, Pod};
    use netcheck_wire::probe::Address;

    fn facts(addresses: &[&str]) -> PlaceFacts {
        PlaceFacts {
            addresses: addresses
                .iter()
                .map(|ip| Address {
                    interface: "eth0".into(),
                    ip: ip.parse().unwrap(),
                    prefix: 24,
                })
                .collect(),
            ..PlaceFacts::default()
        }
    }

    #[test]
    fn addresses_are_known_from_the_api_and_from_the_namespaces() {
        let inventory = Inventory {
            nodes: vec![Node {
                name: "n1".into(),
                ips: vec!["192.0.2.1".parse().unwrap()],
                ..Node::default()
            }],
            pods: vec![Pod {
                namespace: "shop".into(),
                name: "proxy".into(),
                uid: "u".into(),
                host_network: true,
                ips: vec!["192.0.2.1".parse().unwrap()],
                ..Pod::default()
            }],
            ..Inventory::default()
        };
        let facts = BTreeMap::from([
            (
                Subject::Node("n1".into()),
                facts(&["10.244.1.1", "127.0.0.1", "fe80::1"]),
            ),
            (Subject::Pod("u".into()), facts(&["10.244.1.1"])),
        ]);
        let book = Book::new(&inventory, &facts);
        assert_eq!(book.owner("192.0.2.1".parse().unwrap()), Some("node n1"));
        assert_eq!(book.owner("::ffff:10.244.1.1".parse().unwrap()), Some("node n1"));
        assert_eq!(book.owner("127.0.0.1".parse().unwrap()), None);
        assert_eq!(book.owner("fe80::1".parse().unwrap()), None);
        assert_eq!(
            book.describe("9.9.9.9".parse().unwrap()),
            "9.9.9.9 (not a known pod, node or Service)"
        );
    }
}
