//! The rules of SPEC.md, sections 2.3, 3, 4, 5 and 9.4, one sample each, from the whole cluster to one node's state.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use netcheck_cni_intent::{
    Desired, Hold,
    census::Reason,
    derive::vtep_mac,
    names::{ANNOTATION_MTU, ANNOTATION_UNDERLAY, ANNOTATION_VTEP_MAC},
    publish::{Degraded, conditions},
    ways::Way,
    words,
};
use support::cluster::Cluster;

/// The ways from `from` to all others, and the reasons where there is none.
fn ways(cluster: &Cluster, from: &str) -> Vec<(String, Result<Way, Reason>)> {
    let desired = cluster.desired(from).unwrap();
    let peers = desired.peers.iter().map(|(name, way)| (name.clone(), Ok(*way)));
    let refused = desired
        .refused_peers
        .iter()
        .map(|(name, why)| (name.clone(), Err(*why)));
    peers.chain(refused).collect()
}

/// What both of two nodes say of each other; they must say the same.
fn between(cluster: &Cluster) -> Result<Way, Reason> {
    let (ab, ba) = (ways(cluster, "n1")[0].1, ways(cluster, "n2")[0].1);
    assert_eq!(ab, ba, "both sides decide alike");
    ab
}

fn degraded(cluster: &Cluster, node: &str) -> Vec<Degraded> {
    cluster.desired(node).unwrap().degraded.into_keys().collect()
}

fn routes(desired: &Desired) -> Vec<String> {
    desired.net.routes.iter().map(words::route).collect()
}

#[test]
fn each_backend_has_its_way() {
    let mut cluster = Cluster::of(2);
    assert_eq!(between(&cluster), Ok(Way::Vxlan));
    cluster.set("backend", "auto");
    assert_eq!(between(&cluster), Ok(Way::Direct));
    cluster.set("backend", "host-gw");
    assert_eq!(between(&cluster), Ok(Way::Direct));
}

/// A change to the second node, and what becomes of the pair with host-gw; with auto it is a tunnel each time.
#[test]
fn the_rule_for_a_direct_way() {
    type Change = fn(&mut Cluster);
    let cases: [(&str, Change, Reason); 7] = [
        (
            "other prefix",
            |cluster| cluster.put_on("n2", "198.51.100.12/24", "eth0", 1500),
            Reason::NotOnLink,
        ),
        (
            "the other family's prefix",
            |cluster| cluster.put_on("n2", "2001:db8:98::12/64", "eth0", 1500),
            Reason::NotOnLink,
        ),
        (
            "a host's prefix",
            |cluster| cluster.put_on("n2", "192.0.2.12/32", "eth0", 1500),
            Reason::NotOnLink,
        ),
        (
            "a smaller prefix that holds not both",
            |cluster| cluster.put_on("n2", "192.0.2.12/31", "eth0", 1500),
            Reason::NotOnLink,
        ),
        (
            "published, and not the InternalIP",
            |cluster| {
                let text = "192.0.2.99/24,2001:db8:99::12/64".to_owned();
                cluster
                    .node("n2")
                    .annotations
                    .insert(ANNOTATION_UNDERLAY.to_owned(), text);
            },
            Reason::NotOnLink,
        ),
        (
            "one family published",
            |cluster| {
                let text = "192.0.2.12/24".to_owned();
                cluster
                    .node("n2")
                    .annotations
                    .insert(ANNOTATION_UNDERLAY.to_owned(), text);
            },
            Reason::NotOnLink,
        ),
        (
            "nothing published",
            |cluster| {
                cluster.node("n2").annotations.clear();
            },
            Reason::AwaitingUnderlay,
        ),
    ];
    for (name, change, reason) in cases {
        let mut cluster = Cluster::of(2);
        cluster.set("backend", "host-gw");
        change(&mut cluster);
        // The first four are published by the node itself.
        if reason == Reason::NotOnLink && !name.contains("published") {
            cluster.publish("n2");
        }
        assert_eq!(between(&cluster), Err(reason), "{name}");
        let wanted = (reason == Reason::NotOnLink).then_some(Degraded::PeerRefused);
        assert_eq!(
            degraded(&cluster, "n1"),
            wanted.into_iter().collect::<Vec<_>>(),
            "{name}"
        );
        cluster.set("backend", "auto");
        assert_eq!(between(&cluster), Ok(Way::Vxlan), "{name}");
        assert!(degraded(&cluster, "n1").is_empty(), "{name}");
    }
}

