//! What somebody breaks on a node is heard, and one pass later it is as before, while what is not ours stays as it was.

use crate::{
    golden::judge,
    held::Held,
    node::{Node, attachments, node_of},
    vector::{self, words},
};
use libtest_mimic::Trial;
use netcheck_cni_daemon::{cluster::View, keeper::Outcome, monitor::Ears};
use netcheck_node_state::within;
use netcheck_trials::{Need, PATIENCE, trial};
use serde_json::Value;
use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

/// The pod's host veth, and its key.
const VETH: &str = "nc53ffe5c7906";
const POD: &str = "netcheck@a1b2c3d4@eth0";

/// Each is done by itself, and must be heard.
const DEEDS: &[(&str, &str)] = &[
    ("overlay_down", "ip link set ncvx0 down"),
    ("overlay_flapped", "ip link set ncvx0 down; ip link set ncvx0 up"),
    ("overlay_deleted", "ip link del ncvx0"),
    ("overlay_mac", "ip link set ncvx0 address 02:00:00:00:00:99"),
    ("overlay_mtu", "ip link set ncvx0 mtu 1400"),
    ("overlay_mtu_too_small_for_ipv6", "ip link set ncvx0 mtu 1200"),
    ("overlay_unmarked", "ip link set ncvx0 alias ''"),
    ("overlay_addrgenmode", "ip link set ncvx0 addrgenmode eui64"),
    ("overlay_learns", "ip link set ncvx0 type vxlan id 4242 learning"),
    (
        "overlay_source",
        "ip link set ncvx0 type vxlan id 4242 local 198.51.100.1",
    ),
    (
        "overlay_settings",
        "ip link set ncvx0 type vxlan id 4242 ttl 5 tos 0x4 df set ageing 7",
    ),
    ("overlay_remote", "ip link set ncvx0 type vxlan id 4242 remote 192.0.2.99"),
    (
        "overlay_with_settings_for_good",
        "ip link del ncvx0; ip link add ncvx0 type vxlan id 4242 local 192.0.2.11 dev eth0 dstport 8472 nolearning noudpcsum proxy srcport 1000 2000
         ip link set ncvx0 alias 'netcheck-cni v1'; ip link set ncvx0 up",
    ),
    (
        "overlay_of_another_vni",
        "ip link del ncvx0; ip link add ncvx0 type vxlan id 4243 local 192.0.2.11 dev eth0 dstport 8472
         ip link set ncvx0 alias 'netcheck-cni v1'; ip link set ncvx0 up",
    ),
    (
        "overlay_of_another_port",
        "ip link del ncvx0; ip link add ncvx0 type vxlan id 4242 local 192.0.2.11 dev eth0 dstport 4789
         ip link set ncvx0 alias 'netcheck-cni v1'",
    ),
    ("veth_down", "ip link set nc53ffe5c7906 down"),
    (
        "veth_flapped",
        "ip link set nc53ffe5c7906 down; ip link set nc53ffe5c7906 up",
    ),
    ("veth_mac", "ip link set nc53ffe5c7906 address 02:00:00:00:00:99"),
    ("veth_mtu", "ip link set nc53ffe5c7906 mtu 1400"),
    ("veth_mtu_too_small_for_ipv6", "ip link set nc53ffe5c7906 mtu 1200"),
    ("veth_unmarked", "ip link set nc53ffe5c7906 alias ''"),
    (
        "address_on_overlay",
        "ip addr add 10.99.0.1/32 dev ncvx0; ip addr add fd99::1/64 dev ncvx0 nodad",
    ),
    (
        "address_on_veth",
        "ip addr add 10.99.0.1/24 dev nc53ffe5c7906; ip addr add fd99::1/64 dev nc53ffe5c7906 nodad",
    ),
    (
        "route_too_many",
        "ip route add 10.99.0.0/16 via 192.0.2.99 dev eth0 proto 147",
    ),
    (
        "route6_too_many",
        "ip -6 route add fd99::/64 via 2001:db8:99::99 dev eth0 proto 147",
    ),
    (
        "route_of_another_metric",
        "ip route add 10.244.2.0/24 via 192.0.2.99 dev eth0 proto 147 metric 5",
    ),
    (
        "neighbour_too_many",
        "ip neigh add 10.244.7.0 lladdr 02:00:00:00:00:99 dev ncvx0 nud permanent",
    ),
    (
        "neighbour_too_many_on_uplink",
        "ip neigh add 192.0.2.99 lladdr 02:00:00:00:00:99 dev eth0 nud permanent protocol 147; ip addr add 10.99.0.1/32 dev ncvx0",
    ),
    (
        "fdb_too_many",
        "bridge fdb add 02:00:00:00:00:99 dst 192.0.2.99 dev ncvx0 self permanent",
    ),
    (
        "fdb_too_many_elsewhere",
        "bridge fdb add 02:00:00:00:00:99 dst 192.0.2.99 port 5000 vni 7 via eth0 dev ncvx0 self permanent",
    ),
    (
        "fdb_floods",
        "bridge fdb append 00:00:00:00:00:00 dst 192.0.2.99 dev ncvx0 self permanent",
    ),
    ("nft_deleted", "nft delete table inet netcheck-cni"),
    ("nft_flushed", "nft flush table inet netcheck-cni"),
    ("nft_chain_flushed", "nft flush chain inet netcheck-cni postrouting"),
    ("nft_set_flushed", "nft flush set inet netcheck-cni nomasq4"),
    (
        "nft_element",
        "nft add element inet netcheck-cni pods4 '{ 10.99.0.0/16 }'",
    ),
    (
        "nft_rule_in_front",
        "nft insert rule inet netcheck-cni postrouting accept",
    ),
    (
        "nft_rule_behind",
        "nft add rule inet netcheck-cni postrouting ip daddr 10.99.0.1 drop",
    ),
    (
        "nft_rule_doubled",
        "nft add rule inet netcheck-cni postrouting ip saddr @pods4 ip daddr != @nomasq4 counter masquerade fully-random comment '\"netcheck-cni:masq4\"'",
    ),
    (
        "nft_chain_too_many",
        "nft add chain inet netcheck-cni other '{ type filter hook forward priority 0; policy drop; }'",
    ),
    (
        "nft_set_too_many",
        "nft add set inet netcheck-cni other '{ type ipv4_addr; }'",
    ),
    (
        "nft_policy",
        "nft add chain inet netcheck-cni postrouting '{ policy drop; }'",
    ),
    ("nft_dormant", "nft add table inet netcheck-cni '{ flags dormant; }'"),
];

