//! What holds for every cluster: nodes decide alike, order does not matter, and what differs can be mended in one pass.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use ipnet::IpNet;
use netcheck_cni_intent::{
    Actual, Config, Desired, Family,
    bpf::Place,
    census::census,
    diff,
    mtu::own_underlay,
    names::{ANNOTATION_MTU, ANNOTATION_UNDERLAY, ANNOTATION_VTEP_MAC, OVERLAY, PROTOCOL},
    simulate,
};
use netcheck_node_state::{Address, Change, FdbEntry, LinkKind, LinkSetting, Mac, Neighbour, NetState, Route, Vxlan};
use proptest::{prelude::*, sample::Index};
use std::collections::BTreeMap;
use support::{
    cluster::{Cluster, hardware},
    settle,
};

/// How one node comes to be; small numbers make clashes likely.
#[derive(Debug, Clone)]
struct Birth {
    created: u8,
    range: u8,
    subnet: u8,
    host: u8,
    families: u8,
    ranges: u8,
    prefix: u8,
    mtu: u32,
    publishes: u8,
}

fn birth() -> impl Strategy<Value = Birth> {
    let mtu = prop_oneof![Just(1500_u32), Just(9000), 1400..9000_u32];
    (
        0..4_u8,
        0..12_u8,
        0..3_u8,
        0..12_u8,
        0..6_u8,
        0..8_u8,
        0..5_u8,
        mtu,
        0..6_u8,
    )
        .prop_map(
            |(created, range, subnet, host, families, ranges, prefix, mtu, publishes)| Birth {
                created,
                range,
                subnet,
                host,
                families,
                ranges,
                prefix,
                mtu,
                publishes,
            },
        )
}

fn cluster() -> impl Strategy<Value = Cluster> {
    let backend = prop_oneof![Just("vxlan"), Just("host-gw"), Just("auto")];
    let underlay = prop_oneof![3 => Just("auto"), 1 => Just("ipv4"), 1 => Just("ipv6")];
    let masquerade = prop_oneof![Just("true"), Just("false")];
    let births = prop::collection::vec(birth(), 1..8);
    (backend, underlay, masquerade, births, 0..3_u8).prop_map(|(backend, underlay, masquerade, births, pods)| {
        let mut cluster = Cluster::default();
        cluster
            .set("clusterCIDRs", "10.244.0.0/16,fd00:10:244::/48")
            .set("backend", backend)
            .set("underlay", underlay)
            .set("masquerade", masquerade);
        for (number, birth) in births.iter().enumerate() {
            be_born(&mut cluster, &format!("n{number}"), birth, pods);
        }
        cluster
    })
}

fn be_born(cluster: &mut Cluster, name: &str, birth: &Birth, pods: u8) {
    let range = birth.range;
    let (v4, v6) = (format!("10.244.{range}.0/24"), format!("fd00:10:244:{range}::/64"));
    let pod_cidrs = match birth.ranges {
        0 => vec![],
        1 => vec![v4.clone()],
        2 => vec![v6],
        // Overlaps with others, or holds nodes, or cannot be.
        3 => vec![format!("10.244.{}.0/22", range / 4 * 4)],
        4 => vec!["192.0.2.0/28".to_owned()],
        5 => vec![v4.clone(), v4],
        _ => vec![v4, v6],
    };
    cluster.nodes.push(netcheck_cni_intent::NodeObject {
        name: name.to_owned(),
        created: format!("2026-01-01T00:00:{:02}Z", birth.created),
        pod_cidrs,
        ..Default::default()
    });
    let length = [24, 24, 24, 28, 32][usize::from(birth.prefix)];
    let subnet = ["192.0.2", "198.51.100", "203.0.113"][usize::from(birth.subnet)];
    let host = 2 + birth.host;
    // One in six has one family alone, and one in six none.
    if birth.families != 0 && birth.families != 1 {
        cluster.put_on(name, &format!("{subnet}.{host}/{length}"), "eth0", birth.mtu);
    }
    if birth.families != 0 && birth.families != 2 {
        let device = if birth.families == 3 { "eth1" } else { "eth0" };
        let address = format!("2001:db8:{}::{host}/64", birth.subnet);
        cluster.put_on(name, &address, device, birth.mtu);
    }
    match birth.publishes {
        0 => {}
        1 => {
            let annotations = &mut cluster.node(name).annotations;
            annotations.insert(ANNOTATION_UNDERLAY.to_owned(), "192.0.2.77/24,x".to_owned());
            annotations.insert(ANNOTATION_MTU.to_owned(), "12".to_owned());
        }
        _ => cluster.publish(name),
    }
    for pod in 0..pods {
        let ips = [
            format!("10.244.{range}.{}", 2 + pod),
            format!("fd00:10:244:{range}::{}", 2 + pod),
        ];
        cluster.add_pod(name, &format!("{name}{pod}"), &ips.each_ref().map(String::as_str));
    }
}

