//! Intervals as they were measured in a laboratory for one fault each, and what they are called.

use super::{End, Interval, ObservedNode, Probed, pairs::pairs, report::ObservedReport, with_observed};
use crate::report::Metadata;
use crate::verify::{
    evidence::{Evidence, Looked},
    found::Found,
    group::Group,
    judge::{Judgement, judge},
    network::Differences,
    objects::{Objects, PodObject},
    report::{Spec, VerifyReport},
    text,
};
use netcheck_cni_intent::NodeObject;
use netcheck_node_state::{
    Link, LinkKind, NetState, Vxlan,
    counters::{Counters, DeviceCounters, Numbers},
    observation::{Dropped, Drops, Ends, NodeObservation, OBSERVATION, Observed},
    record::{Device, NodeRecord, RECORD},
};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const NODE: u64 = 1;
const POD: u64 = 2;
const ELSEWHERE: u64 = 3;
/// The pod's number in the observation.
const PLACE: u32 = 7;

fn pod(node: &str, name: &str, ips: &[&str]) -> PodObject {
    PodObject {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        node: node.to_owned(),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        running: true,
        ..PodObject::default()
    }
}

fn numbers(of: &[(&str, u64)]) -> Numbers {
    of.iter().map(|(name, by)| ((*name).to_owned(), *by)).collect()
}

/// An interval on n1.
#[derive(Default)]
struct Moved<'a> {
    /// Of the node's namespace.
    protocols: &'a [(&'a str, u64)],
    conntrack: &'a [(&'a str, u64)],
    devices: &'a [(&'a str, &'a str, u64)],
    /// Of its pod's.
    pods: &'a [(&'a str, u64)],
    softnet: &'a [(&'a str, u64)],
    /// Namespace, device, reason, packets.
    drops: &'a [(u64, &'a str, &'a str, u64)],
    /// Of probes to n2, of three.
    lost: Option<u32>,
}

const DEVICES: [&str; 4] = ["lo", "eth0", "vx0", "veth1"];

fn index(device: &str) -> u32 {
    (1..)
        .zip(DEVICES)
        .find(|(_, name)| *name == device)
        .map_or(0, |(index, _)| index)
}

fn ends(protocols: &[(&str, u64)], conntrack: &[(&str, u64)], devices: &[(&str, &str, u64)]) -> Ends<Counters> {
    let device = |name: &&str| {
        let of_it = devices.iter().filter(|(device, ..)| device == name);
        let counters = of_it.map(|(_, counter, by)| ((*counter).to_owned(), *by)).collect();
        let index = index(name);
        ((*name).to_owned(), DeviceCounters { index, counters })
    };
    Ends {
        before: Counters::default(),
        after: Counters {
            protocols: numbers(protocols),
            conntrack: numbers(conntrack),
            devices: DEVICES.iter().map(device).collect(),
        },
    }
}

