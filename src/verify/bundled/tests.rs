//! A node as the intent wants it, then falsified: what the verifier calls it. On a real kernel the catalogue of faults does the same.

use super::*;
use crate::verify::{evidence::Evidence, judge::judge, objects::PodObject, services::Services};
use netcheck_cni_intent::{NodeObject, recorded};
use netcheck_node_state::record::{Device, Entry, NodeRecord};
use netcheck_node_state::{Address, FdbEntry, Link, LinkKind, Neighbour};
use std::collections::BTreeSet;

const CONFIG: [(&str, &str); 3] = [("clusterCIDRs", "10.244.0.0/16"), ("backend", "vxlan"), ("ebpf", "off")];

fn objects() -> Objects {
    let node = |number: u8| NodeObject {
        name: format!("n{number}"),
        uid: format!("u{number}"),
        created: format!("2026-01-01T00:00:0{number}Z"),
        pod_cidrs: vec![format!("10.244.{number}.0/24")],
        internal_ips: vec![format!("192.0.2.1{number}")],
        ..NodeObject::default()
    };
    Objects {
        nodes: vec![node(1), node(2), node(3)],
        pods: vec![PodObject {
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
            uid: "0000aaaa-0000-4000-8000-00000000000a".to_owned(),
            node: "n1".to_owned(),
            ips: vec!["10.244.1.2".parse().unwrap()],
            running: true,
            ..PodObject::default()
        }],
        services: Some(Ok(Services::default())),
        bundled: Some(CONFIG.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..Objects::default()
    }
}

const ATTACHMENT: &str = r#"{"schema": 1, "state": "done", "network": "netcheck", "containerID": "c1", "ifName": "eth0", "netns": "/run/netns/x1",
    "netnsDev": 4, "netnsIno": 42, "ips": ["10.244.1.2"], "mac": "0a:58:0a:f4:01:02", "hostVeth": "nc0", "linkMtu": 1500, "routeMtu": 1450,
    "ipam": "netcheck-cni", "pod": {"namespace": "shop", "name": "web", "uid": "0000aaaa-0000-4000-8000-00000000000a"}, "created": ""}"#;
const KEY: &str = "netcheck@c1@eth0";

fn file(text: &str) -> Entry {
    Entry {
        length: 10,
        mode: 0o755,
        age_seconds: 1000,
        is_link: false,
        text: Some(Ok(text.to_owned())),
    }
}

/// A node that is as it should be.
fn healthy() -> Evidence {
    let objects = objects();
    let underlay = Link {
        mac: None,
        mtu: 1500,
        is_up: true,
        alias: None,
        makes_link_local: None,
        kind: LinkKind::Other(String::new()),
    };
    let mut net = NetState::default();
    net.links.insert("eth0".to_owned(), underlay);
    net.addresses.insert(Address {
        interface: "eth0".to_owned(),
        ip: "192.0.2.11".parse().unwrap(),
        prefix: 24,
    });
    let attachment: recorded::Attachment = serde_json::from_str(ATTACHMENT).unwrap();
    let config = Config::parse(objects.bundled.as_ref().unwrap()).unwrap();
    let desired = intent(&Inputs {
        own: "n1",
        nodes: &objects.nodes,
        config: &config,
        refused_config: &[],
        local: &local(&net, &objects.nodes[0].internal_ips),
        attachments: &[attachment.reduced()],
    })
    .unwrap();
    net.links.extend(desired.net.links.clone());
    net.addresses.extend(desired.net.addresses.clone());
    net.routes.extend(desired.net.routes.clone());
    net.neighbours.extend(desired.net.neighbours.clone());
    net.fdb.extend(desired.net.fdb.clone());
    let devices = net.links.keys().zip(1..);
    let devices = devices.map(|(name, index)| {
        let device = Device {
            index,
            ..Device::default()
        };
        (name.clone(), device)
    });
    let sysctls = desired
        .sysctls
        .keys()
        .into_iter()
        .map(|key| (key, "1".to_owned()))
        .collect();
    let folders = [
        ("/etc/cni/net.d", vec![("05-netcheck.conflist", file("{}"))]),
        ("/opt/cni/bin", vec![("netcheck-cni", file("")), ("loopback", file(""))]),
        ("/run/netcheck-cni", vec![]),
        ("/run/netcheck-cni/att", vec![(KEY, file(ATTACHMENT))]),
        ("/run/netcheck-cni/ipam/ip", vec![("10.244.1.2", file(KEY))]),
        ("/run/netns", vec![("x1", file(""))]),
    ];
    let folders = folders.into_iter().map(|(path, entries)| {
        let entries = entries.into_iter().map(|(name, entry)| (name.to_owned(), entry));
        (path.to_owned(), Ok(entries.collect()))
    });
    let node = Space {
        devices: devices.collect(),
        net,
        sysctls,
        ..Space::default()
    };
    let record = NodeRecord {
        nft: Ok(serde_json::json!({ "nftables": [] })),
        folders: folders.collect(),
        ..NodeRecord::of(node)
    };
    let places = BTreeMap::new();
    Evidence {
        taken: String::new(),
        context: None,
        objects,
        nodes: BTreeMap::from([("n1".to_owned(), Ok(Looked { record, places }))]),
        observed: None,
    }
}

