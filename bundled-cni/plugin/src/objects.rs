//! What one attachment puts into the kernel, as values (SPEC.md 5.3 and 5.4): ADD makes it, CHECK looks for it.

use crate::attachment::Attachment;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use netcheck_cni_intent::{
    derive::gateway_for,
    names::{HOST_MAC, PROTOCOL},
};
use netcheck_node_state::{Address, Neighbour, Route, RouteKind, VethEnd};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Number of the table `main` (linux/rtnetlink.h).
const MAIN: u32 = 254;
/// `RT_SCOPE_LINK` and `RT_SCOPE_UNIVERSE` of linux/rtnetlink.h.
const SCOPE_LINK: u8 = 253;
const SCOPE_UNIVERSE: u8 = 0;
/// `RTPROT_BOOT` of linux/rtnetlink.h: what ip(8) says where nothing is said.
const BOOT: u8 = 3;
/// What the kernel takes for an IPv6 route's metric where nothing is said (`IP6_RT_PRIO_USER` of linux/ipv6_route.h).
const METRIC6: u32 = 1024;

/// The veth's end on the node.
pub fn host_end(attachment: &Attachment) -> VethEnd {
    VethEnd {
        name: attachment.host_veth.clone(),
        mac: HOST_MAC,
        mtu: attachment.link_mtu,
    }
}

/// The veth's end in the pod.
pub fn pod_end(attachment: &Attachment) -> VethEnd {
    VethEnd {
        name: attachment.if_name.clone(),
        mac: attachment.mac,
        mtu: attachment.link_mtu,
    }
}

/// On the node: who has the pod's addresses, so that nobody need ask.
pub fn host_neighbours(attachment: &Attachment) -> Vec<Neighbour> {
    let neighbour = |ip: &IpAddr| permanent(&attachment.host_veth, *ip, attachment.mac, PROTOCOL);
    attachment.ips.iter().map(neighbour).collect()
}

/// On the node: the way to each of the pod's addresses.
pub fn host_routes(attachment: &Attachment) -> Vec<Route> {
    let route = |ip: &IpAddr| Route {
        scope: if ip.is_ipv4() { SCOPE_LINK } else { SCOPE_UNIVERSE },
        protocol: PROTOCOL,
        ..route_over(&attachment.host_veth, IpNet::from(*ip))
    };
    attachment.ips.iter().map(route).collect()
}

/// In the pod: its addresses, each alone in its prefix.
pub fn pod_addresses(attachment: &Attachment) -> Vec<Address> {
    let address = |ip: &IpAddr| Address {
        interface: attachment.if_name.clone(),
        ip: *ip,
        prefix: IpNet::from(*ip).prefix_len(),
    };
    attachment.ips.iter().map(address).collect()
}

/// In the pod: where its gateways are said to be.
pub fn pod_neighbours(attachment: &Attachment) -> Vec<Neighbour> {
    let neighbour = |gateway| permanent(&attachment.if_name, gateway, HOST_MAC, 0);
    gateways(attachment).into_iter().map(neighbour).collect()
}

/// In the pod: its routes, in the order in which the kernel takes them.
pub fn pod_routes(attachment: &Attachment) -> Vec<Route> {
    let mut routes = Vec::new();
    for gateway in gateways(attachment) {
        let everywhere = match gateway {
            IpAddr::V4(_) => IpNet::from(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => IpNet::from(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 0)),
        };
        if gateway.is_ipv4() {
            routes.push(Route {
                scope: SCOPE_LINK,
                ..route_over(&attachment.if_name, IpNet::from(gateway))
            });
        }
        routes.push(Route {
            gateway: Some(gateway),
            mtu: Some(attachment.route_mtu),
            ..route_over(&attachment.if_name, everywhere)
        });
    }
    routes
}

/// One for each family that the pod has, IPv4 first.
fn gateways(attachment: &Attachment) -> Vec<IpAddr> {
    let of_family = |is_ipv4| attachment.ips.iter().find(move |ip| ip.is_ipv4() == is_ipv4);
    let first = [of_family(true), of_family(false)];
    first.into_iter().flatten().map(|ip| gateway_for(*ip)).collect()
}

fn permanent(device: &str, ip: IpAddr, mac: netcheck_node_state::Mac, protocol: u8) -> Neighbour {
    Neighbour {
        device: device.to_owned(),
        ip,
        mac: Some(mac),
        is_permanent: true,
        protocol,
    }
}

fn route_over(device: &str, destination: IpNet) -> Route {
    Route {
        table: MAIN,
        destination,
        metric: if destination.addr().is_ipv4() { 0 } else { METRIC6 },
        kind: RouteKind::Unicast,
        gateway: None,
        device: Some(device.to_owned()),
        scope: SCOPE_UNIVERSE,
        protocol: BOOT,
        mtu: None,
        is_onlink: false,
        next_hops: Vec::new(),
    }
}
