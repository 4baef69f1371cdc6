//! What holds on every node, whatever the network: CNI configuration, pods' wiring, ways to other nodes' pods, kernel parameters, what another
//! network or a runtime has left behind. Where a network's own checks say it more precisely, they alone speak.

mod attachments;
pub mod configuration;
mod habits;
pub mod host_ports;
mod leftovers;
mod lookup;
pub mod parameters;
pub mod pods;
pub mod room;
#[cfg(test)]
mod tests;
pub mod traffic;
mod ways;

use super::{
    evidence::{Evidence, Looked},
    found::Found,
    group::Group,
    network::{Differences, Network, Unchecked},
    objects::Objects,
};
use attachments::Attachments;
use configuration::Configuration;
pub use habits::{Habits, style};
use lookup::Routes;
use netcheck_wire::message::{Folder, Plugins, RecordOrder};

/// What a generic check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Which CNI configuration is in force, and whether its plugins are there.
    Configuration,
    /// The node's own address.
    NodeAddress,
    /// That nodes' ranges are apart from each other and from nodes' addresses.
    Ranges,
    /// Pods' devices and addresses, and with [`Concern::PodRoutes`] routes to them.
    Pods,
    /// The node's routes to its pods: there are none for single pods where programs deliver.
    PodRoutes,
    /// Routes to other nodes' pods.
    Ways,
    /// Forwarding and what bridges hand to firewalls.
    Forwarding,
    /// What the runtime's CNI library and `host-local` have written down.
    Attachments,
}

/// Those that a network leaves to the generic checks.
pub fn is_left(network: Option<&dyn Network>, concern: Concern) -> bool {
    !network.is_some_and(|network| network.covers().contains(&concern))
}

/// What must be read of a node besides what is always read, for the generic checks and for the network's own.
pub fn order(objects: &Objects) -> RecordOrder {
    let network = super::network::of(objects);
    let network = network.as_deref();
    let mut order = network.map(Network::order).unwrap_or_default();
    let mut sysctls = parameters::LIMITS.to_vec();
    let mut folders = vec![(configuration::FOLDER, true)];
    if is_left(network, Concern::Configuration) {
        folders.push((configuration::PLUGINS, false));
    }
    if is_left(network, Concern::Forwarding) {
        sysctls.extend(parameters::FORWARDING);
    }
    if is_left(network, Concern::Attachments) {
        folders.extend(attachments::FOLDERS);
    }
    for key in sysctls {
        if !order.sysctls.iter().any(|known| known == key) {
            order.sysctls.push(key.to_owned());
        }
    }
    order.plugins = Some(Plugins {
        configuration: configuration::FOLDER.to_owned(),
        programs: configuration::PLUGINS.to_owned(),
    });
    // One that is named twice is read once.
    order
        .folders
        .extend(folders.into_iter().map(|(path, with_text)| Folder {
            path: path.to_owned(),
            with_text,
        }));
    order
}

/// What differs on a node.
pub fn differences(
    evidence: &Evidence,
    network: Option<&dyn Network>,
    habits: &Habits<'_>,
    node: &str,
    looked: &Looked,
) -> Differences {
    let objects = &evidence.objects;
    let mut differences = Differences::default();
    let is_left = |concern| is_left(network, concern);
    let first = Configuration::first(&looked.record);
    if is_left(Concern::Configuration) {
        configuration::judge(&looked.record, first.as_ref(), &mut differences, network.is_some());
    }
    if is_left(Concern::NodeAddress) {
        differences.found.extend(node_addresses(objects, node, looked));
    }
    let attachments = if is_left(Concern::Attachments) {
        Attachments::read(&looked.record)
    } else {
        Attachments::default()
    };
    let needs_routes = is_left(Concern::Pods) || is_left(Concern::Ways);
    let routes = if needs_routes {
        Routes::of(&looked.record.node.net)
    } else {
        Routes::default()
    };
    let wirings = pods::wirings(objects, node, looked);
    let configuration = first.ok().flatten();
    if is_left(Concern::Pods) {
        pods::unread(looked, &mut differences);
        let is_gateway = configuration.as_ref().is_some_and(|first| first.bridge_is_gateway);
        let found = &mut differences.found;
        let ways = pods::Ways {
            routes: &routes,
            are_judged: is_left(Concern::PodRoutes),
            has_gateway_bridge: is_gateway,
        };
        pods::judge(&wirings, &looked.record.node, &ways, &attachments, found);
    }
    if is_left(Concern::Ways) {
        ways::judge(habits, node, &routes, &mut differences.found);
    }
    if is_left(Concern::Forwarding) {
        parameters::forwarding(objects, node, &wirings, &looked.record.node, &mut differences.found);
    }
    parameters::limits(&looked.record, &mut differences.found);
    let insides = wirings.iter().map(|wiring| (wiring.pod.full_name(), wiring.space));
    let is_known = network.is_some() || habits.style.is_some();
    traffic::judge(&looked.record, insides, is_known, &mut differences.found);
    if let Some(configuration) = &configuration {
        configuration::versions(&looked.record, configuration, &mut differences.found);
    }
    leftovers::judge(
        objects,
        network,
        configuration.as_ref(),
        node,
        looked,
        &mut differences.found,
    );
    attachments.judge(
        objects,
        node,
        &looked.record,
        configuration.as_ref(),
        &mut differences.found,
    );
    if network.is_none() {
        unknown(habits.style, &mut differences);
    }
    differences
}

/// What is not known of networks that are not known.
fn unknown(style: Option<&str>, differences: &mut Differences) {
    // Of reference plugins there is no tunnel, and nobody keeps neighbours.
    if style.is_some() {
        return;
    }
    let groups = [Group::Device, Group::Routes, Group::Neighbours, Group::Bpf];
    differences.unchecked.extend(groups.map(|group| Unchecked {
        group,
        why: "the pod network is none that this version knows what to expect of: only what holds for every network was checked"
            .to_owned(),
    }));
}

/// The node's addresses by the API are on its devices.
fn node_addresses(objects: &Objects, node: &str, looked: &Looked) -> Vec<Found> {
    let own = objects.nodes.iter().filter(|object| object.name == node);
    let addresses = &looked.record.node.net.addresses;
    own.flat_map(|own| &own.internal_ips)
        .filter_map(|ip| ip.parse().ok())
        .filter(|ip| !addresses.iter().any(|address| address.ip == *ip))
        .map(|ip: std::net::IpAddr| {
            Found::new(
                "verify-internal-ip",
                ip.to_string(),
                format!("{ip} on one of the node's devices"),
                "on none of them",
            )
            .look(format!("ip address show to {ip}"))
        })
        .collect()
}
