//! How long a judgement takes in a large cluster: `cargo bench --bench verify_scale`. Objects and records are decoded already, as `verify` has
//! them when the last agent has answered.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints, and stops at what it did not expect"
)]

#[path = "../packets/ruleset/examples/kube_proxy/mod.rs"]
mod kube_proxy;

use netcheck::verify::{
    evidence::{Evidence, Looked},
    found::Found,
    group::Group,
    judge::judge,
    objects::{Objects, PodObject},
    services::{Endpoint, Readiness, ServiceObject, ServicePort, Services, SliceObject},
};
use netcheck_cni_intent::{Config, Inputs, NodeObject, intent, local::local};
use netcheck_node_state::{
    Address, Link, LinkKind, NetState,
    record::{Device, NodeRecord, Space},
};
use std::{collections::BTreeMap, fs, time::Instant};

const NODES: u32 = 5000;
const PODS_PER_NODE: u32 = 10;
/// As many as a run takes without --max-nodes.
const LOOKED_AT: u32 = 20;
/// With rules for them on each node that is looked at.
const SERVICES: u32 = 1000;
const ENDPOINTS: u32 = 3;

fn node(number: u32) -> NodeObject {
    NodeObject {
        name: format!("node-{number}"),
        uid: format!("uid-{number}"),
        created: format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            number / 3600,
            number / 60 % 60,
            number % 60
        ),
        pod_cidrs: vec![
            format!("10.{}.{}.0/24", 64 + number / 256, number % 256),
            format!("fd00:10:{number:x}::/64"),
        ],
        internal_ips: vec![
            format!("192.168.{}.{}", number / 250, number % 250 + 1),
            format!("2001:db8::{number:x}"),
        ],
        ..NodeObject::default()
    }
}

fn pod(number: u32) -> PodObject {
    let (node, place) = (number / PODS_PER_NODE, number % PODS_PER_NODE + 2);
    PodObject {
        namespace: format!("ns-{}", number % 100),
        name: format!("pod-{number}"),
        uid: format!("{number:032x}"),
        node: format!("node-{node}"),
        ips: vec![
            format!("10.{}.{}.{place}", 64 + node / 256, node % 256)
                .parse()
                .unwrap(),
        ],
        // Their attachments are a matter of their node alone, and few.
        host_network: true,
        running: true,
        ..PodObject::default()
    }
}

/// Services, each with its slice.
fn services() -> Services {
    let ports = |port| {
        vec![ServicePort {
            protocol: "TCP".to_owned(),
            port,
            ..ServicePort::default()
        }]
    };
    let service = |number: u32| ServiceObject {
        namespace: "ns".to_owned(),
        name: format!("svc-{number}"),
        cluster_ips: vec![kube_proxy::address(number)],
        ports: ports(80),
        ..ServiceObject::default()
    };
    let endpoint = |number: u32| Endpoint {
        ip: Some(kube_proxy::endpoint_address(number).into()),
        readiness: Readiness::Ready,
        ..Endpoint::default()
    };
    let slice = |number: u32| SliceObject {
        namespace: "ns".to_owned(),
        service: format!("svc-{number}"),
        ports: ports(8080),
        endpoints: (0..ENDPOINTS)
            .map(|place| endpoint(number * ENDPOINTS + place))
            .collect(),
    };
    Services {
        services: (0..SERVICES).map(service).collect(),
        slices: (0..SERVICES).map(slice).collect(),
    }
}

