//! A firewall of somebody else that drops what pods send: it really does, it is told, it is left as it is, and what is told mends it.

use crate::{
    node::{Node, attachments, node_of},
    vector,
};
use libtest_mimic::Trial;
use netcheck_cni_daemon::{cluster::View, keeper::Outcome};
use netcheck_trials::{Need, trial};
use serde_json::json;

/// Who drops, how, and which families.
const TRAPS: &[(&str, &str, &[u8])] = &[
    ("iptables_policy", "iptables -P FORWARD DROP", &[4]),
    ("ip6tables_policy", "ip6tables -P FORWARD DROP", &[6]),
    (
        "docker_beside_kube_proxy",
        "iptables -P FORWARD DROP; iptables -N DOCKER-USER; iptables -A DOCKER-USER -j RETURN; iptables -A FORWARD -j DOCKER-USER
         iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
         iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT; iptables -A FORWARD -i docker0 -o docker0 -j ACCEPT",
        &[4],
    ),
    ("iptables_reject", "iptables -A FORWARD -j REJECT; ip6tables -A FORWARD -j REJECT", &[4, 6]),
    (
        "nft_policy",
        "nft add table inet fw; nft add chain inet fw f '{ type filter hook forward priority 0; policy drop; }'
         nft add rule inet fw f ct state established,related accept; nft add rule inet fw f iifname eth0 accept",
        &[4, 6],
    ),
    (
        "nft_rule_behind_a_jump",
        "nft add table ip fw; nft add chain ip fw more; nft add chain ip fw f '{ type filter hook forward priority 0; }'
         nft add rule ip fw more return; nft add rule ip fw f jump more; nft add rule ip fw f ip saddr 10.244.0.0/16 drop",
        &[4],
    ),
];

/// Who drops something, and not this; or might, but does not.
const HARMLESS: &[(&str, &str)] = &[
    ("kube_proxy", "true"),
    (
        "accepted_before",
        "iptables -P FORWARD DROP; iptables -A FORWARD -s 10.244.0.0/16 -j ACCEPT; iptables -A FORWARD -d 10.244.0.0/16 -j ACCEPT",
    ),
    (
        "accepted_behind_a_jump",
        "nft add table inet fw; nft add chain inet fw more; nft add chain inet fw f '{ type filter hook forward priority 0; policy drop; }'
         nft add rule inet fw more iifname 'nc*' accept; nft add rule inet fw f jump more",
    ),
    (
        "switched_off",
        "nft add table inet fw; nft add chain inet fw f '{ type filter hook forward priority 0; policy drop; }'
         nft add table inet fw '{ flags dormant; }'",
    ),
    (
        "only_others",
        "iptables -A FORWARD -i docker0 -j DROP; iptables -A FORWARD -s 10.9.0.0/16 -j REJECT
         iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP",
    ),
];

