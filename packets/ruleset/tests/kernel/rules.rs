//! Rules of one or two lines, one for each thing that is known.

use super::{agree, net::Net};
use netcheck_ruleset::Protocol;

/// Packets that each ruleset is tried with.
const PACKETS: [(Protocol, &str); 5] = [
    (Protocol::UDP, "10.244.1.4:53"),
    (Protocol::TCP, "10.244.1.4:80"),
    (Protocol::TCP, "203.0.113.1:443"),
    (Protocol::UDP, "[fd00:244:1::4]:53"),
    (Protocol::TCP, "[fd00:244:1::4]:80"),
];

/// Rules of IPv4, of which some packets are caught and others are not.
const FORWARD: [&str; 28] = [
    "-A FORWARD -d 10.244.1.0/24 -j DROP",
    "-A FORWARD -m set --match-set source src -j DROP",
    "-A FORWARD -m set ! --match-set range dst -j DROP",
    "-A FORWARD -m set --match-set door dst,dst -j DROP",
    "-A FORWARD -m set --match-set three src,dst,dst ! --update-counters -j REJECT",
    "-A FORWARD ! -d 10.244.0.0/255.255.0.0 -j REJECT",
    "-A FORWARD -i cni+ -o flannel.1 -p udp -j DROP",
    "-A FORWARD ! -i cni0 -j DROP",
    "-A FORWARD -p tcp -m tcp --dport 80:90 -j REJECT --reject-with tcp-reset",
    "-A FORWARD -p tcp -m tcp ! --dport 80 -j DROP",
    "-A FORWARD -p tcp -m multiport --dports 22,440:443 -j DROP",
    "-A FORWARD -p udp -m multiport ! --dports 53 -j DROP",
    "-A FORWARD -m conntrack --ctstate NEW -j DROP",
    "-A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j REJECT",
    "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -p tcp -j DROP",
    "-A FORWARD -p tcp -j MARK --set-xmark 0x4000/0x4000\n-A FORWARD -m mark --mark 0x4000/0x4000 -j DROP",
    "-A FORWARD -j MARK --set-xmark 0x5/0xff\n-A FORWARD -m mark ! --mark 0x4/0x4 -j DROP",
    "-A FORWARD -m addrtype --dst-type LOCAL -j DROP",
    "-A FORWARD -m addrtype ! --dst-type LOCAL -m comment --comment \"a \\\"b\\\" -j DROP\" -j DROP",
    "-A FORWARD -p tcp -j user\n-A FORWARD -j DROP\n-A user -d 10.244.1.4/32 -j RETURN\n-A user -j ACCEPT",
    "-A FORWARD -g user\n-A FORWARD -j DROP\n-A user -p tcp -j REJECT",
    "-A FORWARD -m iprange --dst-range 10.244.1.1-10.244.1.5 -j DROP",
    "-A FORWARD -p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
    "-A FORWARD -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -j DROP",
    "-A FORWARD -p udp -m statistic --mode random --probability 0.5 -j DROP",
    "-A FORWARD -m limit --limit 5/min -j LOG\n-A FORWARD -p icmp -j DROP",
    "-A FORWARD -m pkttype --pkt-type unicast -p udp -j DROP",
    "-A FORWARD -p udp -j CONNMARK --set-xmark 0x7/0xffffffff\n-A FORWARD -m connmark --mark 0x7 -j DROP",
];

/// Of IPv6.
const FORWARD6: [&str; 3] = [
    "-A FORWARD -d fd00:244:1::/48 -p udp -j DROP",
    "-A FORWARD ! -s fd00:244::9/128 -j DROP",
    "-A FORWARD -p tcp -j REJECT",
];

/// Tables of iptables besides the filter.
const TABLES: [&str; 6] = [
    "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -m udp --dport 53 -j DNAT --to-destination 203.0.113.5:5353\n-A POSTROUTING -d 203.0.113.0/24 -j MASQUERADE\nCOMMIT\n",
    "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -d 203.0.113.1/32 -j DNAT --to-destination 10.244.1.4\n-A POSTROUTING -m conntrack --ctstate DNAT -j SNAT --to-source 10.90.0.21\nCOMMIT\n",
    "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j CT --notrack\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.244.1.4/32 -j DNAT --to-destination 203.0.113.5\nCOMMIT\n",
    "*mangle\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p tcp -j ACCEPT\nCOMMIT\n*filter\n:FORWARD DROP [0:0]\n-A FORWARD -p udp -j ACCEPT\nCOMMIT\n",
    "*mangle\n:PREROUTING DROP [0:0]\n-A PREROUTING -m conntrack --ctstate UNTRACKED -j ACCEPT\nCOMMIT\n*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j CT --notrack\nCOMMIT\n",
    "*nat\n:PREROUTING ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n-A PREROUTING -m statistic --mode nth --every 2 --packet 0 -j DNAT --to-destination 10.244.1.7\n-A PREROUTING -j DNAT --to-destination 10.244.1.8\nCOMMIT\n",
];

pub fn iptables(program: &str, program6: &str) {
    let net = Net::new();
    let filter = |rules: &str| {
        let has_user = rules.contains(" user\n");
        let user = if has_user { ":user - [0:0]\n" } else { "" };
        format!("*filter\n:FORWARD ACCEPT [0:0]\n{user}{rules}\nCOMMIT\n")
    };
    for rules in FORWARD {
        net.load(program, &filter(rules));
        all_agree(&net);
        net.forget();
    }
    for rules in FORWARD6 {
        net.load(program6, &filter(rules));
        all_agree(&net);
        net.forget();
    }
    for tables in TABLES {
        net.load(program, tables);
        all_agree(&net);
        net.forget();
    }
}