/// A node that holds what it must.
fn record(objects: &Objects, own: &NodeObject) -> NodeRecord {
    let config = Config::parse(objects.bundled.as_ref().unwrap()).unwrap();
    let mut net = NetState::default();
    let underlay = Link {
        mac: None,
        mtu: 1500,
        is_up: true,
        alias: None,
        makes_link_local: None,
        kind: LinkKind::Other(String::new()),
    };
    net.links.insert("eth0".to_owned(), underlay);
    for (ip, prefix) in own.internal_ips.iter().zip([16, 64]) {
        net.addresses.insert(Address {
            interface: "eth0".to_owned(),
            ip: ip.parse().unwrap(),
            prefix,
        });
    }
    let desired = intent(&Inputs {
        own: &own.name,
        nodes: &objects.nodes,
        config: &config,
        refused_config: &[],
        local: &local(&net, &own.internal_ips),
        attachments: &[],
    })
    .unwrap();
    net.links.extend(desired.net.links);
    net.addresses.extend(desired.net.addresses);
    net.routes.extend(desired.net.routes);
    net.neighbours.extend(desired.net.neighbours);
    net.fdb.extend(desired.net.fdb);
    let devices = net.links.keys().zip(1..);
    let devices = devices.map(|(name, index)| {
        let device = Device {
            index,
            ..Device::default()
        };
        (name.clone(), device)
    });
    let sysctls = desired.sysctls.keys().into_iter().map(|key| (key, "1".to_owned()));
    NodeRecord::of(Space {
        devices: devices.collect(),
        sysctls: sysctls.collect(),
        net,
        ..Space::default()
    })
}

fn main() {
    let config = [("clusterCIDRs", "10.64.0.0/11,fd00:10::/32"), ("ebpf", "off")];
    let objects = Objects {
        nodes: (0..NODES).map(node).collect(),
        pods: (0..NODES * PODS_PER_NODE).map(pod).collect(),
        bundled: Some(config.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
        ..Objects::default()
    };
    let looked = objects.nodes.iter().take(LOOKED_AT as usize).map(|own| {
        let looked = Looked {
            record: record(&objects, own),
            places: BTreeMap::new(),
        };
        (own.name.clone(), Ok(looked))
    });
    let evidence = Evidence {
        taken: String::new(),
        context: None,
        nodes: looked.collect(),
        objects: objects.clone(),
        observed: None,
    };
    let entries: usize = evidence
        .nodes
        .values()
        .flatten()
        .map(|looked| looked.record.node.net.routes.len())
        .sum();
    let start = Instant::now();
    let judgement = judge(&evidence);
    let seconds = start.elapsed().as_secs_f64();
    let found: usize = judgement.nodes.values().map(|node| node.found.len()).sum();
    assert_eq!(
        found,
        0,
        "{:?}",
        judgement.nodes.values().flat_map(|node| &node.found).next()
    );
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap_or_default();
    println!(
        "ours: {NODES} nodes, {} pods in the API; {LOOKED_AT} nodes with {entries} routes judged in {seconds:.2} s; {peak}",
        NODES * PODS_PER_NODE
    );
    with_services(evidence);
    println!("ratio: {seconds:.2}x of the 1 s that is the goal");
}

/// The same with rules for Services, each of which is read and asked on each node.
fn with_services(mut evidence: Evidence) {
    evidence.objects.services = Some(Ok(services()));
    let rules = kube_proxy::rules(SERVICES, ENDPOINTS);
    let lines = rules.lines().count();
    for looked in evidence.nodes.values_mut().flatten() {
        looked.record.nft = Ok(serde_json::json!({ "nftables": [] }));
        let rules = Ok(rules.clone());
        looked.record.iptables.insert("iptables-nft-save".to_owned(), rules);
    }
    let start = Instant::now();
    let judgement = judge(&evidence);
    let seconds = start.elapsed().as_secs_f64();
    for node in judgement.nodes.values() {
        assert_eq!(node.unchecked.iter().find(|one| one.group == Group::Services), None);
        let is_of_services = |one: &&Found| Group::of(one.id) == Group::Services;
        assert_eq!(node.found.iter().find(is_of_services), None);
    }
    println!(
        "ours: with {SERVICES} Services of {ENDPOINTS} endpoints, {lines} lines of rules on each of {LOOKED_AT} nodes: {seconds:.2} s"
    );
}
