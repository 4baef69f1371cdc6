//! What must be on the nodes of Calico (projectcalico/calico, 3.2x), by what its nodes publish in annotations and, where they may be read, its
//! pools and block affinities: VXLAN (`felix/dataplane/linux/vxlan_mgr.go`) and IP-in-IP by BIRD. Where BGP alone decides, nothing is said of routes.

pub mod objects;
#[cfg(test)]
mod tests;
mod ways;

use super::{
    evidence::Looked,
    expected::{self, Expected, Tunnel, TunnelKind},
    found::Found,
    generic::Concern,
    group::Group,
    network::{Differences, Network, Unchecked},
    objects::Objects,
    relate::relate,
};
use ipnet::IpNet;
use netcheck_cni_intent::{NodeObject, words};
use netcheck_node_state::{LinkKind, Mac, NetState};
use netcheck_wire::message::RecordOrder;
use sha1::{Digest as _, Sha1};
use std::net::IpAddr;

/// How its annotations begin.
pub const PREFIX: &str = "projectcalico.org/";
const VXLAN: &str = "vxlan.calico";
const IPIP: &str = "tunl0";
/// What a packet has around it in the tunnel: Ethernet, VXLAN, UDP and IPv4.
const OVERHEAD: u32 = 50;

/// Calico.
#[derive(Debug, Clone, Copy)]
pub struct Calico;

/// What a node publishes of itself; IPv4 alone.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    /// With the length of its subnet's prefix.
    address: IpNet,
    vxlan: Option<IpAddr>,
    ipip: Option<IpAddr>,
    /// Of the tunnel: nodes of Windows publish one that follows from nothing.
    mac: Option<Mac>,
}

impl Published {
    fn read(node: &NodeObject) -> Option<Self> {
        let annotation = |name: &str| node.annotations.get(&format!("{PREFIX}{name}"));
        let ip = |name: &str| annotation(name).and_then(|ip| ip.parse().ok());
        Some(Self {
            address: annotation("IPv4Address")?.parse().ok()?,
            vxlan: ip("IPv4VXLANTunnelAddr"),
            ipip: ip("IPv4IPIPTunnelAddr"),
            mac: annotation("VXLANTunnelMACAddr").and_then(|mac| mac.to_ascii_lowercase().parse().ok()),
        })
    }
}

/// Whether nodes publish something for it, and its agents run. Annotations alone outlive it, and with flannel below it goes by flannel's books.
pub fn is_at_work(objects: &Objects) -> bool {
    objects.has_agent_of(Calico.name()) && objects.nodes.iter().any(|node| Published::read(node).is_some())
}

/// The hardware address of a node's tunnel: the first bytes of a digest of its name, behind 0x66.
fn tunnel_mac(node: &str) -> Option<Mac> {
    let digest = Sha1::digest(node.as_bytes());
    let bytes: Vec<String> = digest.iter().take(5).map(|byte| format!("{byte:02x}")).collect();
    format!("66:{}", bytes.join(":")).parse().ok()
}

