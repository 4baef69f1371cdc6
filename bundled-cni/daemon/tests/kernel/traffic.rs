//! What the state is for: packets get through, in the sizes and with the addresses that SPEC.md says.

use crate::{
    cluster::{Cluster, Families, Pod},
    held::Held,
    sandbox::Sandbox,
    talk::{Stream, exchange},
    vector::configure,
};
use libtest_mimic::Trial;
use netcheck_trials::{Need, PATIENCE, trial};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader},
    net::IpAddr,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    vec![
        trial("traffic::dual_stack", needs, || {
            everybody_reaches_everybody(Families::Dual);
        }),
        trial("traffic::ipv4", needs, || everybody_reaches_everybody(Families::Ipv4)),
        trial("traffic::direct_and_tunnelled_peers", needs, direct_and_tunnelled_peers),
        trial("traffic::live_switch_of_the_backend", needs, live_switch),
        trial(
            "traffic::an_underlay_changes_its_mtu",
            needs,
            an_underlay_changes_its_mtu,
        ),
        trial("traffic::a_node_leaves_and_comes_back", needs, leaves_and_comes_back),
        trial("traffic::a_node_changes_its_address", needs, changes_its_address),
    ]
}

/// How long ping waits; what does not even leave is not waited for.
const WAITS: &str = "-W 10";
const AT_ONCE: &str = "-W 0.1";

/// Whether an answer came, and what ping said.
fn ping(from: &Sandbox, to: IpAddr, more: &str) -> (bool, String) {
    let said = from.run(&format!("ping -n -c 1 {more} {to} 2>&1 || echo exit=$?"));
    (!said.contains("exit="), said)
}

fn assert_reaches(from: &Sandbox, to: IpAddr, more: &str) {
    let (is_answered, said) = ping(from, to, &format!("{WAITS} {more}"));
    assert!(is_answered, "{said}");
}

/// Packets of exactly the MTU, not to be fragmented, get through, and larger ones do not leave.
fn assert_mtu(from: &Sandbox, to: IpAddr, mtu: u32) {
    let payload = mtu - if to.is_ipv4() { 20 + 8 } else { 40 + 8 };
    assert_reaches(from, to, &format!("-M do -s {payload}"));
    let (is_answered, said) = ping(from, to, &format!("{AT_ONCE} -M do -s {}", payload + 1));
    assert!(!is_answered && said.contains("too long"), "{to}: {said}");
}

fn pairs(cluster: &Cluster) -> Vec<(Pod, Pod)> {
    let pods = &cluster.pods;
    let all = pods
        .iter()
        .flat_map(|from| pods.iter().map(move |to| (from.clone(), to.clone())));
    all.filter(|(from, to)| from.key != to.key).collect()
}

/// From each node to another one.
fn round_trip(cluster: &Cluster) -> [(Pod, Pod); 3] {
    let pod = |node: &str| cluster.pod_on(node).clone();
    [("n1", "n2"), ("n2", "n3"), ("n3", "n1")].map(|(from, to)| (pod(from), pod(to)))
}

/// The address of a pod of the same family as another one.
fn like(pod: &Pod, ip: IpAddr) -> IpAddr {
    *pod.ips.iter().find(|own| own.is_ipv4() == ip.is_ipv4()).unwrap()
}

fn everybody_reaches_everybody(families: Families) {
    let cluster = Cluster::new(families);
    pods_reach_each_other(&cluster);
    let pod = cluster.pod_on("n1");
    let inside = cluster.inside(pod);
    for own in pod.ips.iter().copied() {
        nodes_and_pods(&cluster, pod, own);
        let nobody: IpAddr = if own.is_ipv4() {
            "10.244.2.77"
        } else {
            "fd00:10:244:2::77"
        }
        .parse()
        .unwrap();
        let (is_answered, said) = ping(inside, nobody, WAITS);
        assert!(!is_answered && said.to_lowercase().contains("unreachable"), "{said}");
    }
}