/// What nobody tells of: the next period's pass, or that of another daemon, mends it.
const SILENT: &[(&str, &str)] = &[
    ("ip_forward", "sysctl -qw net.ipv4.ip_forward=0"),
    ("ipv6_forwarding", "sysctl -qw net.ipv6.conf.all.forwarding=0"),
    (
        "nft_policy_table",
        "nft add table inet netcheck-policy; nft add chain inet netcheck-policy forward '{ type filter hook forward priority 10; policy drop; }'",
    ),
    (
        "overlay_forwarding",
        "sysctl -qw net.ipv4.conf.ncvx0.forwarding=0 net.ipv6.conf.ncvx0.forwarding=0",
    ),
    (
        "veth_forwarding",
        "sysctl -qw net.ipv4.conf.nc53ffe5c7906.forwarding=0 net.ipv6.conf.nc53ffe5c7906.forwarding=0",
    ),
];

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    let heard = DEEDS.iter().map(|(name, deed)| (name, *deed, true));
    let silent = SILENT.iter().map(|(name, deed)| (name, *deed, false));
    let mut trials: Vec<Trial> = heard
        .chain(silent)
        .map(|(name, deed, is_heard)| {
            trial(&format!("falsify::{name}"), needs, move || {
                Broken::new().mends(deed, is_heard);
            })
        })
        .collect();
    trials.extend([
        trial("falsify::each_address", needs, each_address),
        trial("falsify::each_route", needs, each_route),
        trial("falsify::each_neighbour", needs, each_neighbour),
        trial("falsify::each_neighbours_protocol", needs, each_neighbours_protocol),
        trial("falsify::each_forwarding_entry", needs, each_fdb),
        trial("falsify::a_pods_route", needs, a_pods_route),
        trial("falsify::everything_at_once", needs, everything_at_once),
        trial("falsify::a_veth_that_is_gone", needs, a_veth_that_is_gone),
        trial("falsify::a_foreign_route_instead_of_each", needs, || {
            foreign_routes_in_our_places(&["replace blackhole DST", "replace DST via THERE dev eth0"]);
        }),
        trial("falsify::a_foreign_route_beside_each", needs, || {
            foreign_routes_in_our_places(&[
                "prepend DST via THERE dev eth0",
                "append DST via THERE dev eth0",
                "append DST dev eth0",
            ]);
        }),
        trial(
            "falsify::a_foreign_route_that_comes_back",
            needs,
            a_foreign_route_that_comes_back,
        ),
        trial(
            "falsify::a_foreign_route_that_wins_elsewhere",
            needs,
            a_foreign_route_that_wins_elsewhere,
        ),
        trial(
            "falsify::a_foreign_device_in_our_place",
            needs,
            a_foreign_device_in_our_place,
        ),
    ]);
    trials
}

