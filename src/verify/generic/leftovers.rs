//! Devices of networks that the cluster does not have any more.

use super::{Configuration, lookup::is_by};
use crate::{
    networks::{KNOWN, Known},
    verify::{
        evidence::Looked,
        found::Found,
        network::Network,
        objects::{Objects, PodObject},
    },
};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// The reference bridge plugin's own device: whoever delegates to that plugin uses it.
const BRIDGE: &str = "cni0";
const WITH_BRIDGE: [&str; 3] = ["bridge", "flannel", "kindnet"];

/// Looks for them. Without a configuration that can be read nobody can say whose network it is.
pub fn judge(
    objects: &Objects,
    network: Option<&dyn Network>,
    configuration: Option<&Configuration>,
    node: &str,
    looked: &Looked,
    found: &mut Vec<Found>,
) {
    let Some(configuration) = configuration else { return };
    let net = &looked.record.node.net;
    let name = network.map(Network::name).unwrap_or_default();
    let mut say = |device: &str, of: &str| {
        let ways = net
            .routes
            .iter()
            .filter(|route| route.gateway.is_some() && is_by(route, device))
            .count();
        found.push(
            Found::new(
                "verify-leftover",
                format!("link {device}"),
                format!("nothing of {of}, which is not this cluster's network"),
                match ways {
                    0 => format!("{device} is there"),
                    ways => format!("{device} is there, with {ways} routes by it"),
                },
            )
            .look(format!("ip -d address show dev {device}; ip route show dev {device}"))
            .fix(format!("ip link del {device}"))
            .on(device),
        );
    };
    let ranges: BTreeSet<IpNet> = objects
        .nodes
        .iter()
        .filter(|other| other.name != node)
        .flat_map(|other| other.pod_cidrs.iter().filter_map(|range| range.parse().ok()))
        .collect();
    let carries = |device: &str| {
        let mut routes = net.routes.iter();
        routes.any(|route| is_by(route, device) && ranges.contains(&route.destination))
    };
    for family in &KNOWN {
        let mut there = net.links.keys().filter(|device| family.owns_device(device)).peekable();
        if there.peek().is_none()
            || family.goes_with(name)
            || family.has_plugin(configuration.types.iter().map(String::as_str))
            || objects.pods.iter().any(|pod| is_agent(pod, node, family))
        {
            continue;
        }
        // What carries a way to a node's pods is at work, whoever made it.
        there
            .filter(|device| !carries(device))
            .for_each(|device| say(device, family.name));
    }
    let has_ports = looked
        .record
        .node
        .devices
        .values()
        .any(|device| device.master.as_deref() == Some(BRIDGE));
    let uses_bridge = configuration
        .types
        .iter()
        .any(|kind| WITH_BRIDGE.contains(&kind.as_str()));
    if net.links.contains_key(BRIDGE) && !has_ports && !uses_bridge && name != "flannel" {
        say(BRIDGE, "the plugin bridge");
    }
}

/// Whether a pod on the node is one of the network's agents, or of one that it is a part of.
fn is_agent(pod: &PodObject, node: &str, family: &Known) -> bool {
    let mut kin = KNOWN.iter().filter(|known| known.goes_with(family.name));
    pod.node == node && pod.host_network && kin.any(|known| known.is_agent(&pod.name))
}