/// In packets of all sizes, and as themselves.
fn pods_reach_each_other(cluster: &Cluster) {
    for (from, to) in pairs(cluster) {
        let (inside, other) = (cluster.inside(&from), cluster.inside(&to));
        for ip in to.ips.iter().copied() {
            assert_reaches(inside, ip, "");
            assert_mtu(inside, ip, 1450);
            assert_eq!(exchange(inside, other, ip), like(&from, ip), "seen by {ip}");
        }
    }
}

/// With `auto` a node has peers of both kinds at once.
fn direct_and_tunnelled_peers() {
    let cluster = Cluster::with_n3_elsewhere();
    for (node, range, way) in [
        ("n1", "10.244.2.0/24", "via 192.0.2.12 dev eth0"),
        ("n2", "10.244.1.0/24", "via 192.0.2.11 dev eth0"),
        ("n1", "10.244.3.0/24", "via 10.244.3.0 dev ncvx0"),
        ("n2", "10.244.3.0/24", "via 10.244.3.0 dev ncvx0"),
        ("n3", "10.244.1.0/24", "via 10.244.1.0 dev ncvx0"),
        ("n3", "10.244.2.0/24", "via 10.244.2.0 dev ncvx0"),
    ] {
        let route = cluster.node(node).sandbox.run(&format!("ip route show {range}"));
        assert!(route.contains(way), "{node}: {route}");
    }
    pods_reach_each_other(&cluster);
}

/// Between a pod of n1 and nodes, by one family; `own` is the pod's address.
fn nodes_and_pods(cluster: &Cluster, pod: &Pod, own: IpAddr) {
    let inside = cluster.inside(pod);
    let (near, far) = (cluster.node("n1"), cluster.node("n3"));
    let (near_ip, far_ip) = (cluster.internal_ip("n1", own), cluster.internal_ip("n3", own));
    assert_eq!(
        exchange(inside, &near.sandbox, near_ip),
        own,
        "its own node sees the pod"
    );
    assert_eq!(
        exchange(inside, &far.sandbox, far_ip),
        near_ip,
        "another node sees the pod's node"
    );
    let request = if own.is_ipv4() {
        "icmp"
    } else {
        "icmp6 and ip6[40] == 128"
    };
    let on_the_wire = capture(&far.sandbox, &format!("{request} and dst host {far_ip}"));
    assert_reaches(inside, far_ip, "");
    let line = on_the_wire();
    assert!(line.contains(&format!(" {near_ip} > {far_ip}: ")), "{line}");

    assert_reaches(&near.sandbox, own, "");
    let remote = cluster.pod_on("n2");
    let vtep: IpAddr = if own.is_ipv4() { "10.244.1.0" } else { "fd00:10:244:1::" }
        .parse()
        .unwrap();
    let seen = exchange(&near.sandbox, cluster.inside(remote), like(remote, own));
    assert_eq!(
        seen, vtep,
        "a node sends to other nodes' pods from its tunnel's address"
    );
}

/// Begins to look at an uplink; afterwards, the first line of what came.
fn capture(node: &Sandbox, filter: &str) -> impl FnOnce() -> String + use<> {
    let mut tcpdump = Command::new("timeout")
        .args(["--foreground", &PATIENCE.as_secs().to_string(), "nsenter"])
        .arg(format!("--net={}", node.path().display()))
        .args(["tcpdump", "-n", "-l", "-c", "1", "-i", "eth0", filter])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(tcpdump.stderr.take().unwrap()).lines();
    let is_ready = said.any(|line| line.unwrap().contains("listening on"));
    assert!(is_ready, "tcpdump did not begin: {filter}");
    move || {
        let output = tcpdump.wait_with_output().unwrap();
        // It writes its counts at the end.
        drop(said);
        String::from_utf8(output.stdout).unwrap()
    }
}