/// Node n1 of the worked example with its pod, among things of others, and somebody who listens.
struct Broken {
    node: Node,
    view: View,
    baseline: Held,
    expected: Value,
    bell: Receiver<()>,
}

impl Broken {
    fn new() -> Self {
        let vector = vector::read("02-dual-stack-vxlan");
        let view = vector::view(&vector);
        let mut node = Node::furnished(node_of(&vector, "n1"));
        node.sandbox.run(
            "ip addr add 198.51.100.1/24 dev eth0
             ip addr add 2001:db8:77::1/64 dev eth0 nodad
             ip link add foreign0 type vxlan id 77 dstport 4789 local 192.0.2.11 dev eth0
             ip link set foreign0 addrgenmode none; ip link set foreign0 up; ip addr add 10.77.0.1/24 dev foreign0
             bridge fdb append 00:00:00:00:00:00 dst 192.0.2.50 dev foreign0
             ip neigh add 10.77.0.2 lladdr 02:00:00:00:00:02 dev foreign0 nud permanent
             ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
             ip link add nckept type veth peer name tonckept; ip link set nckept addrgenmode none
             ip route add default via 192.0.2.1
             ip route add 10.9.0.0/16 via 192.0.2.1 dev eth0 proto static
             ip route add 10.244.8.0/24 via 192.0.2.18 dev eth0 proto bird
             ip route add 10.244.2.0/24 via 192.0.2.19 dev eth0 proto bird metric 77
             ip -6 route add fd00:9::/64 via 2001:db8:99::1 dev eth0 proto static
             ip rule add from 10.9.0.0/16 table 77 priority 77; ip route add default via 192.0.2.1 proto 147 table 77
             nft add table inet foreign; nft add chain inet foreign f '{ type filter hook forward priority 0; }'
             nft add rule inet foreign f ip saddr 10.9.0.0/16 accept
             nft add table ip netcheck-cni; nft add set ip netcheck-cni s '{ type ipv4_addr; elements = { 10.0.0.1 }; }'",
        );
        let baseline = node.held();
        node.settle(&view);
        for attachment in attachments(&vector, "n1") {
            assert_eq!(node.add(attachment).0, 0);
        }
        node.settle(&view);
        let expected = vector["expected"]["n1"].clone();
        let bell = listen(&node);
        let broken = Self {
            node,
            view,
            baseline,
            expected,
            bell,
        };
        broken.is_whole("before");
        broken
    }

    fn is_whole(&self, after: &str) {
        assert_eq!(
            self.node.held().differences(&self.baseline, &self.expected),
            "",
            "{after}"
        );
        for device in ["ncvx0", VETH] {
            for family in ["ipv4", "ipv6"] {
                let key = format!("net.{family}.conf.{device}.forwarding");
                assert_eq!(self.node.sysctl(&key), "1", "{after}: {key}");
            }
        }
    }

