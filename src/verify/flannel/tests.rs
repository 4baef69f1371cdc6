//! A node of a flannel network with the addresses of a recorded one, by hand.

use super::*;
use crate::verify::{evidence::Evidence, judge::judge};
use netcheck_node_state::{
    Address, FdbEntry, Link, LinkKind, Neighbour, Route, RouteKind, Vxlan,
    record::{NodeRecord, Space},
};
use std::collections::{BTreeMap, BTreeSet};

const VXLAN: &str = r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "vxlan"}}"#;
const MACS: [&str; 3] = ["a2:71:42:b3:33:0a", "c2:7e:2c:1f:98:6f", "f2:6e:61:5c:90:e3"];

fn objects(config: &str) -> Objects {
    let node = |(number, mac): (usize, &&str)| NodeObject {
        name: format!("n{}", number + 1),
        pod_cidrs: vec![format!("10.244.{number}.0/24")],
        internal_ips: vec![format!("10.90.0.2{}", number + 1)],
        annotations: BTreeMap::from([
            (format!("{PREFIX}public-ip"), format!("10.90.0.2{}", number + 1)),
            (
                format!("{PREFIX}backend-data"),
                format!(r#"{{"VNI":1,"VtepMAC":"{mac}"}}"#),
            ),
        ]),
        ..NodeObject::default()
    };
    Objects {
        nodes: MACS.iter().enumerate().map(node).collect(),
        flannel: Some(config.to_owned()),
        ..Objects::default()
    }
}

fn link(kind: LinkKind, mac: Option<&str>, mtu: u32) -> Link {
    Link {
        mac: mac.map(|mac| mac.parse().unwrap()),
        mtu,
        is_up: true,
        alias: None,
        makes_link_local: Some(true),
        kind,
    }
}

fn route(to: &str, via: &str, device: &str) -> Route {
    Route {
        table: 254,
        destination: to.parse().unwrap(),
        metric: 0,
        kind: RouteKind::Unicast,
        gateway: Some(via.parse().unwrap()),
        device: Some(device.to_owned()),
        scope: 0,
        protocol: 3,
        mtu: None,
        source: None,
        is_onlink: true,
        next_hops: Vec::new(),
    }
}

fn address(device: &str, ip: &str, prefix: u8) -> Address {
    Address {
        interface: device.to_owned(),
        ip: ip.parse().unwrap(),
        prefix,
    }
}

fn neighbour(ip: &str, mac: &str) -> Neighbour {
    Neighbour {
        device: "flannel.1".to_owned(),
        ip: ip.parse().unwrap(),
        mac: Some(mac.parse().unwrap()),
        is_permanent: true,
        protocol: 0,
        flags: 0,
    }
}

fn entry(mac: &str, to: &str) -> FdbEntry {
    FdbEntry {
        device: "flannel.1".to_owned(),
        mac: mac.parse().unwrap(),
        destination: Some(to.parse().unwrap()),
        port: None,
        vni: None,
        via: None,
        is_permanent: true,
        flags: 0,
    }
}

/// n1 of the recording.
fn recorded() -> NetState {
    let vxlan = Vxlan {
        vni: 1,
        port: 8472,
        local: Some("10.90.0.21".parse().unwrap()),
        device: Some("eth0".to_owned()),
        learns: false,
        unusual: BTreeMap::new(),
    };
    let own = Route {
        gateway: None,
        is_onlink: false,
        protocol: 2,
        ..route("10.244.0.0/24", "0.0.0.0", "cni0")
    };
    NetState {
        links: BTreeMap::from([
            ("eth0".to_owned(), link(LinkKind::Veth, None, 1500)),
            (
                "flannel.1".to_owned(),
                link(LinkKind::Vxlan(vxlan), Some(MACS[0]), 1450),
            ),
            (
                "cni0".to_owned(),
                link(LinkKind::Other("bridge".to_owned()), None, 1450),
            ),
        ]),
        addresses: BTreeSet::from([
            address("eth0", "10.90.0.21", 24),
            address("flannel.1", "10.244.0.0", 32),
            address("flannel.1", "fe80::a071:42ff:feb3:330a", 64),
            address("cni0", "10.244.0.1", 24),
        ]),
        routes: BTreeSet::from([
            own,
            route("10.244.1.0/24", "10.244.1.0", "flannel.1"),
            route("10.244.2.0/24", "10.244.2.0", "flannel.1"),
            route("0.0.0.0/0", "10.90.0.254", "eth0"),
        ]),
        neighbours: BTreeSet::from([neighbour("10.244.1.0", MACS[1]), neighbour("10.244.2.0", MACS[2])]),
        fdb: BTreeSet::from([entry(MACS[1], "10.90.0.22"), entry(MACS[2], "10.90.0.23")]),
    }
}

/// Root causes on n1.
fn found_with(config: &str, net: NetState) -> BTreeSet<&'static str> {
    let record = NodeRecord::of(Space {
        net,
        ..Space::default()
    });
    let places = BTreeMap::new();
    let judgement = judge(&Evidence {
        taken: String::new(),
        context: None,
        objects: objects(config),
        nodes: BTreeMap::from([("n1".to_owned(), Ok(Looked { record, places }))]),
        observed: None,
    });
    assert_eq!(judgement.network, Some("flannel"));
    let roots = judgement.nodes["n1"].found.iter().filter(|one| one.follows.is_none());
    roots.map(|one| one.id).collect()
}

