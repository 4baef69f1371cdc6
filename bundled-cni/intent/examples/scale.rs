//! How long one node takes to find out its state in a large cluster, and what differs: `scale [NODES]`, 5,000 unless told.
//!
//! Prints a line each for the first pass (nothing is there), a pass that finds nothing to do, and one in which a node left.
#![allow(clippy::print_stdout, reason = "its figures are its output")]
#![allow(
    clippy::unwrap_used,
    reason = "it measures its own cluster; what does not work there ends it"
)]

use netcheck_cni_intent::{
    Actual, Config, Desired, Inputs, LocalAddress, NodeObject, PerFamily, bpf::BpfMaps, diff, intent, simulate,
};
use netcheck_node_state::{Link, LinkKind};
use std::{collections::BTreeMap, time::Instant};

fn node(number: usize) -> NodeObject {
    let (high, low) = (number / 200, number % 200);
    let ip = format!("172.16.{high}.{}", low + 1);
    NodeObject {
        name: format!("node-{number:05}"),
        created: format!(
            "2026-01-01T{:02}:{:02}:{:02}Z",
            number / 3600,
            number / 60 % 60,
            number % 60
        ),
        pod_cidrs: vec![
            format!("10.{}.{low}.0/24", 128 + high),
            format!("fd00:10:{high:x}:{low:x}::/64"),
        ],
        annotations: BTreeMap::from([
            ("cni.netcheck.dev/underlay".to_owned(), format!("{ip}/16")),
            ("cni.netcheck.dev/mtu".to_owned(), "1500".to_owned()),
        ]),
        internal_ips: vec![ip],
        ..NodeObject::default()
    }
}

fn timed<T>(what: &str, job: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = job();
    println!("{what:<34} {:8.1} ms", start.elapsed().as_secs_f64() * 1000.0);
    result
}

fn pass(nodes: &[NodeObject], config: &Config, actual: &Actual) -> (Desired, usize, Vec<netcheck_cni_intent::Delta>) {
    let local = PerFamily {
        ipv4: Some(LocalAddress {
            device: "eth0".to_owned(),
            address: "172.16.0.1/16".parse().unwrap(),
            mtu: 1500,
        }),
        ipv6: None,
    };
    let inputs = Inputs {
        own: "node-00000",
        nodes,
        config,
        refused_config: &[],
        local: &local,
        attachments: &[],
    };
    let desired = intent(&inputs).unwrap();
    let found = diff(&desired, actual);
    let peers = desired.peers.len();
    (desired, peers, found.deltas)
}

fn main() {
    let count: usize = std::env::args().nth(1).map_or(5000, |word| word.parse().unwrap());
    let mut nodes: Vec<NodeObject> = (0..count).map(node).collect();
    let data = [("clusterCIDRs", "10.128.0.0/9,fd00:10::/32")];
    let data = data.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let config = Config::parse(&BTreeMap::from(data)).unwrap();
    let mut actual = Actual {
        bpf: Some(BpfMaps::default()),
        ..Actual::default()
    };
    let uplink = Link {
        mac: None,
        mtu: 1500,
        is_up: true,
        alias: None,
        makes_link_local: Some(true),
        kind: LinkKind::Other(String::new()),
    };
    actual.net.links.insert("eth0".to_owned(), uplink);

    let (_, peers, deltas) = timed("intent + diff, nothing there", || pass(&nodes, &config, &actual));
    println!("{peers} peers, {} differences", deltas.len());
    for delta in &deltas {
        simulate::apply(&mut actual, &delta.mend).unwrap();
    }
    let (_, _, deltas) = timed("intent + diff, nothing to do", || pass(&nodes, &config, &actual));
    println!("{} differences", deltas.len());
    nodes.pop();
    let (_, _, deltas) = timed("intent + diff, a node left", || pass(&nodes, &config, &actual));
    println!("{} differences", deltas.len());
}
