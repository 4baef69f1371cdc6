//! A node of a flannel network, with the rules that were recorded on one (`packets/ruleset/tests/recorded`), its API objects and devices by hand.

use crate::verify::{
    evidence::{Evidence, Looked},
    group::Group,
    judge::judge,
    network::Unchecked,
    objects::{Objects, PodObject},
    services::Services,
};
use netcheck_cni_intent::NodeObject;
use netcheck_node_state::{
    Address, Link, LinkKind, NetState, Route, RouteKind, Vxlan,
    record::{NodeRecord, Space},
};
use std::collections::{BTreeMap, BTreeSet};

/// kube-proxy's rules in iptables mode, and flannel's.
pub const RULES: &str = include_str!("../../../packets/ruleset/tests/recorded/flannel.iptables-save");

/// A node with these rules of iptables on nf_tables, and nothing else.
pub fn evidence(rules: &str) -> Evidence {
    let node = |number: u8| NodeObject {
        name: format!("n{}", number + 1),
        pod_cidrs: vec![format!("10.244.{number}.0/24")],
        internal_ips: vec![format!("10.90.0.2{}", number + 1)],
        ..NodeObject::default()
    };
    let pod = |name: &str, node: &str, ip: &str| PodObject {
        namespace: "default".to_owned(),
        name: name.to_owned(),
        uid: name.to_owned(),
        node: node.to_owned(),
        ips: vec![ip.parse().unwrap()],
        running: true,
        ..PodObject::default()
    };
    let objects = Objects {
        nodes: vec![node(0), node(1), node(2)],
        pods: vec![
            pod("box-1", "n1", "10.244.0.3"),
            pod("dns-1", "n1", "10.244.0.4"),
            pod("box-2", "n2", "10.244.1.3"),
            pod("dns-2", "n2", "10.244.1.4"),
            pod("box-3", "n3", "10.244.2.5"),
        ],
        // Not read here, but that it is there.
        flannel: Some("{}".to_owned()),
        services: Some(Ok(Services::default())),
        ..Objects::default()
    };
    let node = Space {
        net: net(),
        ..Space::default()
    };
    let record = NodeRecord {
        nft: Ok(serde_json::json!({ "nftables": [] })),
        iptables: BTreeMap::from([("iptables-nft-save".to_owned(), Ok(rules.to_owned()))]),
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

fn net() -> NetState {
    let mut net = NetState::default();
    let vxlan = Vxlan {
        vni: 1,
        port: 8472,
        local: "10.90.0.21".parse().ok(),
        device: Some("eth0".to_owned()),
        learns: false,
        unusual: BTreeMap::new(),
    };
    for (name, kind) in [
        ("eth0", LinkKind::Veth),
        ("cni0", LinkKind::Other("bridge".to_owned())),
        ("flannel.1", LinkKind::Vxlan(vxlan)),
    ] {
        let link = Link {
            mac: None,
            mtu: 1450,
            is_up: true,
            alias: None,
            makes_link_local: None,
            kind,
        };
        net.links.insert(name.to_owned(), link);
    }
    for (interface, ip) in [("eth0", "10.90.0.21"), ("cni0", "10.244.0.1")] {
        net.addresses.insert(Address {
            interface: interface.to_owned(),
            ip: ip.parse().unwrap(),
            prefix: 24,
        });
    }
    for (to, device) in [
        ("0.0.0.0/0", "eth0"),
        ("10.90.0.0/24", "eth0"),
        ("10.244.0.0/24", "cni0"),
        ("10.244.1.0/24", "flannel.1"),
        ("10.244.2.0/24", "flannel.1"),
    ] {
        net.routes.insert(Route {
            table: 254,
            destination: to.parse().unwrap(),
            metric: 0,
            kind: RouteKind::Unicast,
            gateway: None,
            device: Some(device.to_owned()),
            scope: 0,
            protocol: 3,
            mtu: None,
            source: None,
            is_onlink: false,
            next_hops: Vec::new(),
        });
    }
    net
}

pub fn record(evidence: &mut Evidence) -> &mut NodeRecord {
    &mut evidence.nodes.get_mut("n1").unwrap().as_mut().unwrap().record
}

/// Ids of what is found on it, and what was not checked. Neither flannel's `net-conf.json` is read nor the disk.
pub fn found(evidence: &Evidence) -> (BTreeSet<&'static str>, Vec<String>) {
    let judgement = judge(evidence);
    let differences = &judgement.nodes["n1"];
    let is_read = |one: &Unchecked| !one.why.contains("net-conf.json") && one.group != Group::Disk;
    let why = |one: &Unchecked| is_read(one).then(|| one.why.clone());
    (
        differences.found.iter().map(|one| one.id).collect(),
        differences.unchecked.iter().filter_map(why).collect(),
    )
}

fn after(change: impl FnOnce(&str) -> String) -> (BTreeSet<&'static str>, Vec<String>) {
    let rules = change(RULES);
    assert_ne!(rules, RULES, "nothing was changed");
    found(&evidence(&rules))
}

fn alone(id: &'static str) -> (BTreeSet<&'static str>, Vec<String>) {
    (BTreeSet::from([id]), Vec::new())
}

fn nothing() -> (BTreeSet<&'static str>, Vec<String>) {
    (BTreeSet::new(), Vec::new())
}

/// Without the lines that contain this.
pub fn without(rules: &str, part: &str) -> String {
    let kept: Vec<&str> = rules.lines().filter(|line| !line.contains(part)).collect();
    assert_ne!(kept.len(), rules.lines().count(), "nothing contains {part}");
    kept.join("\n") + "\n"
}

#[test]
fn a_healthy_node_has_no_findings() {
    assert_eq!(found(&evidence(RULES)), nothing());
}

#[test]
fn a_trap_at_forward_is_found_with_its_rule() {
    let is_dropping = |rules: &str| {
        rules.replace(
            ":FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:FLANNEL",
            ":FORWARD DROP [0:0]\n:FLANNEL",
        )
    };
    // flannel lets its ranges through.
    assert_eq!(after(is_dropping), nothing());
    let trap = |rules: &str| without(&is_dropping(rules), "-j FLANNEL-FWD");
    assert_eq!(after(trap), alone("verify-forward-dropped"));
    let judgement = judge(&evidence(&trap(RULES)));
    let one = &judgement.nodes["n1"].found[0];
    assert!(
        one.actual.starts_with("ip filter FORWARD: its policy"),
        "{}",
        one.actual
    );
    assert_eq!(
        one.fix.as_deref(),
        Some(
            "iptables-nft -t filter -I FORWARD -s 10.244.0.0/24 -j ACCEPT; iptables-nft -t filter -I FORWARD -d 10.244.0.0/24 -j ACCEPT"
        )
    );
    let one_way =
        "-A FORWARD -i flannel.1 -p tcp -j REJECT\n-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD";
    let original = "-A FORWARD -m comment --comment \"flanneld forward\" -j FLANNEL-FWD";
    assert_eq!(
        after(|rules| rules.replace(original, one_way)),
        alone("verify-forward-dropped")
    );
    // Legacy rules are beside them, and nft's too.
    let mut legacy = evidence(RULES);
    let drop = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n";
    record(&mut legacy)
        .iptables
        .insert("iptables-legacy-save".to_owned(), Ok(drop.to_owned()));
    let both = BTreeSet::from(["verify-forward-dropped", "verify-iptables-both"]);
    assert_eq!(found(&legacy), (both, Vec::new()));
    let mut nft = evidence(RULES);
    record(&mut nft).nft = Ok(serde_json::json!({ "nftables": [
        { "table": { "family": "inet", "name": "t" } },
        { "chain": { "family": "inet", "table": "t", "name": "c", "type": "filter", "hook": "forward", "prio": 10, "policy": "drop" } },
    ] }));
    assert_eq!(found(&nft), alone("verify-forward-dropped"));
}

#[test]
fn one_node_that_is_kept_out_is_found() {
    let first = "-A FORWARD -m comment";
    let trap = |rules: &str| rules.replacen(first, &format!("-A FORWARD -s 10.244.1.0/24 -j DROP\n{first}"), 1);
    assert_eq!(after(trap), alone("verify-forward-dropped"));
    let judgement = judge(&evidence(&trap(RULES)));
    let actual = &judgement.nodes["n1"].found[0].actual;
    assert!(actual.ends_with("a test packet from pods of n2 to its own"), "{actual}");
    // Pods whose addresses a policy lists may come, from wherever they are; others of the cluster may not.
    let policy =
        format!("-A FORWARD -s 10.244.2.5/32 -j ACCEPT\n-A FORWARD -s 10.244.0.0/16 -d 10.244.0.0/24 -j DROP\n{first}");
    assert_eq!(after(|rules| rules.replacen(first, &policy, 1)), nothing());
}

#[test]
fn what_a_policy_drops_is_no_trap() {
    let policy = "-A FORWARD -d 10.244.0.3/32 -j KUBE-POD-FW-X\n-A KUBE-POD-FW-X -j DROP\n-A FORWARD -m comment";
    assert_eq!(
        after(|rules| rules.replacen("-A FORWARD -m comment", policy, 1)),
        nothing()
    );
    // Of an engine that nobody knows: not all pods are kept from all.
    let policy = "-A FORWARD -d 10.244.0.3/32 -j DROP\n-A FORWARD -m comment";
    assert_eq!(
        after(|rules| rules.replacen("-A FORWARD -m comment", policy, 1)),
        nothing()
    );
}

#[test]
fn what_is_not_understood_and_decides_is_not_checked() {
    let set = "-A FORWARD -m set --match-set banned src -j DROP\n-A FORWARD -m comment";
    let (ids, unchecked) = after(|rules| rules.replacen("-A FORWARD -m comment", set, 1));
    assert!(ids.is_empty(), "{ids:?}");
    assert_eq!(
        unchecked,
        ["not decidable: -m set --match-set banned src in ip filter FORWARD"]
    );
    let mut unread = evidence(RULES);
    record(&mut unread)
        .iptables
        .insert("iptables-legacy-save".to_owned(), Err("it crashed".to_owned()));
    assert_eq!(found(&unread).1, ["iptables-legacy-save: it crashed"]);
}

#[test]
fn a_tunnel_that_is_shut_is_found() {
    let shut = "-A INPUT -p udp -m udp --dport 8472 -j DROP\n-A INPUT -j KUBE-FIREWALL";
    assert_eq!(
        after(|rules| rules.replace("-A INPUT -j KUBE-FIREWALL", shut)),
        alone("verify-overlay-blocked")
    );
    let other = shut.replace("8472", "4789");
    assert_eq!(
        after(|rules| rules.replace("-A INPUT -j KUBE-FIREWALL", &other)),
        nothing()
    );
}

#[test]
fn masquerading_is_judged_by_what_leaves() {
    let line = "! -d 224.0.0.0/4 -m comment --comment \"flanneld masq\" -j MASQUERADE";
    assert_eq!(after(|rules| without(rules, line)), alone("verify-masquerade-missing"));
    let line = "-A FLANNEL-POSTRTG -s 10.244.0.0/24 -d 10.244.0.0/16";
    assert_eq!(after(|rules| without(rules, line)), alone("verify-masquerade-pods"));
    // flannel without --ip-masq.
    assert_eq!(after(|rules| without(rules, "FLANNEL-POSTRTG")), nothing());
}