/// What kube-proxy puts at hook forward in mode iptables, and what it puts there in mode nftables, as far as it could be in the way.
const KUBE_PROXY: &str = "
    for ip in iptables ip6tables; do
        $ip -N KUBE-FORWARD; $ip -N KUBE-SERVICES; $ip -N KUBE-PROXY-FIREWALL
        $ip -A FORWARD -m conntrack --ctstate NEW -m comment --comment 'kubernetes load balancer firewall' -j KUBE-PROXY-FIREWALL
        $ip -A FORWARD -m comment --comment 'kubernetes forwarding rules' -j KUBE-FORWARD
        $ip -A FORWARD -m conntrack --ctstate NEW -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
        $ip -A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
        $ip -A KUBE-FORWARD -m comment --comment 'kubernetes forwarding rules' -m mark --mark 0x4000/0x4000 -j ACCEPT
        $ip -A KUBE-FORWARD -m comment --comment 'kubernetes forwarding conntrack rule' -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
    done
    iptables -A KUBE-SERVICES -d 10.96.0.9/32 -p tcp -m comment --comment 'default/web has no endpoints' -m tcp --dport 80 -j REJECT
    nft -f - <<'END'
    table ip kube-proxy {
        map no-endpoint-services { type ipv4_addr . inet_proto . inet_service : verdict; elements = { 10.96.0.9 . tcp . 80 : goto reject-chain } }
        set cluster-ips { type ipv4_addr; elements = { 10.96.0.9 }; }
        chain filter-forward { type filter hook forward priority -110; ct state new jump service-endpoints-check; ct state new jump cluster-ips-check; }
        chain service-endpoints-check { ip daddr . meta l4proto . th dport vmap @no-endpoint-services; }
        chain cluster-ips-check { ip daddr @cluster-ips reject comment \"Reject traffic to invalid ports of ClusterIPs\"; ip daddr 10.96.0.0/16 drop; }
        chain reject-chain { reject; }
    }
END";

pub fn trials(needs: &'static [Need]) -> Vec<Trial> {
    let traps = TRAPS
        .iter()
        .map(|(name, deed, families)| trial(&format!("forward::{name}"), needs, move || trap(deed, families)));
    let harmless = HARMLESS
        .iter()
        .map(|(name, deed)| trial(&format!("forward::harmless_{name}"), needs, move || harmless(deed)));
    traps.chain(harmless).collect()
}

/// Node n1 with kube-proxy's rules and two pods that reach each other.
struct Pair {
    node: Node,
    view: View,
}

impl Pair {
    fn new() -> Self {
        let vector = vector::read("02-dual-stack-vxlan");
        let view = vector::view(&vector);
        let mut node = Node::furnished(node_of(&vector, "n1"));
        node.sandbox.run(KUBE_PROXY);
        node.settle(&view);
        let first = attachments(&vector, "n1")[0].clone();
        let mut second = first.clone();
        second["key"] = json!("netcheck@b2@eth0");
        second["ips"] = json!(["10.244.1.3", "fd00:10:244:1::3"]);
        for attachment in [&first, &second] {
            assert_eq!(node.add(attachment).0, 0);
        }
        node.settle(&view);
        let pair = Self { node, view };
        assert_eq!(pair.reached(), [4, 6]);
        pair
    }

    /// The families in which one pod reaches the other.
    fn reached(&self) -> Vec<u8> {
        let pod = &self.node.pods["netcheck@b2@eth0"];
        let reaches = |ip: &str| {
            pod.run(&format!(
                "ping -c 3 -i 0.1 -W 1 {ip} >/dev/null 2>&1 && echo yes || echo no"
            ))
            .trim()
                == "yes"
        };
        [(4, "10.244.1.2"), (6, "fd00:10:244:1::2")]
            .into_iter()
            .filter(|(_, ip)| reaches(ip))
            .map(|(family, _)| family)
            .collect()
    }

    /// What the first pass of another daemon says of it: it looks at all there is, as one after a period does.
    fn looked_at(&mut self) -> (Vec<String>, String) {
        self.node.restart_daemon();
        let outcome = self.node.settle(&self.view);
        assert_eq!(outcome.applied.total(), 0, "{outcome:?}");
        let reasons = outcome.degraded.iter().map(ToString::to_string).collect();
        (reasons, message(&outcome))
    }

    fn ruleset(&self) -> String {
        self.node.sandbox.run("nft -j -s list ruleset")
    }
}

fn message(outcome: &Outcome) -> String {
    let degraded = outcome
        .conditions
        .iter()
        .find(|condition| condition.kind.ends_with("/Degraded"));
    degraded.unwrap().message.clone()
}

fn trap(deed: &str, families: &[u8]) {
    let mut pair = Pair::new();
    pair.node.sandbox.run(deed);
    let lost: Vec<u8> = [4, 6]
        .into_iter()
        .filter(|family| !pair.reached().contains(family))
        .collect();
    assert_eq!(lost, families, "the trap is none: {deed}");
    let before = pair.ruleset();
    let (reasons, told) = pair.looked_at();
    assert_eq!(reasons, ["ForwardDropped"], "{told}");
    assert_eq!(pair.ruleset(), before, "it is somebody else's");
    assert_eq!(told.matches("let it through: ").count(), families.len(), "{told}");

    for part in told.split("let it through: ").skip(1) {
        // Each finding ends with its command; the next begins with `chain`.
        let command = part.split("; chain ").next().unwrap().lines().next().unwrap();
        pair.node.sandbox.run(command);
    }
    assert_eq!(pair.reached(), [4, 6], "what is told does not mend it: {told}");
    assert_eq!(pair.looked_at().0, [""; 0]);
}

fn harmless(deed: &str) {
    let mut pair = Pair::new();
    pair.node.sandbox.run(deed);
    assert_eq!(pair.reached(), [4, 6], "{deed}");
    let (reasons, told) = pair.looked_at();
    assert_eq!(reasons, [""; 0], "{told}");
}
