//! Reasons and events.

use crate::{
    lab::Lab,
    pinned,
    shell::wait_until_equal,
    traffic::{cut_frame, ip_frame, other_frame, send_frame, tcp_flow, udp_flow, with_options},
};
use netcheck_cni_bpf::{Bpf, Event, Events};
use std::net::IpAddr;

const HOST_MAC: &str = "0e:6e:63:00:00:01";
const UDP: u8 = 17;
/// A UDP header, ports 4660 and 9, and no data.
const DATAGRAM: [u8; 8] = [0x12, 0x34, 0, 9, 0, 8, 0, 0];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Does something, and says how many packets each reason has got by it, zeros left out.
fn reasons_of(bpf: &Bpf, work: impl FnOnce()) -> Vec<(usize, u64)> {
    let before = bpf.read_reasons().unwrap();
    work();
    let after = bpf.read_reasons().unwrap();
    let grown = after
        .iter()
        .zip(before)
        .map(|(after, before)| after.packets - before.packets);
    grown.enumerate().filter(|&(_, count)| count > 0).collect()
}

pub fn each_reason_is_counted() {
    let lab = Lab::new();
    let (a, b) = (lab.a.start(&lab.b, None), lab.b.start(&lab.a, None));
    let (pod, node) = (&lab.a.pod, &lab.a.host);
    let from_pod = |frame: &[u8]| reasons_of(&a, || send_frame(pod, "eth0", frame));
    // To an address of the test networks that no route leads to: dropped behind the veth.
    let nowhere = ip("10.244.1.200");
    let own = lab.a.pod_ip();
    node.run("ip route add unreachable 10.244.1.0/24; ip -6 route add unreachable fd00:10:244:1::/64; sysctl -qw net.ipv4.icmp_ratelimit=100000");

    // What is no IP, and what is cut off.
    assert_eq!(from_pod(&other_frame(HOST_MAC)), [(1, 1)]);
    assert_eq!(from_pod(&cut_frame(HOST_MAC)), [(2, 1)]);
    // A source that is another's, of both families; link-local and unspecified ones are ordinary.
    let spoofed = ip_frame("02:00:00:00:00:01", ip("10.244.1.3"), nowhere, UDP, &DATAGRAM);
    assert_eq!(from_pod(&spoofed), [(3, 1)]);
    let spoofed = ip_frame("02:00:00:00:00:01", lab.b.pod_ip6(), lab.a.pod_ip6(), UDP, &DATAGRAM);
    assert_eq!(from_pod(&spoofed), [(3, 1)]);
    for source in ["fe80::1234", "::"] {
        let ordinary = ip_frame(
            "33:33:00:00:00:02",
            ip(source),
            ip("ff02::2"),
            58,
            &[133, 0, 0, 0, 0, 0, 0, 0],
        );
        assert_eq!(from_pod(&ordinary), [(0, 1)], "{source}");
    }
    // Sent to the pod, but for another.
    let stray = ip_frame(&lab.a.pod_mac(), lab.b.pod_ip(), nowhere, UDP, &DATAGRAM);
    assert_eq!(reasons_of(&a, || send_frame(node, "vethp", &stray)), [(4, 1)]);

    // Into the tunnel to no peer; at the other end the source is a peer's, but the destination is not of that node.
    let (vtep_a, vtep_b) = (lab.a.vtep_mac(), lab.b.vtep_mac());
    let before = b.read_reasons().unwrap();
    let lost = ip_frame(&vtep_b, own, ip("10.244.9.1"), UDP, &DATAGRAM);
    assert_eq!(reasons_of(&a, || send_frame(node, "ncvx0", &lost)), [(7, 1)]);
    wait_until_equal("reason 6 at the other end", || {
        (b.read_reasons().unwrap()[6].packets - before[6].packets, 1)
    });
    // From no peer: the sender attributes it to nobody, the receiver says so.
    let sent = || a.read_counters().unwrap().peers[&lab.b.internal_ip()].sent;
    let (before, sent_before) = (b.read_reasons().unwrap(), sent());
    let foreign = ip_frame(&vtep_b, ip("203.0.113.9"), lab.b.pod_ip(), UDP, &DATAGRAM);
    assert_eq!(reasons_of(&a, || send_frame(node, "ncvx0", &foreign)), [(0, 1)]);
    assert_eq!(sent(), sent_before);
    wait_until_equal("reason 5 at the other end", || {
        (b.read_reasons().unwrap()[5].packets - before[5].packets, 1)
    });

    // Fragments: a first one with its ports is ordinary, two later ones have none. (pod_from, vx_out)
    let fragments = reasons_of(&a, || udp_flow(pod, &lab.b.pod, lab.b.pod_ip(), 1, 4000));
    assert_eq!(fragments, [(0, 6), (10, 4)]);
    let fragments = reasons_of(&a, || udp_flow(pod, &lab.b.pod, lab.b.pod_ip6(), 1, 4000));
    assert_eq!(fragments, [(0, 6), (10, 4)]);
    // Extension headers: known ones are followed, up to a number; others are not.
    let to_self = "02:00:00:00:00:01";
    let own6 = lab.a.pod_ip6();
    let extended = |first, payload: &[u8]| from_pod(&ip_frame(to_self, own6, lab.b.pod_ip6(), first, payload));
    let padding = [60, 0, 1, 4, 0, 0, 0, 0];
    let final_one = [UDP, 0, 1, 4, 0, 0, 0, 0];
    assert_eq!(extended(60, &[&padding[..], &final_one, &DATAGRAM].concat()), [(0, 1)]);
    assert_eq!(extended(135, &[0; 16]), [(0, 1), (11, 1)]);
    assert_eq!(extended(60, &[padding; 9].concat()), [(0, 1), (11, 1)]);
    // Cut off behind the addresses: counted for the pod, and said; a spoofed one is first of all spoofed.
    assert_eq!(extended(60, &padding), [(2, 1)]);
    assert_eq!(extended(6, &[0; 12]), [(2, 1)]);
    let cut = ip_frame(to_self, lab.b.pod_ip6(), own6, 6, &[0; 12]);
    assert_eq!(from_pod(&cut), [(3, 1)]);

    // A peer that the daemon has not given an entry. (pod_from, vx_out, vx_in, pod_to)
    let root = lab.a.root();
    let (range, mut node) = pinned::entry(&root, "nc_node", &[10, 244, 2, 0]);
    node[24..].copy_from_slice(&8192_u32.to_ne_bytes());
    pinned::update(&root, "nc_node", &range, &node);
    let without = reasons_of(&a, || drop(pod.run(&format!("ping -q -c 1 {}", lab.b.pod_ip()))));
    assert_eq!(without, [(0, 4), (8, 2)]);
    assert_ne!(vtep_a, vtep_b);
}

