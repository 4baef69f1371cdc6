//! What differs and what mends it: SPEC.md, sections 5.1, 5.9, 9.1, 9.2 and 10, on a kernel in play.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use netcheck_cni_intent::{
    Actual, Desired, Diff, Finding,
    desired::{accept_ra, forwarding},
    diff,
    diff::{BpfChange, Cause, Kind, Mend},
    family::Family,
    names::OVERLAY,
    simulate,
};
use netcheck_node_state::{Address, Change, FdbEntry, Link, LinkKind, LinkSetting, Neighbour, NetState, Route, Vxlan};
use std::net::IpAddr;
use support::{
    cluster::{Cluster, hardware},
    lines, settle,
};

/// Changes one thing for the worse.
type Falsify<T> = fn(&mut T);

/// n1 of three, with a pod, settled.
fn settled() -> (Cluster, Desired, Actual) {
    let mut cluster = Cluster::of(3);
    cluster.add_pod("n1", "aa", &["10.244.1.2", "fd00:10:244:1::2"]);
    let desired = cluster.desired("n1").unwrap();
    let mut actual = cluster.fresh(&desired);
    settle(&desired, &mut actual);
    (cluster, desired, actual)
}

fn veth(desired: &Desired) -> String {
    desired.net.links.keys().find(|name| *name != OVERLAY).unwrap().clone()
}

fn overlay(actual: &mut Actual) -> &mut Link {
    actual.net.links.get_mut(OVERLAY).unwrap()
}

fn vxlan(link: &mut Link) -> &mut Vxlan {
    match &mut link.kind {
        LinkKind::Vxlan(vxlan) => vxlan,
        other => panic!("{other:?}"),
    }
}

/// Kinds of the deltas, without repetition.
fn kinds(diff: &Diff) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = diff.deltas.iter().map(|delta| delta.kind).collect();
    kinds.dedup();
    kinds
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A route of ours that is settled, by the text of its destination.
fn route(net: &NetState, destination: &str) -> Route {
    let destination = destination.parse().unwrap();
    net.routes
        .iter()
        .find(|route| route.destination == destination)
        .unwrap()
        .clone()
}

#[test]
fn builds_in_the_specification_s_order_and_removes_in_reverse() {
    let mut cluster = Cluster::of(3);
    let desired = cluster.desired("n1").unwrap();
    let mut actual = cluster.fresh(&desired);
    let built = settle(&desired, &mut actual);
    let order = [
        Kind::Sysctl,
        Kind::Link,
        Kind::Address,
        Kind::Link,
        Kind::Neighbour,
        Kind::Fdb,
        Kind::Route,
        Kind::Nft,
        Kind::Bpf,
    ];
    assert_eq!(kinds(&built), order, "{}", lines(&built.deltas));

    // All go: the node itself does not count any more.
    cluster.node("n1").pod_cidrs.clear();
    let gone = settle(&cluster.desired("n1").unwrap(), &mut actual);
    let order = [
        Kind::Bpf,
        Kind::Nft,
        Kind::Route,
        Kind::Fdb,
        Kind::Neighbour,
        Kind::Link,
    ];
    // The configuration of BPF is written, not removed.
    assert_eq!(kinds(&gone), order, "{}", lines(&gone.deltas));
    assert!(actual.net.routes.is_empty() && actual.net.neighbours.is_empty() && actual.nft.is_none());
    assert!(!actual.net.links.contains_key(OVERLAY));
}

