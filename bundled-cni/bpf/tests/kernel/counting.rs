//! Who counts what: each program against tcpdump, and both ends of the tunnel against each other.

use crate::{
    lab::{Lab, LabNode, UPLINK},
    shell::{json, run, wait_until_equal},
    traffic::{Tcpdump, ip_frame, packets_of, receive_from_machine, tcp_flow, udp_flow},
};
use netcheck_cni_bpf::{Amount, Bpf, Program};

/// TCP's payload in a packet of 1450 bytes: without IP's 20, TCP's 20 and the time stamps' 12.
const SEGMENT: u64 = 1450 - 52;
/// Without the pods' neighbour discovery, which is nobody's traffic.
const IP: &str = "(ip or ip6) and not src net fe80::/10 and not src host ::";

fn sent(bpf: &Bpf, peer: &LabNode) -> Amount {
    bpf.read_counters().unwrap().peers[&peer.internal_ip()].sent
}

fn received(bpf: &Bpf, peer: &LabNode) -> Amount {
    bpf.read_counters().unwrap().peers[&peer.internal_ip()].received
}

/// Both families, three protocols, small and large, both ways.
fn talk(lab: &Lab) {
    let (pod, other) = (&lab.a.pod, &lab.b.pod);
    for (ip, size) in [(lab.b.pod_ip(), 3000), (lab.b.pod_ip6(), 1000)] {
        pod.run(&format!("ping -q -c 3 -i 0.01 {ip}"));
        tcp_flow(pod, other, ip, 300_000);
        udp_flow(pod, other, ip, 20, size);
    }
    tcp_flow(other, pod, lab.a.pod_ip(), 100_000);
}

pub fn programs_count_what_tcpdump_sees() {
    let lab = Lab::new();
    lab.without_offload();
    let (a, b) = (lab.a.start(&lab.b, None), lab.b.start(&lab.a, None));
    let watch = |node: &LabNode, device, direction| Tcpdump::start(&node.host, device, direction, IP);
    let watches = [
        ("nc_pod_from", watch(&lab.a, "vethp", "in")),
        ("nc_pod_to", watch(&lab.a, "vethp", "out")),
        ("nc_vx_out", watch(&lab.a, "ncvx0", "out")),
        ("nc_vx_in", watch(&lab.a, "ncvx0", "in")),
        ("nc_vx_out of b", watch(&lab.b, "ncvx0", "out")),
        ("nc_vx_in of b", watch(&lab.b, "ncvx0", "in")),
    ];
    // What the devices themselves have counted so far, and will have.
    let transmitted = || {
        let links = json(&format!("ip -n {} -j -s link show ncvx0", lab.a.host.0));
        links[0]["stats64"]["tx"]["packets"].as_u64().unwrap()
    };
    let before = transmitted();
    talk(&lab);

    for (place, (name, watch)) in watches.iter().enumerate() {
        wait_until_equal(name, || {
            let endpoints = a.read_counters().unwrap().endpoints;
            let ours = match place {
                0 => endpoints.values().map(|count| count.from_pod.packets).sum(),
                1 => endpoints.values().map(|count| count.to_pod.packets).sum(),
                2 => sent(&a, &lab.b).packets,
                3 => received(&a, &lab.b).packets,
                4 => sent(&b, &lab.a).packets,
                _ => received(&b, &lab.a).packets,
            };
            (ours, watch.lines().len() as u64)
        });
    }
    let out = sent(&a, &lab.b);
    assert!(out.packets > 500, "too little traffic to say anything: {out:?}");
    assert_eq!(
        out.packets,
        transmitted() - before,
        "nc_vx_out against the device's own counter"
    );
    assert_eq!(out, received(&b, &lab.a), "what one end sent, the other received");
    assert_eq!(received(&a, &lab.b), sent(&b, &lab.a));
    for bpf in [&a, &b] {
        let reasons = bpf.read_reasons().unwrap();
        assert!(reasons[1..10].iter().all(|amount| amount.packets == 0), "{reasons:?}");
    }
    for (_, watch) in watches {
        watch.end();
    }
}

pub fn packed_segments_are_counted_one_by_one() {
    let lab = Lab::new();
    let (a, b) = (lab.a.start(&lab.b, None), lab.b.start(&lab.a, None));
    let watch = Tcpdump::start(&lab.a.host, "ncvx0", "out", "tcp");
    tcp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 20_000_000);
    wait_until_equal("sent segments against tcpdump", || {
        (sent(&a, &lab.b).packets, packets_of(&watch.lines(), SEGMENT))
    });
    wait_until_equal("both ends", || (sent(&a, &lab.b).packets, received(&b, &lab.a).packets));
    let (packets, seen) = (sent(&a, &lab.b).packets, watch.lines().len() as u64);
    assert!(
        packets > 14_000 && packets > 2 * seen,
        "nothing was packed: {packets} in {seen}"
    );
    watch.end();
}

