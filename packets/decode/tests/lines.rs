//! The corpus as a person reads it, and what hostile packets make of a line.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod corpus;

use corpus::samples;
use netcheck_decode::{Link, Names, describe, headers_length, line};
use std::{borrow::Cow, net::IpAddr};

/// The names of a small cluster.
struct Cluster;

impl Names for Cluster {
    fn name(&self, address: IpAddr) -> Option<Cow<'_, str>> {
        let name = match address.to_string().as_str() {
            "10.244.0.1" => "shop/web",
            "10.244.1.2" => "shop/db",
            "10.0.0.1" => "n1",
            "10.0.0.2" => "n2",
            "fd00::2" => "evil\x1b[2J\u{202e}\n/pod",
            _ => return None,
        };
        Some(Cow::Borrowed(name))
    }
}

fn of_sample(name: &str, names: &dyn Names, change: impl FnOnce(&mut Vec<u8>)) -> String {
    let sample = samples().into_iter().find(|sample| sample.name == name).unwrap();
    let length = u32::try_from(sample.bytes.len()).unwrap();
    let mut bytes = sample.bytes;
    change(&mut bytes);
    line(&describe(sample.link, &bytes, length), names)
}

#[test]
fn every_packet_has_its_line() {
    let expected = [
        (
            "tcp syn",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [S], seq 4000000001, win 64240, mss 1460, length 0",
        ),
        (
            "tcp data",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 18",
        ),
        (
            "tcp reset",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [R], seq 4000000001, win 64240, length 0",
        ),
        (
            "tcp every flag",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [FSRP.UEWe], seq 4000000001, ack 77, win 64240, length 0",
        ),
        (
            "tcp no flag",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [none], seq 4000000001, win 64240, length 0",
        ),
        (
            "tcp large",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [.], seq 4000000001, ack 77, win 64240, length 60000",
        ),
        (
            "tcp not yet cut by offload",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [.], seq 4000000001, ack 77, win 64240, length 2000",
        ),
        (
            "tcp padded",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [.], seq 4000000001, ack 77, win 64240, length 0",
        ),
        ("udp", "10.0.0.1:1000 > 10.0.0.2:2000: udp, length 6"),
        (
            "dns query",
            "10.0.0.1:40000 > 10.0.0.2:53: dns 4660 query A? web.shop.svc.local, length 36",
        ),
        (
            "dns answer",
            "10.0.0.1:53 > 10.0.0.2:40000: dns 4660 answer NOERROR A? web.shop.svc.local: CNAME db.shop.svc.local, A 10.96.0.10, length 69",
        ),
        (
            "dns no such name",
            "[fd00::1]:53 > [fd00::2]:40000: dns 4661 answer NXDOMAIN A? web.shop.svc.local, length 36",
        ),
        (
            "dns over tcp",
            "10.0.0.1:40000 > 10.0.0.2:53: tcp [P.], seq 4000000001, ack 77, win 64240, dns 4660 query A? web.shop.svc.local, length 38",
        ),
        (
            "mdns",
            "10.0.0.1:5353 > 10.0.0.2:5353: dns 4660 query A? web.shop.svc.local, length 36",
        ),
        ("port 53 without dns", "10.0.0.1:40000 > 10.0.0.2:53: udp, length 40"),
        (
            "vlan",
            "vlan 12 | 10.0.0.1:45678 > 10.0.0.2:80: tcp [.], seq 4000000001, ack 77, win 64240, length 3",
        ),
        ("vlan in vlan", "vlan 4095 7 | 10.0.0.1:1 > 10.0.0.2:2: udp, length 3"),
        ("arp question", "arp who-has 10.0.0.2 tell 10.0.0.1"),
        ("arp answer", "arp 10.0.0.1 is-at 02:00:00:00:00:01"),
        ("ping", "10.0.0.1 > 10.0.0.2: icmp echo request, id 7, seq 9, length 64"),
        ("pong", "10.0.0.1 > 10.0.0.2: icmp echo reply, id 7, seq 9, length 64"),
        (
            "port unreachable",
            "10.0.0.1 > 10.0.0.2: icmp port unreachable, about udp 10.0.0.1:1000 > 10.0.0.2:2000, length 42",
        ),
        (
            "fragmentation needed",
            "10.0.0.1 > 10.0.0.2: icmp fragmentation needed, mtu 1400, about tcp 10.0.0.1:45678 > 10.0.0.2:80, length 36",
        ),
        (
            "time exceeded",
            "10.0.0.1 > 10.0.0.2: icmp time to live exceeded, about tcp 10.0.0.1:45678 > 10.0.0.2:80, length 36",
        ),
        (
            "redirect",
            "10.0.0.1 > 10.0.0.2: icmp redirect for 10.0.0.254, about udp 10.0.0.1:1000 > 10.0.0.2:2000, length 42",
        ),
        ("ping6", "fd00::1 > fd00::2: icmp6 echo request, id 7, seq 9, length 14"),
        (
            "too big",
            "fd00::1 > fd00::2: icmp6 packet too big, mtu 1280, about tcp [fd00::1]:45678 > [fd00::2]:80, length 56",
        ),
        (
            "unreachable6",
            "fd00::1 > fd00::2: icmp6 port unreachable, about udp [fd00::1]:1000 > [fd00::2]:2000, length 62",
        ),
        (
            "neighbour solicitation",
            "fd00::1 > fd00::2: icmp6 neighbour solicitation for fd00::6, mac 02:00:00:00:00:01, length 32",
        ),
        (
            "neighbour advertisement",
            "fd00::1 > fd00::2: icmp6 neighbour advertisement for fd00::6, mac 02:00:00:00:00:02, length 32",
        ),
        (
            "first fragment",
            "10.0.0.1:1000 > 10.0.0.2:2000: udp, length 0, fragment 5@0+",
        ),
        ("later fragment", "10.0.0.1 > 10.0.0.2: udp, length 40, fragment 5@40"),
        (
            "first fragment6",
            "[fd00::1]:1000 > [fd00::2]:2000: udp, length 8, fragment 9@0+",
        ),
        ("later fragment6", "fd00::1 > fd00::2: udp, length 16, fragment 9@16"),
        (
            "hop by hop",
            "[fd00::1]:45678 > [fd00::2]:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 6",
        ),
        ("esp", "10.0.0.1 > 10.0.0.2: esp, length 40"),
        ("sctp", "10.0.0.1:1000 > 10.0.0.2:2000: sctp, length 32"),
        ("lldp", "02:00:00:00:00:01 > 02:00:00:00:00:02: ethertype 0x88cc"),
        (
            "vxlan",
            "vxlan 1 10.0.0.1 > 10.0.0.2 | 10.244.0.1:45678 > 10.244.1.2:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 6",
        ),
        (
            "vxlan of Linux",
            "vxlan 11259375 10.0.0.1 > 10.0.0.2 | 10.244.0.1:40000 > 10.244.1.2:53: dns 4660 query A? web.shop.svc.local, length 36",
        ),
        (
            "vxlan over IPv6",
            "vxlan 7 fd00::1 > fd00::2 | arp who-has 10.0.0.2 tell 10.0.0.1",
        ),
        (
            "geneve",
            "geneve 42 10.0.0.1 > 10.0.0.2 | 10.244.0.1 > 10.244.1.2: icmp echo request, id 1, seq 2, length 14",
        ),
        (
            "ip in ip",
            "ipip 10.0.0.1 > 10.0.0.2 | 10.244.0.1:45678 > 10.244.1.2:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 6",
        ),
        (
            "ip6 in ip6",
            "ipip fd00::1 > fd00::2 | [fd00::1]:1000 > [fd00::2]:2000: udp, length 6",
        ),
        (
            "ip6 in ip",
            "ipip 10.0.0.1 > 10.0.0.2 | [fd00::1]:1000 > [fd00::2]:2000: udp, length 6",
        ),
        (
            "raw tcp",
            "10.0.0.1:45678 > 10.0.0.2:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 6",
        ),
        ("raw udp6", "[fd00::1]:1000 > [fd00::2]:2000: udp, length 6"),
    ];
    let samples = samples();
    assert_eq!(samples.len(), expected.len());
    for (sample, (name, expected)) in samples.iter().zip(expected) {
        assert_eq!(sample.name, name);
        assert_eq!(of_sample(name, &(), |_| {}), expected, "{name}");
    }
}

