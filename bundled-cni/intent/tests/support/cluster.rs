//! A cluster in memory: what the API and the nodes would say, and nodes as the plugin alone leaves them.

use netcheck_cni_intent::{
    Actual, Attachment, Config, Desired, Family, Hold, Inputs, LocalAddress, NodeObject, PerFamily, PodName,
    bpf::BpfMaps,
    desired::accept_ra,
    intent,
    names::{ANNOTATION_MTU, ANNOTATION_UNDERLAY},
};
use netcheck_node_state::{Address, Link, LinkKind, NetState};
use std::collections::BTreeMap;

/// Everything that decides the state of all nodes.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    pub config: BTreeMap<String, String>,
    pub nodes: Vec<NodeObject>,
    pub locals: BTreeMap<String, PerFamily<LocalAddress>>,
    pub attachments: BTreeMap<String, Vec<Attachment>>,
}

impl Cluster {
    /// Dual stack by vxlan: nodes n1, n2 … in the order of creation, `192.0.2.11/24` and `2001:db8:99::11/64` … on eth0, published.
    pub fn of(count: u16) -> Self {
        let mut cluster = Self::default();
        cluster.set("clusterCIDRs", "10.244.0.0/16,fd00:10:244::/48");
        for number in 1..=count {
            let name = format!("n{number}");
            let pod_cidrs = [format!("10.244.{number}.0/24"), format!("fd00:10:244:{number}::/64")];
            let node = NodeObject {
                name: name.clone(),
                created: format!("2026-01-01T00:00:{number:02}Z"),
                pod_cidrs: pod_cidrs.into(),
                ..NodeObject::default()
            };
            cluster.nodes.push(node);
            let host = 10 + number;
            cluster.put_on(&name, &format!("192.0.2.{host}/24"), "eth0", 1500);
            cluster.put_on(&name, &format!("2001:db8:99::{host}/64"), "eth0", 1500);
            cluster.publish(&name);
        }
        cluster
    }

    /// Sets a key of the ConfigMap.
    pub fn set(&mut self, key: &str, value: &str) -> &mut Self {
        self.config.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn node(&mut self, name: &str) -> &mut NodeObject {
        self.nodes.iter_mut().find(|node| node.name == name).unwrap()
    }

    /// Gives a node an InternalIP, or another one of the same family.
    pub fn put_on(&mut self, name: &str, address: &str, device: &str, mtu: u32) {
        let address: ipnet::IpNet = address.parse().unwrap();
        let node = self.node(name);
        node.internal_ips
            .retain(|ip| ip.contains(':') == address.addr().is_ipv4());
        node.internal_ips.push(address.addr().to_string());
        let device = device.to_owned();
        let local = Some(LocalAddress { device, address, mtu });
        let locals = self.locals.entry(name.to_owned()).or_default();
        match Family::of_net(&address) {
            Family::V4 => locals.ipv4 = local,
            Family::V6 => locals.ipv6 = local,
        }
    }

    /// Writes to a Node's annotations what its daemon would.
    pub fn publish(&mut self, name: &str) {
        // A node that is held has nothing to say.
        let Ok(desired) = self.desired(name) else { return };
        for key in [ANNOTATION_UNDERLAY, ANNOTATION_MTU] {
            if let Some(value) = desired.annotations.get(key).cloned() {
                self.node(name).annotations.insert(key.to_owned(), value);
            }
        }
    }

    /// Has ADD made a pod with these addresses.
    pub fn add_pod(&mut self, node: &str, container: &str, ips: &[&str]) {
        let attachment = Attachment {
            key: format!("netcheck@{container}@eth0").parse().unwrap(),
            ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
            mac: None,
            pod: PodName {
                namespace: "default".to_owned(),
                name: format!("pod-{container}"),
                uid: String::new(),
            },
            link_mtu: 1500,
            netns: None,
        };
        self.attachments.entry(node.to_owned()).or_default().push(attachment);
    }

    pub fn desired(&self, node: &str) -> Result<Desired, Hold> {
        let config = Config::parse(&self.config).unwrap();
        let inputs = Inputs {
            own: node,
            nodes: &self.nodes,
            config: &config,
            refused_config: &[],
            local: &self.locals.get(node).cloned().unwrap_or_default(),
            attachments: self.attachments.get(node).map_or(&[], Vec::as_slice),
        };
        intent(&inputs)
    }

    /// A node with its uplinks and its pods as ADD leaves them, and nothing else; nothing forwards.
    pub fn fresh(&self, desired: &Desired) -> Actual {
        let mut actual = Actual {
            bpf: Some(BpfMaps::default()),
            ..Actual::default()
        };
        for local in self.locals.get(&desired.node).into_iter().flat_map(PerFamily::iter) {
            actual.net.links.insert(local.device.clone(), hardware(local.mtu));
            actual.net.addresses.insert(Address {
                interface: local.device.clone(),
                ip: local.address.addr(),
                prefix: local.address.prefix_len(),
            });
            actual.sysctls.insert(accept_ra(&local.device), "1".to_owned());
        }
        for key in desired.sysctls.keys() {
            // What belongs to a device that is yet to be made cannot be read.
            if !key.contains("ncvx0") {
                actual.sysctls.entry(key).or_insert_with(|| "0".to_owned());
            }
        }
        let links = desired.net.links.clone().into_iter();
        actual
            .net
            .links
            .extend(links.filter(|(_, link)| link.kind == LinkKind::Veth));
        for (key, pod) in desired.pods.iter().flatten() {
            let mut inside = NetState {
                addresses: pod.addresses.clone(),
                routes: pod.routes.clone(),
                neighbours: pod.neighbours.clone(),
                ..NetState::default()
            };
            let link = Link {
                mac: pod.mac,
                kind: LinkKind::Veth,
                ..hardware(pod.mtu)
            };
            inside.links.insert(pod.if_name.clone(), link);
            actual.pods.insert(key.clone(), inside);
        }
        actual
    }
}

/// A device that is up and nobody's in particular.
pub fn hardware(mtu: u32) -> Link {
    Link {
        mac: None,
        mtu,
        is_up: true,
        alias: None,
        makes_link_local: Some(true),
        kind: LinkKind::Other(String::new()),
    }
}