/// State that is nobody of ours, of each kind.
fn add_foreign(net: &mut NetState) {
    let mac = Mac([2, 0, 0, 0, 0, 1]);
    net.links.entry("eth0".to_owned()).or_insert_with(|| hardware(1500));
    let mut veth = hardware(1500);
    veth.kind = LinkKind::Veth;
    veth.alias = Some("somebody's".to_owned());
    net.links.insert("cali12345678901".to_owned(), veth);
    let mut vxlan = hardware(1450);
    vxlan.kind = LinkKind::Vxlan(Vxlan {
        vni: 1,
        port: 8472,
        local: None,
        device: None,
        learns: true,
        unusual: BTreeMap::new(),
    });
    net.links.insert("flannel.1".to_owned(), vxlan);
    net.addresses.insert(Address {
        interface: "flannel.1".to_owned(),
        ip: "10.9.0.0".parse().unwrap(),
        prefix: 32,
    });
    for (table, destination, protocol) in [
        (254, "10.9.0.0/16", 4),
        (254, "0.0.0.0/0", 16),
        (100, "10.244.1.0/24", 147),
    ] {
        net.routes.insert(Route {
            table,
            protocol,
            ..template("eth0", destination)
        });
    }
    net.neighbours.insert(Neighbour {
        device: "eth0".to_owned(),
        ip: "192.0.2.1".parse().unwrap(),
        mac: Some(mac),
        is_permanent: true,
        protocol: 0,
        flags: 0,
    });
    net.fdb.insert(FdbEntry {
        device: "flannel.1".to_owned(),
        mac,
        destination: Some("192.0.2.9".parse().unwrap()),
        is_permanent: true,
        port: None,
        vni: None,
        via: None,
        flags: 0,
    });
}

fn template(device: &str, destination: &str) -> Route {
    let mut cluster = Cluster::of(2);
    cluster.set("backend", "host-gw");
    let desired = cluster.desired("n1").unwrap();
    let route = desired.net.routes.iter().find(|route| route.gateway.is_some());
    Route {
        destination: destination.parse().unwrap(),
        device: Some(device.to_owned()),
        ..route.unwrap().clone()
    }
}

/// One thing that somebody does to a node's state.
#[derive(Debug, Clone)]
struct Falsification {
    what: u8,
    which: Index,
    seed: u8,
}

fn falsification() -> impl Strategy<Value = Falsification> {
    (0..22_u8, any::<Index>(), any::<u8>()).prop_map(|(what, which, seed)| Falsification { what, which, seed })
}

fn pick<T: Clone>(which: Index, from: impl Iterator<Item = T>) -> Option<T> {
    let all: Vec<T> = from.collect();
    (!all.is_empty()).then(|| which.get(&all).clone())
}

