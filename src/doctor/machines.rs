//! What nodes hold, taken from the records that their agents made: only what lines of `doctor` say.

use crate::{
    networks::{self, KNOWN},
    verify::{
        evidence::{Evidence, Looked},
        firewall::Scene,
        generic::{
            configuration::{Configuration, FOLDER, is_configuration},
            parameters::{COUNT, MOST},
            pods, style,
        },
        objects::Objects,
        services::{self, Proxy},
    },
};
use netcheck_node_state::{LinkKind, record::NodeRecord};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// A node whose agent answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// `uname -r`.
    pub kernel: String,
    /// The CNI configuration in force, or why it is not known.
    pub configuration: Result<InForce, String>,
    /// Networks whose devices are there.
    pub by_devices: BTreeSet<&'static str>,
    /// Files of further configurations, and whose they are.
    pub other_configurations: Vec<(String, &'static str)>,
    /// Who programs Services.
    pub proxies: Result<BTreeSet<Proxy>, String>,
    /// Connections in the kernel's table, and as many as there may be.
    pub connections: Option<(u64, u64)>,
    /// Whether it forwards; `None` if that could not be read.
    pub forwards: Option<bool>,
    /// MTU of the device that has the node's own address, by that device.
    pub underlay: Option<(String, u32)>,
    /// Tunnels that are up: MTU and what they put around a packet, in bytes.
    pub tunnels: BTreeMap<String, (u32, u32)>,
    /// What pods send at most, in bytes: by pod.
    pub pods: BTreeMap<String, u32>,
}

/// A configuration that a runtime takes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InForce {
    /// Its file.
    pub file: String,
    /// Its plugins, the first one first.
    pub plugins: Vec<String>,
    /// Networks that it is of.
    pub networks: BTreeSet<&'static str>,
    /// Its style, if its plugins are reference plugins.
    pub style: Option<&'static str>,
    /// Multus comes before the network.
    pub has_multus: bool,
}

/// All nodes whose record is there.
pub fn of(evidence: &Evidence) -> BTreeMap<String, Machine> {
    let looked = evidence.nodes.iter();
    looked
        .filter_map(|(node, looked)| Some((node, looked.as_ref().ok()?)))
        .map(|(node, looked)| (node.clone(), Machine::of(&evidence.objects, node, looked)))
        .collect()
}

impl Machine {
    fn of(objects: &Objects, node: &str, looked: &Looked) -> Self {
        let record = &looked.record;
        let net = &record.node.net;
        let sysctl = |key: &str| record.node.sysctls.get(key).map(String::as_str);
        let number = |key: &str| sysctl(key).and_then(|value| value.parse().ok());
        let own = objects.nodes.iter().filter(|object| object.name == node);
        let ips: Vec<IpAddr> = own
            .flat_map(|own| &own.internal_ips)
            .filter_map(|ip| ip.parse().ok())
            .collect();
        let uplink = net.addresses.iter().find(|address| ips.contains(&address.ip));
        let pods = pods::wirings(objects, node, looked);
        Self {
            kernel: record.kernel.clone(),
            configuration: in_force(record),
            by_devices: KNOWN
                .iter()
                .filter(|known| net.links.keys().any(|device| known.owns_device(device)))
                .map(|known| known.name)
                .collect(),
            other_configurations: others(record),
            proxies: services::proxies(&Scene::new(objects, node, looked)),
            connections: number(COUNT).zip(number(MOST)),
            forwards: sysctl("net.ipv4.ip_forward")
                .or_else(|| sysctl("net.ipv6.conf.all.forwarding"))
                .map(|value| value == "1"),
            underlay: uplink.and_then(|address| {
                let link = net.links.get(&address.interface)?;
                Some((address.interface.clone(), link.mtu))
            }),
            tunnels: net
                .links
                .iter()
                .filter(|(_, link)| link.is_up)
                .filter_map(|(name, link)| Some((name.clone(), (link.mtu, overhead(&link.kind)?))))
                .collect(),
            pods: pods
                .iter()
                .filter_map(|wiring| Some((wiring.pod.full_name(), wiring.sends()?)))
                .collect(),
        }
    }
}

/// What a tunnel puts around a packet, in bytes. Those that a program drives (`external`) have no MTU that says anything.
fn overhead(kind: &LinkKind) -> Option<u32> {
    match kind {
        // Ethernet, VXLAN, UDP and IP (RFC 7348, section 5).
        LinkKind::Vxlan(vxlan) if vxlan.unusual.contains_key("external") || vxlan.vni == 0 => None,
        LinkKind::Vxlan(vxlan) if vxlan.local.is_some_and(|local| local.is_ipv6()) => Some(70),
        LinkKind::Vxlan(_) => Some(50),
        LinkKind::Other(kind) => match kind.as_str() {
            "ipip" | "sit" => Some(20),
            "gre" => Some(24),
            "ip6tnl" => Some(40),
            // IP, UDP and its own head and tail (wireguard.com/papers/wireguard.pdf, section 5.4.6), over IPv4.
            "wireguard" => Some(60),
            _ => None,
        },
        LinkKind::Veth => None,
    }
}

fn in_force(record: &NodeRecord) -> Result<InForce, String> {
    if let Some(Err(why)) = record.folders.get(FOLDER) {
        return Err(format!("{FOLDER}: {why}"));
    }
    match Configuration::first(record) {
        Ok(Some(configuration)) => Ok(InForce {
            networks: networks::of_configuration(&configuration.name, configuration.types.iter().map(String::as_str))
                .map(|known| known.name)
                .collect(),
            style: style(&configuration),
            has_multus: configuration.types.iter().any(|kind| kind.starts_with("multus")),
            plugins: std::iter::once(&configuration.first)
                .chain(configuration.types.iter().filter(|kind| **kind != configuration.first))
                .cloned()
                .collect(),
            file: configuration.file,
        }),
        Ok(None) => Err(format!("no CNI configuration is in {FOLDER}")),
        Err(broken) => Err(format!("{FOLDER}/{}: {}", broken.file, broken.why)),
    }
}

/// Configurations that come after the first one, as far as they are a known network's.
fn others(record: &NodeRecord) -> Vec<(String, &'static str)> {
    let Some(Ok(entries)) = record.folders.get(FOLDER) else {
        return Vec::new();
    };
    let files = entries.iter().filter(|(name, _)| is_configuration(name)).skip(1);
    files
        .filter_map(|(name, entry)| {
            let text = entry.text.as_ref()?.as_ref().ok()?;
            let configuration = Configuration::of(name, &serde_json::from_str(text).ok()?)?;
            let kinds = configuration.types.iter().map(String::as_str);
            let known = networks::of_configuration(&configuration.name, kinds).next()?;
            Some((name.clone(), known.name))
        })
        .collect()
}
