//! Counters of a namespace with real traffic in it, against what `nstat`, `ip` and `conntrack` say. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{
    counters::{Counters, Numbers, counters, softnet},
    within,
};
use sandbox::{Sandbox, trial};
use serde_json::Value;

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("counters_are_those_of_nstat_and_ip", counters_are_those_of_nstat_and_ip),
        trial("tracking_is_that_of_conntrack", tracking_is_that_of_conntrack),
        trial(
            "another_namespaces_traffic_is_not_counted",
            another_namespaces_traffic_is_not_counted,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// A namespace with a device and loopback, and packets that came and went, or did not: one is sent to a port without a socket.
const TRAFFIC: &str = "ip link set lo up
    ip link add d0 type veth peer name d1
    ip link set d0 addrgenmode none; ip link set d1 addrgenmode none
    ip link set d1 up
    ip link set d0 up
    ip addr add 192.0.2.1/24 dev d0
    ip -6 addr add 2001:db8::1/64 dev d0 nodad
    ping -c 3 -i 0.01 -q 127.0.0.1 >/dev/null
    ping -c 2 -i 0.01 -q 2001:db8::1 >/dev/null
    bash -c 'echo x >/dev/udp/127.0.0.1/9'
    bash -c 'echo x >/dev/udp/192.0.2.9/9'";

fn read(sandbox: &Sandbox) -> Counters {
    within(&sandbox.netns(), counters).unwrap().unwrap()
}

fn counters_are_those_of_nstat_and_ip() {
    let sandbox = Sandbox::new();
    let before = read(&sandbox);
    sandbox.run(TRAFFIC);
    // A neighbour that does not answer is asked three times, a second apart: nothing may move between the readings.
    sandbox.run("ip link set d0 down; ip link set d1 down");
    let ours = read(&sandbox);
    let theirs: Value = serde_json::from_str(&sandbox.run("nstat -asj")).unwrap();
    let theirs: Numbers = serde_json::from_value(theirs["kernel"].clone()).unwrap();
    assert!(theirs["IpInReceives"] >= 7 && theirs["Ip6InReceives"] >= 4 && theirs["UdpNoPorts"] == 1);
    assert_eq!(ours.protocols, theirs);

    let links: Value = serde_json::from_str(&sandbox.run("ip -j -s link")).unwrap();
    for link in links.as_array().unwrap() {
        let name = link["ifname"].as_str().unwrap();
        assert_eq!(u64::from(ours.devices[name].index), link["ifindex"].as_u64().unwrap());
        for (side, counter) in [("rx", "packets"), ("rx", "bytes"), ("tx", "packets"), ("tx", "dropped")] {
            let theirs = link["stats64"][side][counter].as_u64().unwrap();
            assert_eq!(
                ours.device(name, &format!("{side}_{counter}")),
                theirs,
                "{name} {side} {counter}"
            );
        }
    }
    assert!(ours.device("lo", "rx_packets") >= 8, "the oracle sees too little");

    let grown = ours.since(&before);
    assert_eq!(grown.protocol("IcmpInEchos"), 3);
    assert_eq!(grown.protocol("UdpNoPorts"), 1);
    assert_eq!(ours.since(&ours).protocols, Numbers::new());
}

fn tracking_is_that_of_conntrack() {
    let sandbox = Sandbox::new();
    // Tracking works in a namespace once a rule asks for it; a RST of a connection whose SYN it was not shown is INVALID.
    sandbox.run(
        "ip link set lo up
         nft -f - <<END
         table ip t {
           chain out { type filter hook output priority raw; tcp flags syn / syn,ack notrack; }
           chain in { type filter hook prerouting priority raw; tcp flags syn / syn,ack notrack; }
           chain c { type filter hook input priority 0; ct state invalid counter; }
         }
END
         bash -c 'exec 3<>/dev/tcp/127.0.0.1/9' 2>/dev/null || true
         ping -c 3 -i 0.01 -q 127.0.0.1 >/dev/null",
    );
    let ours = read(&sandbox).conntrack;
    let mut theirs = Numbers::new();
    for word in sandbox.run("conntrack -S").split_whitespace() {
        let (name, number) = word.split_once('=').unwrap();
        // The file has older names for these two.
        let name = match name {
            "clash_resolve" => "clashres",
            "error" => "icmp_error",
            other => other,
        };
        *theirs.entry(name.to_owned()).or_default() += number.parse::<u64>().unwrap();
    }
    assert!(theirs["invalid"] > 0, "the oracle sees too little: {theirs:?}");
    for name in [
        "found",
        "invalid",
        "insert_failed",
        "drop",
        "early_drop",
        "icmp_error",
        "clashres",
    ] {
        assert_eq!(ours.get(name).copied().unwrap_or(0), theirs[name], "{name}: {ours:?}");
    }
}

fn another_namespaces_traffic_is_not_counted() {
    let (busy, quiet) = (Sandbox::new(), Sandbox::new());
    let before = read(&quiet);
    let processed = softnet().unwrap()["processed"];
    busy.run(TRAFFIC);
    assert_eq!(read(&quiet).since(&before).protocol("IpInReceives"), 0);
    assert!(read(&busy).protocol("IpInReceives") > 0);
    // Of the whole node: the processors belong to no namespace.
    assert!(softnet().unwrap()["processed"] > processed);
}