    /// Does it, hears of it, passes once, and finds all as it was.
    fn mends(&mut self, deed: &str, is_heard: bool) {
        while self.bell.try_recv().is_ok() {}
        self.node.sandbox.run(deed);
        if is_heard {
            assert!(self.bell.recv_timeout(PATIENCE).is_ok(), "nobody heard: {deed}");
        } else {
            // The first pass of another daemon is as one after a period: it looks at all there is.
            self.node.restart_daemon();
        }
        let mended = self.node.settle(&self.view);
        assert_ne!(mended.applied.total(), 0, "nothing was mended: {deed}");
        self.is_whole(deed);
        let outcome = self.node.settle(&self.view);
        assert_eq!(
            outcome.applied.total(),
            0,
            "not in one pass: {deed}: {:?}",
            outcome.applied
        );
        judge(deed, &self.node, &self.baseline, &self.expected, &outcome);
    }

    fn each(&mut self, kind: &str, is_heard: bool, mut deeds: impl FnMut(&Value) -> Vec<String>) {
        let all = self.expected[kind].as_array().unwrap().clone();
        assert!(!all.is_empty());
        for deed in all.iter().flat_map(&mut deeds) {
            self.mends(&deed, is_heard);
        }
    }
}

/// The daemon's ear on a node's kernel. Its thread ends with the tests.
fn listen(node: &Node) -> Receiver<()> {
    let netns = node.sandbox.netns();
    let (sender, receiver) = channel();
    thread::spawn(move || {
        within(&netns, || {
            let mut ears = Ears::open().unwrap();
            while sender.send(()).is_ok() && ears.wait().is_ok() {}
        })
    });
    // The first message: it is open.
    receiver.recv_timeout(PATIENCE).unwrap();
    receiver
}

fn each_address() {
    Broken::new().each("addresses", true, |address| {
        let (ip, prefix, device) = (words(&address["local"]), &address["prefixlen"], words(&address["dev"]));
        let other = if ip.contains(':') { 64 } else { 24 };
        vec![
            format!("ip addr del {ip}/{prefix} dev {device}"),
            format!("ip addr del {ip}/{prefix} dev {device}; ip addr add {ip}/{other} dev {device}"),
            format!("ip addr add {ip}/{other} dev {device} 2>/dev/null || ip addr del {ip}/{prefix} dev {device}"),
        ]
    });
}

fn each_route() {
    Broken::new().each("routes", true, |route| {
        let destination = words(&route["dst"]);
        let is_v6 = destination.contains(':');
        let metric = route.get("metric").map_or(String::new(), |metric| format!("metric {metric}"));
        let family = if is_v6 { "-6" } else { "-4" };
        let kind = route.get("type").map_or("unicast".to_owned(), words);
        let elsewhere = if is_v6 { "via 2001:db8:99::99 dev eth0" } else { "via 192.0.2.99 dev eth0" };
        let mut deeds = vec![
            format!("ip {family} route del {kind} {destination} {metric}"),
            format!("ip {family} route del {kind} {destination} {metric}; ip {family} route add blackhole {destination} {metric} proto 147"),
            format!("ip {family} route del {kind} {destination} {metric}; ip {family} route add {destination} {elsewhere} {metric} proto 147"),
        ];
        if kind == "unicast" {
            let device = words(&route["dev"]);
            let way = route.get("gateway").map_or(String::new(), |gateway| format!("via {} onlink", words(gateway)));
            deeds.push(format!("ip {family} route replace {destination} {way} dev {device} {metric} proto 147 mtu 1000"));
            deeds.push(format!("ip {family} route append {destination} {elsewhere} {metric} proto 147"));
            let own = if is_v6 { "2001:db8:99::11" } else { "192.0.2.11" };
            deeds.push(format!("ip {family} route replace {destination} {way} dev {device} {metric} proto 147 src {own}"));
        }
        deeds
    });
}

fn each_neighbour() {
    Broken::new().each("neighbours", true, |neighbour| {
        let (ip, device) = (words(&neighbour["dst"]), words(&neighbour["dev"]));
        let mac = words(&neighbour["lladdr"]);
        vec![
            format!("ip neigh del {ip} dev {device}"),
            format!("ip neigh replace {ip} lladdr 02:00:00:00:00:99 dev {device} nud permanent protocol 147"),
            format!("ip neigh replace {ip} lladdr {mac} dev {device} nud stale protocol 147"),
            format!("ip neigh replace {ip} lladdr {mac} dev {device} nud permanent protocol 147 router"),
            format!("ip neigh replace {ip} lladdr {mac} dev {device} nud permanent protocol 147 extern_learn"),
        ]
    });
}