/// Events until the ring is empty.
fn drain(events: &mut Events) -> Vec<Event> {
    std::iter::from_fn(|| events.next_event()).collect()
}

/// Packets that differ in nothing but options, which take them off the short way through the programs, are counted and told alike.
pub fn both_ways_say_the_same() {
    // Ports 4660 and 9. Whole headers of TCP, one that begins a flow and one that goes on with it, and UDP with 6 bytes of data.
    let tcp = |flags| [&[0x12, 0x34, 0, 9][..], &[0; 8], &[0x50, flags], &[0; 6]].concat();
    let udp = [&[0x12, 0x34, 0, 9, 0, 14, 0, 0][..], &[0; 6]].concat();
    let lab = Lab::new();
    let a = lab.a.start(&lab.b, None);
    let mut events = a.events().unwrap();
    let (ip4, ip6) = (lab.a.pod_ip(), lab.a.pod_ip6());
    let mut looked = |from, device, frame: &[u8]| {
        let counts = || {
            let counters = a.read_counters().unwrap();
            let from_pod = [ip4, ip6].map(|ip| counters.endpoints[&ip.into()].from_pod.packets);
            (from_pod, counters.peers[&lab.b.internal_ip()].sent.packets)
        };
        drain(&mut events);
        let (pods, sent) = counts();
        let reasons = reasons_of(&a, || send_frame(from, device, frame));
        let (pods_now, sent_now) = counts();
        let told = drain(&mut events).into_iter().map(|event| Event {
            time_ns: 0,
            length: 0,
            ..event
        });
        let pods = [0, 1].map(|at| pods_now[at] - pods[at]);
        (reasons, pods, sent_now - sent, told.collect::<Vec<_>>())
    };
    let mut kinds = Vec::new();
    for (source, destination) in [
        (ip4, lab.b.pod_ip()),
        (ip("10.244.1.3"), lab.b.pod_ip()),
        (ip4, ip("10.244.9.1")),
        (ip6, lab.b.pod_ip6()),
        (ip("fd00:10:244:1::3"), lab.b.pod_ip6()),
        (ip6, ip("fd00:10:244:9::1")),
        (ip("fe80::1234"), lab.b.pod_ip6()),
    ] {
        for (protocol, payload) in [(6, tcp(0x02)), (6, tcp(0x10)), (UDP, udp.clone())] {
            for (from, device) in [(&lab.a.pod, "eth0"), (&lab.a.host, "ncvx0")] {
                // To nobody: dropped behind the hook.
                let plain = ip_frame("02:00:00:00:00:01", source, destination, protocol, &payload);
                let seen = looked(from, device, &plain);
                assert_eq!(
                    seen,
                    looked(from, device, &with_options(&plain)),
                    "{source} to {destination}, protocol {protocol}, {device}"
                );
                kinds.push((seen.0, seen.1, seen.2));
            }
        }
    }
    // Each of these was there: of the pod, spoofed, to the peer, to no peer.
    for kind in [
        (vec![(0, 1)], [1, 0], 0),
        (vec![(0, 1)], [0, 1], 0),
        (vec![(3, 1)], [0, 0], 0),
        (vec![(0, 1)], [0, 0], 1),
        (vec![(7, 1)], [0, 0], 0),
    ] {
        assert!(kinds.contains(&kind), "{kind:?} is not in {kinds:?}");
    }
}

