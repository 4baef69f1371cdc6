//! What must be on the nodes of flannel, by its ConfigMap and what its nodes publish in annotations: backends `vxlan` (with and without
//! `DirectRouting`), `host-gw`, `ipip` and `udp` (pkg/backend of flannel-io/flannel).

use super::{
    evidence::Looked,
    expected::{self, Expected, Tunnel, TunnelKind, Way},
    found::Found,
    generic::Concern,
    group::Group,
    network::{Differences, Network, Unchecked},
    objects::Objects,
    relate::relate,
};
use ipnet::IpNet;
use netcheck_cni_intent::NodeObject;
use netcheck_node_state::{Mac, NetState};
use netcheck_wire::message::RecordOrder;
use serde::Deserialize;
use std::net::IpAddr;

/// How annotations begin (pkg/subnet/kube/annotations.go; the prefix can be changed, hardly anybody does).
const PREFIX: &str = "flannel.alpha.coreos.com/";
/// The kernel's own port for VXLAN, which flannel takes where `Port` is 0.
const PORT: u16 = 8472;
/// The way in which packets go from node to node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Carrier {
    Vxlan,
    HostGw,
    Ipip,
    /// flannel's own proxy in user space, with one route for all nodes (pkg/backend/udp).
    Udp,
}

impl Carrier {
    fn of(kind: &str) -> Option<Self> {
        match kind.to_ascii_lowercase().as_str() {
            "vxlan" => Some(Self::Vxlan),
            "host-gw" => Some(Self::HostGw),
            "ipip" => Some(Self::Ipip),
            "udp" => Some(Self::Udp),
            _ => None,
        }
    }

    /// What it takes from the underlay's MTU, in bytes, whatever the family (`encapOverhead` of each backend).
    fn overhead(self) -> u32 {
        match self {
            Self::Vxlan => 50,
            Self::HostGw => 0,
            Self::Ipip => 20,
            Self::Udp => 28,
        }
    }
}

/// flannel.
#[derive(Debug, Clone, Copy)]
pub struct Flannel;

/// `net-conf.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Config {
    #[serde(default)]
    network: Option<IpNet>,
    #[serde(default, rename = "IPv6Network")]
    ipv6_network: Option<IpNet>,
    #[serde(default = "yes", rename = "EnableIPv4")]
    enable_ipv4: bool,
    #[serde(default, rename = "EnableIPv6")]
    enable_ipv6: bool,
    backend: Backend,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Backend {
    #[serde(rename = "Type")]
    kind: String,
    #[serde(default = "one", rename = "VNI")]
    vni: u32,
    #[serde(default)]
    port: u16,
    #[serde(default, rename = "MTU")]
    mtu: u32,
    #[serde(default)]
    learning: bool,
    #[serde(default)]
    direct_routing: bool,
}

fn one() -> u32 {
    1
}

/// `backend-data` of the vxlan backend.
#[derive(Debug, Deserialize)]
struct BackendData {
    #[serde(rename = "VtepMAC")]
    vtep_mac: Mac,
}

/// One family of the network.
#[derive(Debug, Clone, Copy)]
struct Family {
    is_v4: bool,
    data: &'static str,
    public_ip: &'static str,
}

const V4: Family = Family {
    is_v4: true,
    data: "backend-data",
    public_ip: "public-ip",
};
const V6: Family = Family {
    is_v4: false,
    data: "backend-v6-data",
    public_ip: "public-ipv6",
};

/// A node, as it publishes itself for a family.
struct Published {
    range: IpNet,
    ip: IpAddr,
    mac: Option<Mac>,
}

impl Published {
    /// What a node says of itself; `None` where it says nothing that can be read.
    fn read(node: &NodeObject, family: Family) -> Option<Self> {
        let annotation = |name: &str| node.annotations.get(&format!("{PREFIX}{name}"));
        let ranges = node.pod_cidrs.iter().filter_map(|text| text.parse::<IpNet>().ok());
        let data = annotation(family.data).and_then(|text| serde_json::from_str::<BackendData>(text).ok());
        Some(Self {
            range: ranges
                .into_iter()
                .find(|range| range.addr().is_ipv4() == family.is_v4)?,
            ip: annotation(family.public_ip)?.parse().ok()?,
            mac: data.map(|data| data.vtep_mac),
        })
    }
}

/// Whether a pod of it runs.
pub fn has_agent(objects: &Objects) -> bool {
    objects.has_agent_of(Flannel.name())
}

