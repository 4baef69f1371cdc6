//! Each node of each golden vector, made by the daemon and the plugin in a namespace of its own.

use crate::{
    held::{Held, Identities, pod_differences},
    node::{Node, attachments, node_of, plugin},
    vector::{self, configure, words},
};
use libtest_mimic::Trial;
use netcheck_cni_daemon::{cluster::View, keeper::Outcome};
use netcheck_trials::{Need, trial};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs};

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    let names = vector::names();
    assert!(names.len() >= 10, "{names:?}");
    let one = |name: String| trial(&format!("golden::{name}"), needs, move || every_node(&name));
    let mut trials: Vec<Trial> = names.into_iter().map(one).collect();
    trials.push(trial(
        "golden::configuration_comes_last",
        needs,
        configuration_comes_last,
    ));
    trials
}

fn every_node(name: &str) {
    let vector = vector::read(name);
    for (node, expected) in vector["expected"].as_object().unwrap() {
        one_node(&format!("{name} {node}"), &vector, node, expected);
    }
}

fn one_node(place: &str, vector: &Value, name: &str, expected: &Value) {
    let view = vector::view(vector);
    let mut node = Node::furnished(node_of(vector, name));
    let before = vector["before"].get(name);
    if let Some(before) = before {
        put(&node, &before["foreign"]);
    }
    let baseline = node.held();
    let is_accepted = expected["accepted"].as_bool().unwrap();
    let pods = attachments(vector, name);
    if !is_accepted && !pods.is_empty() {
        // Its pods are from a time when it was.
        node.settle(&alone(&view, name));
        add_all(&mut node, &pods);
    }
    node.settle(&view);
    if is_accepted {
        add_all(&mut node, &pods);
    }
    if let Some(before) = before {
        put(&node, &before["stale"]);
        assert_ne!(
            node.held().differences(&baseline, expected),
            "",
            "{place}: nothing is stale"
        );
    }
    let outcome = node.settle(&view);
    judge(place, &node, &baseline, expected, &outcome);

    let identities = Identities::of(&node.sandbox);
    let idle = node.settle(&view);
    assert_eq!(idle.applied.total(), 0, "{place}: {:?}", idle.applied);
    node.restart_daemon();
    let first_of_next = node.settle(&view);
    assert_eq!(first_of_next.applied.total(), 0, "{place}: {:?}", first_of_next.applied);
    assert_eq!(Identities::of(&node.sandbox), identities, "{place}");
    judge(place, &node, &baseline, expected, &first_of_next);
    verbs(place, &mut node, vector, expected);
}

fn add_all(node: &mut Node, pods: &[&Value]) {
    for attachment in pods {
        let (status, said) = node.add(attachment);
        assert_eq!(status, 0, "{said}");
    }
}

/// A cluster of this node alone, without an overlay.
fn alone(view: &View, name: &str) -> View {
    let mut view = view.clone();
    view.nodes.as_mut().unwrap().retain(|node, _| node == name);
    configure(&mut view, "backend", "host-gw");
    view
}

/// The whole of what a vector expects of a node.
pub fn judge(place: &str, node: &Node, baseline: &Held, expected: &Value, outcome: &Outcome) {
    let found = node.held().differences(baseline, expected);
    assert_eq!(found, "", "{place}");
    for (key, inside) in expected["pods"].as_object().into_iter().flatten() {
        assert_eq!(pod_differences(&node.pods[key], inside), "", "{place} {key}");
    }
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        let was_accepted = !node.pods.is_empty();
        match expected["sysctls"].get(key) {
            Some(value) => assert_eq!(node.sysctl(key), words(value), "{place} {key}"),
            None => assert!(was_accepted || node.sysctl(key) == "0", "{place}: {key} was changed"),
        }
    }
    assert_eq!(node.json("node.json"), expected["nodeJson"], "{place}");
    assert_eq!(json!(outcome.annotations), expected["annotations"], "{place}");
    let degraded: BTreeSet<String> = outcome.degraded.iter().map(ToString::to_string).collect();
    let wanted: BTreeSet<String> = serde_json::from_value(expected["degraded"].clone()).unwrap();
    assert_eq!(degraded, wanted, "{place}");
    let by_node = |list: &Value| {
        let mut list = list.as_array().unwrap().clone();
        list.sort_by_key(|one| one["node"].to_string());
        list
    };
    let state = node.json("state.json");
    assert_eq!(
        by_node(&state["refused"]),
        by_node(&expected["refusedPeers"]),
        "{place}"
    );
    let is_accepted = expected["accepted"].as_bool().unwrap();
    let unavailable = outcome
        .conditions
        .iter()
        .find(|one| one.kind == "NetworkUnavailable")
        .unwrap();
    let reason = expected.get("reason").map_or("NetcheckCniReady".to_owned(), words);
    assert_eq!(
        (unavailable.status, &unavailable.reason),
        (!is_accepted, &reason),
        "{place}"
    );
}

