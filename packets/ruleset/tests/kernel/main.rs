//! What becomes of packets by [`Ruleset::walk`], against what the kernel makes of them: the same rules are loaded in a namespace, real packets are
//! sent through it, and a server behind it writes down what arrives. Needs root, nft and iptables.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod net;
mod rules;

use libtest_mimic::Arguments;
use net::{CLIENT, DEVICES, Fate, Net};
use netcheck_ruleset::{Hook, Outcome, Packet, Protocol, Ruleset, Verdict};
use netcheck_trials::{Need, trial, wait_for};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

const NEEDS: [Need; 5] = [
    Need::Root,
    Need::Program("nft"),
    Need::Program("iptables-nft-restore"),
    Need::Program("iptables-legacy-restore"),
    Need::Program("ip"),
];

/// Recorded with counters of the kernel's that are not in each kernel (`-m nfacct`): they match whatever comes.
const FLANNEL: &str = include_str!("../recorded/flannel.iptables-save");
const KUBE_PROXY: &str = include_str!("../recorded/kube-proxy.nft");

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("kube_proxy_and_flannel_by_iptables_nft", &NEEDS, || {
            flannel("iptables-nft-restore");
        }),
        trial("kube_proxy_and_flannel_by_iptables_legacy", &NEEDS, || {
            flannel("iptables-legacy-restore");
        }),
        trial("kube_proxy_by_nftables", &NEEDS, kube_proxy),
        trial("rules_of_iptables_nft", &NEEDS, || {
            rules::iptables("iptables-nft-restore", "ip6tables-nft-restore");
        }),
        trial("rules_of_iptables_legacy", &NEEDS, || {
            rules::iptables("iptables-legacy-restore", "ip6tables-legacy-restore");
        }),
        trial("rules_of_nft", &NEEDS, rules::nft),
        trial("both_flavours_beside_each_other", &NEEDS, rules::both),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn flannel(program: &str) {
    let net = Net::new();
    let rules: Vec<String> = FLANNEL.lines().map(without_accounting).collect();
    net.load(program, &(rules.join("\n") + "\n"));
    let ruleset = net.ruleset();
    let packets = [
        (Protocol::UDP, "10.96.0.10:53", 2),
        (Protocol::TCP, "10.96.0.10:9153", 2),
        (Protocol::TCP, "10.96.21.143:80", 3),
        // Nobody rejects a port that the Service does not have.
        (Protocol::TCP, "10.96.21.143:81", 1),
        (Protocol::UDP, "10.96.21.143:80", 1),
        (Protocol::TCP, "10.96.0.1:443", 1),
        (Protocol::TCP, "10.90.0.21:30080", 3),
        (Protocol::UDP, "203.0.113.1:80", 1),
        (Protocol::TCP, "10.244.1.4:80", 1),
    ];
    for (protocol, to, outcomes) in packets {
        assert_eq!(agree(&net, &ruleset, protocol, to).len(), outcomes, "{to}");
    }
}

fn without_accounting(line: &str) -> String {
    let Some((before, after)) = line.split_once("-m nfacct --nfacct-name ") else {
        return line.to_owned();
    };
    let (_, after) = after.trim_start().split_once(' ').unwrap();
    format!("{before}{after}")
}

fn kube_proxy() {
    let net = Net::new();
    net.load("nft -f -", KUBE_PROXY);
    let ruleset = net.ruleset();
    let packets = [
        (Protocol::TCP, "10.96.9.1:80", 3),
        (Protocol::TCP, "10.96.9.1:81", 1),
        (Protocol::UDP, "10.96.9.1:80", 1),
        (Protocol::UDP, "10.96.0.10:53", 2),
        (Protocol::TCP, "10.96.77.77:80", 1),
        (Protocol::TCP, "10.90.0.21:30080", 3),
        (Protocol::TCP, "203.0.113.1:80", 1),
    ];
    for (protocol, to, outcomes) in packets {
        assert_eq!(agree(&net, &ruleset, protocol, to).len(), outcomes, "{to}");
    }
}

/// Sends packets until all that may happen has been seen, and nothing else.
fn agree(net: &Net, ruleset: &Ruleset, protocol: Protocol, to: &str) -> BTreeSet<Fate> {
    let to: SocketAddr = to.parse().unwrap();
    let expected = foretold(ruleset, protocol, to);
    let mut seen = BTreeSet::new();
    wait_for(&format!("{expected:?} of packets to {to}"), || {
        let fates = net.send(protocol, to);
        assert!(
            fates.is_subset(&expected),
            "to {to} by {protocol:?}: foretold {expected:?}, seen {fates:?}"
        );
        seen.extend(fates);
        seen == expected
    });
    expected
}

fn foretold(ruleset: &Ruleset, protocol: Protocol, to: SocketAddr) -> BTreeSet<Fate> {
    let from: IpAddr = CLIENT[usize::from(to.is_ipv6())].parse().unwrap();
    let [input, output] = DEVICES;
    let packet = Packet::new(protocol, from, to.ip(), to.port()).by(Some(input), Some(output));
    let outcomes = ruleset
        .walk(&[Hook::Prerouting, Hook::Forward, Hook::Postrouting], &packet)
        .unwrap_or_else(|why| panic!("{to}: {why}"));
    let fate = |outcome: Outcome| match outcome.verdict {
        Verdict::Dropped(_) => Fate::Vanished,
        Verdict::Rejected(_) => Fate::Rejected,
        Verdict::Accepted => {
            let target = outcome
                .dnat
                .map_or(to, |dnat| SocketAddr::new(dnat.to.unwrap(), dnat.port));
            Fate::Arrived(target, outcome.snat.is_none())
        }
    };
    outcomes.into_iter().map(fate).collect()
}
