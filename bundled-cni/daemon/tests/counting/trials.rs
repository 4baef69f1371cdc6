//! What a user would notice.

use crate::{
    node::Node,
    shell::{all, json, run},
    vector::{Entries, address, hex, maps},
};
use netcheck_cni_daemon::{events, keeper::Outcome, metrics::Metrics, uninstall::uninstall};
use netcheck_node_state::within;
use netcheck_trials::wait_for;
use serde_json::Value;
use std::{collections::BTreeSet, fs, net::UdpSocket, sync::Arc};

const DUAL: &str = "02-dual-stack-vxlan";
const PROGRAMS: [&str; 6] = [
    "nc_pod_from",
    "nc_pod_to",
    "nc_vx_out",
    "nc_vx_in",
    "nc_ul_out",
    "nc_ul_in",
];

fn degraded(outcome: &Outcome) -> Vec<String> {
    outcome.degraded.iter().map(ToString::to_string).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// Numbers of this node's programs.
fn programs(node: &Node) -> BTreeSet<u64> {
    let id = |name: &str| {
        let shown = json(&format!(
            "bpftool -j prog show pinned {}/progs/{name}",
            node.root().display()
        ));
        shown["id"].as_u64().unwrap()
    };
    PROGRAMS.into_iter().map(id).collect()
}

/// How many links in the kernel run one of these programs.
fn links_of(programs: &BTreeSet<u64>) -> usize {
    all("link")
        .iter()
        .filter(|link| programs.contains(&link["prog_id"].as_u64().unwrap()))
        .count()
}

fn is_gone(programs: &BTreeSet<u64>) -> bool {
    all("prog")
        .iter()
        .all(|program| !programs.contains(&program["id"].as_u64().unwrap()))
}

/// Sends a few packets into the tunnel to n2; nobody answers.
fn send(node: &Node, count: usize) {
    node.sandbox
        .run(&format!("ping -q -c {count} -i 0.01 -W 0.01 10.244.2.2 || true"));
}

fn veth_and_tunnel(node: &Node) -> BTreeSet<String> {
    let links = node.expected()["links"].as_array().unwrap().iter();
    let devices = links.map(|link| link["ifname"].as_str().unwrap());
    devices
        .flat_map(|device| [format!("{device}_in"), format!("{device}_out")])
        .collect()
}

pub fn maps_hold_what_the_vector_says() {
    let mut node = Node::new(DUAL, true);
    let outcome = node.settle(&[]);
    assert_eq!(degraded(&outcome), [""; 0]);
    assert_eq!(node.said(), "tcx");
    // Configuration; two peers; two addresses in two maps; two prefixes of three nodes; two hooks of two devices.
    assert_eq!(outcome.applied.made["bpf"], 1 + 2 + 2 * 2 + 2 * 3 + 2 * 2);
    let wanted = maps(&node.expected()["bpf"], |device| node.ifindex(device));
    assert_eq!(node.held(), wanted);
    assert_eq!(node.links(), veth_and_tunnel(&node));
    assert_eq!(links_of(&programs(&node)), 4);
    node.idle(&[]);

    // A peer leaves; what it counted goes with it, and the others' counts stay.
    send(&node, 3);
    let sent = node.sent_to("192.0.2.12");
    assert!(sent >= 3, "{sent}");
    let metrics = Metrics::new(node.root()).text().unwrap();
    let line = format!("netcheck_cni_peer_packets_total{{peer=\"192.0.2.12\",direction=\"sent\"}} {sent}\n");
    assert!(metrics.contains(&line), "{metrics}");
    assert!(
        metrics.contains("netcheck_cni_hook_packets_total{reason=\"tunnel_to_no_peer\"} 0\n"),
        "{metrics}"
    );
    node.settle(&[("eventSample", "0")]);
    assert_eq!(node.held(), wanted);
    assert_eq!(node.sent_to("192.0.2.12"), sent);

    // Somebody falsifies the maps.
    let root = node.root();
    run(&format!(
        "bpftool map delete pinned {}/maps/nc_node key hex 78 00 00 00 00 00 00 00 00 00 00 00 00 00 ff ff 0a f4 02 00",
        root.display()
    ));
    assert_ne!(node.held(), wanted);
    let outcome = node.settle(&[("eventSample", "0")]);
    assert_eq!(outcome.applied.made["bpf"], 1);
    assert_eq!(node.held(), wanted);
}

pub fn a_device_made_anew_is_counted_again() {
    let mut node = Node::new(DUAL, true);
    node.settle(&[]);
    let before = node.ifindex("ncvx0");
    node.sandbox.run("ip link del ncvx0");
    // By hand, and bare.
    node.sandbox.run(
        "ip link add ncvx0 type vxlan id 4242 dstport 8472 local 192.0.2.11 dev eth0 nolearning
              ip link set ncvx0 alias 'netcheck-cni v1'",
    );
    let outcome = node.settle(&[]);
    assert_ne!(node.ifindex("ncvx0"), before);
    // Configuration and two hooks.
    assert_eq!(outcome.applied.made["bpf"], 3, "{:?}", outcome.applied);
    assert_eq!(node.links(), veth_and_tunnel(&node));
    assert_eq!(links_of(&programs(&node)), 4);
    let sent = node.sent_to("192.0.2.12");
    send(&node, 3);
    assert!(node.sent_to("192.0.2.12") >= sent + 3);
    let (_, config) = node.map("nc_cfg").into_iter().next().unwrap();
    let index: String = node
        .ifindex("ncvx0")
        .to_ne_bytes()
        .map(|byte| format!("{byte:02x}"))
        .concat();
    // The device's number, and the node's own ranges: 96 + 24 and 64 bits long.
    let ranges = [(120_u32, "10.244.1.0"), (64, "fd00:10:244:1::")];
    let ranges = ranges.map(|(length, ip)| hex(&length.to_ne_bytes()) + &address(ip));
    assert_eq!(config[24..], index + &ranges.concat());
    node.idle(&[]);

    // A pod's interface is gone: it is left out, and nothing of it stays.
    node.sandbox.run("ip link del nc53ffe5c7906");
    node.settle(&[]);
    assert_eq!(node.links(), names(&["ncvx0_in", "ncvx0_out"]));
    assert_eq!(node.map("nc_ep"), Entries::new());
}

pub fn pins_that_were_removed_come_back() {
    let mut node = Node::new(DUAL, true);
    node.settle(&[]);
    let old = programs(&node);
    fs::remove_dir_all(&node.places.bpf).unwrap();
    node.settle(&[]);
    let wanted = maps(&node.expected()["bpf"], |device| node.ifindex(device));
    assert_eq!(node.held(), wanted);
    let new = programs(&node);
    assert_eq!(links_of(&new), 4);
    assert!(old.is_disjoint(&new));
    wait_for("the end of the old programs", || is_gone(&old));
    node.idle(&[]);
}

pub fn off_leaves_nothing() {
    let mut node = Node::new(DUAL, true);
    node.settle(&[]);
    let ours = programs(&node);
    let off = [("ebpf", "off")];
    let outcome = node.settle(&off);
    assert_eq!(degraded(&outcome), ["BpfOff"]);
    assert_eq!(node.said(), "off: ConfigMap says ebpf: off");
    assert!(!node.places.bpf.exists());
    assert_eq!(links_of(&ours), 0);
    wait_for("the end of the programs", || is_gone(&ours));
    node.idle(&off);

    let outcome = node.settle(&[]);
    assert_eq!(degraded(&outcome), [""; 0]);
    assert_eq!(node.said(), "tcx");
    assert_eq!(links_of(&programs(&node)), 4);
}

pub fn without_a_bpf_filesystem_all_else_is_there() {
    let mut node = Node::new(DUAL, false);
    let outcome = node.settle(&[]);
    assert_eq!(degraded(&outcome), ["BpfOff"]);
    let condition = outcome
        .conditions
        .iter()
        .find(|condition| condition.reason == "BpfOff")
        .unwrap();
    assert!(condition.message.contains("mount -t bpf"), "{condition:?}");
    assert!(node.said().starts_with("off: no BPF filesystem at "), "{}", node.said());
    assert!(!node.places.bpf.exists());
    assert_eq!(outcome.not_ready, None);
    assert!(outcome.annotations.contains_key("cni.netcheck.dev/config"));
    let routes = node
        .sandbox
        .run("{ ip -j -4 route show table main; ip -j -6 route show table main; }");
    let routes = serde_json::Deserializer::from_str(&routes).into_iter::<Vec<Value>>();
    let ours = routes
        .flat_map(Result::unwrap)
        .filter(|route| route["protocol"] == "147");
    assert_eq!(ours.count(), node.expected()["routes"].as_array().unwrap().len());
    node.idle(&[]);
    let metrics = Metrics::new(node.root()).text().unwrap();
    assert!(!metrics.contains("netcheck_cni_peer_packets"), "{metrics}");
}

pub fn uplinks_count_while_a_peer_is_direct() {
    let mut node = Node::new("04-host-gw", true);
    node.settle(&[]);
    let wanted = maps(&node.expected()["bpf"], |device| node.ifindex(device));
    assert_eq!(node.held(), wanted);
    assert!(
        node.links().is_superset(&names(&["eth0_in", "eth0_out"])),
        "{:?}",
        node.links()
    );
    assert!(!node.links().contains("ncvx0_in"));
    node.settle(&[("backend", "vxlan")]);
    assert!(
        node.links().is_disjoint(&names(&["eth0_in", "eth0_out"])),
        "{:?}",
        node.links()
    );
    assert!(
        node.links().is_superset(&names(&["ncvx0_in", "ncvx0_out"])),
        "{:?}",
        node.links()
    );
    node.idle(&[("backend", "vxlan")]);
}

/// Sum of a counter over all of its labels but one reason.
fn sum(text: &str, name: &str, except: &str) -> u64 {
    let lines = text
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("netcheck_cni_{name}{{reason=\"")));
    let others = lines.filter(|line| !line.starts_with(&format!("{except}\"")));
    others
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum()
}