fn has_conflist(node: &Node) -> bool {
    node.places().conf.join("05-netcheck.conflist").exists()
}

/// A runtime that finds the configuration starts pods: it must not be there before the plugin can read the node's state.
fn configuration_comes_last() {
    let vector = vector::read("02-dual-stack-vxlan");
    let view = vector::view(&vector);
    let mut node = Node::furnished(node_of(&vector, "n1"));
    let state = node.places().state;
    for in_the_way in [state.clone(), state.join("node.json")] {
        // Neither a folder nor a file can be where one of the other kind is.
        let is_folder = in_the_way == state;
        if is_folder {
            fs::write(&in_the_way, b"").unwrap();
        } else {
            fs::create_dir_all(in_the_way.join("x")).unwrap();
        }
        let outcome = node.pass(&view);
        assert!(!outcome.applied.failed.is_empty());
        assert!(outcome.not_ready.is_some());
        assert!(!has_conflist(&node), "{}", in_the_way.display());
        if is_folder {
            fs::remove_file(&in_the_way).unwrap();
        } else {
            fs::remove_dir_all(&in_the_way).unwrap();
        }
    }
    assert_eq!(node.settle(&view).not_ready, None);
    assert!(has_conflist(&node));
}

/// What a runtime is told.
fn verbs(place: &str, node: &mut Node, vector: &Value, expected: &Value) {
    let is_accepted = expected["accepted"].as_bool().unwrap();
    let installed = fs::read(node.places().bin.join("netcheck-cni")).unwrap();
    assert!(
        installed == fs::read(plugin()).unwrap(),
        "{place}: the installed plugin is another one"
    );
    let (status, said) = node.call("STATUS", &[], &Value::Null);
    // Once there it stays: without it the runtime could not end pods from when the node was accepted.
    let was_accepted = !node.pods.is_empty();
    assert_eq!(has_conflist(node), is_accepted || was_accepted, "{place}");
    if is_accepted {
        assert_eq!((status, said), (0, Value::Null), "{place}");
    } else {
        assert_eq!((status, &said["code"]), (1, &json!(51)), "{place}: {said}");
        assert!(
            said["msg"].to_string().contains(expected["reason"].as_str().unwrap()),
            "{place}: {said}"
        );
        let another = json!({
            "key": "netcheck@ffff0000@eth0", "ips": [], "pod": { "namespace": "default", "name": "late", "uid": "" }
        });
        let (status, said) = node.add(&another);
        assert_eq!((status, &said["code"]), (1, &json!(11)), "{place}: {said}");
    }
    for attachment in attachments(vector, &node.name.clone()) {
        node.del(attachment);
    }
    let left = fs::read_dir(node.places().state.join("att")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{place}");
}

/// Puts words of a vector into a namespace.
fn put(node: &Node, kernel: &Value) {
    let all = |kind: &str| kernel.get(kind).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut commands = String::new();
    let mut command = |words: &str| {
        commands.push_str(words);
        commands.push('\n');
    };
    for link in all("links") {
        assert_eq!(link["linkinfo"]["info_kind"], "veth");
        command(&format!(
            "ip link add {} type veth peer name foreign",
            words(&link["ifname"])
        ));
    }
    for route in all("routes") {
        let pairs = [("gateway", "via"), ("dev", "dev"), ("protocol", "proto")];
        let given = pairs.map(|(key, word)| format!("{word} {}", words(&route[key])));
        let is_onlink = route.get("flags").is_some();
        let onlink = if is_onlink { "onlink" } else { "" };
        command(&format!(
            "ip route add {} {} {onlink}",
            words(&route["dst"]),
            given.join(" ")
        ));
    }
    for neighbour in all("neighbours") {
        let protocol = neighbour
            .get("protocol")
            .map_or(String::new(), |it| format!("protocol {}", words(it)));
        let [ip, mac, device] = ["dst", "lladdr", "dev"].map(|key| words(&neighbour[key]));
        command(&format!(
            "ip neigh add {ip} lladdr {mac} dev {device} nud permanent {protocol}"
        ));
    }
    for entry in all("fdb") {
        let [mac, ip] = ["mac", "dst"].map(|key| words(&entry[key]));
        command(&format!("bridge fdb add {mac} dst {ip} dev ncvx0 self permanent"));
    }
    for table in all("nftTables") {
        command(&format!("nft add table {}", words(&table)));
    }
    node.sandbox.run(&commands);
}