fn found(change: impl FnOnce(&mut NetState)) -> BTreeSet<&'static str> {
    let mut net = recorded();
    change(&mut net);
    found_with(VXLAN, net)
}

fn alone(id: &'static str) -> BTreeSet<&'static str> {
    BTreeSet::from([id])
}

#[test]
fn what_was_recorded_healthy_has_no_findings() {
    assert_eq!(found(|_| {}), BTreeSet::new());
}

#[test]
fn each_fault_has_its_name() {
    let peer = |route: &Route| route.destination == "10.244.1.0/24".parse().unwrap();
    assert_eq!(
        found(|net| net.routes.retain(|route| !peer(route))),
        alone("verify-route-missing")
    );
    let elsewhere = found(|net| {
        net.routes.retain(|route| !peer(route));
        net.routes.insert(route("10.244.1.0/24", "10.90.0.254", "eth0"));
    });
    assert_eq!(elsewhere, alone("verify-route-wrong"));
    let left = found(|net| {
        net.routes.insert(route("10.244.9.0/24", "10.244.9.0", "flannel.1"));
    });
    assert_eq!(left, alone("verify-route-stale"));
    // What "worked" after a backend was switched in place: the old backend's route.
    let old = found(|net| {
        net.routes.insert(route("10.244.9.0/24", "10.90.0.29", "eth0"));
    });
    assert_eq!(old, alone("verify-route-stale"));
    let part = found(|net| {
        net.routes.insert(route("10.244.1.128/25", "10.90.0.254", "eth0"));
    });
    assert_eq!(part, alone("verify-route-shadowed"));
    assert_eq!(
        found(|net| drop(net.neighbours.pop_first())),
        alone("verify-neighbour-missing")
    );
    let other = found(|net| {
        net.neighbours.pop_first();
        net.neighbours.insert(neighbour("10.244.1.0", "02:00:00:00:00:01"));
    });
    assert_eq!(other, alone("verify-neighbour-wrong"));
    let gone = found(|net| {
        net.neighbours.insert(neighbour("10.244.9.0", "02:00:00:00:00:01"));
    });
    assert_eq!(gone, alone("verify-neighbour-stale"));
    assert_eq!(found(|net| net.fdb.clear()), alone("verify-fdb-missing"));
    let moved = found(|net| {
        net.fdb.retain(|one| one.mac.to_string() != MACS[1]);
        net.fdb.insert(entry(MACS[1], "10.90.0.99"));
    });
    assert_eq!(moved, alone("verify-fdb-wrong"));
    let flood = found(|net| {
        net.fdb.insert(entry("00:00:00:00:00:00", "10.90.0.22"));
    });
    assert_eq!(flood, alone("verify-fdb-stale"));
    // systemd-udevd's MACAddressPolicy; the kernel forgets the device's permanent neighbours then.
    let udev = found(|net| {
        net.links.get_mut("flannel.1").unwrap().mac = Some("02:00:00:00:00:01".parse().unwrap());
        net.neighbours.clear();
    });
    assert_eq!(udev, alone("verify-overlay-mac"));
    let down = found(|net| {
        net.links.get_mut("flannel.1").unwrap().is_up = false;
        net.routes.retain(|route| route.device.as_deref() != Some("flannel.1"));
        net.neighbours.clear();
    });
    assert_eq!(down, alone("verify-overlay-down"));
    assert_eq!(
        found(|net| net.links.get_mut("flannel.1").unwrap().mtu = 1500),
        alone("verify-overlay-mtu")
    );
    let gone = found(|net| {
        net.links.remove("flannel.1");
        net.addresses.retain(|address| address.interface != "flannel.1");
        net.routes.retain(|route| route.device.as_deref() != Some("flannel.1"));
        net.neighbours.clear();
        net.fdb.clear();
    });
    assert_eq!(gone, alone("verify-overlay-missing"));
}

#[test]
fn without_a_tunnel_routes_lead_to_the_nodes_themselves() {
    let direct = || {
        let mut net = recorded();
        net.links.remove("flannel.1");
        net.addresses.retain(|address| address.interface != "flannel.1");
        net.routes.retain(|route| route.device.as_deref() != Some("flannel.1"));
        net.neighbours.clear();
        net.fdb.clear();
        net.routes.insert(route("10.244.1.0/24", "10.90.0.22", "eth0"));
        net.routes.insert(route("10.244.2.0/24", "10.90.0.23", "eth0"));
        net
    };
    let host_gw = VXLAN.replace("vxlan", "host-gw");
    assert_eq!(found_with(&host_gw, direct()), BTreeSet::new());
    assert_eq!(found_with(&host_gw, recorded()), alone("verify-route-wrong"));
    // With DirectRouting the tunnel is there for those that are not on the link.
    let direct_routing = VXLAN.replace(r#""vxlan""#, r#""vxlan", "DirectRouting": true"#);
    let mut both = recorded();
    both.routes.retain(|route| route.device.as_deref() != Some("flannel.1"));
    both.neighbours.clear();
    both.fdb.clear();
    both.routes.extend(direct().routes);
    assert_eq!(found_with(&direct_routing, both), BTreeSet::new());
}

#[test]
fn a_proxy_has_one_route_for_all_and_a_tunnel_without_hardware_addresses_none_by_them() {
    let with = |device: &str, kind: &str, mtu: u32, routes: &[Route]| {
        let mut net = recorded();
        let links = net.links.remove("flannel.1").map(|_| {
            let link = link(LinkKind::Other(kind.to_owned()), None, mtu);
            (device.to_owned(), link)
        });
        net.links.extend(links);
        net.addresses.retain(|address| address.interface != "flannel.1");
        net.addresses.insert(address(device, "10.244.0.0", 32));
        net.routes.retain(|route| route.device.as_deref() != Some("flannel.1"));
        net.routes.extend(routes.iter().cloned());
        net.neighbours.clear();
        net.fdb.clear();
        net
    };
    let all = Route {
        gateway: None,
        is_onlink: false,
        ..route("10.244.0.0/16", "0.0.0.0", "flannel0")
    };
    let udp = VXLAN.replace("vxlan", "udp");
    let healthy = with("flannel0", "tun", 1472, std::slice::from_ref(&all));
    assert_eq!(found_with(&udp, healthy), BTreeSet::new());
    let routeless = with("flannel0", "tun", 1472, &[]);
    assert_eq!(found_with(&udp, routeless), alone("verify-route-missing"));
    // The route of a backend before: traffic goes by it, past the proxy.
    let old = with(
        "flannel0",
        "tun",
        1472,
        &[all, route("10.244.1.0/24", "10.90.0.22", "eth0")],
    );
    assert_eq!(found_with(&udp, old), alone("verify-route-shadowed"));
    let ipip = VXLAN.replace("vxlan", "ipip");
    let ways = [
        route("10.244.1.0/24", "10.90.0.22", "flannel.ipip"),
        route("10.244.2.0/24", "10.90.0.23", "flannel.ipip"),
    ];
    assert_eq!(
        found_with(&ipip, with("flannel.ipip", "ipip", 1480, &ways)),
        BTreeSet::new()
    );
    let wrong = found_with(&ipip, with("flannel.ipip", "ipip", 1500, &ways));
    assert_eq!(wrong, alone("verify-overlay-mtu"));
    let taken = found_with(&ipip, with("flannel.ipip", "dummy", 1480, &ways));
    assert_eq!(taken, alone("verify-name-taken"));
}

#[test]
fn what_cannot_be_decided_is_not_decided() {
    for config in [
        "",
        "{",
        r#"{"Network": "10.244.0.0/16", "Backend": {"Type": "wireguard"}}"#,
    ] {
        assert_eq!(found_with(config, recorded()), BTreeSet::new(), "{config}");
    }
}