pub fn events_are_read() {
    let mut node = Node::new(DUAL, true);
    let metrics = Arc::new(Metrics::new(node.root()));
    // As in the daemon, before there is a ring.
    events::read(node.root(), metrics.clone()).unwrap();
    let each = [("eventSample", "1")];
    node.settle(&each);
    // Each packet at each hook is an event: read are as many as were seen, though the ring has no room for all at once.
    let (mut read, mut seen) = (0, 0);
    while seen < 6000 {
        within(&node.sandbox.netns(), || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            for _ in 0..500 {
                // Where the device has no room just now, one is missing; that many come all the same.
                drop(socket.send_to(b"x", "10.244.2.2:9"));
            }
        })
        .unwrap();
        wait_for("all events", || {
            let text = metrics.text().unwrap();
            read = sum(&text, "events_total", "");
            seen = sum(&text, "hook_packets_total", "event_lost");
            read == seen && read > 0
        });
    }
    let text = metrics.text().unwrap();
    assert!(
        text.contains("netcheck_cni_hook_packets_total{reason=\"event_lost\"} 0\n"),
        "{text}"
    );
    assert!(text.contains("netcheck_cni_events_total{reason=\"seen\"}"), "{text}");

    // Another ring.
    fs::remove_dir_all(&node.places.bpf).unwrap();
    node.settle(&each);
    send(&node, 3);
    wait_for("events of the new ring", || {
        sum(&metrics.text().unwrap(), "events_total", "") > read
    });
}

pub fn uninstall_removes_it_all() {
    let mut node = Node::new(DUAL, true);
    node.settle(&[]);
    let ours = programs(&node);
    within(&node.sandbox.netns(), || uninstall(&node.places, true))
        .unwrap()
        .unwrap();
    assert!(!node.places.bpf.exists());
    // The programs themselves end with the daemon, which still holds them here.
    assert_eq!(links_of(&ours), 0);
}