pub fn events_tell_of_flows() {
    const SYN: u8 = 0x02;
    const SYN_ACK: u8 = 0x12;
    const FIN: u8 = 0x01;
    let lab = Lab::new();
    let mut a = lab.a.start(&lab.b, None);
    let mut events = a.events().unwrap();
    drain(&mut events);
    tcp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 1_000_000);
    let mut seen = Vec::new();
    wait_until_equal("the end of both directions at each hook", || {
        seen.extend(drain(&mut events));
        let ends = seen.iter().filter(|event| event.tcp_flags & FIN != 0).count();
        (ends >= 4, true)
    });
    assert!(
        seen.len() < 20,
        "only what begins or ends a flow, without samples: {}",
        seen.len()
    );
    // hook, flags, source, device of each that begins one, in order.
    let (pod, peer) = (lab.a.pod_ip().into(), lab.b.pod_ip().into());
    let (veth, tunnel) = (lab.a.host.ifindex("vethp"), lab.a.host.ifindex("ncvx0"));
    let begins = seen.iter().filter(|event| event.tcp_flags & SYN != 0);
    let begins: Vec<_> = begins
        .map(|event| (event.hook, event.tcp_flags, event.source, event.ifindex))
        .collect();
    assert_eq!(
        begins,
        [
            (0, SYN, pod, veth),
            (2, SYN, pod, tunnel),
            (3, SYN_ACK, peer, tunnel),
            (1, SYN_ACK, peer, veth)
        ]
    );
    let first = seen[0];
    assert_eq!(
        (first.destination, first.protocol, first.reason, first.segments),
        (peer, 6, 0, 1)
    );
    // Ethernet's 14, IPv4's 20, TCP's 40 with options.
    assert_eq!((first.length, seen[3].source_port), (74, first.destination_port));
    assert!(seen.is_sorted_by_key(|event| event.time_ns), "{seen:?}");

    // What is wrong is always told, with all that is known of it.
    let spoofed = ip_frame(
        "02:00:00:00:00:01",
        ip("10.244.1.3"),
        ip("10.244.1.200"),
        UDP,
        &DATAGRAM,
    );
    drain(&mut events);
    send_frame(&lab.a.pod, "eth0", &spoofed);
    let told = drain(&mut events);
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (told[0].reason, told[0].source.ip(), told[0].protocol),
        (3, ip("10.244.1.3"), UDP)
    );
    assert_eq!((told[0].source_port, told[0].destination_port), (0x1234, 9));

    // Samples: each, and about one in eight.
    let mut contents = lab.a.contents(&[&lab.b], false);
    for (sample, least, most) in [(1, 4000, 4000), (8, 250, 900)] {
        contents.config.sample = sample;
        a.reconcile(&contents).unwrap();
        drain(&mut events);
        let mut told = Vec::new();
        for _ in 0..20 {
            udp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 100, 10);
            told.extend(drain(&mut events));
        }
        let told = told.iter().filter(|event| event.protocol == UDP).count();
        assert!((least..=most).contains(&told), "{told} of 4000 with sample {sample}");
    }
}

pub fn lost_events_are_counted() {
    let lab = Lab::new();
    let mut a = lab.a.start(&lab.b, None);
    let mut contents = lab.a.contents(&[&lab.b], false);
    contents.config.sample = 1;
    a.reconcile(&contents).unwrap();
    let mut events = a.events().unwrap();
    drain(&mut events);
    // Each is seen twice; the ring has room for 256 KiB / 72 B = 3640.
    let reasons = reasons_of(&a, || udp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 3000, 10));
    let count = |wanted: usize| {
        reasons
            .iter()
            .find(|&&(reason, _)| reason == wanted)
            .map_or(0, |&(_, count)| count)
    };
    let told = drain(&mut events).len() as u64;
    assert!(count(9) > 1000, "{reasons:?}");
    assert_eq!(told + count(9), count(0), "an event is told or counted as lost");
}