/// Linux tells nobody when only the protocol changes (`__neigh_update`).
fn each_neighbours_protocol() {
    Broken::new().each("neighbours", false, |neighbour| {
        let [ip, device, mac] = ["dst", "dev", "lladdr"].map(|key| words(&neighbour[key]));
        vec![format!(
            "ip neigh replace {ip} lladdr {mac} dev {device} nud permanent protocol static"
        )]
    });
}

fn each_fdb() {
    Broken::new().each("fdb", true, |entry| {
        let [mac, destination] = ["mac", "dst"].map(|key| words(&entry[key]));
        let otherwise = ["port 5000", "vni 7", "via eth0", "router", "sticky"]
            .map(|more| format!("bridge fdb replace {mac} dst {destination} dev ncvx0 self permanent {more}"));
        let mut deeds = vec![
            format!("bridge fdb del {mac} dev ncvx0"),
            format!("bridge fdb replace {mac} dst 192.0.2.99 dev ncvx0 self permanent"),
            format!("bridge fdb replace {mac} dst {destination} dev ncvx0 self dynamic"),
        ];
        deeds.extend(otherwise);
        deeds
    });
}

fn a_pods_route() {
    let mut broken = Broken::new();
    let pod = &broken.node.pods[POD];
    pod.run(
        "ip route replace default via 169.254.1.1 dev eth0 mtu 1000
         ip -6 route replace default via fe80::1 dev eth0 metric 1024 mtu 9000",
    );
    // Pods are looked into once in a period: here, by the first pass of another daemon.
    broken.node.restart_daemon();
    let outcome = broken.node.settle(&broken.view);
    judge(
        "a pod's route",
        &broken.node,
        &broken.baseline,
        &broken.expected,
        &outcome,
    );
}

fn everything_at_once() {
    let mut broken = Broken::new();
    let all = DEEDS.iter().chain(SILENT).map(|(_, deed)| *deed);
    // Some of them stand in the way of others.
    let tolerant: Vec<String> = all.map(|deed| format!("{{ {deed}\n}} 2>/dev/null || true")).collect();
    broken.node.sandbox.run(&tolerant.join("\n"));
    broken.node.restart_daemon();
    let outcome = broken.node.settle(&broken.view);
    assert!(outcome.applied.total() > 20, "{:?}", outcome.applied);
    broken.is_whole("everything at once");
}

fn a_veth_that_is_gone() {
    let mut broken = Broken::new();
    broken.node.sandbox.run(&format!("ip link del {VETH}"));
    let outcome = broken.node.settle(&broken.view);
    // What is counted on it goes with it; nothing else can be done.
    let made: Vec<_> = outcome.applied.made.keys().collect();
    assert_eq!(made, ["bpf"], "{:?}", outcome.applied);
    let mut expected = broken.expected.clone();
    for kind in ["links", "routes", "neighbours"] {
        let list = expected[kind].as_array_mut().unwrap();
        list.retain(|one| one.get("ifname") != Some(&VETH.into()) && one.get("dev") != Some(&VETH.into()));
    }
    assert_eq!(broken.node.held().differences(&broken.baseline, &expected), "");
}

/// Instead of each of ours, and beside it: IPv4 takes the first, IPv6 may share packets out to both.
fn foreign_routes_in_our_places(words_of_deeds: &'static [&'static str]) {
    Broken::new().each("routes", true, |route| {
        let destination = words(&route["dst"]);
        let is_v6 = destination.contains(':');
        let metric = route
            .get("metric")
            .map_or(String::new(), |metric| format!("metric {metric}"));
        let (family, elsewhere) = if is_v6 {
            ("-6", "2001:db8:99::99")
        } else {
            ("-4", "192.0.2.99")
        };
        let deed = |words: &&str| {
            let words = words.replace("DST", &destination).replace("THERE", elsewhere);
            format!("ip {family} route {words} proto static {metric}")
        };
        words_of_deeds.iter().map(deed).collect()
    });
}

