//! Finds in a [`NetState`] what the kernel keeps under one key, without going through all of it.

use crate::{build::blank, names::TABLE_MAIN};
use ipnet::IpNet;
use netcheck_node_state::{FdbEntry, Mac, Neighbour, NetState, Route};
use std::net::IpAddr;

/// Routes with a destination and metric in table main.
pub(crate) fn routes_at(net: &NetState, destination: IpNet, metric: u32) -> impl Iterator<Item = &Route> {
    net.routes
        .range(blank(destination, metric)..)
        .take_while(move |route| (route.table, route.destination, route.metric) == (TABLE_MAIN, destination, metric))
}

/// Neighbours with a device and address: one at most in a kernel.
pub(crate) fn neighbours_at<'a>(net: &'a NetState, device: &'a str, ip: IpAddr) -> impl Iterator<Item = &'a Neighbour> {
    let first = Neighbour {
        device: device.to_owned(),
        ip,
        mac: None,
        is_permanent: false,
        protocol: 0,
        flags: 0,
    };
    let at = net.neighbours.range(first..);
    at.take_while(move |neighbour| neighbour.device == device && neighbour.ip == ip)
}

/// Forwarding entries with a device and hardware address.
pub(crate) fn fdb_at<'a>(net: &'a NetState, device: &'a str, mac: Mac) -> impl Iterator<Item = &'a FdbEntry> {
    let first = FdbEntry {
        device: device.to_owned(),
        mac,
        destination: None,
        is_permanent: false,
        port: None,
        vni: None,
        via: None,
        flags: 0,
    };
    let at = net.fdb.range(first..);
    at.take_while(move |entry| entry.device == device && entry.mac == mac)
}