fn evidence(moved: &Moved) -> Evidence {
    let mut net = NetState::default();
    let vxlan = Vxlan {
        vni: 1,
        port: 8472,
        local: None,
        device: None,
        learns: false,
        unusual: BTreeMap::new(),
    };
    for name in DEVICES {
        let kind = if name == "vx0" {
            LinkKind::Vxlan(vxlan.clone())
        } else {
            LinkKind::Other(String::new())
        };
        let link = Link {
            mac: None,
            mtu: 1500,
            is_up: true,
            alias: None,
            makes_link_local: None,
            kind,
        };
        net.links.insert(name.to_owned(), link);
    }
    let record: NodeRecord = serde_json::from_value(json!({
        "record": RECORD, "kernel": "", "nft": { "Err": "not read" }, "node": { "inode": NODE, "net": net },
    }))
    .unwrap();
    let counts = moved.drops.iter().map(|(inode, device, reason, packets)| Dropped {
        inode: *inode,
        device: index(device),
        reason: (*reason).to_owned(),
        packets: *packets,
    });
    let in_pod = Observed {
        inode: POD,
        counters: ends(moved.pods, &[], &[]),
    };
    let observation = NodeObservation {
        observation: OBSERVATION,
        kernel: String::new(),
        elapsed_ms: 5000,
        node: Observed {
            inode: NODE,
            counters: ends(moved.protocols, moved.conntrack, moved.devices),
        },
        pods: BTreeMap::from([(PLACE, Ok(in_pod))]),
        softnet: Ok(Ends {
            before: Numbers::new(),
            after: numbers(moved.softnet),
        }),
        drops: Ok(Drops {
            counts: counts.collect(),
            uncounted: 0,
        }),
    };
    let end = |node: &str, pod: &str| End {
        node: node.to_owned(),
        pod: Some(format!("shop/{pod}")),
    };
    let probed = moved.lost.map(|lost| Probed {
        from: end("n1", "web"),
        to: end("n2", "db"),
        address: "10.0.2.2".parse().unwrap(),
        sent: 3,
        answered: 3 - lost,
        error: None,
    });
    let places = BTreeMap::from([("uid-web".to_owned(), PLACE)]);
    let node = |number: u8| NodeObject {
        name: format!("n{number}"),
        ..NodeObject::default()
    };
    Evidence {
        taken: String::new(),
        context: None,
        objects: Objects {
            nodes: vec![node(1), node(2)],
            pods: vec![pod("n1", "web", &["10.0.1.2"]), pod("n2", "db", &["10.0.2.2"])],
            ..Objects::default()
        },
        nodes: BTreeMap::from([(
            "n1".to_owned(),
            Ok(Looked {
                record,
                places: BTreeMap::new(),
            }),
        )]),
        observed: Some(Interval {
            wanted_ms: 5000,
            probes: probed.into_iter().collect(),
            not_probed: Vec::new(),
            nodes: BTreeMap::from([("n1".to_owned(), Ok(ObservedNode { observation, places }))]),
        }),
    }
}

