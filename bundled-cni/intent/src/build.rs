//! Makes routes and neighbours as values: what they have in common, once.

use crate::{
    family::Family,
    names::{METRIC_UNREACHABLE, METRIC6, PROTOCOL, SCOPE_LINK, TABLE_MAIN},
};
use ipnet::IpNet;
use netcheck_node_state::{Mac, Neighbour, Route, RouteKind};
use std::net::IpAddr;

/// An address as a range of one.
pub(crate) fn host(ip: IpAddr) -> IpNet {
    IpNet::from(ip)
}

/// A route of table main that says nothing yet of where packets go. It sorts before all others of the same destination and metric.
pub(crate) fn blank(destination: IpNet, metric: u32) -> Route {
    Route {
        table: TABLE_MAIN,
        destination,
        metric,
        kind: RouteKind::Unicast,
        gateway: None,
        device: None,
        scope: 0,
        protocol: 0,
        mtu: None,
        is_onlink: false,
        next_hops: Vec::new(),
        source: None,
    }
}

/// A route of ours with its family's usual metric.
fn ours(destination: IpNet) -> Route {
    let metric = match Family::of_net(&destination) {
        Family::V4 => 0,
        Family::V6 => METRIC6,
    };
    Route {
        protocol: PROTOCOL,
        ..blank(destination, metric)
    }
}

/// `DESTINATION dev DEVICE scope link`; IPv6 knows no scopes.
pub(crate) fn link_route(destination: IpNet, device: &str) -> Route {
    Route {
        device: Some(device.to_owned()),
        scope: if destination.addr().is_ipv4() { SCOPE_LINK } else { 0 },
        ..ours(destination)
    }
}

/// `DESTINATION via GATEWAY dev DEVICE`.
pub(crate) fn via(destination: IpNet, gateway: IpAddr, device: &str) -> Route {
    Route {
        gateway: Some(gateway),
        device: Some(device.to_owned()),
        ..ours(destination)
    }
}

/// `unreachable DESTINATION`, which everything else overrules. IPv6 names `lo` in it.
pub(crate) fn unreachable(destination: IpNet) -> Route {
    Route {
        kind: RouteKind::Unreachable,
        metric: METRIC_UNREACHABLE,
        device: (!destination.addr().is_ipv4()).then(|| "lo".to_owned()),
        ..ours(destination)
    }
}

/// A permanent neighbour with a mark.
pub(crate) fn neighbour(device: &str, ip: IpAddr, mac: Mac, protocol: u8) -> Neighbour {
    Neighbour {
        device: device.to_owned(),
        ip,
        mac: Some(mac),
        is_permanent: true,
        protocol,
        flags: 0,
    }
}
