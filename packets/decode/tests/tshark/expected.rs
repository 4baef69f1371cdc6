//! A summary in tshark's words.

use netcheck_decode::{Dns, Frame, Icmp, Network, Summary, Tcp, TcpFlags, Transport, TunnelKind};
use std::net::IpAddr;

/// The fields of tshark that are compared.
pub const NAMES: [&str; 42] = [
    "eth.src",
    "eth.dst",
    "ieee8021ad.id",
    "vlan.id",
    "vxlan.vni",
    "geneve.vni",
    "ip.src",
    "ip.dst",
    "ipv6.src",
    "ipv6.dst",
    "arp.opcode",
    "arp.src.proto_ipv4",
    "arp.dst.proto_ipv4",
    "arp.src.hw_mac",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags.str",
    "tcp.seq_raw",
    "tcp.ack_raw",
    "tcp.window_size_value",
    "tcp.options.mss_val",
    "tcp.len",
    "udp.srcport",
    "udp.dstport",
    "icmp.type",
    "icmp.code",
    "icmpv6.type",
    "icmpv6.code",
    "icmp.ident",
    "icmp.mtu",
    "icmp.redir_gw",
    "icmpv6.mtu",
    "icmpv6.nd.ns.target_address",
    "icmpv6.opt.linkaddr",
    "dns.id",
    "dns.flags.response",
    "dns.flags.rcode",
    "dns.count.answers",
    "dns.qry.name",
    "dns.cname",
    "dns.a",
    "dns.resp.ttl",
];

/// What tshark should say in each.
pub fn fields(summary: &Summary) -> [String; 42] {
    let v4 = |address: &&IpAddr| address.is_ipv4();
    let v6 = |address: &&IpAddr| address.is_ipv6();
    let (sources, destinations) = addresses(summary);
    let frames: Vec<&Frame> = summary
        .frame
        .iter()
        .chain(summary.tunnels.iter().filter_map(|tunnel| tunnel.frame.as_ref()))
        .collect();
    let vnis = |kind| {
        let tunnels = summary.tunnels.iter().filter(move |tunnel| tunnel.kind == kind);
        tunnels.filter_map(|tunnel| tunnel.vni)
    };
    let arp = match &summary.network {
        Some(Network::Arp(arp)) => Some(arp),
        _ => None,
    };
    let tcp = match &summary.transport {
        Some(Transport::Tcp(tcp)) => Some(tcp),
        _ => None,
    };
    let icmp = |version| match &summary.transport {
        Some(Transport::Icmp(icmp)) if icmp.version == version => Some(icmp),
        _ => None,
    };
    let (tcp_from, tcp_to) = ports(summary, 6);
    let (udp_from, udp_to) = ports(summary, 17);
    let dns = summary.dns.as_ref();
    let tcp_field = |field: fn(&Tcp) -> String| tcp.map(field).unwrap_or_default();
    let dns_field = |field: fn(&Dns) -> String| dns.map(field).unwrap_or_default();
    [
        join(frames.iter().map(|frame| frame.source)),
        join(frames.iter().map(|frame| frame.destination)),
        // The corpus has a service tag (IEEE 802.1ad) where it has two.
        join(
            frames
                .iter()
                .filter(|frame| frame.vlans.len() == 2)
                .map(|frame| frame.vlans[0]),
        ),
        join(frames.iter().filter_map(|frame| frame.vlans.last())),
        join(vnis(TunnelKind::Vxlan)),
        join(vnis(TunnelKind::Geneve).map(|vni| format!("0x{vni:06x}"))),
        join(sources.iter().filter(v4)),
        join(destinations.iter().filter(v4)),
        join(sources.iter().filter(v6)),
        join(destinations.iter().filter(v6)),
        join(arp.map(|arp| arp.operation)),
        join(arp.map(|arp| arp.sender)),
        join(arp.map(|arp| arp.target)),
        join(arp.map(|arp| arp.sender_mac)),
        tcp_from,
        tcp_to,
        tcp_field(|tcp| flags(tcp.flags)),
        tcp_field(|tcp| tcp.sequence.to_string()),
        tcp_field(|tcp| tcp.acknowledgement.to_string()),
        tcp_field(|tcp| tcp.window.to_string()),
        tcp_field(|tcp| join(tcp.mss)),
        tcp_field(|tcp| tcp.length.to_string()),
        udp_from,
        udp_to,
        join(icmp(4).map(|icmp| icmp.kind)),
        join(icmp(4).map(|icmp| icmp.code)),
        join(icmp(6).map(|icmp| icmp.kind)),
        join(icmp(6).map(|icmp| icmp.code)),
        join(icmp(4).and_then(|icmp| icmp.identifier)),
        join(icmp(4).and_then(|icmp| icmp.mtu)),
        join(icmp(4).and_then(|icmp| icmp.target)),
        join(icmp(6).and_then(|icmp| icmp.mtu)),
        join(
            icmp(6)
                .filter(|icmp| icmp.kind == 135)
                .and_then(|icmp: &Icmp| icmp.target),
        ),
        join(icmp(6).and_then(|icmp| icmp.mac)),
        dns_field(|dns| format!("0x{:04x}", dns.id)),
        dns_field(|dns| u8::from(dns.response).to_string()),
        dns_field(|dns| {
            if dns.response {
                code(&dns.code).to_string()
            } else {
                String::new()
            }
        }),
        dns_field(|dns| dns.answer_count.to_string()),
        dns_field(|dns| join(dns.questions.iter().map(|question| &question.name))),
        dns_field(|dns| data(dns, "CNAME")),
        dns_field(|dns| data(dns, "A")),
        dns_field(|dns| join(dns.answers.iter().map(|answer| answer.ttl))),
    ]
}