#[test]
fn a_family_without_ranges_does_not_count_for_the_rule() {
    let mut cluster = Cluster::of(2);
    cluster.set("backend", "host-gw");
    cluster.put_on("n2", "2001:db8:98::12/64", "eth0", 1500);
    cluster.publish("n2");
    assert_eq!(between(&cluster), Err(Reason::NotOnLink));
    for name in ["n1", "n2"] {
        cluster.node(name).pod_cidrs.truncate(1);
    }
    assert_eq!(between(&cluster), Ok(Way::Direct));
}

#[test]
fn nodes_of_different_underlay_families_refuse_each_other() {
    let mut cluster = Cluster::of(2);
    cluster.node("n2").internal_ips.retain(|ip| ip.contains(':'));
    cluster.locals.get_mut("n2").unwrap().ipv4 = None;
    assert_eq!(between(&cluster), Err(Reason::NoCommonUnderlay));
    assert_eq!(degraded(&cluster, "n2"), [Degraded::PeerRefused]);
    cluster.set("underlay", "ipv6");
    assert_eq!(between(&cluster), Ok(Way::Vxlan));
}

#[test]
fn a_direct_way_is_by_the_device_of_the_family() {
    let mut cluster = Cluster::of(2);
    cluster.set("backend", "auto");
    cluster.put_on("n1", "2001:db8:99::11/64", "eth1", 1500);
    let desired = cluster.desired("n1").unwrap();
    let routes = routes(&desired);
    assert!(
        routes.contains(&"10.244.2.0/24 via 192.0.2.12 dev eth0 proto 147".to_owned()),
        "{routes:?}"
    );
    let ipv6 = "fd00:10:244:2::/64 via 2001:db8:99::12 dev eth1 proto 147 metric 1024".to_owned();
    assert!(routes.contains(&ipv6), "{routes:?}");
    assert!(desired.net.fdb.is_empty() && desired.net.neighbours.is_empty());
    assert!(
        desired.net.links.contains_key("ncvx0"),
        "auto has its device at all times"
    );
}

#[test]
fn the_lowest_mtu_of_all_counts_and_an_incredible_one_does_not() {
    let mut cluster = Cluster::of(3);
    let v = |cluster: &Cluster| cluster.desired("n1").unwrap().net.links["ncvx0"].mtu;
    assert_eq!(v(&cluster), 1450);
    let publish = |cluster: &mut Cluster, mtu: &str| {
        let annotations = &mut cluster.node("n3").annotations;
        annotations.insert(ANNOTATION_MTU.to_owned(), mtu.to_owned());
    };
    publish(&mut cluster, "1400");
    assert_eq!(v(&cluster), 1350);
    for incredible in ["1329", "0", "-1", "big"] {
        publish(&mut cluster, incredible);
        assert_eq!(v(&cluster), 1450, "{incredible}");
        let desired = cluster.desired("n1").unwrap();
        assert!(
            desired.degraded.is_empty(),
            "one bad node does not make all write to the API"
        );
        assert!(desired.others["n3"].contains_key(&Degraded::MtuTooSmall));
    }
    // A node of another underlay family has no say in it,
    publish(&mut cluster, "1400");
    let before = cluster.clone();
    cluster.node("n3").internal_ips.retain(|ip| ip.contains(':'));
    assert_eq!(v(&cluster), 1450);
    cluster = before;
    // nor has one that does not count.
    publish(&mut cluster, "1400");
    cluster.node("n3").pod_cidrs.clear();
    assert_eq!(v(&cluster), 1450);
}

