//! What must be on the nodes of flannel, by its ConfigMap and what its nodes publish in annotations: backends `vxlan` (with and without
//! `DirectRouting`) and `host-gw` (pkg/backend/vxlan and pkg/backend/hostgw of flannel-io/flannel).

use super::{
    evidence::Looked,
    expected::{self, Expected, Tunnel, Way},
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
/// What flannel takes from the underlay's MTU, whatever its family (`encapOverhead`, pkg/backend/vxlan/vxlan.go).
const OVERHEAD: u32 = 50;

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

impl Network for Flannel {
    fn name(&self) -> &'static str {
        "flannel"
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
        unchecked(&[Group::Firewall], "of flannel this version checks no firewall");
        let is_vxlan = match config.backend.kind.to_ascii_lowercase().as_str() {
            "vxlan" => true,
            "host-gw" => false,
            other => {
                let groups = [Group::Device, Group::Routes, Group::Neighbours];
                unchecked(
                    &groups,
                    &format!("flannel's backend {other:?} is none that this version knows"),
                );
                return differences;
            }
        };
        let mut expected = Expected {
            agent: "kube-flannel",
            ..Expected::default()
        };
        for (family, is_on, network) in [
            (V4, config.enable_ipv4, config.network),
            (V6, config.enable_ipv6, config.ipv6_network),
        ] {
            if is_on {
                expected.ranges.extend(network);
                let way = Ways {
                    config: &config,
                    family,
                    is_vxlan,
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
    is_vxlan: bool,
    net: &'a NetState,
}

impl Ways<'_> {
    fn expect(&self, objects: &Objects, own: &str, expected: &mut Expected, found: &mut Vec<Found>) {
        let name = self.device();
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
        if self.is_vxlan {
            expected.tunnels.push(self.tunnel(&name, me));
        }
        for (_, peer) in published.iter().filter(|(name, _)| *name != own) {
            let is_direct =
                !self.is_vxlan || (self.config.backend.direct_routing && expected::is_on_link(self.net, peer.ip));
            if is_direct {
                expected.ways.push(Way {
                    to: peer.range,
                    via: peer.ip,
                    device: None,
                });
                continue;
            }
            expected.ways.push(Way {
                to: peer.range,
                via: peer.range.network(),
                device: Some(name.clone()),
            });
            if let Some(mac) = peer.mac {
                expected.neighbours.insert((name.clone(), peer.range.network()), mac);
                expected.fdb.insert((name.clone(), mac), peer.ip);
            }
        }
    }

    fn device(&self) -> String {
        let start = if self.family.is_v4 { "flannel" } else { "flannel-v6" };
        format!("{start}.{}", self.config.backend.vni)
    }

    fn tunnel(&self, name: &str, me: &Published) -> Tunnel {
        let backend = &self.config.backend;
        let underlay = self.net.addresses.iter().find(|address| address.ip == me.ip);
        let underlay = underlay
            .and_then(|address| self.net.links.get(&address.interface))
            .map(|link| link.mtu);
        let underlay = Some(backend.mtu).filter(|mtu| *mtu > 0).or(underlay);
        Tunnel {
            name: name.to_owned(),
            vni: backend.vni,
            port: if backend.port == 0 { PORT } else { backend.port },
            local: Some(me.ip),
            mac: me.mac,
            // The kernel takes more for IPv6 than flannel reckons with, and says nothing.
            mtu: underlay
                .filter(|_| self.family.is_v4)
                .map(|mtu| mtu.saturating_sub(OVERHEAD)),
            learns: backend.learning,
            addresses: vec![IpNet::from(me.range.network())],
        }
    }
}

#[cfg(test)]
mod tests;