/// Root causes on n1, and how many findings follow from them.
fn found(evidence: &Evidence) -> (BTreeSet<&'static str>, usize) {
    let judgement = judge(evidence);
    let found = &judgement.nodes["n1"].found;
    // The table is not simulated here.
    let found = found.iter().filter(|one| one.id != "verify-nft-missing");
    let (follow, roots): (Vec<_>, Vec<_>) = found.partition(|one| one.follows.is_some());
    (roots.iter().map(|one| one.id).collect(), follow.len())
}

fn looked(evidence: &mut Evidence) -> &mut Looked {
    evidence.nodes.get_mut("n1").unwrap().as_mut().unwrap()
}

/// What a falsification is found as.
fn after(falsify: impl FnOnce(&mut Evidence)) -> (BTreeSet<&'static str>, usize) {
    let mut evidence = healthy();
    falsify(&mut evidence);
    found(&evidence)
}

/// The same of the node's own namespace.
fn after_in_net(falsify: impl FnOnce(&mut NetState)) -> (BTreeSet<&'static str>, usize) {
    after(|evidence| falsify(&mut looked(evidence).record.node.net))
}

fn alone(id: &'static str) -> (BTreeSet<&'static str>, usize) {
    (BTreeSet::from([id]), 0)
}

#[test]
fn a_healthy_node_has_no_findings() {
    assert_eq!(found(&healthy()), (BTreeSet::new(), 0));
}

#[test]
fn each_table_s_faults_have_their_names() {
    let peer = "10.244.2.0/24".parse().unwrap();
    let is_peers = |route: &netcheck_node_state::Route| route.destination == peer;
    assert_eq!(
        after_in_net(|net| net.routes.retain(|route| !is_peers(route))),
        alone("verify-route-missing")
    );
    let wrong = after_in_net(|net| {
        let mut route = net.routes.iter().find(|route| is_peers(route)).unwrap().clone();
        net.routes.remove(&route);
        route.gateway = Some("10.244.3.0".parse().unwrap());
        net.routes.insert(route);
    });
    assert_eq!(wrong, alone("verify-route-wrong"));
    let is_peer = |neighbour: &Neighbour| neighbour.ip.to_string() == "10.244.2.0";
    assert_eq!(
        after_in_net(|net| net.neighbours.retain(|neighbour| !is_peer(neighbour))),
        alone("verify-neighbour-missing")
    );
    let wrong = after_in_net(|net| {
        let entry: FdbEntry = net.fdb.first().unwrap().clone();
        net.fdb.remove(&entry);
        net.fdb.insert(FdbEntry {
            destination: Some("192.0.2.99".parse().unwrap()),
            ..entry
        });
    });
    assert_eq!(wrong, alone("verify-fdb-wrong"));
    assert_eq!(
        after_in_net(|net| net
            .routes
            .retain(|route| route.destination.to_string() != "10.244.1.2/32")),
        alone("verify-pod-route-missing")
    );
}