#[test]
fn what_can_be_changed_in_place_is() {
    let (cluster, desired, healthy) = settled();
    let veth = veth(&desired);
    let cases: [(&str, &str, Falsify<Link>); 10] = [
        (OVERLAY, "ncvx0 MTU", |link| link.mtu = 1400),
        (OVERLAY, "ncvx0 learning", |link| vxlan(link).learns = true),
        (OVERLAY, "ncvx0 source", |link| {
            vxlan(link).local = Some(ip("192.0.2.99"));
        }),
        (OVERLAY, "ncvx0 source", |link| {
            vxlan(link).device = Some("eth9".to_owned());
        }),
        (OVERLAY, "ncvx0 source", |link| vxlan(link).local = None),
        (OVERLAY, "ncvx0 settings", |link| {
            vxlan(link).unusual.insert("ttl".to_owned(), "5".to_owned());
        }),
        (OVERLAY, "ncvx0 alias", |link| link.alias = None),
        (OVERLAY, "ncvx0 addrgenmode", |link| link.makes_link_local = Some(true)),
        ("veth", "alias", |link| link.alias = None),
        ("veth", "MTU", |link| link.mtu = 1400),
    ];
    for (device, object, falsify) in cases {
        let device = if device == OVERLAY { device } else { &veth };
        let mut actual = healthy.clone();
        falsify(actual.net.links.get_mut(device).unwrap());
        let seen = settle(&desired, &mut actual);
        assert_eq!(seen.deltas.len(), 1, "{object}: {}", lines(&seen.deltas));
        assert!(seen.deltas[0].object.ends_with(object), "{}", seen.deltas[0]);
        assert_eq!(actual, healthy, "{object}");
    }
    assert!(cluster.desired("n1").unwrap() == desired);
}

#[test]
fn what_the_kernel_takes_away_with_a_change_is_put_there_again() {
    let (_, desired, healthy) = settled();
    // Somebody changed the MAC, and put our neighbours back by hand: mending the MAC takes them away again.
    let mut actual = healthy.clone();
    overlay(&mut actual).mac = Some("02:00:00:00:00:01".parse().unwrap());
    let seen = settle(&desired, &mut actual);
    assert_eq!(actual, healthy);
    assert_eq!(kinds(&seen), [Kind::Link, Kind::Neighbour]);
    let follow = seen.deltas[1..]
        .iter()
        .all(|delta| delta.cause == Cause::Follows(OVERLAY.to_owned()));
    assert!(follow, "{}", lines(&seen.deltas));
    assert!(lines(&seen.deltas).contains("(goes when ncvx0 is changed)"));

    // Without that: the kernel took them when the MAC was changed.
    let mut actual = healthy.clone();
    let mac = LinkSetting::Mac("02:00:00:00:00:01".parse().unwrap());
    let (name, set) = (OVERLAY.to_owned(), mac);
    simulate::apply_to(&mut actual.net, &Change::SetLink { name, set }).unwrap();
    let seen = settle(&desired, &mut actual);
    assert_eq!(actual, healthy);
    assert!(seen.deltas.iter().all(|delta| delta.cause == Cause::Differs));
}

#[test]
fn a_device_that_went_down_comes_up_with_all_that_it_lost() {
    let (_, desired, healthy) = settled();
    for device in [OVERLAY, &veth(&desired)] {
        let mut actual = healthy.clone();
        simulate::link_down(&mut actual.net, device);
        assert!(actual.net.routes.len() < healthy.net.routes.len());
        let seen = settle(&desired, &mut actual);
        assert_eq!(actual, healthy, "{device}");
        let up = seen.deltas.iter().position(|delta| {
            let set = LinkSetting::Up;
            let name = device.to_owned();
            delta.mend == Mend::Node(Change::SetLink { name, set })
        });
        let later = &seen.deltas[up.unwrap()..];
        assert!(
            later.iter().all(|delta| delta.kind != Kind::Address),
            "addresses come before up"
        );
        assert!(!kinds(&seen).contains(&Kind::Fdb), "forwarding entries outlive it");
    }
}

#[test]
fn what_cannot_be_changed_is_made_anew_with_everything_behind_it() {
    let (_, desired, healthy) = settled();
    let cases: [Falsify<Vxlan>; 3] = [
        |vxlan| vxlan.vni = 1,
        |vxlan| vxlan.port = 4789,
        |vxlan| vxlan.local = Some(ip("2001:db8:99::11")),
    ];
    for falsify in cases {
        let mut actual = healthy.clone();
        falsify(vxlan(overlay(&mut actual)));
        let seen = settle(&desired, &mut actual);
        assert_eq!(actual, healthy);
        assert!(matches!(seen.deltas[0].mend, Mend::Node(Change::DeleteLink(_))));
        assert!(matches!(seen.deltas[1].mend, Mend::Node(Change::CreateVxlan { .. })));
        let count = |kind: Kind| seen.deltas.iter().filter(|delta| delta.kind == kind).count();
        assert_eq!(
            (
                count(Kind::Address),
                count(Kind::Neighbour),
                count(Kind::Fdb),
                count(Kind::Route)
            ),
            (2, 4, 2, 4)
        );
        let writes_number = |delta: &_| matches!(delta, Mend::Bpf(BpfChange::SetConfig(_)));
        assert!(
            seen.deltas.iter().any(|delta| writes_number(&delta.mend)),
            "the device has another number now"
        );
    }
}

