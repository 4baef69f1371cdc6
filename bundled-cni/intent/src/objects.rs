//! What one attachment is in the kernel, as values (SPEC.md, sections 5.3 and 5.4): ADD makes it, CHECK looks for it, the daemon keeps it.

use crate::{
    build::{host, link_route, neighbour, via},
    derive::gateway_for,
    family::Family,
    names::{HOST_MAC, PROTOCOL, PROTOCOL_BOOT},
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netcheck_node_state::{Address, Mac, Neighbour, Route};
use std::net::IpAddr;

/// On the node: the way to each of a pod's addresses.
pub fn host_routes(host_veth: &str, ips: &[IpAddr]) -> impl Iterator<Item = Route> {
    ips.iter().map(|ip| link_route(host(*ip), host_veth))
}

/// On the node: who has a pod's addresses, so that nobody need ask.
pub fn host_neighbours(host_veth: &str, ips: &[IpAddr], mac: Mac) -> impl Iterator<Item = Neighbour> {
    ips.iter().map(move |ip| neighbour(host_veth, *ip, mac, PROTOCOL))
}

/// In a pod: its addresses, each alone in its prefix.
pub fn pod_addresses(if_name: &str, ips: &[IpAddr]) -> impl Iterator<Item = Address> {
    ips.iter().map(|ip| Address {
        interface: if_name.to_owned(),
        ip: *ip,
        prefix: host(*ip).prefix_len(),
    })
}

/// In a pod: its routes, in the order in which the kernel takes them. `mtu` is that of the default routes, in bytes.
pub fn pod_routes(if_name: &str, ips: &[IpAddr], mtu: u32) -> impl Iterator<Item = Route> {
    let of_family = move |(gateway, everywhere): (IpAddr, IpNet)| {
        let to_gateway = gateway.is_ipv4().then(|| link_route(host(gateway), if_name));
        let default = Route {
            mtu: Some(mtu),
            ..via(everywhere, gateway, if_name)
        };
        to_gateway.into_iter().chain([default])
    };
    let routes = gateways(ips).flat_map(of_family);
    routes.map(|route| Route {
        protocol: PROTOCOL_BOOT,
        ..route
    })
}

/// In a pod: where its gateways are said to be.
pub fn pod_neighbours(if_name: &str, ips: &[IpAddr]) -> impl Iterator<Item = Neighbour> {
    gateways(ips).map(|(gateway, _)| neighbour(if_name, gateway, HOST_MAC, 0))
}

/// The gateway of each family that a pod has, IPv4 first, and what lies behind it.
fn gateways(ips: &[IpAddr]) -> impl Iterator<Item = (IpAddr, IpNet)> {
    let first = |family| ips.iter().find(|ip| Family::of(**ip) == family);
    Family::BOTH.into_iter().filter_map(first).map(|ip| {
        let everywhere = match ip {
            IpAddr::V4(_) => Ipv4Net::default().into(),
            IpAddr::V6(_) => Ipv6Net::default().into(),
        };
        (gateway_for(*ip), everywhere)
    })
}