fn join<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    values
        .into_iter()
        .map(|value| value.to_string())
        .collect::<Vec<_>>()
        .join(",")
}

/// Of every IP header, outermost first, and of the quoted one.
fn addresses(summary: &Summary) -> (Vec<IpAddr>, Vec<IpAddr>) {
    let mut pairs: Vec<_> = summary
        .tunnels
        .iter()
        .map(|tunnel| (tunnel.source, tunnel.destination))
        .collect();
    if let Some(Network::Ip(ip)) = &summary.network {
        pairs.push((ip.source, ip.destination));
    }
    if let Some(Transport::Icmp(Icmp {
        quoted: Some(quoted), ..
    })) = &summary.transport
    {
        pairs.push((quoted.source, quoted.destination));
    }
    pairs.into_iter().unzip()
}

/// Of every header of this protocol: outer UDP of tunnels (the corpus always sends those from 50000), innermost, quoted.
fn ports(summary: &Summary, protocol: u8) -> (String, String) {
    let outer = summary
        .tunnels
        .iter()
        .filter_map(|tunnel| match (tunnel.kind, tunnel.vni) {
            (TunnelKind::Vxlan, Some(0x00ab_cdef)) => Some([50_000, 8472]),
            (TunnelKind::Vxlan, _) => Some([50_000, 4789]),
            (TunnelKind::Geneve, _) => Some([50_000, 6081]),
            (TunnelKind::Ipip, _) => None,
        });
    let mut pairs: Vec<[u16; 2]> = outer.filter(|_| protocol == 17).collect();
    match &summary.transport {
        Some(Transport::Tcp(tcp)) if protocol == 6 => pairs.push([tcp.source_port, tcp.destination_port]),
        Some(Transport::Udp(udp)) if protocol == 17 => pairs.push([udp.source_port, udp.destination_port]),
        Some(Transport::Icmp(Icmp {
            quoted: Some(quoted), ..
        })) if quoted.protocol_number == protocol => pairs.extend(quoted.ports),
        _ => {}
    }
    (
        join(pairs.iter().map(|[from, _]| from)),
        join(pairs.iter().map(|[_, to]| to)),
    )
}

/// As `···········S·`: three reserved bits and then the flags from the highest.
fn flags(flags: TcpFlags) -> String {
    let letters = ['A', 'C', 'E', 'U', 'A', 'P', 'R', 'S', 'F'];
    let shown = letters
        .into_iter()
        .enumerate()
        .map(|(place, letter)| if flags.0 >> (8 - place) & 1 == 1 { letter } else { '·' });
    "···".chars().chain(shown).collect()
}

fn code(name: &str) -> usize {
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN"]
        .iter()
        .position(|known| *known == name)
        .unwrap()
}

fn data(dns: &Dns, kind: &str) -> String {
    join(
        dns.answers
            .iter()
            .filter(|answer| answer.kind == kind)
            .filter_map(|answer| answer.data.as_ref()),
    )
}