/// Does it, as far as there is something to do it to. Only what is ours is falsified.
fn falsify(actual: &mut Actual, desired: &Desired, doing: &Falsification) {
    let Falsification { what, which, seed } = *doing;
    let net = &mut actual.net;
    let mac = Mac([2, 0, 0, 0, 0, seed]);
    let device = pick(
        which,
        desired.net.links.keys().filter(|name| net.links.contains_key(*name)),
    );
    let route = pick(
        which,
        net.routes
            .iter()
            .filter(|route| route.protocol == PROTOCOL && route.table == 254)
            .cloned(),
    );
    let neighbour = pick(which, net.neighbours.intersection(&desired.net.neighbours).cloned());
    let entry = pick(which, net.fdb.iter().filter(|entry| entry.device == OVERLAY).cloned());
    let address = pick(
        which,
        net.addresses
            .iter()
            .filter(|address| address.interface == OVERLAY)
            .cloned(),
    );
    let has_overlay = net.links.contains_key(OVERLAY);
    let somewhere = format!("10.244.{}.0/24", 100 + seed % 100);
    match (what, device, route, neighbour, entry, address) {
        (0, Some(device), ..) => simulate::link_down(net, device),
        (1, Some(device), ..) => {
            let link = net.links.get_mut(device).unwrap();
            // Its mark makes it ours: without it the device is foreign.
            match seed % 4 {
                0 => link.mac = Some(mac),
                1 => {
                    let (name, set) = (device.clone(), LinkSetting::Mtu(1200));
                    simulate::apply_to(net, &Change::SetLink { name, set }).unwrap();
                }
                2 => link.makes_link_local = Some(true),
                _ if device == OVERLAY => {}
                _ => link.alias = Some("netcheck-cni other".to_owned()),
            }
        }
        (2, ..) if has_overlay => {
            let change = Change::DeleteLink(OVERLAY.to_owned());
            simulate::apply_to(net, &change).unwrap();
        }
        (3, ..) if has_overlay => {
            if let LinkKind::Vxlan(vxlan) = &mut net.links.get_mut(OVERLAY).unwrap().kind {
                match seed % 7 {
                    5 => drop(vxlan.unusual.insert("tos".to_owned(), "4".to_owned())),
                    6 => drop(vxlan.unusual.insert("proxy".to_owned(), "1".to_owned())),
                    0 => vxlan.vni = 7,
                    1 => vxlan.port = 4789,
                    2 => vxlan.local = None,
                    3 => vxlan.device = None,
                    _ => vxlan.learns = true,
                }
            }
        }
        (4 | 5, _, Some(route), ..) => {
            net.routes.remove(&route);
        }
        (6 | 7, _, Some(route), ..) => {
            net.routes.remove(&route);
            net.routes.insert(Route {
                mtu: Some(1000 + u32::from(seed)),
                device: Some("eth0".to_owned()),
                is_onlink: seed % 2 == 0,
                source: (seed % 3 == 0).then(|| "192.0.2.11".parse().unwrap()),
                next_hops: Vec::new(),
                ..route
            });
        }
        (8, _, Some(route), ..) => {
            net.routes.insert(Route {
                metric: route.metric.wrapping_add(1 + u32::from(seed)),
                ..route
            });
        }
        (9, ..) => {
            net.routes.insert(template("eth0", &somewhere));
        }
        (10, _, _, Some(neighbour), ..) => {
            net.neighbours.remove(&neighbour);
        }
        (11, _, _, Some(neighbour), ..) => {
            net.neighbours.remove(&neighbour);
            net.neighbours.insert(Neighbour {
                mac: Some(mac),
                is_permanent: seed % 2 == 0,
                protocol: 0,
                flags: if seed % 3 == 0 { 0x80 } else { 0 },
                ..neighbour
            });
        }
        (12, Some(device), ..) => {
            net.neighbours.insert(Neighbour {
                device: device.clone(),
                ip: "10.244.200.0".parse().unwrap(),
                mac: Some(mac),
                is_permanent: true,
                protocol: if seed % 2 == 0 { PROTOCOL } else { 0 },
                flags: 0,
            });
        }
        (13, _, _, _, Some(entry), _) => {
            net.fdb.remove(&entry);
        }
        (14, _, _, _, Some(entry), _) => {
            net.fdb.insert(FdbEntry {
                destination: Some("192.0.2.250".parse().unwrap()),
                port: (seed % 2 == 0).then_some(5000),
                vni: (seed % 3 == 0).then_some(7),
                ..entry
            });
        }
        (15, ..) if has_overlay => {
            net.fdb.insert(FdbEntry {
                device: OVERLAY.to_owned(),
                mac: if seed % 2 == 0 { Mac::default() } else { mac },
                destination: Some("192.0.2.250".parse().unwrap()),
                is_permanent: seed % 3 == 0,
                port: None,
                vni: None,
                via: None,
                flags: 0,
            });
        }
        (16, _, _, _, _, Some(address)) => {
            let change = Change::DeleteAddress(address);
            simulate::apply_to(net, &change).unwrap();
        }
        (17, Some(device), ..) => {
            net.addresses.insert(Address {
                interface: device.clone(),
                ip: if seed % 2 == 0 {
                    "10.9.9.9".parse().unwrap()
                } else {
                    "fe80::9".parse().unwrap()
                },
                prefix: 24,
            });
        }
        (18, ..) => {
            if let Some(key) = pick(which, desired.sysctls.global.keys()) {
                actual.sysctls.insert(key.clone(), "0".to_owned());
            }
        }
        (19, ..) => actual.nft = None,
        (20, ..) => {
            if let Some(maps) = &mut actual.bpf {
                maps.config = None;
                if let Some(entry) = maps.nodes.values_mut().next() {
                    entry.place = Place::NotOwn;
                }
                if let Some(range) = pick(which, maps.nodes.keys().copied().collect::<Vec<_>>().into_iter()) {
                    maps.nodes.remove(&range);
                }
                if let Some(endpoint) = maps.endpoints.values_mut().next() {
                    "eth0".clone_into(&mut endpoint.device);
                }
            }
        }
        (21, ..) => {
            for inside in actual.pods.values_mut() {
                let routes = std::mem::take(&mut inside.routes).into_iter();
                inside.routes = routes
                    .map(|route| Route {
                        mtu: route.mtu.map(|_| 700 + u32::from(seed)),
                        ..route
                    })
                    .collect();
            }
        }
        _ => {}
    }
}