#[test]
fn a_device_that_was_too_small_for_ipv6_gets_it_back() {
    let (_, desired, healthy) = settled();
    for device in [OVERLAY, &veth(&desired)] {
        let mut actual = healthy.clone();
        let (name, set) = (device.to_owned(), LinkSetting::Mtu(1200));
        simulate::apply_to(&mut actual.net, &Change::SetLink { name, set }).unwrap();
        assert_eq!(actual.net.links[device].makes_link_local, None);
        let seen = settle(&desired, &mut actual);
        assert_eq!(actual, healthy, "{device}");
        // With IPv6 the kernel gave it a link-local address again, which is taken away.
        assert!(lines(&seen.deltas).contains("expected nothing, found fe80::"));
    }
}

#[test]
fn a_device_that_is_gone_is_made_again() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    simulate::apply_to(&mut actual.net, &Change::DeleteLink(OVERLAY.to_owned())).unwrap();
    settle(&desired, &mut actual);
    assert_eq!(actual, healthy);
}

#[test]
fn a_new_device_forwards_whatever_it_takes_over() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    simulate::apply_to(&mut actual.net, &Change::DeleteLink(OVERLAY.to_owned())).unwrap();
    for family in Family::BOTH {
        actual.sysctls.remove(&forwarding(OVERLAY, family));
        actual.sysctls.insert(forwarding("default", family), "0".to_owned());
    }
    settle(&desired, &mut actual);
    assert_eq!(actual.sysctls[&forwarding(OVERLAY, Family::V6)], "1");
    assert_eq!(
        actual.sysctls[&forwarding("default", Family::V6)],
        "0",
        "not ours to change"
    );
}

#[test]
fn router_advertisements_are_kept_before_ipv6_forwards() {
    let cluster = Cluster::of(1);
    let desired = cluster.desired("n1").unwrap();
    let mut actual = cluster.fresh(&desired);
    let seen = settle(&desired, &mut actual);
    let sysctls = seen.deltas.iter().filter(|delta| delta.kind == Kind::Sysctl);
    let keys: Vec<&str> = sysctls.map(|delta| delta.object.as_str()).collect();
    assert_eq!(
        keys[..3],
        [
            "net.ipv4.ip_forward",
            "net.ipv6.conf.eth0.accept_ra",
            "net.ipv6.conf.all.forwarding"
        ]
    );
    assert_eq!(actual.sysctls[&accept_ra("eth0")], "2");
    // Where it forwards already, it is somebody's decision.
    actual.sysctls.insert(accept_ra("eth0"), "1".to_owned());
    assert!(diff(&desired, &actual).is_settled());
}

#[test]
fn a_foreign_device_of_our_name_is_told_and_nothing_on_it_is_touched() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    overlay(&mut actual).alias = Some("mine".to_owned());
    let stale = FdbEntry {
        device: OVERLAY.to_owned(),
        mac: "02:00:00:00:00:01".parse().unwrap(),
        destination: None,
        is_permanent: true,
        port: None,
        vni: None,
        via: None,
        flags: 0,
    };
    actual.net.fdb.insert(stale);
    let seen = diff(&desired, &actual);
    assert!(seen.is_settled(), "{}", lines(&seen.deltas));
    assert!(matches!(&seen.findings[..], [Finding::NameTaken { device, .. }] if device == OVERLAY));

    overlay(&mut actual).alias = None;
    overlay(&mut actual).mac = Some("02:00:00:00:00:01".parse().unwrap());
    let seen = diff(&desired, &actual);
    assert!(seen.is_settled(), "without alias, the MAC is the mark");
    actual.net.links.insert(OVERLAY.to_owned(), hardware(1500));
    assert!(diff(&desired, &actual).is_settled());
}