impl Network for Calico {
    fn name(&self) -> &'static str {
        "Calico"
    }

    fn order(&self) -> RecordOrder {
        RecordOrder::default()
    }

    fn uses_node_ranges(&self) -> bool {
        false
    }

    fn covers(&self) -> &'static [Concern] {
        &[Concern::Ways]
    }

    fn differences(&self, objects: &Objects, node: &str, looked: &Looked) -> Differences {
        let mut differences = Differences::default();
        let mut unchecked = |group, why: &str| {
            differences.unchecked.push(Unchecked {
                group,
                why: why.to_owned(),
            });
        };
        let calico = objects.calico.clone().unwrap_or_default();
        let net = &looked.record.node.net;
        let has_programs = calico.felix.bpf_enabled
            || matches!(net.links.get(VXLAN).map(|link| &link.kind), Some(LinkKind::Vxlan(vxlan)) if vxlan.unusual.contains_key("external"));
        if has_programs {
            for group in [Group::Device, Group::Routes, Group::Neighbours, Group::Bpf] {
                unchecked(
                    group,
                    "of Calico's eBPF data plane this version checks only what holds for every network",
                );
            }
            return differences;
        }
        if objects
            .nodes
            .iter()
            .any(|node| node.annotations.contains_key(&format!("{PREFIX}IPv6VXLANTunnelAddr")))
        {
            for group in [Group::Device, Group::Routes, Group::Neighbours] {
                unchecked(group, "of Calico this version checks no IPv6 tunnels");
            }
        }
        let published: Vec<(&str, Published)> = objects
            .nodes
            .iter()
            .filter_map(|node| Some((node.name.as_str(), Published::read(node)?)))
            .collect();
        let Some((_, me)) = published.iter().find(|(name, _)| *name == node) else {
            differences.found.push(
                Found::new(
                    "verify-node-unpublished",
                    node,
                    format!("annotation {PREFIX}IPv4Address"),
                    "it says nothing of itself",
                )
                .fix("look at the log of its calico-node, and delete that pod"),
            );
            return differences;
        };
        let mut expected = Expected {
            agent: "calico-node",
            ..Expected::default()
        };
        if let Some(address) = me.vxlan {
            expected.tunnels.push(tunnel(&calico.felix, node, me, address, net));
            for (name, peer) in published.iter().filter(|(name, _)| *name != node) {
                if let (Some(tunnel), Some(mac)) = (peer.vxlan, peer.mac.or_else(|| tunnel_mac(name))) {
                    expected.neighbours.insert((VXLAN.to_owned(), tunnel), mac);
                    expected.fdb.insert((VXLAN.to_owned(), mac), peer.address.addr());
                }
            }
        }
        if me.ipip.is_some() {
            ipip(net, &mut differences.found);
        }
        ways::expect(objects, &calico, &published, node, &mut expected, &mut differences);
        differences.found.extend(expected::differences(&expected, net));
        ways::blocks(&calico, node, net, &mut differences.found);
        relate(&mut differences.found);
        differences
    }
}

fn tunnel(felix: &objects::Felix, node: &str, me: &Published, address: IpAddr, net: &NetState) -> Tunnel {
    let local = me.address.addr();
    let underlay = net.addresses.iter().find(|address| address.ip == local);
    let underlay = underlay
        .and_then(|address| net.links.get(&address.interface))
        .map(|link| link.mtu);
    // Where it is not set, Felix takes the least of several devices: only more than the underlay carries is wrong for sure.
    let most = underlay.map(|mtu| mtu.saturating_sub(OVERHEAD));
    let is = net.links.get(VXLAN).map(|link| link.mtu);
    Tunnel {
        name: VXLAN.to_owned(),
        kind: TunnelKind::Vxlan {
            vni: felix.vni.unwrap_or(4096),
            port: felix.port.unwrap_or(4789),
            local: Some(local),
            learns: false,
        },
        mac: me.mac.or_else(|| tunnel_mac(node)),
        mtu: felix.mtu.or(most.filter(|most| is.is_some_and(|is| is > *most))),
        addresses: vec![IpNet::from(address)],
    }
}

/// BIRD's routes need the kernel's tunnel.
fn ipip(net: &NetState, found: &mut Vec<Found>) {
    let (id, actual) = match net.links.get(IPIP) {
        Some(link) if link.is_up => return,
        Some(link) => ("verify-overlay-down", words::link(link)),
        None => ("verify-overlay-missing", "no such device".to_owned()),
    };
    found.push(
        Found::new(id, format!("link {IPIP}"), "an ipip tunnel that is up", actual)
            .look(format!("ip -d address show dev {IPIP}"))
            .fix("delete this node's calico-node pod: Felix makes the tunnel when it starts")
            .on(IPIP),
    );
}
