//! Devices of networks that the cluster does not have any more.

use super::{Configuration, lookup::is_by};
use crate::verify::{
    evidence::Looked,
    found::Found,
    network::Network,
    objects::{Objects, PodObject},
};
use ipnet::IpNet;
use std::collections::BTreeSet;

/// A network's traces.
struct Family {
    /// Word that occurs in the names of its agents' pods and in [`Network::name`].
    word: &'static str,
    /// Other such words.
    others: &'static [&'static str],
    /// Its plugins.
    plugins: &'static [&'static str],
    /// Its devices; a `*` at the end is a number.
    devices: &'static [&'static str],
}

const FAMILIES: [Family; 7] = [
    Family {
        word: "flannel",
        others: &["canal"],
        plugins: &["flannel"],
        devices: &[
            "flannel.*",
            "flannel-v6.*",
            "flannel.ipip",
            "flannel-wg",
            "flannel-wg-v6",
        ],
    },
    Family {
        word: "calico",
        others: &["canal", "tigera"],
        plugins: &["calico"],
        devices: &["vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali"],
    },
    Family {
        word: "cilium",
        others: &[],
        plugins: &["cilium-cni"],
        devices: &["cilium_host", "cilium_vxlan", "cilium_geneve", "cilium_wg0"],
    },
    Family {
        word: "weave",
        others: &[],
        plugins: &["weave-net"],
        devices: &["weave", "vxlan-6784"],
    },
    Family {
        word: "antrea",
        others: &[],
        plugins: &["antrea"],
        devices: &["antrea-gw0"],
    },
    Family {
        word: "kube-router",
        others: &[],
        plugins: &["kube-router"],
        devices: &["kube-bridge"],
    },
    Family {
        word: "netcheck-cni",
        others: &[],
        plugins: &["netcheck-cni"],
        devices: &["ncvx0"],
    },
];
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
    let name = network.map(|network| network.name().to_ascii_lowercase());
    let name = name.as_deref().unwrap_or_default();
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
    for family in &FAMILIES {
        let mut there = net
            .links
            .keys()
            .filter(|device| family.devices.iter().any(|pattern| fits(pattern, device)))
            .peekable();
        if there.peek().is_none()
            || name.contains(family.word)
            || family
                .plugins
                .iter()
                .any(|plugin| configuration.types.contains(*plugin))
            || objects.pods.iter().any(|pod| is_agent(pod, node, family))
        {
            continue;
        }
        // What carries a way to a node's pods is at work, whoever made it.
        there
            .filter(|device| !carries(device))
            .for_each(|device| say(device, family.word));
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
    if net.links.contains_key(BRIDGE) && !has_ports && !uses_bridge && !name.contains("flannel") {
        say(BRIDGE, "the plugin bridge");
    }
}

fn fits(pattern: &str, device: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => device
            .strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())),
        None => pattern == device,
    }
}

/// Whether a pod on the node is one of the network's agents.
fn is_agent(pod: &PodObject, node: &str, family: &Family) -> bool {
    let mut words = family.others.iter().chain([&family.word]);
    pod.node == node && pod.host_network && words.any(|word| pod.name.contains(word))
}
