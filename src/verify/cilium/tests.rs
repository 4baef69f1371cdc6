//! A recording of a real node's state (Cilium 1.15.19, tunnel mode vxlan); its API objects, its pods' namespaces and its libcni cache are written by
//! hand to match.

use super::{objects::CiliumNode, *};
use crate::verify::samples::{Sample, roots};
use netcheck_node_state::{Route, Vxlan};
use std::collections::BTreeMap;

const RECORDED: &str = include_str!("n1.json");

fn found_with(config: &[(&str, &str)], change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    roots(RECORDED, |node| {
        node.agent("cilium-x7x7x");
        let mut settings: BTreeMap<String, String> = [("routing-mode", "tunnel"), ("tunnel-protocol", "vxlan")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        settings.extend(
            config
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        node.objects().cilium = Some(CiliumObjects {
            config: settings,
            nodes: BTreeMap::new(),
        });
        change(node);
    })
}

fn found(change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    found_with(&[], change)
}

fn vxlan(node: &mut Sample, change: impl FnOnce(&mut Vxlan)) {
    match &mut node.net().links.get_mut(VXLAN).unwrap().kind {
        LinkKind::Vxlan(vxlan) => change(vxlan),
        other => panic!("{other:?}"),
    }
}

fn another(node: &mut Sample, like: &str, to: &str) {
    let like = like.parse().unwrap();
    let route = node
        .net()
        .routes
        .iter()
        .find(|route| route.destination == like)
        .unwrap()
        .clone();
    node.net().routes.insert(Route {
        destination: to.parse().unwrap(),
        ..route
    });
}

#[test]
fn what_other_settings_make_is_healthy_too() {
    // enable-endpoint-routes: a route to each of the node's own pods.
    assert_eq!(
        found(|node| another(node, "10.245.1.119/32", "10.245.1.20/32")),
        [] as [&str; 0]
    );
    // A pool of its own that happens to be the nodes' podCIDRs but for one node's.
    let pools = found(|node| {
        for one in &mut node.objects().nodes {
            one.pod_cidrs = vec![one.annotations["network.cilium.io/ipv4-pod-cidr"].clone()];
        }
        node.objects().nodes[0].pod_cidrs = vec!["10.245.9.0/24".to_owned()];
    });
    assert_eq!(pools, [] as [&str; 0]);
    // flannel's ConfigMap outlived it.
    let mut sample = Sample::of(RECORDED);
    sample.agent("cilium-x7x7x");
    sample.objects().cilium = Some(CiliumObjects::default());
    sample.objects().flannel = Some("{}".to_owned());
    assert_eq!(sample.network(), Some("Cilium"));
}

#[test]
fn what_was_recorded_healthy_has_no_findings() {
    assert_eq!(found(|_| {}), [] as [&str; 0]);
    let sample = Sample::of(RECORDED);
    // Without its agents it is one that nobody knows: still nothing is wrong.
    assert_eq!((sample.network(), sample.roots().len()), (None, 0));
}

#[test]
fn its_devices_are_there_and_as_they_must_be() {
    let gone = found(|node| {
        let net = node.net();
        for name in [HOST, "cilium_net"] {
            net.links.remove(name);
        }
        net.routes.retain(|route| route.device.as_deref() != Some(HOST));
        net.addresses.retain(|address| address.interface != HOST);
    });
    assert_eq!(gone, ["verify-device-missing"]);
    let down = found(|node| {
        node.net().links.get_mut(HOST).unwrap().is_up = false;
        node.net().routes.retain(|route| route.device.as_deref() != Some(HOST));
    });
    assert_eq!(down, ["verify-device-down"]);
    assert_eq!(
        found(|node| node.net().links.get_mut("cilium_net").unwrap().is_up = false),
        ["verify-device-down"]
    );
    assert_eq!(
        found(|node| drop(node.net().links.remove(VXLAN))),
        ["verify-overlay-missing"]
    );
    assert_eq!(
        found(|node| node.net().links.get_mut(VXLAN).unwrap().is_up = false),
        ["verify-overlay-down"]
    );
    assert_eq!(
        found(|node| vxlan(node, |vxlan| vxlan.port = 4789)),
        ["verify-overlay-settings"]
    );
    assert_eq!(
        found(|node| vxlan(node, |vxlan| vxlan.unusual.clear())),
        ["verify-overlay-settings"]
    );
    let address = found(|node| {
        node.net().addresses.retain(|address| address.interface != HOST);
        node.net()
            .routes
            .retain(|route| route.gateway.is_none() || route.device.as_deref() != Some(HOST));
    });
    assert_eq!(address, ["verify-device-address-missing"]);
}

#[test]
fn routes_to_other_nodes_lead_to_its_programs() {
    assert_eq!(
        found(|node| node.without_route("10.245.2.0/24")),
        ["verify-route-missing"]
    );
    assert_eq!(
        found(|node| node.without_route("10.245.1.0/24")),
        ["verify-route-missing"]
    );
    let left = |node: &mut Sample| another(node, "10.245.2.0/24", "10.245.7.0/24");
    assert_eq!(found(left), ["verify-route-stale"]);
    // It may be another cluster's.
    assert_eq!(found_with(&[("cluster-id", "1")], left), [] as [&str; 0]);
    let part = found(|node| {
        another(node, "0.0.0.0/0", "10.245.2.0/25");
    });
    assert_eq!(part, ["verify-route-shadowed"]);
    // With other ways of giving out addresses no node has a range.
    let without = found_with(&[("ipam", "eni")], |node| node.without_route("10.245.2.0/24"));
    assert_eq!(without, [] as [&str; 0]);
}

#[test]
fn native_routes_are_looked_for_where_agents_make_them() {
    let direct = [("routing-mode", "native"), ("auto-direct-node-routes", "true")];
    let node = |node: &mut Sample| {
        for to in ["10.245.0.0/24", "10.245.2.0/24"] {
            node.without_route(to);
        }
    };
    assert_eq!(
        found_with(&direct, node),
        ["verify-route-missing", "verify-route-missing"]
    );
    assert_eq!(found_with(&[("routing-mode", "native")], node), [] as [&str; 0]);
}

#[test]
fn a_ciliumnode_says_more_than_annotations() {
    let other = found(|node| {
        let said: CiliumNode = serde_json::from_value(serde_json::json!({
            "addresses": [{ "ip": "10.90.0.23", "type": "InternalIP" }, { "ip": "10.245.9.10", "type": "CiliumInternalIP" }],
            "ipam": { "podCIDRs": ["10.245.9.0/24"], "pools": {} },
            "encryption": {},
        }))
        .unwrap();
        let cilium = node.objects().cilium.as_mut().unwrap();
        cilium.nodes.insert("n3".to_owned(), said);
    });
    assert_eq!(other, ["verify-route-stale", "verify-route-missing"]);
}

#[test]
fn strict_reverse_paths_break_it() {
    let strict = found(|node| {
        node.sysctl("net.ipv4.conf.all.rp_filter", "1");
        node.sysctl("net.ipv4.conf.cilium_host.rp_filter", "0");
    });
    assert_eq!(strict, ["verify-rp-filter"]);
    let loose = found(|node| {
        node.sysctl("net.ipv4.conf.all.rp_filter", "2");
        node.sysctl("net.ipv4.conf.cilium_host.rp_filter", "1");
        node.sysctl("net.ipv4.conf.eth0.rp_filter", "1");
    });
    assert_eq!(loose, [] as [&str; 0]);
}