impl Network for Flannel {
    fn name(&self) -> &'static str {
        "flannel"
    }

    fn is_routed_by_main(&self) -> bool {
        true
    }

    fn order(&self) -> RecordOrder {
        RecordOrder::default()
    }

    fn covers(&self) -> &'static [Concern] {
        &[Concern::Ways]
    }

    fn differences(&self, objects: &Objects, node: &str, looked: &Looked) -> Differences {
        let mut differences = Differences::default();
        let mut unchecked = |groups: &[Group], why: &str| {
            differences.unchecked.extend(groups.iter().map(|group| Unchecked {
                group: *group,
                why: why.to_owned(),
            }));
        };
        let text = objects.flannel.as_deref().unwrap_or_default();
        let config: Config = match serde_json::from_str(text) {
            Ok(config) => config,
            Err(error) => {
                unchecked(&Group::ALL, &format!("flannel's net-conf.json cannot be read: {error}"));
                return differences;
            }
        };
        let Some(carrier) = Carrier::of(&config.backend.kind) else {
            unchecked(
                &[Group::Device, Group::Routes, Group::Neighbours],
                &format!(
                    "flannel's backend {:?} is none that this version knows",
                    config.backend.kind
                ),
            );
            return differences;
        };
        let mut expected = Expected {
            agent: "kube-flannel",
            ..Expected::default()
        };
        for (family, is_on, network) in [
            (V4, config.enable_ipv4, config.network),
            (V6, config.enable_ipv6, config.ipv6_network),
        ] {
            // `udp` and `ipip` carry IPv4 alone.
            let is_carried = family.is_v4 || matches!(carrier, Carrier::Vxlan | Carrier::HostGw);
            if is_on && is_carried {
                expected.ranges.extend(network);
                let way = Ways {
                    config: &config,
                    family,
                    network,
                    carrier,
                    net: &looked.record.node.net,
                };
                way.expect(objects, node, &mut expected, &mut differences.found);
            }
        }
        differences
            .found
            .extend(expected::differences(&expected, &looked.record.node.net));
        relate(&mut differences.found);
        differences
    }
}

/// What decides about the ways of a family.
struct Ways<'a> {
    config: &'a Config,
    family: Family,
    network: Option<IpNet>,
    carrier: Carrier,
    net: &'a NetState,
}

impl Ways<'_> {
    fn expect(&self, objects: &Objects, own: &str, expected: &mut Expected, found: &mut Vec<Found>) {
        let mut published = Vec::new();
        for node in &objects.nodes {
            match Published::read(node, self.family) {
                Some(said) => published.push((&node.name, said)),
                None if node.name == own => {
                    let wanted = format!(
                        "annotation {PREFIX}{} and a podCIDR of that family",
                        self.family.public_ip
                    );
                    found.push(Found::new(
                        "verify-node-unpublished",
                        own,
                        wanted,
                        "it says nothing of itself",
                    ));
                }
                None => {}
            }
        }
        let Some((_, me)) = published.iter().find(|(name, _)| *name == own) else {
            return;
        };
        expected.own.push(me.range);
        let Some(name) = self.device() else {
            let direct = |(_, peer): &(_, Published)| Way {
                to: peer.range,
                via: Some(peer.ip),
                device: None,
            };
            let others = published.iter().filter(|(name, _)| *name != own);
            expected.ways.extend(others.map(direct));
            return;
        };
        expected.tunnels.push(self.tunnel(&name, me));
        if self.carrier == Carrier::Udp {
            expected.ways.extend(self.network.map(|to| Way {
                to,
                via: None,
                device: Some(name),
            }));
            return;
        }
        for (_, peer) in published.iter().filter(|(name, _)| *name != own) {
            let is_direct = self.config.backend.direct_routing && expected::is_on_link(self.net, peer.ip);
            let (via, device) = match self.carrier {
                _ if is_direct => (peer.ip, None),
                Carrier::Vxlan => (peer.range.network(), Some(name.clone())),
                _ => (peer.ip, Some(name.clone())),
            };
            expected.ways.push(Way {
                to: peer.range,
                via: Some(via),
                device,
            });
            if let Some(mac) = peer.mac.filter(|_| !is_direct && self.carrier == Carrier::Vxlan) {
                expected.neighbours.insert((name.clone(), peer.range.network()), mac);
                expected.fdb.insert((name.clone(), mac), peer.ip);
            }
        }
    }

    /// Name of the tunnel's device, if there is one: only `vxlan` has one for IPv6.
    fn device(&self) -> Option<String> {
        let vni = self.config.backend.vni;
        match (self.carrier, self.family.is_v4) {
            (Carrier::Vxlan, true) => Some(format!("flannel.{vni}")),
            (Carrier::Vxlan, false) => Some(format!("flannel-v6.{vni}")),
            (Carrier::Ipip, _) => Some("flannel.ipip".to_owned()),
            (Carrier::Udp, _) => Some("flannel0".to_owned()),
            (Carrier::HostGw, _) => None,
        }
    }

    fn tunnel(&self, name: &str, me: &Published) -> Tunnel {
        let backend = &self.config.backend;
        let underlay = self.net.addresses.iter().find(|address| address.ip == me.ip);
        let underlay = underlay
            .and_then(|address| self.net.links.get(&address.interface))
            .map(|link| link.mtu);
        let underlay = Some(backend.mtu).filter(|mtu| *mtu > 0).or(underlay);
        let kind = match self.carrier {
            Carrier::Ipip => TunnelKind::Other("ipip"),
            Carrier::Udp => TunnelKind::Other("tun"),
            _ => TunnelKind::Vxlan {
                vni: backend.vni,
                port: if backend.port == 0 { PORT } else { backend.port },
                local: Some(me.ip),
                learns: backend.learning,
            },
        };
        Tunnel {
            name: name.to_owned(),
            kind,
            mac: me.mac.filter(|_| self.carrier == Carrier::Vxlan),
            // The kernel takes more for IPv6 than flannel reckons with, and says nothing.
            mtu: underlay
                .filter(|_| self.family.is_v4)
                .map(|mtu| mtu.saturating_sub(self.carrier.overhead())),
            addresses: vec![IpNet::from(me.range.network())],
        }
    }
}

#[cfg(test)]
mod tests;
