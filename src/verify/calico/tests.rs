//! A recording of a real node's state (Calico 3.30.7, VXLAN); its API objects, its pods' namespaces and its libcni cache are written by hand to
//! match.

use super::*;
use crate::verify::samples::{Sample, roots};
use netcheck_node_state::{FdbEntry, Neighbour, Route};
use objects::{Block, CalicoObjects, Felix, Mode, Pool, Ways};

const RECORDED: &str = include_str!("n1.json");

/// What the recording's cluster must have had in the API.
fn ways(vxlan_mode: Mode) -> Ways {
    let block = |(node, cidr): (&str, &str)| Block {
        cidr: cidr.parse().unwrap(),
        node: node.to_owned(),
        state: "confirmed".to_owned(),
    };
    Ways {
        pools: vec![Pool {
            cidr: "10.246.0.0/16".parse().unwrap(),
            vxlan_mode,
            ipip_mode: Mode::Never,
            disabled: false,
        }],
        blocks: [
            ("n1", "10.246.40.128/26"),
            ("n2", "10.246.217.0/26"),
            ("n3", "10.246.98.0/26"),
        ]
        .map(block)
        .to_vec(),
    }
}

fn found_in(mode: Mode, change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    roots(RECORDED, |node| {
        node.agent("calico-node-x7x7x");
        node.objects().calico = Some(CalicoObjects {
            ways: Ok(ways(mode)),
            felix: Felix::default(),
        });
        change(node);
    })
}

fn found(change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    found_in(Mode::Always, change)
}

fn edit(node: &mut Sample, to: &str, change: impl FnOnce(&mut Route)) {
    let to = to.parse().unwrap();
    let routes = &mut node.net().routes;
    let mut route = routes.iter().find(|route| route.destination == to).unwrap().clone();
    routes.remove(&route);
    change(&mut route);
    routes.insert(route);
}

fn link(node: &mut Sample, change: impl FnOnce(&mut netcheck_node_state::Link)) {
    change(node.net().links.get_mut(VXLAN).unwrap());
}

fn vxlan(node: &mut Sample, change: impl FnOnce(&mut netcheck_node_state::Vxlan)) {
    link(node, |link| match &mut link.kind {
        LinkKind::Vxlan(vxlan) => change(vxlan),
        other => panic!("{other:?}"),
    });
}

#[test]
fn what_was_recorded_healthy_has_no_findings() {
    assert_eq!(found(|_| {}), [] as [&str; 0]);
    let mut sample = Sample::of(RECORDED);
    // Without its agents it is one that nobody knows: still nothing is wrong.
    assert_eq!((sample.network(), sample.roots().len()), (None, 0));
    sample.agent("calico-node-x7x7x");
    // What cannot be read of the API is not checked, and nothing is made up instead.
    assert_eq!((sample.network(), sample.roots().len()), (Some("Calico"), 0));
}

#[test]
fn its_hardware_addresses_follow_from_nodes_names() {
    assert_eq!(tunnel_mac("n1").unwrap().to_string(), "66:40:b3:ea:b6:3f");
    assert_eq!(tunnel_mac("n3").unwrap().to_string(), "66:26:c2:ce:28:d0");
}

#[test]
fn each_fault_of_the_tunnel_has_its_name() {
    let gone = found(|node| {
        let net = node.net();
        net.links.remove(VXLAN);
        net.routes.retain(|route| route.device.as_deref() != Some(VXLAN));
        net.neighbours.retain(|one| one.device != VXLAN);
        net.fdb.clear();
        net.addresses.retain(|address| address.interface != VXLAN);
    });
    assert_eq!(gone, ["verify-overlay-missing"]);
    let down = found(|node| {
        link(node, |link| link.is_up = false);
        node.net().routes.retain(|route| route.device.as_deref() != Some(VXLAN));
        node.net().neighbours.retain(|one| one.device != VXLAN);
    });
    assert_eq!(down, ["verify-overlay-down"]);
    let mac = found(|node| {
        link(node, |link| link.mac = "66:00:00:00:00:01".parse().ok());
        node.net().neighbours.retain(|one| one.device != VXLAN);
    });
    assert_eq!(mac, ["verify-overlay-mac"]);
    assert_eq!(found(|node| link(node, |link| link.mtu = 1500)), ["verify-overlay-mtu"]);
    // Felix may take less.
    assert_eq!(found(|node| link(node, |link| link.mtu = 1400)), [] as [&str; 0]);
    assert_eq!(
        found(|node| vxlan(node, |vxlan| vxlan.vni = 1)),
        ["verify-overlay-settings"]
    );
    let source = found(|node| vxlan(node, |vxlan| vxlan.local = "10.90.0.99".parse().ok()));
    assert_eq!(source, ["verify-overlay-source"]);
    assert_eq!(
        found(|node| vxlan(node, |vxlan| vxlan.learns = true)),
        ["verify-overlay-learning"]
    );
    let address = found(|node| node.net().addresses.retain(|address| address.interface != VXLAN));
    assert_eq!(address, ["verify-device-address-missing"]);
    let unpublished = found(|node| node.objects().nodes[0].annotations.clear());
    assert_eq!(unpublished, ["verify-node-unpublished"]);
}