/// The state of each node that is not held.
fn all(cluster: &Cluster) -> BTreeMap<String, Desired> {
    let names = cluster.nodes.iter().map(|node| node.name.clone());
    names
        .filter_map(|name| Some((name.clone(), cluster.desired(&name).ok()?)))
        .collect()
}

/// A node of a cluster with foreign state, as one pass makes it out of nothing.
fn built(cluster: &Cluster, desired: &Desired) -> Actual {
    let mut actual = cluster.fresh(desired);
    add_foreign(&mut actual.net);
    settle(desired, &mut actual);
    actual
}

/// Nearly right, of no meaning, or too large.
fn annotation() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f.:/, ]{0,40}",
        "192\\.0\\.2\\.1[0-9]/[0-9]{1,2},2001:db8::[0-9]/[0-9]{1,3}",
        any::<u64>().prop_map(|number| number.to_string()),
        (0..3000_u32).prop_map(|number| number.to_string()),
        text(),
    ]
}

/// With line ends now and then.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[a-z\\n\\r\\t]{0,12}"]
}

/// A key of the ConfigMap.
fn key() -> impl Strategy<Value = String> {
    let keys =
        "clusterCIDRs backend underlay vni port mtu masquerade noMasqueradeCIDRs ebpf eventSample chain periodSeconds";
    prop::sample::select(keys.split(' ').map(str::to_owned).collect::<Vec<_>>())
}

fn value() -> impl Strategy<Value = String> {
    let good = "10.244.0.0/16,fd00::/48 vxlan auto host-gw ipv4 true off portmap,tuning 0 1 1500 65536 4294967296";
    let good = prop::sample::select(good.split(' ').map(str::to_owned).collect::<Vec<_>>());
    prop_oneof![good, annotation()]
}

