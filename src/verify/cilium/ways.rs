//! Routes between nodes: by a tunnel all of them lead to the programs of the node's own [`HOST`].

use super::{CiliumObjects, HOST, Routing, restart, unchecked};
use crate::verify::{
    expected::{self, Expected, Way},
    found::Found,
    group::Group,
    network::Differences,
    objects::Objects,
};
use ipnet::IpNet;
use netcheck_cni_intent::NodeObject;
use netcheck_node_state::{NetState, Route, record::Space};
use std::{collections::BTreeSet, net::IpAddr};

/// How its annotations begin.
const PREFIX: &str = "network.cilium.io/";

/// What a node says of itself; IPv4 alone.
struct Published {
    ranges: Vec<IpNet>,
    /// The address of its [`HOST`].
    host: Option<IpAddr>,
    /// Its address in the underlay.
    internal: Option<IpAddr>,
}

impl Published {
    fn read(cilium: &CiliumObjects, node: &NodeObject) -> Option<Self> {
        let internal = node
            .internal_ips
            .iter()
            .filter_map(|ip| ip.parse::<IpAddr>().ok())
            .find(IpAddr::is_ipv4);
        if let Some(said) = cilium.nodes.get(&node.name) {
            let ranges = said.ipam.pod_cidrs.iter().filter(|range| range.addr().is_ipv4());
            let mut hosts = said
                .addresses
                .iter()
                .filter(|address| address.kind == "CiliumInternalIP" && address.ip.is_ipv4());
            return Some(Self {
                ranges: ranges.copied().collect(),
                host: hosts.next().map(|address| address.ip),
                internal,
            });
        }
        let annotation = |name: &str| node.annotations.get(&format!("{PREFIX}{name}"));
        Some(Self {
            ranges: vec![annotation("ipv4-pod-cidr")?.parse().ok()?],
            host: annotation("ipv4-cilium-host").and_then(|ip| ip.parse().ok()),
            internal,
        })
    }
}

/// Says which ways must be there, and which are one too many.
pub fn expect(
    objects: &Objects,
    cilium: &CiliumObjects,
    own: &str,
    routing: Routing,
    host: &Space,
    expected: &mut Expected,
    differences: &mut Differences,
) {
    let published: Vec<(&str, Published)> = objects
        .nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), Published::read(cilium, node)?)))
        .collect();
    let Some((_, me)) = published.iter().find(|(name, _)| *name == own) else {
        return unchecked(
            differences,
            Group::Routes,
            "CiliumNodes were not read, and Nodes have no annotations of Cilium (annotate-k8s-node)",
        );
    };
    if let Some(ip) = me.host.filter(|_| host.net.links.contains_key(HOST)) {
        let is_there = host
            .net
            .addresses
            .iter()
            .any(|address| address.interface == HOST && address.ip == ip);
        if !is_there {
            differences.found.push(
                Found::new(
                    "verify-device-address-missing",
                    format!("link {HOST}"),
                    ip.to_string(),
                    "nothing",
                )
                .look(format!("ip address show dev {HOST}"))
                .fix(restart())
                .on(HOST),
            );
        }
    }
    if routing == Routing::Elsewhere || !cilium.has_node_ranges() {
        return unchecked(
            differences,
            Group::Routes,
            "with this routing mode and IPAM, routes between nodes are not in Cilium's objects",
        );
    }
    expected.own.extend(me.ranges.iter().copied());
    for (name, said) in &published {
        let way = match routing {
            Routing::Tunnel(_) => me.host.map(|host| (host, Some(HOST.to_owned()))),
            Routing::Direct if *name != own => said
                .internal
                .filter(|ip| expected::is_on_link(&host.net, *ip))
                .map(|ip| (ip, None)),
            _ => None,
        };
        if let Some((via, device)) = way {
            expected.ways.extend(said.ranges.iter().map(|to| Way {
                to: *to,
                via: Some(via),
                device: device.clone(),
            }));
        }
    }
    // Clusters of a mesh have routes to each other's nodes.
    let is_alone = cilium.config.get("cluster-id").is_none_or(|id| id == "0");
    if let (Routing::Tunnel(_), true, Some(via)) = (routing, is_alone, me.host) {
        let wanted: BTreeSet<IpNet> = expected.ways.iter().map(|way| way.to).collect();
        differences.found.extend(stale(&host.net, via, &wanted));
    }
}

/// Routes to nodes that are gone.
fn stale(net: &NetState, via: IpAddr, wanted: &BTreeSet<IpNet>) -> Vec<Found> {
    let is_ours = |route: &&Route| route.gateway == Some(via) && route.device.as_deref() == Some(HOST);
    let is_part = |to: &IpNet| wanted.iter().any(|way| way.contains(to));
    let ours = net.routes.iter().filter(is_ours);
    ours.filter(|route| !is_part(&route.destination))
        .map(expected::stale_route)
        .collect()
}