#[test]
fn each_entry_for_another_node_is_looked_for() {
    assert_eq!(
        found(|node| node.without_route("10.246.217.0/26")),
        ["verify-route-missing"]
    );
    let astray = found(|node| {
        edit(node, "10.246.217.0/26", |route| {
            route.gateway = "10.246.98.0".parse().ok();
        });
    });
    assert_eq!(astray, ["verify-route-wrong"]);
    let part = found(|node| {
        let whole = node
            .net()
            .routes
            .iter()
            .find(|route| route.gateway.is_some())
            .unwrap()
            .clone();
        node.net().routes.insert(Route {
            destination: "10.246.217.0/28".parse().unwrap(),
            ..whole
        });
    });
    assert_eq!(part, ["verify-route-shadowed"]);
    let left = found(|node| {
        edit(node, "10.246.98.0/26", |_| {});
        let whole = node.net().routes.iter().find(|route| route.is_onlink).unwrap().clone();
        node.net().routes.insert(Route {
            destination: "10.246.7.0/26".parse().unwrap(),
            ..whole
        });
    });
    assert_eq!(left, ["verify-route-stale"]);
    let peer: IpAddr = "10.246.217.0".parse().unwrap();
    assert_eq!(
        found(|node| node.net().neighbours.retain(|one| one.ip != peer)),
        ["verify-neighbour-missing"]
    );
    let other = found(|node| {
        node.net().neighbours.retain(|one| one.ip != peer);
        node.net().neighbours.insert(Neighbour {
            device: VXLAN.to_owned(),
            ip: peer,
            mac: tunnel_mac("n9"),
            is_permanent: true,
            protocol: 0,
            flags: 0,
        });
    });
    assert_eq!(other, ["verify-neighbour-wrong"]);
    let of_n2 = tunnel_mac("n2").unwrap();
    assert_eq!(
        found(|node| node.net().fdb.retain(|one| one.mac != of_n2)),
        ["verify-fdb-missing"]
    );
    let entry = |mac: Mac, to: &str| FdbEntry {
        device: VXLAN.to_owned(),
        mac,
        destination: to.parse().ok(),
        port: None,
        vni: None,
        via: None,
        is_permanent: true,
        flags: 0,
    };
    let elsewhere = found(|node| {
        node.net().fdb.retain(|one| one.mac != of_n2);
        node.net().fdb.insert(entry(of_n2, "10.90.0.99"));
    });
    assert_eq!(elsewhere, ["verify-fdb-wrong"]);
    let stale = found(|node| {
        node.net().fdb.insert(entry(tunnel_mac("n9").unwrap(), "10.90.0.29"));
    });
    assert_eq!(stale, ["verify-fdb-stale"]);
    assert_eq!(
        found(|node| node.without_route("10.246.40.128/26")),
        ["verify-range-route-missing"]
    );
}

#[test]
fn pods_of_the_node_are_looked_at_as_anywhere() {
    assert_eq!(
        found(|node| node.without_route("10.246.40.129/32")),
        ["verify-pod-route-missing"]
    );
}

#[test]
fn an_address_of_another_nodes_block_has_a_way_of_its_own() {
    let lend = |node: &mut Sample| {
        let far = node.objects().pods.iter_mut().find(|pod| pod.node == "n3").unwrap();
        far.ips = vec!["10.246.217.9".parse().unwrap()];
    };
    assert_eq!(found(lend), ["verify-route-missing"]);
    let there = found(|node| {
        lend(node);
        let to_n3 = "10.246.98.0/26".parse().unwrap();
        let whole = node
            .net()
            .routes
            .iter()
            .find(|route| route.destination == to_n3)
            .unwrap()
            .clone();
        node.net().routes.insert(Route {
            destination: "10.246.217.9/32".parse().unwrap(),
            ..whole
        });
    });
    assert_eq!(there, [] as [&str; 0]);
}

#[test]
fn within_a_subnet_packets_need_no_tunnel() {
    let direct = |node: &mut Sample| {
        for (to, via) in [("10.246.217.0/26", "10.90.0.22"), ("10.246.98.0/26", "10.90.0.23")] {
            edit(node, to, |route| {
                route.gateway = via.parse().ok();
                route.device = Some("eth0".to_owned());
                route.is_onlink = false;
            });
        }
    };
    assert_eq!(found_in(Mode::CrossSubnet, direct), [] as [&str; 0]);
    let tunnelled = found_in(Mode::CrossSubnet, |_| {});
    assert_eq!(tunnelled, ["verify-route-wrong", "verify-route-wrong"]);
}

#[test]
fn what_bgp_alone_decides_is_not_judged() {
    let nothing = found_in(Mode::Never, |node| node.without_route("10.246.217.0/26"));
    assert_eq!(nothing, [] as [&str; 0]);
}