#[test]
fn another_vxlan_with_our_identifier_is_told_and_left() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    let other = actual.net.links[OVERLAY].clone();
    actual.net.links.insert("vx9".to_owned(), other);
    let seen = diff(&desired, &actual);
    assert!(seen.is_settled());
    assert!(matches!(&seen.findings[..], [Finding::VniTaken { device, vni: 4242, port: 8472 }] if device == "vx9"));
    // Ours cannot be made beside it.
    simulate::apply_to(&mut actual.net, &Change::DeleteLink(OVERLAY.to_owned())).unwrap();
    let seen = settle(&desired, &mut actual);
    assert_eq!(seen.findings.len(), 1);
    assert!(seen.is_settled(), "{}", lines(&seen.deltas));
}

#[test]
fn a_foreign_route_goes_from_our_place_and_is_told_where_it_wins_elsewhere() {
    let (_, desired, healthy) = settled();
    let foreign = |destination: &str, metric: u32| Route {
        protocol: 4,
        metric,
        ..route(&healthy.net, destination)
    };
    // In our place, instead of ours and beside it.
    for place in [
        "10.244.2.0/24",
        "fd00:10:244:2::/64",
        "10.244.1.2/32",
        "fd00:10:244:1::2/128",
        "10.244.1.0/24",
    ] {
        let ours = route(&healthy.net, place);
        for is_ours_there in [false, true] {
            let mut actual = healthy.clone();
            if !is_ours_there {
                actual.net.routes.remove(&ours);
            }
            actual.net.routes.insert(foreign(place, ours.metric));
            let seen = settle(&desired, &mut actual);
            assert!(actual == healthy && seen.findings.is_empty(), "{place}");
            let [delta] = &seen.deltas[..] else {
                panic!("{place}: {}", lines(&seen.deltas))
            };
            assert_eq!(delta.cause, Cause::Foreign, "{place}");
            assert!(delta.actual.as_ref().unwrap().contains("proto 4"), "{delta}");
        }
    }

    // For a part of what is ours.
    for part in ["10.244.2.128/25", "fd00:10:244:2::7/128", "10.244.1.9/32"] {
        let mut actual = healthy.clone();
        actual.net.routes.insert(Route {
            protocol: 4,
            destination: part.parse().unwrap(),
            ..route(&healthy.net, "10.244.2.0/24")
        });
        let seen = diff(&desired, &actual);
        assert!(seen.is_settled(), "{}", lines(&seen.deltas));
        assert!(matches!(&seen.findings[..], [Finding::RouteShadowed { foreign, .. }] if foreign.contains("proto 4")));
    }
    // The kernel's own, for the overlay device's address.
    let mut actual = healthy.clone();
    actual.net.routes.insert(Route {
        protocol: 2,
        destination: "fd00:10:244:1::/128".parse().unwrap(),
        ..route(&healthy.net, "fd00:10:244:2::/64")
    });
    assert!(diff(&desired, &actual).findings.is_empty());

    // IPv6: a lower metric wins; ours is written all the same, and serves when the other goes.
    let mut actual = healthy.clone();
    actual.net.routes.remove(&route(&healthy.net, "fd00:10:244:2::/64"));
    actual.net.routes.insert(foreign("fd00:10:244:2::/64", 256));
    let seen = settle(&desired, &mut actual);
    assert_eq!((seen.deltas.len(), seen.findings.len()), (1, 1));
    assert_eq!(actual.net.routes.len(), healthy.net.routes.len() + 1);

    // The own range loses against everything, so everything is told.
    let mut actual = healthy.clone();
    actual.net.routes.insert(foreign("10.244.1.0/24", 0));
    assert_eq!(diff(&desired, &actual).findings.len(), 1);

    // A higher metric loses against ours.
    let mut actual = healthy.clone();
    actual.net.routes.insert(foreign("10.244.2.0/24", 100));
    assert!(diff(&desired, &actual).findings.is_empty());
}

#[test]
fn a_table_for_policies_goes_while_there_are_none() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    actual.has_policy_table = true;
    let seen = settle(&desired, &mut actual);
    assert_eq!((seen.deltas.len(), actual == healthy), (1, true));
}