/// Ids of findings, with what they are about.
type Named = BTreeSet<(&'static str, String)>;

/// What is found on n1.
fn found(moved: &Moved) -> Named {
    let evidence = evidence(moved);
    let judgement = with_observed(judge(&evidence), &evidence);
    let found = judgement.nodes["n1"].found.iter();
    found.map(|one| (one.id, one.object.clone())).collect()
}

fn alone(id: &'static str, object: &str) -> Named {
    BTreeSet::from([(id, object.to_owned())])
}

#[test]
fn each_way_to_die_has_its_name() {
    let node = |id: &'static str| alone(id, "its network");
    let tunnel = |id: &'static str| alone(id, "vx0");
    let cases: [(&str, Moved, Named); 14] = [
        (
            "a forwarding entry to the wrong node, or another address there",
            Moved {
                protocols: &[("UdpInDatagrams", 2)],
                devices: &[("vx0", "rx_otherhost_dropped", 2)],
                drops: &[(NODE, "vx0", "OTHERHOST", 2)],
                ..Moved::default()
            },
            tunnel("observe-tunnel-otherhost"),
        ),
        (
            "no forwarding entry, or no neighbour",
            Moved {
                devices: &[("vx0", "tx_dropped", 2)],
                drops: &[(NODE, "vx0", "NO_TX_TARGET", 2)],
                ..Moved::default()
            },
            tunnel("observe-tunnel-undeliverable"),
        ),
        (
            "no route",
            Moved {
                protocols: &[("IpExtInNoRoutes", 2), ("IcmpOutDestUnreachs", 2)],
                drops: &[(NODE, "veth1", "IP_INNOROUTES", 2)],
                ..Moved::default()
            },
            node("observe-no-route"),
        ),
        (
            "forwarding is off",
            Moved {
                protocols: &[("IpInAddrErrors", 2)],
                drops: &[(NODE, "veth1", "IP_INADDRERRORS", 2)],
                ..Moved::default()
            },
            node("observe-not-forwarded"),
        ),
        (
            "a firewall between",
            Moved {
                drops: &[(NODE, "eth0", "NETFILTER_DROP", 2)],
                ..Moved::default()
            },
            node("observe-firewall"),
        ),
        (
            "another VNI",
            Moved {
                drops: &[(NODE, "eth0", "VXLAN_VNI_NOT_FOUND", 2)],
                ..Moved::default()
            },
            node("observe-tunnel-unknown"),
        ),
        (
            "another port",
            Moved {
                protocols: &[("UdpNoPorts", 2)],
                drops: &[(NODE, "eth0", "NO_SOCKET", 2)],
                ..Moved::default()
            },
            node("observe-no-socket"),
        ),
        (
            "a strict reverse path filter",
            Moved {
                protocols: &[("TcpExtIPReversePathFilter", 2)],
                drops: &[(NODE, "eth0", "IP_RPFILTER", 2)],
                ..Moved::default()
            },
            node("observe-reverse-path"),
        ),
        (
            "too large for the tunnel",
            Moved {
                protocols: &[("IpFragFails", 2)],
                drops: &[(NODE, "vx0", "PKT_TOO_BIG", 2)],
                ..Moved::default()
            },
            node("observe-too-big"),
        ),
        (
            "the pod's device is down",
            Moved {
                devices: &[("veth1", "tx_dropped", 2)],
                drops: &[(NODE, "veth1", "QDISC_DROP", 2)],
                ..Moved::default()
            },
            alone("observe-device", "veth1"),
        ),
        (
            "another pod's packets",
            Moved {
                pods: &[("IpInAddrErrors", 2)],
                ..Moved::default()
            },
            alone("observe-misdelivered", "shop/web"),
        ),
        (
            "damaged on the way to the pod",
            Moved {
                pods: &[("UdpInCsumErrors", 2)],
                drops: &[(POD, "", "UDP_CSUM", 2)],
                ..Moved::default()
            },
            alone("observe-checksum", "shop/web"),
        ),
        (
            "no time",
            Moved {
                softnet: &[("processed", 1000), ("dropped", 2)],
                ..Moved::default()
            },
            alone("observe-backlog", "its processors"),
        ),
        (
            "no room for connections",
            Moved {
                conntrack: &[("drop", 2), ("early_drop", 1)],
                ..Moved::default()
            },
            alone("observe-tracking", "connection tracking"),
        ),
    ];
    for (fault, moved, expected) in cases {
        assert_eq!(found(&moved), expected, "{fault}");
    }
}

/// What a node that nothing is wrong with shows as well.
const USUAL: Moved = Moved {
    protocols: &[("UdpNoPorts", 3), ("IpInReceives", 1000), ("Icmp6OutMLDv2Reports", 2)],
    conntrack: &[("found", 3), ("invalid", 4), ("search_restart", 1)],
    devices: &[
        ("vx0", "tx_dropped", 2),
        ("eth0", "rx_dropped", 7),
        ("vx0", "rx_packets", 9),
    ],
    pods: &[("UdpNoPorts", 1), ("TcpOutRsts", 2)],
    softnet: &[("processed", 1000), ("time_squeeze", 3)],
    drops: &[
        (NODE, "eth0", "NO_SOCKET", 3),
        (NODE, "eth0", "NETFILTER_DROP", 5),
        (NODE, "vx0", "NO_TX_TARGET", 2),
        (NODE, "eth0", "OTHERHOST", 4),
        (NODE, "eth0", "TCP_OLD_SEQUENCE", 1),
        (POD, "", "QUEUE_PURGE", 1),
        (ELSEWHERE, "", "IP_INNOROUTES", 8),
    ],
    lost: Some(0),
};

#[test]
fn a_healthy_node_has_no_findings() {
    assert_eq!(found(&USUAL), Named::new());
}

#[test]
fn where_probes_are_lost_what_is_usual_becomes_a_trace() {
    let ids: BTreeSet<&str> = found(&Moved { lost: Some(2), ..USUAL })
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(
        ids,
        BTreeSet::from(["observe-firewall", "observe-no-socket", "observe-probes-lost"])
    );
}

#[test]
fn what_the_state_explains_follows_from_it() {
    let evidence = evidence(&Moved {
        devices: &[("vx0", "tx_dropped", 2)],
        lost: Some(3),
        ..Moved::default()
    });
    let state = |found| Differences {
        found,
        unchecked: Vec::new(),
    };
    let missing = Found::new("verify-fdb-missing", "0a:58:0a:00:02:00", "there", "missing").on("vx0");
    let other_device = Found::new("verify-neighbour-missing", "10.0.2.0", "there", "missing").on("eth0");
    let there = Found::new("verify-overlay-mac", "vx0", "0a", "0b").on("vx0");
    let judgement = Judgement {
        network: None,
        nodes: BTreeMap::from([
            ("n1".to_owned(), state(vec![other_device, missing])),
            ("n2".to_owned(), state(vec![there])),
        ]),
    };
    let judgement = with_observed(judgement, &evidence);
    let found = &judgement.nodes["n1"].found;
    let observed: Vec<(&str, Option<usize>)> = found[2..].iter().map(|one| (one.id, one.follows)).collect();
    assert_eq!(
        observed,
        [
            ("observe-tunnel-undeliverable", Some(1)),
            ("observe-probes-lost", Some(0))
        ]
    );
    // What the other end has is told with the probes.
    let seen = &found[3].seen;
    assert!(
        seen[0].contains("shop/web to shop/db 10.0.2.2: 0 of 3 answered"),
        "{seen:?}"
    );
    assert_eq!(seen[1], "node/n2 vx0: verify-overlay-mac");
    assert!(
        found
            .iter()
            .all(|one| one.id != "observe-tunnel-undeliverable" || one.actual == "tx_dropped +2")
    );
}

#[test]
fn what_was_not_observed_is_told() {
    let mut evidence = evidence(&USUAL);
    let interval = evidence.observed.as_mut().unwrap();
    interval
        .nodes
        .insert("n1".to_owned(), Err("its agent is gone".to_owned()));
    let judgement = with_observed(judge(&evidence), &evidence);
    let unchecked = judgement.nodes["n1"].unchecked.iter();
    let of_it: Vec<&str> = unchecked
        .filter(|one| one.group == Group::Observed)
        .map(|one| one.why.as_str())
        .collect();
    assert_eq!(of_it, ["its agent is gone"]);
}

#[test]
fn the_report_tells_where_packets_died() {
    let report = ObservedReport::new(&evidence(&USUAL)).unwrap();
    let [row] = report.nodes.as_slice() else {
        panic!("{report:?}")
    };
    assert_eq!((row.dropped, row.unattributed), (7, 8));
    assert_eq!(row.why(1), "NETFILTER_DROP 5 (eth0), 1 more");
    assert_eq!(row.why(3), "NETFILTER_DROP 5 (eth0), NO_TX_TARGET 2 (vx0)");
    assert_eq!(row.reasons.iter().filter(|one| one.usual).count(), 4);
    assert_eq!(row.counters["node"].devices["eth0"], numbers(&[("rx_dropped", 7)]));
    assert_eq!(
        row.counters["shop/web"].protocols,
        numbers(&[("TcpOutRsts", 2), ("UdpNoPorts", 1)])
    );
    assert_eq!((report.probes[0].sent, report.probes[0].answered), (3, 3));

    let mut without = evidence(&USUAL);
    let interval = without.observed.as_mut().unwrap();
    interval
        .nodes
        .get_mut("n1")
        .unwrap()
        .as_mut()
        .unwrap()
        .observation
        .drops = Err("too old".to_owned());
    let report = ObservedReport::new(&without).unwrap();
    assert_eq!(report.nodes[0].why(3), "not available: too old");
}

#[test]
fn people_see_a_column_and_a_table_of_it() {
    let evidence = evidence(&Moved {
        drops: &[(NODE, "eth0", "NETFILTER_DROP", 5), (ELSEWHERE, "", "IP_INNOROUTES", 8)],
        lost: Some(1),
        ..Moved::default()
    });
    let judgement = with_observed(judge(&evidence), &evidence);
    let text = |observed| {
        let report = VerifyReport::new(
            Metadata::default(),
            Spec::default(),
            String::new(),
            &judgement,
            observed,
        );
        text::table(&report, None)
    };
    let with = text(ObservedReport::new(&evidence));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<Vec<String>> = with.lines().map(words).collect();
    assert_eq!(lines[0].last().unwrap(), "OBSERVED");
    assert_eq!(lines[1].last().unwrap(), "warn");
    assert_eq!(lines[3], ["NODE", "PACKETS", "DROPPED", "WHY", "UNATTRIBUTED"]);
    assert_eq!(lines[4], ["n1", "5", "NETFILTER_DROP", "5", "(eth0)", "8"]);
    assert!(
        with.contains("observed for 5s: 2 of 3 echo requests between nodes' pods answered"),
        "{with}"
    );
    assert!(
        with.contains("node/n1 its network: warning: A firewall drops packets (observe-firewall)"),
        "{with}"
    );
    let without = text(None);
    assert!(
        !without.contains("OBSERVED") && !without.contains("UNATTRIBUTED"),
        "{without}"
    );
}

#[test]
fn every_two_nodes_with_pods_are_probed_both_ways() {
    let nodes: Vec<String> = (1..=3).map(|number| format!("n{number}")).collect();
    let objects = Objects {
        pods: vec![
            pod("n1", "b", &["10.0.1.3"]),
            pod("n1", "a", &["10.0.1.2", "fd00:1::2"]),
            pod("n2", "c", &["10.0.2.2", "fd00:2::2"]),
            pod("n3", "not-reached", &["10.0.3.2"]),
        ],
        ..Objects::default()
    };
    let pairs = pairs(&objects, &nodes, |pod| pod.name != "not-reached");
    let ways: Vec<(&str, Option<&str>, String)> = pairs
        .iter()
        .map(|pair| {
            (
                pair.from.0,
                pair.from.1.map(|pod| pod.name.as_str()),
                pair.address.to_string(),
            )
        })
        .collect();
    let way = |from, pod, to: &str| (from, pod, to.to_owned());
    assert_eq!(
        ways,
        [
            way("n1", Some("a"), "10.0.2.2"),
            way("n1", Some("a"), "fd00:2::2"),
            way("n3", None, "10.0.1.2"),
            way("n3", None, "fd00:1::2"),
            way("n2", Some("c"), "10.0.1.2"),
            way("n2", Some("c"), "fd00:1::2"),
            way("n3", None, "10.0.2.2"),
            way("n3", None, "fd00:2::2"),
        ]
    );
}

#[test]
fn the_limit_leaves_each_node_some() {
    let nodes: Vec<String> = (1..=60).map(|number| format!("n{number}")).collect();
    let pods = nodes
        .iter()
        .map(|node| pod(node, &format!("p-{node}"), &["10.0.0.1"]))
        .collect();
    let objects = Objects {
        pods,
        ..Objects::default()
    };
    let pairs = pairs(&objects, &nodes, |_| true);
    assert_eq!(pairs.len(), super::pairs::MOST);
    let sources: BTreeSet<&str> = pairs.iter().map(|pair| pair.from.0).collect();
    let targets: BTreeSet<&str> = pairs.iter().map(|pair| pair.to.node.as_str()).collect();
    assert_eq!((sources.len(), targets.len()), (60, 60));
}

#[test]
fn a_pod_that_ended_meanwhile_has_lost_nothing() {
    let pod = |name: &str, running| PodObject {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        running,
        ..PodObject::default()
    };
    let end = |name: &str| End {
        node: "n1".to_owned(),
        pod: Some(format!("shop/{name}")),
    };
    let probed = |to: &str, answered| Probed {
        from: end("web"),
        to: end(to),
        address: "10.244.1.2".parse().unwrap(),
        sent: 3,
        answered,
        error: None,
    };
    let mut interval = Interval {
        probes: vec![probed("job", 1), probed("api", 3)],
        ..Interval::default()
    };
    assert!(interval.has_losses());
    interval.without_ended(&Objects {
        pods: vec![pod("web", true), pod("api", true), pod("job", false)],
        ..Objects::default()
    });
    assert!(!interval.has_losses());
    assert_eq!((interval.probes.len(), interval.not_probed.len()), (1, 1));
}

#[test]
fn wrong_checksums_are_of_an_old_kernels_tunnel_if_it_is_one() {
    const OLD: &str = "5.4.0-42-generic";
    let told = |kernel: &str, moved: &[(&str, u64)]| {
        let mut evidence = evidence(&Moved {
            protocols: moved,
            ..Moved::default()
        });
        let record = &mut evidence.nodes.get_mut("n1").unwrap().as_mut().unwrap().record;
        kernel.clone_into(&mut record.kernel);
        let device = Device {
            features: ["tx-checksumming".to_owned()].into(),
            ..Device::default()
        };
        record.node.devices.insert("vx0".to_owned(), device);
        let judgement = with_observed(judge(&evidence), &evidence);
        let found = judgement.nodes["n1"].found.clone();
        let told = found.iter().map(|one| (one.id, one.follows.map(|root| found[root].id)));
        told.collect::<Vec<_>>()
    };
    let wrong = [("UdpInCsumErrors", 3)];
    let (root, sign) = ("verify-overlay-checksum", "observe-checksum");
    assert_eq!(told(OLD, &wrong), [(root, None), (sign, Some(root))]);
    assert_eq!(told("6.1.0-18-amd64", &wrong), [(sign, None)]);
    // A version alone proves nothing.
    assert_eq!(told(OLD, &[]), []);
}