pub fn what_is_lost_is_the_difference() {
    let lab = Lab::new();
    // The router must see each packet by itself to lose it by itself; b packs them again after the tunnel.
    lab.segment_before_the_wire();
    lab.b.host.run("ethtool -K ncvx0 gro on");
    let (to_b, to_a) = (lab.b.internal_ip(), lab.a.internal_ip());
    lab.router.run(&format!(
        "nft add table ip lossy
         nft add chain ip lossy forward {{ type filter hook forward priority 0 \\; }}
         nft add rule ip lossy forward ip daddr {to_b} udp dport 8472 numgen inc mod 97 == 5 counter drop comment lost-to-b
         nft add rule ip lossy forward ip daddr {to_a} udp dport 8472 numgen inc mod 101 == 5 counter drop comment lost-to-a"
    ));
    let (a, b) = (lab.a.start(&lab.b, None), lab.b.start(&lab.a, None));
    let watch = Tcpdump::start(&lab.b.host, "ncvx0", "in", IP);
    tcp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 10_000_000);
    tcp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip6(), 3_000_000);
    udp_flow(&lab.a.pod, &lab.b.pod, lab.b.pod_ip(), 1000, 500);
    udp_flow(&lab.b.pod, &lab.a.pod, lab.a.pod_ip(), 500, 2000);

    let lost = |comment: &str| {
        let rules = json(&format!(
            "ip netns exec {} nft -j list chain ip lossy forward",
            lab.router.0
        ));
        let rules = rules["nftables"].as_array().unwrap().iter();
        let mut rule = rules.filter(|item| item["rule"]["comment"] == comment);
        let expressions = rule.next().unwrap()["rule"]["expr"].as_array().unwrap().clone();
        let mut counters = expressions
            .iter()
            .filter_map(|item| item["counter"]["packets"].as_u64());
        counters.next().unwrap()
    };
    wait_until_equal("a to b", || {
        let gone = sent(&a, &lab.b).packets - received(&b, &lab.a).packets;
        (gone, lost("lost-to-b"))
    });
    wait_until_equal("b to a", || {
        let gone = sent(&b, &lab.a).packets - received(&a, &lab.b).packets;
        (gone, lost("lost-to-a"))
    });
    assert!(
        lost("lost-to-b") > 50 && lost("lost-to-a") > 5,
        "too little was lost to say anything"
    );
    let (packets, seen) = (received(&b, &lab.a).packets, watch.lines().len() as u64);
    assert!(packets > seen + 100, "b packed nothing: {packets} in {seen}");
    watch.end();
}

pub fn the_direct_way_is_counted_at_the_uplink() {
    let lab = Lab::new();
    lab.without_offload();
    let start = |node: &LabNode, peer: &LabNode| {
        let mut bpf = node.start(peer, None);
        bpf.reconcile(&node.contents(&[peer], true)).unwrap();
        let mut hooks = node.hooks();
        hooks.push(node.hook(UPLINK, Program::UlOut));
        hooks.push(node.hook(UPLINK, Program::UlIn));
        node.attach(&mut bpf, &hooks);
        bpf
    };
    let (a, b) = (start(&lab.a, &lab.b), start(&lab.b, &lab.a));
    for (node, peer) in [(&lab.a, &lab.b), (&lab.b, &lab.a)] {
        let (number, gateway) = (peer.number, node.number * 64 + 1);
        node.host.run(&format!(
            "ip route replace 10.244.{number}.0/24 via 192.0.2.{gateway}
             ip -6 route replace fd00:10:244:{number}::/64 via fd00:99:{}::1",
            node.number
        ));
    }
    let pods = "net 10.244.0.0/16 or net fd00:10:244::/48";
    let watch = Tcpdump::start(&lab.a.host, UPLINK, "out", pods);
    talk(&lab);
    // The node's own packets to a pod elsewhere: only one end could attribute them.
    let ping = format!(
        "ip netns exec {} ping -q -c 3 -i 0.01 -I {} {}",
        lab.a.host.0,
        lab.a.internal_ip(),
        lab.b.pod_ip()
    );
    run(&ping);
    wait_until_equal("both ends", || (sent(&a, &lab.b).packets, received(&b, &lab.a).packets));
    wait_until_equal("tcpdump", || (sent(&a, &lab.b).packets + 3, watch.lines().len() as u64));
    assert!(sent(&a, &lab.b).packets > 100);
    let reasons = a.read_reasons().unwrap();
    assert!(reasons[3..9].iter().all(|amount| amount.packets == 0), "{reasons:?}");
    watch.end();
}

pub fn segments_from_a_machine_are_reckoned() {
    const MAC: &str = "02:00:00:00:00:77";
    const TCP: u8 = 6;
    let lab = Lab::new();
    let mut a = lab.a.start(&lab.b, None);
    a.reconcile(&lab.a.contents(&[&lab.b], true)).unwrap();
    // Five whole segments of 1000 bytes and one of a single byte.
    let header = [0x1f, 0x90, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0, 0, 0, 0, 0];
    receive_from_machine(&lab.a.host, 1000, || {
        lab.a.host.run(&format!("ip link set tap0 address {MAC} up"));
        let mut hooks = lab.a.hooks();
        hooks.push(lab.a.hook("tap0", Program::UlIn));
        a.ensure_attached(&hooks).unwrap();
        let payload = [&header[..], &[0; 5001]].concat();
        ip_frame(MAC, lab.b.pod_ip(), lab.a.pod_ip(), TCP, &payload)
    });
    wait_until_equal("received segments", || (received(&a, &lab.b).packets, 6));
}