#[test]
fn a_pod_that_is_being_added_is_left_alone() {
    let (mut cluster, _, healthy) = settled();
    // The daemon read the attachments before ADD wrote its file.
    let pods = cluster.attachments.remove("n1").unwrap();
    let desired = cluster.desired("n1").unwrap();
    let mut actual = Actual {
        bpf: None,
        ..healthy.clone()
    };
    let seen = settle(&desired, &mut actual);
    assert!(seen.is_settled(), "{}", lines(&seen.deltas));
    let veth = pods[0].key.host_veth();
    assert!(matches!(&seen.findings[..], [Finding::VethUnclaimed { device, .. }] if *device == veth));
}

#[test]
fn a_host_veth_that_is_gone_is_told_and_nothing_is_put_in_its_place() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    let veth = veth(&desired);
    simulate::apply_to(&mut actual.net, &Change::DeleteLink(veth.clone())).unwrap();
    let seen = settle(&desired, &mut actual);
    assert!(seen.is_settled(), "{}", lines(&seen.deltas));
    assert!(matches!(&seen.findings[..], [Finding::HostVethMissing { device, .. }] if *device == veth));
    // Another device of that name is somebody's.
    actual.net.links.insert(veth.clone(), hardware(1500));
    let seen = settle(&desired, &mut actual);
    assert!(seen.is_settled());
    assert!(matches!(&seen.findings[..], [Finding::NameTaken { device, .. }] if *device == veth));
}

#[test]
fn strangers_on_our_devices_go_and_elsewhere_they_are_invisible() {
    let (_, desired, healthy) = settled();
    let veth = veth(&desired);
    let neighbour = |device: &str, protocol: u8, is_permanent: bool| Neighbour {
        device: device.to_owned(),
        ip: ip("10.9.9.9"),
        mac: Some("02:00:00:00:00:01".parse().unwrap()),
        is_permanent,
        protocol,
        flags: 0,
    };
    let mut ours = healthy.clone();
    ours.net.neighbours.insert(neighbour(OVERLAY, 0, true));
    ours.net.neighbours.insert(neighbour(&veth, 0, true));
    ours.net.neighbours.insert(neighbour("eth0", 147, true));
    ours.net.fdb.insert(FdbEntry {
        device: OVERLAY.to_owned(),
        mac: "00:00:00:00:00:00".parse().unwrap(),
        destination: Some(ip("192.0.2.99")),
        is_permanent: true,
        port: None,
        vni: None,
        via: None,
        flags: 0,
    });
    for interface in [OVERLAY, &veth] {
        ours.net.addresses.insert(Address {
            interface: interface.to_owned(),
            ip: ip("10.9.9.9"),
            prefix: 32,
        });
    }
    let mut actual = ours.clone();
    let seen = settle(&desired, &mut actual);
    // Two addresses, two neighbours and an entry go. With the veth's only IPv4 address go its IPv4 neighbours, the stranger too, and
    // its route; ours come back.
    assert_eq!(seen.deltas.len(), 7, "{}", lines(&seen.deltas));
    assert_eq!(actual, healthy);
    assert!(lines(&seen.deltas).contains(&format!("(goes when {veth} is changed)")));

    let mut foreign = healthy.clone();
    foreign.net.neighbours.insert(neighbour("eth0", 0, true));
    foreign.net.neighbours.insert(neighbour(OVERLAY, 0, false));
    let other_table = Route {
        table: 100,
        ..route(&healthy.net, "10.244.2.0/24")
    };
    foreign.net.routes.insert(other_table);
    let before = foreign.clone();
    let seen = settle(&desired, &mut foreign);
    assert!(seen.is_settled() && foreign == before, "{}", lines(&seen.deltas));
}

#[test]
fn several_routes_of_ours_in_one_place_become_one() {
    let (_, desired, healthy) = settled();
    let right = route(&healthy.net, "10.244.2.0/24");
    let wrong = |gateway: &str| Route {
        gateway: Some(ip(gateway)),
        ..right.clone()
    };
    let mut actual = healthy.clone();
    actual.net.routes.remove(&right);
    actual.net.routes.extend([wrong("10.244.7.0"), wrong("10.244.8.0")]);
    settle(&desired, &mut actual);
    assert_eq!(actual, healthy);
    actual.net.routes.extend([wrong("10.244.1.9"), wrong("10.244.8.0")]);
    settle(&desired, &mut actual);
    assert_eq!(actual, healthy);
}