/// Ranges without host bits, each once.
fn ranges(least: usize) -> impl Strategy<Value = Vec<IpNet>> {
    let range = prop_oneof![
        (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(ip, prefix)| IpNet::new(ip.into(), prefix)),
        (any::<[u8; 16]>(), 0..=128_u8).prop_map(|(ip, prefix)| IpNet::new(ip.into(), prefix)),
    ];
    let some = prop::collection::btree_set(range.prop_map(|range| range.unwrap().trunc()), least..5);
    some.prop_map(|some| some.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn all_nodes_decide_alike(cluster in cluster()) {
        let states = all(&cluster);
        for (a, of_a) in &states {
            for (b, of_b) in states.iter().filter(|(b, _)| *b != a) {
                prop_assert_eq!(of_a.peers.get(b), of_b.peers.get(a), "the way between {} and {}", a, b);
                if of_a.refused.is_none() && of_b.refused.is_none() {
                    prop_assert_eq!(of_a.refused_peers.get(b), of_b.refused_peers.get(a));
                    prop_assert!(of_a.peers.contains_key(b) != of_a.refused_peers.contains_key(b));
                }
                if of_a.refused.is_none() && of_b.refused.is_some() {
                    prop_assert_eq!(of_a.refused_peers.get(b).copied(), of_b.refused);
                }
            }
        }
    }

    #[test]
    fn the_order_of_inputs_does_not_matter(cluster in cluster(), seed in any::<u64>()) {
        let before = all(&cluster);
        let mut shuffled = cluster;
        let key = |text: &str| text.bytes().fold(seed, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        shuffled.nodes.sort_by_key(|node| key(&node.name));
        for attachments in shuffled.attachments.values_mut() {
            attachments.sort_by_key(|attachment| key(&attachment.key.to_string()));
        }
        prop_assert_eq!(before, all(&shuffled));
    }

    #[test]
    fn what_a_node_publishes_is_what_others_read(cluster in cluster()) {
        let mut cluster = cluster;
        let states = all(&cluster);
        for name in states.keys() {
            cluster.publish(name);
        }
        let config = Config::parse(&cluster.config).unwrap();
        let census = census(&cluster.nodes, &config);
        for (name, member) in census.accepted.iter().filter(|(name, _)| states.contains_key(**name)) {
            let local = &cluster.locals[*name];
            for family in Family::BOTH {
                let held = local.get(family).map(|local| local.address);
                let read = member.published.as_ref().and_then(|published| published.get(family).copied());
                prop_assert_eq!(read, held, "{} {}", name, family);
            }
            prop_assert_eq!(member.published_mtu, own_underlay(member, &config, local).map(Ok));
        }
    }

    /// Whoever may write to a Node can write anything there.
    #[test]
    fn no_annotation_stops_the_nodes(cluster in cluster(), texts in prop::collection::vec(annotation(), 24)) {
        let mut cluster = cluster;
        let mut texts = texts.into_iter();
        for node in &mut cluster.nodes {
            for key in [ANNOTATION_UNDERLAY, ANNOTATION_MTU, ANNOTATION_VTEP_MAC] {
                node.annotations.extend(texts.next().map(|text| (key.to_owned(), text)));
            }
        }
        for (name, state) in all(&cluster) {
            if let Some(mtus) = state.mtus {
                prop_assert!(mtus.overlay >= 1280, "{}: no room for IPv6: {:?}", name, mtus);
            }
        }
    }

    #[test]
    fn any_configuration_is_read_or_refused_in_lines(
        data in prop::collection::btree_map(prop_oneof![4 => key(), 1 => text()], value(), 0..6),
    ) {
        if let Err(errors) = Config::parse(&data) {
            prop_assert!(!errors.is_empty());
            for line in errors.iter().map(ToString::to_string) {
                prop_assert!(line.starts_with("ConfigMap netcheck-cni/netcheck-cni: "), "{}", line);
                prop_assert!(!line.contains('\n'), "{}", line);
            }
        }
    }

    #[test]
    fn a_configuration_is_read_as_it_is_written(
        (vni, port, period) in (1..=0xff_ffff_u32, 1..=u16::MAX, 1..=86400_u32),
        (mtu, sample, masquerade, is_counted) in (576..=65535_u32, any::<u32>(), any::<bool>(), any::<bool>()),
        (ranges, others) in (ranges(1), ranges(0)),
        space in "[ \t\n]{0,2}",
    ) {
        let list = |ranges: &[IpNet]| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(&format!(",{space}"));
        let data = BTreeMap::from([
            ("clusterCIDRs", list(&ranges)),
            ("noMasqueradeCIDRs", list(&others)),
            ("vni", vni.to_string()),
            ("port", port.to_string()),
            ("mtu", mtu.to_string()),
            ("eventSample", sample.to_string()),
            ("periodSeconds", period.to_string()),
            ("masquerade", masquerade.to_string()),
            ("ebpf", if is_counted { "auto" } else { "off" }.to_owned()),
        ].map(|(key, value)| (key.to_owned(), format!("{space}{value}{space}"))));
        let config = Config::parse(&data).unwrap();
        prop_assert_eq!((config.vni, config.port, config.period_seconds), (vni, port, period));
        prop_assert_eq!((config.mtu, config.event_sample), (Some(mtu), sample));
        prop_assert_eq!((config.masquerade, config.ebpf), (masquerade, is_counted));
        prop_assert_eq!((config.cluster_cidrs, config.no_masquerade_cidrs), (ranges, others));
    }

    #[test]
    fn a_refused_node_programs_nobody_and_nobody_programs_it(cluster in cluster()) {
        let states = all(&cluster);
        for (name, refused) in states.iter().filter(|(_, state)| state.refused.is_some()) {
            let veths: Vec<&String> = refused.net.links.keys().collect();
            prop_assert!(veths.iter().all(|veth| *veth != OVERLAY));
            let on_veth = |device: Option<&String>| device.is_some_and(|device| veths.contains(&device));
            prop_assert!(refused.net.routes.iter().all(|route| on_veth(route.device.as_ref())));
            prop_assert!(refused.net.neighbours.iter().all(|neighbour| on_veth(Some(&neighbour.device))));
            prop_assert!(refused.net.fdb.is_empty() && refused.net.addresses.is_empty() && refused.nft.is_none());
            prop_assert!(!refused.node_json.ready && refused.sysctls.keys().is_empty());
            let mac = netcheck_cni_intent::derive::vtep_mac(name);
            for other in states.values() {
                prop_assert!(!other.peers.contains_key(name));
                prop_assert!(other.net.fdb.iter().all(|entry| entry.mac != mac));
                let maps = other.bpf.as_ref().unwrap();
                prop_assert!(maps.nodes.values().all(|entry| entry.mac != mac));
            }
        }
    }

    #[test]
    fn whatever_is_falsified_is_mended_in_one_pass_and_the_rest_stays(
        cluster in cluster(),
        which in any::<Index>(),
        doings in prop::collection::vec(falsification(), 1..12),
    ) {
        let states = all(&cluster);
        let Some(desired) = pick(which, states.values()) else { return Ok(()) };
        let whole = built(&cluster, desired);
        let mut actual = whole.clone();
        for doing in &doings {
            falsify(&mut actual, desired, doing);
        }
        settle(desired, &mut actual);
        prop_assert_eq!(actual, whole);
    }

    #[test]
    fn any_state_of_a_node_leads_to_any_other(
        cluster in cluster(),
        which in any::<Index>(),
        keys in prop::collection::vec((0..6_usize, 0..3_usize), 1..4),
        leavers in prop::collection::vec(any::<Index>(), 0..3),
    ) {
        let states = all(&cluster);
        let Some(before) = pick(which, states.values()) else { return Ok(()) };
        let mut after = cluster.clone();
        let settings = [
            ("backend", ["vxlan", "host-gw", "auto"]),
            ("underlay", ["auto", "ipv4", "ipv6"]),
            ("vni", ["1", "2", "4242"]),
            ("port", ["4789", "8472", "8473"]),
            ("mtu", ["0", "1300", "1400"]),
            ("masquerade", ["true", "false", "true"]),
        ];
        for (setting, value) in keys {
            after.set(settings[setting].0, settings[setting].1[value]);
        }
        for leaver in leavers {
            let name = leaver.get(&after.nodes).name.clone();
            if name != before.node {
                after.nodes.retain(|node| node.name != name);
            }
        }
        let Ok(wanted) = after.desired(&before.node) else { return Ok(()) };
        // Two vxlans of one identifier and port: that is told and not mended.
        let foreign_vni = after.config.get("vni").is_some_and(|vni| vni == "1");
        let foreign_port = after.config.get("port").is_none_or(|port| port == "8472");
        prop_assume!(!(foreign_vni && foreign_port));
        let mut actual = built(&cluster, before);
        let sysctls = cluster.fresh(&wanted).sysctls;
        for (key, value) in sysctls {
            actual.sysctls.entry(key).or_insert(value);
        }
        settle(&wanted, &mut actual);
        let mut direct = built(&after, &wanted);
        // What was changed once stays: kernel parameters are not taken back while we are here, nor are pods looked at where none is.
        direct.sysctls = actual.sysctls.clone();
        if wanted.pods.is_none() || before.pods.is_none() {
            direct.pods = actual.pods.clone();
        }
        prop_assert!(diff(&wanted, &direct).is_settled());
        prop_assert_eq!(actual, direct);
    }
}
