//! The golden vectors, worked out by hand, against what is computed: all of both must be alike.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod support;

use ipnet::IpNet;
use netcheck_cni_intent::{
    Attachment, Desired, LocalAddress, NodeObject, PerFamily, PodName,
    bpf::{BpfMaps, Endpoint, NodeEntry, Place, uid_bytes},
    desired::Pod,
    words,
};
use netcheck_node_state::NetState;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    path::PathBuf,
};
use support::{
    cluster::Cluster,
    golden::{Bpf, Expected, Input, Inside, Vector, mac},
    settle,
};

fn vector(file: &str) -> Vector {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// A vector's input as a cluster.
fn cluster(input: &Input) -> Cluster {
    let mut cluster = Cluster {
        config: input.config.clone(),
        ..Cluster::default()
    };
    for node in &input.nodes {
        cluster.nodes.push(NodeObject {
            name: node.name.clone(),
            uid: node.uid.clone(),
            created: node.created.clone(),
            pod_cidrs: node.pod_cidrs.clone(),
            internal_ips: node.internal_ips.clone(),
            annotations: node.annotations.clone(),
        });
        let local = |family: &str| {
            node.local.get(family).map(|local| LocalAddress {
                device: local.dev.clone(),
                address: local.address,
                mtu: local.mtu,
            })
        };
        let (ipv4, ipv6) = (local("ipv4"), local("ipv6"));
        cluster.locals.insert(node.name.clone(), PerFamily { ipv4, ipv6 });
    }
    for attachment in &input.attachments {
        // Where a vector does not say it, the pod was added when the node was as it is.
        let link_mtu = cluster.node(&attachment.node).annotations["cni.netcheck.dev/mtu"]
            .parse()
            .unwrap();
        let of_node = cluster.attachments.entry(attachment.node.clone()).or_default();
        of_node.push(Attachment {
            key: attachment.key.parse().unwrap(),
            ips: attachment.ips.clone(),
            mac: None,
            pod: PodName {
                namespace: attachment.pod.namespace.clone(),
                name: attachment.pod.name.clone(),
                uid: attachment.pod.uid.clone(),
            },
            link_mtu,
            netns: None,
        });
    }
    cluster
}

/// Gathers differences as lines that a person can read.
struct Differences {
    place: String,
    lines: Vec<String>,
}

impl Differences {
    fn all<T: Ord>(&mut self, what: &str, expected: &BTreeSet<T>, ours: &BTreeSet<T>, words: impl Fn(&T) -> String) {
        for item in expected.difference(ours) {
            self.lines
                .push(format!("{} {what}: missing       {}", self.place, words(item)));
        }
        for item in ours.difference(expected) {
            self.lines
                .push(format!("{} {what}: not expected  {}", self.place, words(item)));
        }
    }

    fn same<T: PartialEq + Debug>(&mut self, what: &str, expected: &T, ours: &T) {
        if expected != ours {
            let place = &self.place;
            self.lines
                .push(format!("{place} {what}:\n  expected {expected:?}\n  ours     {ours:?}"));
        }
    }

    fn map<K: Ord + Debug, V: PartialEq + Debug>(
        &mut self,
        what: &str,
        expected: &BTreeMap<K, V>,
        ours: &BTreeMap<K, V>,
    ) {
        for key in expected.keys().chain(ours.keys()).collect::<BTreeSet<_>>() {
            self.same(&format!("{what} {key:?}"), &expected.get(key), &ours.get(key));
        }
    }

    fn net(&mut self, expected: &NetState, ours: &NetState) {
        self.map("link", &expected.links, &ours.links);
        self.all("address", &expected.addresses, &ours.addresses, words::address);
        self.all("route", &expected.routes, &ours.routes, words::route);
        self.all("neighbour", &expected.neighbours, &ours.neighbours, words::neighbour);
        self.all("fdb", &expected.fdb, &ours.fdb, words::fdb);
    }
}

fn maps(golden: &Bpf) -> BpfMaps {
    let mut maps = BpfMaps::default();
    for endpoint in &golden.endpoints {
        maps.counted_endpoints.insert(endpoint.address);
        let value = Endpoint {
            device: endpoint.dev.clone(),
            pod_mac: mac(&endpoint.pod_mac),
            host_mac: mac(&endpoint.host_mac),
            pod_uid: uid_bytes(&endpoint.pod_uid),
        };
        assert!(maps.endpoints.insert(endpoint.address, value).is_none());
    }
    for node in &golden.nodes {
        let value = NodeEntry {
            node: node.node,
            mac: mac(&node.vtep_mac),
            is_direct: node.flags.contains("direct"),
            is_self: node.flags.contains("self"),
            place: if golden.peers.contains(&node.node) {
                Place::Own
            } else {
                Place::None
            },
        };
        assert_eq!(
            node.flags.len(),
            usize::from(value.is_direct) + usize::from(value.is_self)
        );
        assert!(maps.nodes.insert(node.prefix, value).is_none());
    }
    maps
}

/// As [`Desired`] has a pod's inside, from a vector.
fn pod(inside: &Inside) -> Pod {
    let link = inside.link.value();
    Pod {
        netns: None,
        if_name: inside.link.ifname.clone(),
        mac: link.mac,
        mtu: link.mtu,
        addresses: inside
            .addresses
            .iter()
            .map(|address| address.value(&inside.link.ifname))
            .collect(),
        routes: inside.routes.iter().map(support::golden::Route::value).collect(),
        neighbours: inside
            .neighbours
            .iter()
            .map(support::golden::Neighbour::value)
            .collect(),
    }
}

fn compare(place: String, expected: &Expected, ours: &Desired) -> Vec<String> {
    let mut found = Differences {
        place,
        lines: Vec::new(),
    };
    found.same("accepted", &expected.accepted, &ours.refused.is_none());
    found.same(
        "reason",
        &expected.reason,
        &ours.refused.map(|reason| reason.to_string()),
    );
    let refused = expected
        .refused_peers
        .iter()
        .map(|peer| (peer.node.clone(), peer.reason.clone()));
    let ours_refused = ours
        .refused_peers
        .iter()
        .map(|(node, reason)| (node.clone(), reason.to_string()));
    found.map("refused peer", &refused.collect(), &ours_refused.collect());
    let degraded = ours.degraded.keys().map(ToString::to_string).collect();
    found.all("degraded", &expected.degraded, &degraded, Clone::clone);
    found.map("annotation", &expected.annotations, &ours.annotations);
    found.same("node.json", &expected.node_json, &ours.node_json);
    found.map("sysctl", &expected.sysctls, &ours.sysctls.global);
    found.net(&expected.net(), &ours.net);

    let sets = expected.nft.as_ref().map(|nft| {
        let sets = [
            ("pods4", &nft.pods4),
            ("pods6", &nft.pods6),
            ("nomasq4", &nft.nomasq4),
            ("nomasq6", &nft.nomasq6),
        ];
        sets.map(|(name, set)| (name.to_owned(), set.clone()))
            .into_iter()
            .collect()
    });
    let ours_sets = ours.nft.as_ref().map(|nft| {
        let sets = nft
            .sets
            .iter()
            .map(|(name, set)| (name.clone(), set.elements.iter().copied().collect()));
        sets.collect::<BTreeMap<_, _>>()
    });
    found.same("nft sets", &sets, &ours_sets);
    let rules = expected.nft.as_ref().map(|nft| nft.rules.clone());
    let ours_rules = ours.nft.as_ref().map(|nft| {
        let rules = nft.chains.values().flat_map(|chain| &chain.rules);
        rules
            .map(|rule| rule.comment.clone().unwrap_or_default())
            .collect::<Vec<_>>()
    });
    found.same("nft rules", &rules, &ours_rules);

    found.same("pods are looked at", &expected.pods.is_some(), &ours.pods.is_some());
    let pods: BTreeMap<_, _> = expected
        .pods
        .iter()
        .flatten()
        .map(|(key, inside)| (key.clone(), pod(inside)))
        .collect();
    found.map("pod", &pods, &ours.pods.clone().unwrap_or_default());

    let peers = &expected.bpf.peers;
    let (expected, ours) = (maps(&expected.bpf), ours.bpf.clone().unwrap());
    let own = |nodes: &BTreeMap<IpNet, NodeEntry>| -> Vec<_> {
        let own = nodes.iter().filter(|(_, entry)| entry.is_self);
        own.map(|(range, _)| range.to_string()).collect()
    };
    let config = ours.config.clone().unwrap().own;
    let ranges = config
        .ipv4
        .iter()
        .chain(&config.ipv6)
        .map(ToString::to_string)
        .collect();
    found.same("nc_cfg's own ranges", &own(&expected.nodes), &ranges);
    found.map("nc_ep", &expected.endpoints, &ours.endpoints);
    found.map("nc_node", &expected.nodes, &ours.nodes);
    let counted = ours.nodes.values().filter(|entry| entry.place == Place::Own);
    let counted = counted.map(|entry| entry.node).collect();
    found.all("nc_peer", peers, &counted, ToString::to_string);
    found.all(
        "nc_ep_count",
        &expected.counted_endpoints,
        &ours.counted_endpoints,
        ToString::to_string,
    );
    found.lines
}

/// Compares every node of a vector, then builds each from nothing.
fn check(file: &str) {
    let vector = vector(file);
    let cluster = cluster(&vector.input);
    let mut lines = Vec::new();
    for (node, expected) in &vector.expected {
        let ours = cluster.desired(node).unwrap();
        lines.extend(compare(format!("{file} {node}"), expected, &ours));
        if lines.is_empty() {
            built_from_nothing(&cluster, node, expected, &ours);
        }
    }
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

/// What `diff` makes out of an empty node is what is expected, besides what was there.
fn built_from_nothing(cluster: &Cluster, node: &str, expected: &Expected, ours: &Desired) {
    let mut actual = cluster.fresh(ours);
    let mut wanted = actual.net.clone();
    extend(&mut wanted, expected.net());
    settle(ours, &mut actual);
    let mut found = Differences {
        place: format!("{node}, built from nothing,"),
        lines: Vec::new(),
    };
    found.net(&wanted, &actual.net);
    actual.sysctls.retain(|key, _| expected.sysctls.contains_key(key));
    found.map("sysctl", &expected.sysctls, &actual.sysctls);
    found.same("nft", &ours.nft, &actual.nft);
    found.same("bpf", &ours.bpf, &actual.bpf);
    assert!(found.lines.is_empty(), "{}", found.lines.join("\n"));
}

fn extend(net: &mut NetState, more: NetState) {
    net.links.extend(more.links);
    net.addresses.extend(more.addresses);
    net.routes.extend(more.routes);
    net.neighbours.extend(more.neighbours);
    net.fdb.extend(more.fdb);
}

macro_rules! vectors {
    ($($name:ident: $file:literal,)*) => {
        $(#[test] fn $name() { check($file); })*

        #[test]
        fn every_vector_has_its_test() {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden");
            let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().file_name());
            let files: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
            assert_eq!(files, BTreeSet::from([$($file.to_owned()),*]));
        }
    };
}

vectors! {
    one_node_v4: "01-one-node-v4.json",
    dual_stack_vxlan: "02-dual-stack-vxlan.json",
    v6_only_vxlan: "03-v6-only-vxlan.json",
    host_gw: "04-host-gw.json",
    auto_off_link: "05-auto-off-link.json",
    duplicate_podcidr: "06-duplicate-podcidr.json",
    no_podcidr: "07-no-podcidr.json",
    node_left: "08-node-left.json",
    dual_stack_v6_underlay: "09-dual-stack-v6-underlay.json",
    podcidr_holds_node: "10-podcidr-holds-node.json",
}

#[test]
fn what_a_node_that_left_leaves_behind_is_removed_and_foreign_state_stays() {
    let vector = vector("08-node-left.json");
    let (expected, before) = (&vector.expected["n1"], &vector.before["n1"]);
    assert!(before.stale.links.is_empty() && before.stale.addresses.is_empty());
    let cluster = cluster(&vector.input);
    let ours = cluster.desired("n1").unwrap();
    let mut actual = cluster.fresh(&ours);
    before.foreign.put_into(&mut actual.net);
    extend(&mut actual.net, expected.net());
    let after = actual.net.clone();
    before.stale.put_into(&mut actual.net);
    // Foreign tables are not even read.
    assert_eq!(before.foreign.nft_tables, ["inet foreign"]);
    actual.nft.clone_from(&ours.nft);
    actual.sysctls.clone_from(&expected.sysctls);
    let mut bpf = ours.bpf.clone().unwrap();
    let stale = maps(&before.stale.bpf);
    bpf.nodes.extend(stale.nodes);
    actual.bpf = Some(bpf);

    let diff = settle(&ours, &mut actual);
    let mut found = Differences {
        place: "n1".to_owned(),
        lines: Vec::new(),
    };
    found.net(&after, &actual.net);
    found.same("bpf", &ours.bpf, &actual.bpf);
    assert!(found.lines.is_empty(), "{}", found.lines.join("\n"));
    assert!(diff.findings.is_empty(), "{:?}", diff.findings);
    let stale = &before.stale;
    let count = stale.routes.len() + stale.neighbours.len() + stale.fdb.len() + 1;
    assert_eq!(diff.deltas.len(), count, "nothing else is touched");
    let kinds: Vec<String> = diff.deltas.iter().map(|delta| delta.kind.to_string()).collect();
    assert_eq!(kinds, ["bpf", "route", "route", "fdb", "fdb", "neighbour"]);
}