/// Rules of a chain of the table `inet t` at hook forward.
const NFT: [&str; 26] = [
    "ip daddr 10.244.1.0/24 drop",
    "ip daddr != 10.244.0.0/16 reject",
    "ip6 daddr fd00:244:1::4 meta l4proto udp drop",
    "ip6 daddr != fd00:244:1::4 drop",
    "iifname \"cni*\" oifname { \"flannel.1\", \"x\" } udp dport 53 drop",
    "iifname != \"cni0\" drop",
    "oif \"flannel.1\" tcp dport { 22, 80-90 } reject with tcp reset",
    "th dport 53 reject",
    "tcp dport >= 100 drop",
    "ct state vmap { established : accept, related : accept, new : jump chosen }",
    "ct state established,related accept; meta l4proto tcp drop",
    "ct state != new drop",
    "ct state { new, untracked } meta l4proto udp drop",
    "meta mark set meta mark | 0x4000; meta mark & 0xff00 == 0x4000 tcp dport 80 drop",
    "meta mark set 0x5; meta mark { 1, 4-6 } meta l4proto udp drop",
    "ip daddr . meta l4proto . th dport vmap { 10.244.1.4 . tcp . 80 : drop, 10.244.1.4 . udp . 53 : goto chosen }; meta l4proto tcp reject",
    "ip saddr . ip daddr @pairs drop",
    "ip daddr @ranges drop",
    "fib daddr type local drop",
    "fib daddr type unicast meta l4proto udp drop",
    "fib saddr . iif oif missing drop",
    "meta nfproto ipv6 drop",
    "ip protocol udp drop; ip6 nexthdr tcp drop",
    "tcp flags & (fin|syn|rst|ack) == syn drop",
    "numgen random mod 2 vmap { 0 : drop, 1 : accept }",
    "limit rate 1/day log; icmp type echo-request drop; counter goto chosen",
];

/// Rules of a chain of the table `ip t` of type nat at hook prerouting, and of one at hook postrouting.
const NFT_NAT: [(&str, &str); 5] = [
    (
        "udp dport 53 dnat to 203.0.113.5:5353",
        "ip daddr 203.0.113.0/24 masquerade",
    ),
    (
        "ip daddr 10.244.1.4 dnat to numgen random mod 2 map { 0 : 10.244.1.5, 1 : 10.244.1.6 }",
        "ct status dnat snat to 10.90.0.21",
    ),
    (
        "meta l4proto { tcp, udp } dnat to ip daddr map { 10.244.1.4 : 10.244.1.9 }",
        "",
    ),
    (
        "numgen inc mod 3 vmap { 0 : goto one, 1 : goto two }",
        "oifname \"flannel.1\" ip saddr 10.244.0.0/16 ip daddr != 10.244.0.0/16 masquerade",
    ),
    (
        "meta mark set 0x1 accept; dnat to 10.244.1.9",
        "meta mark 0x1 masquerade",
    ),
];

pub fn nft() {
    let net = Net::new();
    for rules in NFT {
        let rules = rules.replace("; ", "\n");
        net.load(
            "nft -f -",
            &format!(
                "table inet t {{
                    set pairs {{ type ipv4_addr . ipv4_addr; flags interval; elements = {{ 10.244.0.0/24 . 203.0.113.0-203.0.113.9 }} }}
                    set ranges {{ type ipv4_addr; flags interval; elements = {{ 10.0.0.0/9, 203.0.113.1 }} }}
                    chain chosen {{ meta l4proto udp drop\n ip daddr 10.244.1.4 return\n reject\n }}
                    chain c {{ type filter hook forward priority filter; policy accept;\n {rules}\n }}
                }}"
            ),
        );
        all_agree(&net);
        net.forget();
    }
    for (prerouting, postrouting) in NFT_NAT {
        let prerouting = prerouting.replace("; ", "\n");
        net.load(
            "nft -f -",
            &format!(
                "table ip t {{
                    chain one {{ dnat to 10.244.1.5\n }}
                    chain two {{ dnat to 10.244.1.6\n }}
                    chain pre {{ type nat hook prerouting priority dstnat; policy accept;\n {prerouting}\n }}
                    chain post {{ type nat hook postrouting priority srcnat; policy accept;\n {postrouting}\n }}
                }}"
            ),
        );
        all_agree(&net);
        net.forget();
    }
}

/// Chains of several makers at one hook.
pub fn both() {
    let net = Net::new();
    let accept = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j ACCEPT\nCOMMIT\n";
    let drop = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -p udp -j DROP\nCOMMIT\n";
    let nat = |to: &str| {
        format!("*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -j DNAT --to-destination {to}\nCOMMIT\n")
    };
    let trials: [&[(&str, String)]; 4] = [
        &[("iptables-legacy-restore", accept.to_owned()), ("iptables-nft-restore", drop.to_owned())],
        &[("iptables-nft-restore", accept.to_owned()), ("iptables-legacy-restore", drop.to_owned())],
        &[
            ("iptables-nft-restore", accept.to_owned()),
            ("nft -f -", "table inet t { chain c { type filter hook forward priority filter - 10; policy drop; meta l4proto tcp accept\n }\n}".to_owned()),
        ],
        // The priority of a chain of type nat orders it among its like only.
        &[
            ("iptables-nft-restore", nat("10.244.1.5")),
            ("nft -f -", "table ip t { chain c { type nat hook prerouting priority -150; dnat to 10.244.1.6\n }\n}".to_owned()),
        ],
    ];
    for rules in trials {
        for (program, rules) in rules {
            net.load(program, rules);
        }
        all_agree(&net);
        net.forget();
    }
}

fn all_agree(net: &Net) {
    let ruleset = net.ruleset();
    for (protocol, to) in PACKETS {
        agree(net, &ruleset, protocol, to);
    }
}