#[test]
fn names_stand_for_addresses() {
    let lines = [
        (
            "tcp reset",
            "n1:45678 > n2:80: tcp [R], seq 4000000001, win 64240, length 0",
        ),
        (
            "vxlan",
            "vxlan 1 n1 > n2 | shop/web:45678 > shop/db:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 6",
        ),
        ("arp question", "arp who-has n2 tell n1"),
        (
            "port unreachable",
            "n1 > n2: icmp port unreachable, about udp n1:1000 > n2:2000, length 42",
        ),
    ];
    for (name, expected) in lines {
        assert_eq!(of_sample(name, &Cluster, |_| {}), expected, "{name}");
    }
}

#[test]
fn a_cut_packet_says_so() {
    let cut = |length| move |bytes: &mut Vec<u8>| bytes.truncate(length);
    assert_eq!(
        of_sample("tcp data", &(), cut(54)),
        "10.0.0.1:45678 > 10.0.0.2:80: tcp [P.], seq 4000000001, ack 77, win 64240, length 18 [cut: 54 of 72 bytes]"
    );
    assert_eq!(
        of_sample("dns answer", &(), cut(80)),
        "10.0.0.1:53 > 10.0.0.2:40000: dns 4660 answer NOERROR A? web.shop.svc.local and 2 more, length 69 [cut: 80 of 111 bytes]"
    );
    assert_eq!(
        of_sample("tcp syn", &(), cut(50)),
        "10.0.0.1:45678 > 10.0.0.2:80: tcp, length 40 [cut: 50 of 74 bytes]"
    );
    assert_eq!(of_sample("tcp syn", &(), cut(0)), "not understood [cut: 0 of 74 bytes]");
}