#[test]
fn in_a_pod_only_the_mtu_of_its_default_routes_is_changed() {
    let (mut cluster, before, mut actual) = settled();
    let key = "netcheck@aa@eth0";
    cluster.set("mtu", "1400");
    let desired = cluster.desired("n1").unwrap();
    let inside = actual.pods.get_mut(key).unwrap();
    // What a later plugin, or the pod, put there stays.
    let own = Route {
        metric: 50,
        mtu: None,
        ..route(inside, "0.0.0.0/0")
    };
    inside.routes.insert(Route {
        destination: "10.99.0.0/16".parse().unwrap(),
        ..own
    });
    let seen = settle(&desired, &mut actual);
    let pods: Vec<_> = seen
        .deltas
        .iter()
        .filter(|delta| delta.kind == Kind::PodRoute)
        .collect();
    assert_eq!(pods.len(), 2);
    assert!(pods.iter().all(|delta| delta.object.starts_with(key)));
    let inside = &actual.pods[key];
    assert_eq!(route(inside, "0.0.0.0/0").mtu, Some(1400));
    assert_eq!(route(inside, "::/0").mtu, Some(1400));
    assert_eq!(inside.routes.len(), before.pods.unwrap()[key].routes.len() + 1);
    assert!(seen.findings.is_empty());

    // A pod that broke its own side is told.
    let inside = actual.pods.get_mut(key).unwrap();
    inside.neighbours.clear();
    inside.routes.retain(|route| route.destination.prefix_len() > 0);
    let seen = settle(&desired, &mut actual);
    assert!(seen.is_settled());
    let told = lines(&seen.findings);
    assert_eq!(seen.findings.len(), 4, "{told}");
    assert!(told.contains("inside of netcheck@aa@eth0: 169.254.1.1 dev eth0 lladdr 0e:6e:63:00:00:01 PERMANENT"));
}

#[test]
fn a_switch_of_the_backend_replaces_routes_and_takes_the_device_away_last() {
    let (mut cluster, vxlan, mut actual) = settled();
    cluster.set("backend", "host-gw");
    let direct = cluster.desired("n1").unwrap();
    let seen = settle(&direct, &mut actual);
    let replaced = seen
        .deltas
        .iter()
        .filter(|delta| matches!(&delta.mend, Mend::Node(Change::ReplaceRoute(_))));
    assert_eq!(replaced.count(), 4);
    let removed = |delta: &&_| matches!(delta, Mend::Node(Change::DeleteRoute(_)));
    assert_eq!(
        seen.deltas.iter().map(|delta| &delta.mend).filter(removed).count(),
        0,
        "never absent"
    );
    let last = seen.deltas.last().unwrap();
    assert!(last.removes_overlay(), "{last}");
    assert_eq!(seen.deltas.iter().filter(|delta| delta.removes_overlay()).count(), 1);
    assert!(!actual.net.links.contains_key(OVERLAY) && actual.net.fdb.is_empty());
    // And back.
    settle(&vxlan, &mut actual);
    assert_eq!(actual.net, settled().2.net);
}

#[test]
fn a_falsified_table_is_written_again_whole() {
    let (_, desired, healthy) = settled();
    let mut actual = healthy.clone();
    let table = actual.nft.as_mut().unwrap();
    table.sets.get_mut("nomasq4").unwrap().elements.clear();
    table.chains.get_mut("postrouting").unwrap().rules.pop();
    let seen = settle(&desired, &mut actual);
    assert_eq!(seen.deltas.len(), 1);
    let text = seen.deltas[0].to_string();
    assert!(
        text.contains("nomasq4 {10.244.0.0/16}") && text.contains("found nomasq4 {}"),
        "{text}"
    );
    assert!(!text.contains("pods4 {"), "what is alike is not shown: {text}");
    actual.nft = None;
    settle(&desired, &mut actual);
    assert_eq!(actual, healthy);
}

#[test]
fn an_address_of_another_prefix_length_gives_its_place_to_ours() {
    let (_, desired, mut actual) = settled();
    let before = actual.net.clone();
    for address in desired.net.addresses.clone() {
        actual.net.addresses.remove(&address);
        let prefix = address.prefix / 2;
        actual.net.addresses.insert(Address { prefix, ..address });
    }
    settle(&desired, &mut actual);
    assert_eq!(actual.net, before);
}
