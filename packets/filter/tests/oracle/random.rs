//! Expressions nobody thought of: composed at random from the grammar, each judged by tcpdump. The same in every run.

use libtest_mimic::{Failed, Trial};
use netcheck_filter::Source;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::corpus;
use crate::files::{difference, judged_by_tcpdump, report};
use crate::tcpdump::{Corpus, ETHERNET, RAW};

const EXPRESSIONS: usize = 400;

pub fn trials() -> Vec<Trial> {
    vec![judged_by_tcpdump("random expressions pass the same packets", random)]
}

fn random() -> Result<(), Failed> {
    let (ethernet, raw) = (
        Corpus::new(corpus::ethernet(), ETHERNET),
        Corpus::new(corpus::raw(), RAW),
    );
    let mut runner = TestRunner::deterministic();
    let mut wrong = Vec::new();
    for _ in 0..EXPRESSIONS {
        let expression = expression().new_tree(&mut runner)?.current();
        wrong.extend(difference(&expression, Source::EthernetFile, &ethernet));
        wrong.extend(difference(&expression, Source::RawFile, &raw));
    }
    // Constants that come to these: libpcap sees through some of them only.
    wrong.retain(|difference: &String| {
        !["is no divisor", "is no distance to shift"]
            .iter()
            .any(|known| difference.contains(known))
    });
    report(&wrong)
}

fn expression() -> impl Strategy<Value = String> {
    let joint = || select(vec![" and ", " or ", " && ", "||"]);
    primitive().prop_recursive(4, 12, 3, move |inner| {
        prop_oneof![
            (inner.clone(), joint(), inner.clone()).prop_map(|(left, joint, right)| format!("{left}{joint}{right}")),
            (inner.clone(), joint(), inner.clone())
                .prop_map(|(left, joint, right)| format!("({left}){joint}({right})")),
            inner.clone().prop_map(|inner| format!("not ({inner})")),
            inner.prop_map(|inner| format!("! {inner}")),
        ]
    })
}

fn primitive() -> impl Strategy<Value = String> {
    let direction = || select(vec!["", "src ", "dst ", "src or dst ", "src and dst "]);
    let words = "ip ip6 arp tcp udp sctp icmp icmp6 igmp multicast broadcast vlan esp pim stp";
    let host = select(vec![
        "10.0.0.1",
        "10.1.2.3",
        "192.168.7.9",
        "224.0.0.251",
        "2001:db8::1",
        "ff02::fb",
        "10.1",
    ]);
    let net = select(vec![
        "10.0.0.0/8",
        "192.168",
        "2001:db8::/33",
        "fe80::/10",
        "10.1.2.0/23",
        "0.0.0.0/0",
        "::/0",
        "224.0.0.0/4",
    ]);
    let port = || {
        select(vec![
            "80",
            "443",
            "53",
            "domain",
            "22",
            "4789",
            "(80 or 443)",
            "not 80",
            "0x35",
            "1 or 8080",
        ])
    };
    let transport = || select(vec!["", "tcp ", "udp ", "sctp "]);
    let range = select(vec!["1-100", "8000-9000", "443-80", "53"]);
    let mac = select(vec!["02:00:00:00:00:01", "2:0:0:0:0:2", "ff:ff:ff:ff:ff:ff"]);
    prop_oneof![
        4 => select(words.split(' ').collect::<Vec<_>>()).prop_map(str::to_owned),
        2 => (direction(), host).prop_map(|(direction, host)| format!("{direction}host {host}")),
        2 => (direction(), net).prop_map(|(direction, net)| format!("{direction}net {net}")),
        3 => (transport(), direction(), port()).prop_map(|(transport, direction, port)| format!("{transport}{direction}port {port}")),
        1 => (transport(), direction(), range).prop_map(|(transport, direction, range)| format!("{transport}{direction}portrange {range}")),
        1 => (direction(), mac).prop_map(|(direction, mac)| format!("ether {direction}host {mac}")),
        1 => (select(vec!["", "ip ", "ip6 "]), select(vec!["6", "17", "\\icmp", "44", "58", "ospf"])).prop_map(|(family, number)| format!("{family}proto {number}")),
        1 => select(vec!["0x800", "\\ip6", "0x8100", "6", "0x42", "\\ipx", "0x88cc"]).prop_map(|kind| format!("ether proto {kind}")),
        1 => (select(vec!["less", "greater"]), 0..120_u32).prop_map(|(word, limit)| format!("{word} {limit}")),
        1 => select(vec!["vlan 5", "vlan 100", "vlan 7"]).prop_map(str::to_owned),
        6 => relation(),
    ]
}

fn relation() -> impl Strategy<Value = String> {
    let comparison = select(vec!["=", "==", "!=", "<", ">", "<=", ">="]);
    let right = prop_oneof![3 => constant(), 1 => arithmetic()];
    (arithmetic(), comparison, right).prop_map(|(left, comparison, right)| format!("{left} {comparison} {right}"))
}

fn constant() -> impl Strategy<Value = String> {
    prop_oneof![
        (0..70_u32).prop_map(|n| n.to_string()),
        any::<u32>().prop_map(|n| format!("{n:#x}")),
        select(vec!["tcp-syn", "icmp-echo", "0x0800", "017"]).prop_map(str::to_owned)
    ]
}

/// Bytes first and constants after them: libpcap forgets to ask for the protocol of others.
fn arithmetic() -> impl Strategy<Value = String> {
    let operation = (select(vec!["+", "-", "*", "&", "|", "^"]), 0..70_u32).prop_map(|(sign, n)| format!("{sign} {n}"));
    let limited = (select(vec!["<<", ">>", "/", "%"]), 1..32_u32).prop_map(|(sign, n)| format!("{sign} {n}"));
    let operation = || prop_oneof![3 => operation.clone(), 1 => limited.clone()];
    let leaf = || prop_oneof![8 => bytes(), 1 => Just("len".to_owned())];
    prop_oneof![
        leaf(),
        (leaf(), operation()).prop_map(|(left, operation)| format!("{left} {operation}")),
        (leaf(), operation(), operation()).prop_map(|(left, first, second)| format!("{left} {first} {second}")),
        (leaf(), operation(), operation()).prop_map(|(left, first, second)| format!("({left} {first}) {second}")),
        leaf().prop_map(|inner| format!("- {inner}")),
    ]
}

fn bytes() -> impl Strategy<Value = String> {
    let protocol = select(
        "ether ip ip6 arp tcp udp icmp icmp6 sctp igmp"
            .split(' ')
            .collect::<Vec<_>>(),
    );
    let size = select(vec!["", ":1", ":2", ":4"]);
    (protocol, 0..40_u32, size, 0..8_u8).prop_map(|(protocol, at, size, form)| match form {
        0 => format!("{protocol}[{protocol}[{at}] & 31{size}]"),
        1 => format!("{protocol}[({protocol}[0] & 0xf) << 2{size}]"),
        _ => format!("{protocol}[{at}{size}]"),
    })
}