/// MTUs of a pod's default routes.
fn route_mtus(pod: &Sandbox) -> Vec<Value> {
    let routes = ["-4", "-6"].map(|family| pod.run(&format!("ip -j {family} route show default")));
    let lists = routes.iter().filter(|text| !text.trim().is_empty());
    let routes = lists.flat_map(|text| serde_json::from_str::<Vec<Value>>(text).unwrap());
    routes.map(|route| route["metrics"][0]["mtu"].clone()).collect()
}

/// Connections from each node to another one, by each family.
fn streams(cluster: &Cluster) -> Vec<Stream> {
    let start = |from: &Pod, to: &Pod, ip| Stream::start(cluster.inside(from), cluster.inside(to), ip);
    let pairs = round_trip(cluster).into_iter();
    pairs
        .flat_map(|(from, to)| to.ips.iter().map(|ip| start(&from, &to, *ip)).collect::<Vec<_>>())
        .collect()
}

/// Nothing may be sent to any node that one of them cannot take: what is too large for its uplink is lost without a word.
fn an_underlay_changes_its_mtu() {
    let mut cluster = Cluster::new(Families::Dual);
    let before: Vec<_> = cluster.nodes.values().map(super::node::Node::held).collect();
    let streams = streams(&cluster);
    for underlay in [1400, 1500] {
        let n3 = &cluster.node("n3").sandbox;
        n3.run(&format!("ip link set eth0 mtu {underlay}"));
        cluster.settle();
        let mtu = underlay - 50;
        for (name, node) in &cluster.nodes {
            let link = node.sandbox.run("ip link show ncvx0");
            assert!(link.contains(&format!(" mtu {mtu} ")), "{name}: {link}");
        }
        for pod in &cluster.pods {
            assert_eq!(route_mtus(cluster.inside(pod)), [json!(mtu), json!(mtu)], "{}", pod.key);
        }
        for (from, to) in round_trip(&cluster) {
            for ip in to.ips.iter().copied() {
                assert_mtu(cluster.inside(&from), ip, mtu);
            }
        }
        streams.iter().for_each(Stream::goes_on);
    }
    streams.into_iter().for_each(Stream::end);
    assert_as_before(&cluster, &before);
}

fn assert_as_before(cluster: &Cluster, before: &[Held]) {
    for (node, before) in cluster.nodes.values().zip(before) {
        let same = json!({ "nft": before.nft });
        assert_eq!(node.held().differences(before, &same), "", "{}", node.name);
    }
}

fn live_switch() {
    let mut cluster = Cluster::new(Families::Dual);
    configure(&mut cluster.view, "periodSeconds", "1");
    cluster.settle();
    let before: Vec<_> = cluster.nodes.values().map(super::node::Node::held).collect();
    let streams = streams(&cluster);
    let has_overlay = |cluster: &Cluster| {
        let has = |name: &str| cluster.node(name).sandbox.run("ip -br link").contains("ncvx0");
        ["n1", "n2", "n3"].map(has)
    };
    for (backend, mtu, way) in [
        ("vxlan", 1450, "via 10.244.2.0 dev ncvx0"),
        ("host-gw", 1500, "via 192.0.2.12 dev eth0"),
        ("auto", 1500, "via 192.0.2.12 dev eth0"),
        ("vxlan", 1450, "via 10.244.2.0 dev ncvx0"),
    ] {
        configure(&mut cluster.view, "backend", backend);
        cluster.settle();
        for (from, to) in round_trip(&cluster) {
            let inside = cluster.inside(&from);
            assert_eq!(route_mtus(inside), [json!(mtu), json!(mtu)], "{backend}: {}", from.key);
            for ip in to.ips.iter().copied() {
                assert_mtu(inside, ip, mtu);
            }
        }
        let route = cluster.node("n1").sandbox.run("ip route show 10.244.2.0/24");
        assert!(route.contains(way), "{backend}: {route}");
        streams.iter().for_each(Stream::goes_on);
        if backend == "host-gw" {
            let deadline = Instant::now() + PATIENCE;
            while has_overlay(&cluster) != [false; 3] {
                assert!(Instant::now() < deadline, "the overlay does not go a period later");
                thread::sleep(Duration::from_millis(100));
                cluster.settle();
            }
            streams.iter().for_each(Stream::goes_on);
        } else {
            assert_eq!(has_overlay(&cluster), [true; 3], "{backend}");
        }
    }
    streams.into_iter().for_each(Stream::end);
    assert_as_before(&cluster, &before);
}