fn a_foreign_route_that_comes_back() {
    const DEED: &str = "ip route replace 10.244.2.0/24 via 192.0.2.99 dev eth0 proto static";
    let mut broken = Broken::new();
    let route = |node: &Node| {
        node.sandbox
            .run("ip route show 10.244.2.0/24 metric 0")
            .trim()
            .to_owned()
    };
    let ours = route(&broken.node);
    let mut passes = 0;
    let outcome = loop {
        broken.node.sandbox.run(DEED);
        let outcome = broken.node.settle(&broken.view);
        if outcome.applied.total() == 0 {
            break outcome;
        }
        assert_eq!(outcome.applied.made.keys().collect::<Vec<_>>(), ["foreign route"]);
        assert_eq!(route(&broken.node), ours);
        passes += 1;
        assert!(passes < 10, "ours is put back again and again without a pause");
    };
    assert!(passes >= 2);
    let degraded = |outcome: &Outcome| outcome.degraded.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(degraded(&outcome), ["RouteShadowed"]);
    assert_eq!(
        route(&broken.node),
        "10.244.2.0/24 via 192.0.2.99 dev eth0 proto static"
    );
    assert!(outcome.again_after <= Duration::from_secs(2), "{outcome:?}");
    // What is not contested is mended meanwhile.
    broken.node.sandbox.run("ip neigh del 10.244.2.0 dev ncvx0");
    assert_eq!(
        broken.node.settle(&broken.view).applied.made.keys().collect::<Vec<_>>(),
        ["neighbour"]
    );
    let begun = Instant::now();
    while route(&broken.node) != ours {
        assert!(begun.elapsed() < PATIENCE, "it is never taken back");
        thread::sleep(outcome.again_after.min(Duration::from_millis(100)));
        // Told all the time, not now and then.
        assert_eq!(degraded(&broken.node.settle(&broken.view)), ["RouteShadowed"]);
    }
    broken.is_whole("a foreign route that comes back");
}

/// It is not in our place: it stays, and is told.
fn a_foreign_route_that_wins_elsewhere() {
    let mut broken = Broken::new();
    for (deed, back) in [
        (
            "ip route add 10.244.2.128/25 via 192.0.2.99 dev eth0 proto static",
            "ip route del 10.244.2.128/25",
        ),
        (
            "ip -6 route add fd00:10:244:2::/64 via 2001:db8:99::99 dev eth0 proto static metric 5",
            "ip -6 route del fd00:10:244:2::/64 metric 5",
        ),
        (
            "ip route add blackhole 10.244.1.200/32 proto static",
            "ip route del 10.244.1.200/32",
        ),
    ] {
        broken.node.sandbox.run(deed);
        let before = broken.node.held().lines["routes"].clone();
        let outcome = broken.node.settle(&broken.view);
        let degraded: Vec<String> = outcome.degraded.iter().map(ToString::to_string).collect();
        assert_eq!(
            (outcome.applied.total(), degraded),
            (0, vec!["RouteShadowed".to_owned()]),
            "{deed}"
        );
        assert_eq!(broken.node.held().lines["routes"], before, "{deed}");
        broken.node.sandbox.run(back);
        assert!(broken.node.settle(&broken.view).degraded.is_empty(), "{deed}");
    }
}

fn a_foreign_device_in_our_place() {
    let mut broken = Broken::new();
    broken.node.sandbox.run(
        "ip link del ncvx0; ip link add ncvx0 type vxlan id 4242 local 192.0.2.11 dev eth0 dstport 8472
         ip link set ncvx0 alias 'of somebody else'; ip link set ncvx0 up; ip addr add 10.99.0.1/24 dev ncvx0",
    );
    let theirs = broken
        .node
        .sandbox
        .run("ip -j -d link show ncvx0; ip -j addr show ncvx0");
    let outcome = broken.node.settle(&broken.view);
    let degraded: Vec<String> = outcome.degraded.iter().map(ToString::to_string).collect();
    assert_eq!(degraded, ["NameTaken"]);
    let after = broken
        .node
        .sandbox
        .run("ip -j -d link show ncvx0; ip -j addr show ncvx0");
    assert_eq!(after, theirs);
    broken.mends("ip link del ncvx0", true);
}
