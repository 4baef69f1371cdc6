//! Values of a node's tables, as the tests write them, and a node to put them on.

use crate::sandbox::Sandbox;
use netcheck_node_state::{Address, FdbEntry, Mac, Neighbour, Route, RouteKind};

pub fn mac(text: &str) -> Mac {
    text.parse().unwrap()
}

pub fn address(interface: &str, prefix: &str) -> Address {
    let net: ipnet::IpNet = prefix.parse().unwrap();
    Address {
        interface: interface.to_owned(),
        ip: net.addr(),
        prefix: net.prefix_len(),
    }
}

/// A unicast route without gateway, as `ip route add PREFIX dev DEVICE` makes it but for its protocol.
pub fn route(prefix: &str, device: &str) -> Route {
    let destination: ipnet::IpNet = prefix.parse().unwrap();
    let is_v4 = destination.addr().is_ipv4();
    Route {
        table: 254,
        destination,
        metric: if is_v4 { 0 } else { 1024 },
        kind: RouteKind::Unicast,
        gateway: None,
        device: Some(device.to_owned()),
        scope: if is_v4 { 253 } else { 0 },
        protocol: 147,
        mtu: None,
        is_onlink: false,
        next_hops: vec![],
        source: None,
    }
}

pub fn via(prefix: &str, gateway: &str, device: &str) -> Route {
    Route {
        gateway: Some(gateway.parse().unwrap()),
        scope: 0,
        ..route(prefix, device)
    }
}

pub fn neighbour(device: &str, ip: &str, mac_text: &str) -> Neighbour {
    Neighbour {
        device: device.to_owned(),
        ip: ip.parse().unwrap(),
        mac: Some(mac(mac_text)),
        is_permanent: true,
        protocol: 147,
        flags: 0,
    }
}

pub fn fdb(device: &str, mac_text: &str, destination: &str) -> FdbEntry {
    FdbEntry {
        device: device.to_owned(),
        mac: mac(mac_text),
        destination: Some(destination.parse().unwrap()),
        is_permanent: true,
        port: None,
        vni: None,
        via: None,
        flags: 0,
    }
}

pub fn unreachable(prefix: &str) -> Route {
    Route {
        kind: RouteKind::Unreachable,
        device: None,
        scope: 0,
        metric: 2_147_483_647,
        ..route(prefix, "")
    }
}

/// A namespace with an uplink in both families.
pub fn node() -> Sandbox {
    let node = Sandbox::new();
    node.run(
        "ip link add eth0 type veth peer name wire
         ip addr add 192.0.2.11/24 dev eth0; ip addr add 2001:db8:99::11/64 dev eth0 nodad
         ip link set wire up; ip link set eth0 up",
    );
    node
}