#[test]
fn a_pod_s_route_never_says_more_than_its_veth_takes() {
    let mut cluster = Cluster::of(1);
    cluster.put_on("n1", "192.0.2.11/24", "eth0", 9000);
    cluster.add_pod("n1", "aa", &["10.244.1.2"]);
    let desired = cluster.desired("n1").unwrap();
    let pod = &desired.pods.as_ref().unwrap()["netcheck@aa@eth0"];
    assert_eq!(
        pod.routes.iter().filter_map(|route| route.mtu).collect::<Vec<_>>(),
        [1500]
    );
    assert_eq!((desired.node_json.link_mtu, desired.node_json.route_mtu), (9000, 8950));
}

#[test]
fn with_auto_the_tunnel_s_own_family_counts_too() {
    let mut cluster = Cluster::of(1);
    cluster.set("backend", "auto");
    cluster.node("n1").pod_cidrs.remove(0);
    cluster.put_on("n1", "192.0.2.11/24", "eth0", 1500);
    cluster.put_on("n1", "2001:db8:99::11/64", "eth1", 9000);
    let desired = cluster.desired("n1").unwrap();
    assert_eq!(desired.annotations[ANNOTATION_MTU], "1500");
    assert_eq!(desired.net.links["ncvx0"].mtu, 1450, "the tunnel is over IPv4");
    cluster.set("backend", "host-gw");
    assert_eq!(cluster.desired("n1").unwrap().annotations[ANNOTATION_MTU], "9000");
}

#[test]
fn what_the_inputs_say_is_wrong_is_told() {
    type Change = fn(&mut Cluster);
    let cases: [(&str, Change, &[Degraded]); 12] = [
        ("nothing", |_| {}, &[]),
        (
            "ebpf",
            |cluster| {
                cluster.set("ebpf", "off");
            },
            &[Degraded::BpfOff],
        ),
        (
            "annotation",
            |cluster| {
                let annotations = &mut cluster.node("n1").annotations;
                annotations.insert(ANNOTATION_VTEP_MAC.to_owned(), "02:00:00:00:00:01".to_owned());
            },
            &[Degraded::VtepMacMismatch],
        ),
        (
            "range",
            |cluster| cluster.node("n1").pod_cidrs[0] = "172.16.1.0/24".to_owned(),
            &[Degraded::PodCIDROutsideClusterCIDRs],
        ),
        (
            "pod",
            |cluster| cluster.add_pod("n1", "aa", &["10.244.9.2"]),
            &[Degraded::PodsOutsidePodCIDR],
        ),
        (
            "nodes' range",
            |cluster| {
                cluster.set("noMasqueradeCIDRs", "192.0.2.0/24");
            },
            &[Degraded::NodesNotMasqueraded],
        ),
        (
            "nodes' range without a tunnel",
            |cluster| {
                cluster
                    .set("noMasqueradeCIDRs", "192.0.2.0/24")
                    .set("backend", "host-gw");
            },
            &[],
        ),
        (
            "MTU",
            |cluster| {
                cluster.set("mtu", "1279");
            },
            &[Degraded::MtuTooSmall],
        ),
        (
            "underlay's MTU, IPv4 only",
            |cluster| {
                cluster.node("n1").pod_cidrs.truncate(1);
                cluster.put_on("n1", "192.0.2.11/24", "eth0", 1329);
            },
            &[Degraded::MtuTooSmall],
        ),
        (
            "the other family's address",
            |cluster| {
                cluster.locals.get_mut("n1").unwrap().ipv6 = None;
            },
            &[Degraded::InternalIPNotOnNode],
        ),
        (
            "a full range",
            |cluster| {
                cluster.node("n1").pod_cidrs[0] = "10.244.1.0/29".to_owned();
                for host in 2..7 {
                    cluster.add_pod("n1", &format!("aa{host}"), &[&format!("10.244.1.{host}")]);
                }
            },
            &[Degraded::RangeAlmostFull],
        ),
        (
            "an almost full range",
            |cluster| {
                cluster.node("n1").pod_cidrs[0] = "10.244.1.0/29".to_owned();
                for host in 2..6 {
                    cluster.add_pod("n1", &format!("aa{host}"), &[&format!("10.244.1.{host}")]);
                }
            },
            &[],
        ),
    ];
    for (name, change, wanted) in cases {
        let mut cluster = Cluster::of(2);
        change(&mut cluster);
        assert_eq!(degraded(&cluster, "n1"), wanted, "{name}");
    }
}