#[test]
fn only_what_looks_like_a_tunnel_is_one() {
    // Without its I bit it is no VXLAN, and without version 0 no GENEVE: all behind UDP is payload.
    for (name, length) in [("vxlan", 68), ("geneve", 60)] {
        let spoil = |bytes: &mut Vec<u8>| {
            bytes[42] ^= 0x88;
            assert_eq!(headers_length(Link::Ethernet, bytes), 42);
        };
        let shown = of_sample(name, &(), spoil);
        assert!(shown.ends_with(&format!(": udp, length {length}")), "{shown}");
    }
}

#[test]
fn hostile_text_is_shown_and_not_obeyed() {
    // Control characters, and U+202E in UTF-8: DNS names are bytes.
    let label = |bytes: &mut Vec<u8>| {
        let web = bytes.windows(4).position(|bytes| bytes == b"\x03web").unwrap();
        bytes[web + 1..web + 4].copy_from_slice(b"\x1b\n.");
        let shop = web + 5;
        bytes[shop..shop + 4].copy_from_slice(b"\xe2\x80\xae\0");
    };
    assert_eq!(
        of_sample("dns query", &(), label),
        r"10.0.0.1:40000 > 10.0.0.2:53: dns 4660 query A? \033\012\..\342\200\256\000.svc.local, length 36"
    );
    assert_eq!(
        of_sample("raw udp6", &Cluster, |_| {}),
        r"[fd00::1]:1000 > evil\u{1b}[2J\u{202e}\n/pod:2000: udp, length 6"
    );
}

#[test]
fn names_and_lines_are_bounded() {
    struct Long;
    impl Names for Long {
        fn name(&self, _: IpAddr) -> Option<Cow<'_, str>> {
            Some(Cow::Owned("\u{200b}".repeat(10_000)))
        }
    }
    assert!(of_sample("vxlan", &Long, |_| {}).chars().count() <= 1_001);
}

#[test]
fn json_names_what_it_tells() {
    let sample = samples().into_iter().find(|sample| sample.name == "vxlan").unwrap();
    let summary = describe(sample.link, &sample.bytes, 500);
    let json = serde_json::to_value(&summary).unwrap();
    let inner = "02:00:00:00:00:01";
    assert_eq!(
        json,
        serde_json::json!({
            "length": 500,
            "captured": 110,
            "frame": { "source": inner, "destination": "02:00:00:00:00:02", "etherType": 2048 },
            "tunnels": [{
                "kind": "vxlan", "vni": 1, "source": "10.0.0.1", "destination": "10.0.0.2",
                "frame": { "source": inner, "destination": "02:00:00:00:00:02", "etherType": 2048 },
            }],
            "network": { "protocol": "ip", "source": "10.244.0.1", "destination": "10.244.1.2", "hopLimit": 64 },
            "transport": {
                "protocol": "tcp", "sourcePort": 45678, "destinationPort": 80, "flags": ["PSH", "ACK"], "sequence": 4_000_000_001u32,
                "acknowledgement": 77, "window": 64240, "length": 6,
            },
        })
    );
}