#[test]
fn what_goes_with_a_device_follows_from_it() {
    let (roots, follow) = after_in_net(|net| {
        net.links.get_mut("ncvx0").unwrap().is_up = false;
        net.routes.retain(|route| route.device.as_deref() != Some("ncvx0"));
        net.neighbours.retain(|neighbour| neighbour.device != "ncvx0");
    });
    // Two peers, a route and a neighbour each.
    assert_eq!((roots, follow), (BTreeSet::from(["verify-overlay-down"]), 4));
    let (roots, follow) = after_in_net(|net| {
        net.links.remove("ncvx0");
        net.addresses.retain(|address| address.interface != "ncvx0");
        net.routes.retain(|route| route.device.as_deref() != Some("ncvx0"));
        net.neighbours.retain(|neighbour| neighbour.device != "ncvx0");
        net.fdb.clear();
    });
    assert_eq!(roots, BTreeSet::from(["verify-overlay-missing"]));
    assert!(follow >= 7, "{follow}");
    let (roots, follow) = after_in_net(|net| {
        net.links.get_mut("ncvx0").unwrap().mac = Some("02:00:00:00:00:01".parse().unwrap());
        net.neighbours.retain(|neighbour| neighbour.device != "ncvx0");
    });
    assert_eq!((roots, follow), (BTreeSet::from(["verify-overlay-mac"]), 2));
}

#[test]
fn the_disk_is_compared_with_the_api() {
    let in_folder = |path: &'static str, falsify: fn(&mut BTreeMap<String, Entry>)| {
        after(|evidence| falsify(looked(evidence).record.folders.get_mut(path).unwrap().as_mut().unwrap()))
    };
    let earlier = in_folder("/etc/cni/net.d", |files| {
        drop(files.insert("00-x.conf".to_owned(), file("{}")));
    });
    assert_eq!(earlier, alone("verify-conf-foreign"));
    assert_eq!(
        in_folder("/etc/cni/net.d", BTreeMap::clear),
        alone("verify-conf-missing")
    );
    assert_eq!(
        in_folder("/opt/cni/bin", |files| files.get_mut("loopback").unwrap().length = 0),
        alone("verify-plugin-missing")
    );
    assert_eq!(
        in_folder("/run/netcheck-cni/ipam/ip", BTreeMap::clear),
        alone("verify-address-lost")
    );
    let gone = after(|evidence| evidence.objects.pods[0].ips = vec!["10.244.1.3".parse().unwrap()]);
    assert_eq!(gone, alone("verify-pod-address"));
    let elsewhere = after(|evidence| evidence.objects.pods[0].ips = vec!["10.88.0.3".parse().unwrap()]);
    assert_eq!(elsewhere.0, BTreeSet::from(["verify-pod-range", "verify-pod-address"]));
}

#[test]
fn the_api_alone_can_be_wrong() {
    let shared = after(|evidence| {
        let mut other = evidence.objects.pods[0].clone();
        other.uid = "other".to_owned();
        other.node = "n2".to_owned();
        other.name = "db".to_owned();
        evidence.objects.pods.push(other);
    });
    assert_eq!(shared, alone("verify-pod-ip-shared"));
    let re_ip = after(|evidence| evidence.objects.nodes[0].internal_ips = vec!["192.0.2.77".to_owned()]);
    assert_eq!(re_ip, alone("verify-internal-ip"));
    let refused = after(|evidence| evidence.objects.nodes[0].pod_cidrs = Vec::new());
    assert!(refused.0.contains("verify-node-refused"), "{refused:?}");
}

#[test]
fn what_was_not_read_is_neither_right_nor_wrong() {
    let mut evidence = healthy();
    looked(&mut evidence).record.nft = Err("nft: no such program".to_owned());
    looked(&mut evidence)
        .record
        .folders
        .insert("/run/netcheck-cni/att".to_owned(), Err("permission denied".to_owned()));
    let judgement = judge(&evidence);
    let unchecked: BTreeSet<Group> = judgement.nodes["n1"].unchecked.iter().map(|one| one.group).collect();
    assert_eq!(unchecked, BTreeSet::from([Group::Firewall, Group::Disk]));
    evidence
        .nodes
        .insert("n2".to_owned(), Err("node n2 is not ready".to_owned()));
    let judgement = judge(&evidence);
    assert_eq!(judgement.nodes["n2"].unchecked.len(), Group::ALL.len() - 1);
}