/// Whoever renames the node must learn that it is this one, and everybody else goes on without it.
#[test]
fn a_name_that_derives_another_node_s_hardware_address_is_told() {
    // Their hashes begin alike; found by trying.
    let (older, younger) = ("worker-900546", "worker-1139638");
    assert_eq!(vtep_mac(older), vtep_mac(younger));
    let mut cluster = Cluster::of(3);
    for (before, name) in [("n1", older), ("n2", younger)] {
        name.clone_into(&mut cluster.node(before).name);
        let local = cluster.locals.remove(before).unwrap();
        cluster.locals.insert(name.to_owned(), local);
    }
    let refused = cluster.desired(younger).unwrap();
    assert_eq!(refused.refused, Some(Reason::DuplicateVtepMAC));
    assert_eq!(
        (refused.node_json.ready, refused.node_json.reason.as_str()),
        (false, "DuplicateVtepMAC")
    );
    let [unavailable, ..] = conditions(&refused.degraded);
    assert!(unavailable.status);
    assert_eq!(
        (unavailable.reason.as_str(), unavailable.message),
        (
            "DuplicateVtepMAC",
            format!(
                "Node {younger} derives the same VTEP MAC {} as an older Node; rename this Node",
                vtep_mac(older)
            )
        )
    );
    for other in [older, "n3"] {
        let desired = cluster.desired(other).unwrap();
        assert_eq!(desired.refused, None);
        assert_eq!(desired.refused_peers[younger], Reason::DuplicateVtepMAC);
        assert_eq!(desired.peers.len(), 1, "{other}");
    }
}

#[test]
fn an_address_that_is_needed_and_not_there_holds_everything() {
    let mut cluster = Cluster::of(2);
    cluster.locals.get_mut("n1").unwrap().ipv4 = None;
    let hold = cluster.desired("n1").unwrap_err();
    let Hold::InternalIPNotOnNode { ip, degraded, .. } = &hold else {
        panic!("{hold}")
    };
    assert_eq!(ip.to_string(), "192.0.2.11");
    assert!(degraded.contains_key(&Degraded::InternalIPNotOnNode));
    assert!(
        hold.to_string()
            .starts_with("InternalIP 192.0.2.11 of Node n1 is on none of its devices; ")
    );

    // What is on the device, and not what the Node says: the same.
    let mut cluster = Cluster::of(2);
    cluster.node("n1").internal_ips[0] = "192.0.2.99".to_owned();
    assert!(cluster.desired("n1").is_err());

    // A direct peer's route would need a device that is not known.
    let mut cluster = Cluster::of(2);
    cluster.set("backend", "auto").locals.get_mut("n1").unwrap().ipv6 = None;
    assert!(cluster.desired("n1").is_err());
    cluster.set("backend", "vxlan");
    assert!(cluster.desired("n1").is_ok());
}

#[test]
fn without_the_own_node_there_is_no_state() {
    let hold = Cluster::of(2).desired("n3").unwrap_err();
    assert_eq!(
        hold.to_string(),
        "Node n3 is not among the 2 Node objects that the API server listed; nothing is changed until it is"
    );
}

#[test]
fn two_attachments_cannot_fight_about_an_address() {
    let mut cluster = Cluster::of(1);
    cluster.add_pod("n1", "bb", &["10.244.1.2"]);
    cluster.add_pod("n1", "aa", &["10.244.1.2"]);
    let desired = cluster.desired("n1").unwrap();
    let to_pod = routes(&desired)
        .into_iter()
        .filter(|route| route.starts_with("10.244.1.2 "));
    let first = cluster.attachments["n1"][1].key.host_veth();
    assert_eq!(
        to_pod.collect::<Vec<_>>(),
        [format!("10.244.1.2 dev {first} proto 147 scope link")]
    );
}
