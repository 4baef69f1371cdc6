//! Names of sources and destinations: exact ones for people, and stable ones that hold no pod's random suffix, for CI to compare.

use super::{evidence::Protocol, plan::row::Row, report::Party, select::Goal, words::pod_name};
use crate::cluster::inventory::{Inventory, Pod, Subject};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Names by an inventory.
pub struct Names<'a> {
    pods: HashMap<&'a str, &'a Pod>,
    inventory: &'a Inventory,
    /// Workload names that two kinds of workload share in a namespace.
    ambiguous: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Names<'a> {
    /// Prepares names.
    pub fn new(inventory: &'a Inventory) -> Self {
        let mut kinds: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
        for pod in &inventory.pods {
            let key = (pod.namespace.as_str(), pod.workload.name.as_str());
            kinds.entry(key).or_default().insert(&pod.workload.kind);
        }
        Self {
            pods: inventory.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect(),
            inventory,
            ambiguous: kinds
                .into_iter()
                .filter(|(_, kinds)| kinds.len() > 1)
                .map(|(key, _)| key)
                .collect(),
        }
    }

    /// The source as the report shows it.
    pub fn source(&self, subject: &Subject) -> Party {
        match subject {
            Subject::Pod(uid) => self.pod(uid),
            Subject::Node(name) => node(name),
        }
    }

    /// The destination as the report shows it.
    pub fn destination(&self, goal: &Goal) -> Party {
        match goal {
            Goal::Pod(uid) => self.pod(uid),
            Goal::Node(name) => node(name),
            Goal::Service(namespace, name) => service("Service", namespace, name),
            Goal::Dns(namespace, name) => service("DNS", namespace, name),
        }
    }

    /// The source's name in messages, such as `pod shop/web-1`.
    pub fn in_words(&self, subject: &Subject) -> String {
        match subject {
            Subject::Pod(uid) => self
                .pods
                .get(uid.as_str())
                .map_or_else(|| format!("pod {uid}"), |pod| pod_name(pod)),
            Subject::Node(name) => format!("node {name}"),
        }
    }

    /// Unique in a run.
    pub fn id(&self, row: &Row) -> String {
        let source = exact(&self.source(&row.pair.from));
        let destination = exact(&self.destination(&row.pair.to));
        format!(
            "{source}->{destination}{}{}/{}",
            self.server(row),
            port(row),
            row.family.id()
        )
    }

    /// The same from run to run.
    pub fn case(&self, row: &Row) -> String {
        let source = self.stable(&self.source(&row.pair.from));
        let destination = self.stable(&self.destination(&row.pair.to));
        let relation = row
            .pair
            .relation
            .map_or_else(String::new, |relation| format!(" {}", relation.id()));
        format!(
            "{source} -> {destination}{}{} {}{relation}",
            self.server(row),
            port(row),
            row.family.id()
        )
    }

    /// A party's name without a pod's random suffix: `shop/web`, `node/n1`, `shop/svc/api`, `dns/kube-system/kube-dns`.
    pub fn stable(&self, party: &Party) -> String {
        let (Some(namespace), Some(workload)) = (&party.namespace, &party.workload) else {
            return exact(party);
        };
        let (kind, name) = workload.split_once('/').unwrap_or(("", workload));
        if self.ambiguous.contains(&(namespace.as_str(), name)) {
            format!("{namespace}/{}/{name}", kind.to_lowercase())
        } else {
            format!("{namespace}/{name}")
        }
    }

    /// A DNS server that is not the DNS Service itself is part of the name: a pod may ask several.
    fn server(&self, row: &Row) -> String {
        let Goal::Dns(namespace, name) = &row.pair.to else {
            return String::new();
        };
        let service = self
            .inventory
            .services
            .iter()
            .find(|service| &service.namespace == namespace && &service.name == name);
        match row.target {
            Some(target) if service.is_some_and(|service| !service.cluster_ips.contains(&target.ip())) => {
                format!("@{}", target.ip())
            }
            _ => String::new(),
        }
    }

    fn pod(&self, uid: &str) -> Party {
        let Some(pod) = self.pods.get(uid) else {
            return Party {
                kind: "Pod".into(),
                name: uid.into(),
                ..Party::default()
            };
        };
        let workload = (pod.workload.kind != "Pod" && !pod.workload.kind.is_empty())
            .then(|| format!("{}/{}", pod.workload.kind, pod.workload.name));
        Party {
            kind: "Pod".into(),
            namespace: Some(pod.namespace.clone()),
            name: pod.name.clone(),
            workload,
            node: pod.node.clone(),
        }
    }
}

fn node(name: &str) -> Party {
    Party {
        kind: "Node".into(),
        name: name.into(),
        node: Some(name.into()),
        ..Party::default()
    }
}

fn service(kind: &str, namespace: &str, name: &str) -> Party {
    Party {
        kind: kind.into(),
        namespace: Some(namespace.into()),
        name: name.into(),
        ..Party::default()
    }
}

/// A party's exact name: `shop/web-1`, `node/n1`, `shop/svc/api`, `dns/kube-system/kube-dns`.
pub fn exact(party: &Party) -> String {
    let namespace = party.namespace.as_deref().unwrap_or_default();
    match party.kind.as_str() {
        "Node" => format!("node/{}", party.name),
        "Service" => format!("{namespace}/svc/{}", party.name),
        "DNS" => format!("dns/{namespace}/{}", party.name),
        _ => format!("{namespace}/{}", party.name),
    }
}

fn port(row: &Row) -> String {
    match (row.protocol, row.target) {
        (Protocol::Tcp, Some(target)) => format!(":{}/tcp", target.port()),
        (protocol, _) => format!("/{}", protocol.id()),
    }
}