/// Words by which n3 would be known on another node.
const OF_N3: [&str; 4] = ["10.244.3.", "fd00:10:244:3:", "0a:bf:cd:70:18:5b", "192.0.2.13"];

fn traces_of_n3(cluster: &Cluster, node: &str) -> Vec<String> {
    let mut held = cluster.node(node).held();
    // The kernel's own memory of whom it met on the wire.
    held.lines
        .get_mut("neighbours")
        .unwrap()
        .retain(|line| !line.contains(r#""dev":"eth0""#));
    let lines = held.lines.into_values().flatten();
    lines
        .filter(|line| OF_N3.iter().any(|word| line.contains(word)))
        .collect()
}

fn leaves_and_comes_back() {
    let mut cluster = Cluster::new(Families::Dual);
    let (pod, other, gone) = (
        cluster.pod_on("n1").clone(),
        cluster.pod_on("n2").clone(),
        cluster.pod_on("n3").clone(),
    );
    assert!(!traces_of_n3(&cluster, "n1").is_empty());
    let before = cluster.node("n3").held();
    let object = cluster.view.nodes.as_mut().unwrap().remove("n3").unwrap();
    cluster.settle();
    for node in ["n1", "n2"] {
        assert_eq!(traces_of_n3(&cluster, node), Vec::<String>::new(), "{node}");
    }
    // A node that does not find itself changes nothing.
    let same = json!({ "nft": before.nft });
    assert_eq!(cluster.node("n3").held().differences(&before, &same), "");
    for (to, is_there) in [(&other, true), (&gone, false)] {
        for ip in to.ips.iter().copied() {
            let (is_answered, said) = ping(cluster.inside(&pod), ip, WAITS);
            assert_eq!(is_answered, is_there, "{said}");
        }
    }
    cluster.view.nodes.as_mut().unwrap().insert("n3".to_owned(), object);
    cluster.settle();
    for ip in gone.ips.iter().copied() {
        assert_eq!(
            exchange(cluster.inside(&pod), cluster.inside(&gone), ip),
            like(&pod, ip)
        );
    }
}

fn changes_its_address() {
    let mut cluster = Cluster::new(Families::Dual);
    let stream = {
        let (from, to) = (cluster.pod_on("n1"), cluster.pod_on("n2"));
        Stream::start(cluster.inside(from), cluster.inside(to), to.ips[0])
    };
    cluster
        .node("n2")
        .sandbox
        .run("ip addr del 192.0.2.12/24 dev eth0; ip addr add 192.0.2.22/24 dev eth0");
    let nodes = cluster.view.nodes.as_mut().unwrap();
    "192.0.2.22".clone_into(&mut nodes.get_mut("n2").unwrap().internal_ips[0]);
    cluster.settle();
    for node in ["n1", "n3"] {
        let fdb = cluster.node(node).sandbox.run("bridge fdb show dev ncvx0");
        assert!(fdb.contains("0a:48:9d:da:b5:3d dst 192.0.2.22 self permanent"), "{fdb}");
        assert!(!fdb.contains("192.0.2.12"), "{fdb}");
    }
    let link = cluster.node("n2").sandbox.run("ip -d link show ncvx0");
    assert!(link.contains(" local 192.0.2.22 "), "{link}");
    stream.goes_on();
    stream.end();
    for (from, to) in round_trip(&cluster) {
        for ip in to.ips.iter().copied() {
            assert_mtu(cluster.inside(&from), ip, 1450);
        }
    }
}
