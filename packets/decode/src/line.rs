//! One line per packet, in the spirit of tcpdump.

use crate::{
    safe::safe,
    summary::{
        Answer, Arp, Dns, Frame, Icmp, IpPacket, Network, Other, Quoted, Summary, Tcp, Transport, Tunnel, TunnelKind,
        Udp,
    },
};
use etherparse::IpNumber;
use std::{borrow::Cow, fmt::Write as _, net::IpAddr};

/// Characters of one name, and of the whole line.
const MAX_NAME: usize = 128;
const MAX_LINE: usize = 1_000;
/// Answers of a DNS message that are shown.
const MAX_ANSWERS: usize = 4;

/// Who has an address: a pod, a Service, a node.
pub trait Names {
    /// The name to show for an address, if it is known.
    fn name(&self, address: IpAddr) -> Option<Cow<'_, str>>;
}

/// Knows no names: every address is shown as it is.
impl Names for () {
    fn name(&self, _: IpAddr) -> Option<Cow<'_, str>> {
        None
    }
}

/// A packet as one line: tunnels first, each ended by `|`, then `FROM > TO: what`, then how much is missing if it was cut.
///
/// Sequence numbers are as in the header, not relative. Lengths are bytes: of the payload for TCP and UDP, of the message for ICMP.
/// Whatever the packet and the names hold, the line has no control, invisible or direction-changing character, and a bounded length.
pub fn line(summary: &Summary, names: &dyn Names) -> String {
    let writer = Writer { names };
    let mut parts: Vec<String> = summary.frame.iter().filter_map(vlans).collect();
    for tunnel in &summary.tunnels {
        parts.push(writer.tunnel(tunnel));
        parts.extend(tunnel.frame.iter().filter_map(vlans));
    }
    parts.push(writer.packet(summary));
    let mut line = safe(&parts.join(" | "));
    if let Some((end, _)) = line.char_indices().nth(MAX_LINE) {
        line.truncate(end);
        line.push('…');
    }
    if summary.captured < summary.length {
        // Writing to a String cannot fail.
        let _ = write!(line, " [cut: {} of {} bytes]", summary.captured, summary.length);
    }
    line
}

fn vlans(frame: &Frame) -> Option<String> {
    let numbers: Vec<_> = frame.vlans.iter().map(u16::to_string).collect();
    (!numbers.is_empty()).then(|| format!("vlan {}", numbers.join(" ")))
}

struct Writer<'a> {
    names: &'a dyn Names,
}

impl Writer<'_> {
    fn tunnel(&self, tunnel: &Tunnel) -> String {
        let kind = match tunnel.kind {
            TunnelKind::Vxlan => "vxlan",
            TunnelKind::Geneve => "geneve",
            TunnelKind::Ipip => "ipip",
        };
        let vni = tunnel.vni.map(|vni| format!(" {vni}")).unwrap_or_default();
        format!(
            "{kind}{vni} {} > {}",
            self.host(tunnel.source),
            self.host(tunnel.destination)
        )
    }

    fn packet(&self, summary: &Summary) -> String {
        match (&summary.network, innermost_frame(summary)) {
            (Some(Network::Arp(arp)), _) => self.arp(arp),
            (Some(Network::Ip(ip)), _) => self.ip(ip, summary),
            (None, Some(frame)) => {
                format!(
                    "{} > {}: ethertype 0x{:04x}",
                    frame.source, frame.destination, frame.ether_type
                )
            }
            (None, None) => "not understood".to_owned(),
        }
    }

    fn arp(&self, arp: &Arp) -> String {
        match arp.operation {
            1 => format!("arp who-has {} tell {}", self.host(arp.target), self.host(arp.sender)),
            2 => format!("arp {} is-at {}", self.host(arp.sender), arp.sender_mac),
            operation => format!(
                "arp operation {operation} from {} to {}",
                self.host(arp.sender),
                self.host(arp.target)
            ),
        }
    }

    fn ip(&self, ip: &IpPacket, summary: &Summary) -> String {
        let ports = summary.transport.as_ref().and_then(ports);
        let flow = self.flow(ip.source, ip.destination, ports);
        let what = match (&summary.transport, &summary.dns) {
            (Some(Transport::Tcp(segment)), dns) => tcp(segment, dns.as_ref()),
            (Some(Transport::Udp(datagram)), None) => format!("udp, length {}", datagram.length),
            (Some(Transport::Udp(datagram)), Some(message)) => format!("{}, length {}", dns(message), datagram.length),
            (Some(Transport::Icmp(message)), _) => self.icmp(message),
            (Some(Transport::Other(other)), _) => {
                format!("{}, length {}", protocol(other.protocol_number), other.length)
            }
            (None, _) => "no transport".to_owned(),
        };
        let fragment = ip.fragment.map(|piece| {
            let more = if piece.more { "+" } else { "" };
            format!(", fragment {}@{}{more}", piece.identification, piece.offset)
        });
        format!("{flow}: {what}{}", fragment.unwrap_or_default())
    }

    fn icmp(&self, message: &Icmp) -> String {
        let mut what = format!(
            "icmp{} {}",
            if message.version == 6 { "6" } else { "" },
            message.meaning
        );
        // Writing to a String cannot fail.
        if let (Some(identifier), Some(sequence)) = (message.identifier, message.sequence) {
            let _ = write!(what, ", id {identifier}, seq {sequence}");
        }
        if let Some(target) = message.target {
            let _ = write!(what, " for {}", self.host(target));
        }
        if let Some(mac) = message.mac {
            let _ = write!(what, ", mac {mac}");
        }
        if let Some(mtu) = message.mtu {
            let _ = write!(what, ", mtu {mtu}");
        }
        if let Some(Quoted {
            source,
            destination,
            protocol_number,
            ports,
        }) = message.quoted
        {
            let flow = self.flow(source, destination, ports);
            let _ = write!(what, ", about {} {flow}", protocol(protocol_number));
        }
        let _ = write!(what, ", length {}", message.length);
        what
    }

    fn flow(&self, source: IpAddr, destination: IpAddr, ports: Option<[u16; 2]>) -> String {
        match ports {
            Some([from, to]) => format!("{} > {}", self.socket(source, from), self.socket(destination, to)),
            None => format!("{} > {}", self.host(source), self.host(destination)),
        }
    }

    fn host(&self, address: IpAddr) -> String {
        self.name(address).unwrap_or_else(|| address.to_string())
    }

    fn socket(&self, address: IpAddr, port: u16) -> String {
        match (self.name(address), address) {
            (Some(name), _) => format!("{name}:{port}"),
            (None, IpAddr::V4(address)) => format!("{address}:{port}"),
            (None, IpAddr::V6(address)) => format!("[{address}]:{port}"),
        }
    }

    fn name(&self, address: IpAddr) -> Option<String> {
        let name = self.names.name(address).filter(|name| !name.is_empty())?;
        Some(name.chars().take(MAX_NAME).collect())
    }
}

fn innermost_frame(summary: &Summary) -> Option<&Frame> {
    match summary.tunnels.last() {
        Some(tunnel) => tunnel.frame.as_ref(),
        None => summary.frame.as_ref(),
    }
}

fn ports(transport: &Transport) -> Option<[u16; 2]> {
    match transport {
        Transport::Tcp(Tcp {
            source_port,
            destination_port,
            ..
        })
        | Transport::Udp(Udp {
            source_port,
            destination_port,
            ..
        }) => Some([*source_port, *destination_port]),
        Transport::Other(Other { ports, .. }) => *ports,
        Transport::Icmp(_) => None,
    }
}

fn tcp(segment: &Tcp, message: Option<&Dns>) -> String {
    let mut what = format!("tcp [{}], seq {}", segment.flags, segment.sequence);
    // Writing to a String cannot fail.
    if segment.flags.has_ack() {
        let _ = write!(what, ", ack {}", segment.acknowledgement);
    }
    let _ = write!(what, ", win {}", segment.window);
    if let Some(mss) = segment.mss {
        let _ = write!(what, ", mss {mss}");
    }
    if let Some(message) = message {
        let _ = write!(what, ", {}", dns(message));
    }
    let _ = write!(what, ", length {}", segment.length);
    what
}

fn dns(message: &Dns) -> String {
    let direction = if message.response { "answer" } else { "query" };
    let mut what = format!("dns {} {direction}", message.id);
    // Writing to a String cannot fail.
    if message.opcode != 0 {
        let _ = write!(what, " opcode {}", message.opcode);
    }
    if message.response {
        let _ = write!(what, " {}", message.code);
    }
    for question in &message.questions {
        let _ = write!(what, " {}? {}", question.kind, question.name);
    }
    let shown: Vec<_> = message.answers.iter().take(MAX_ANSWERS).map(answer).collect();
    if !shown.is_empty() {
        let _ = write!(what, ": {}", shown.join(", "));
    }
    let more = usize::from(message.answer_count).saturating_sub(shown.len());
    if more > 0 {
        let _ = write!(what, " and {more} more");
    }
    if message.truncated {
        what.push_str(" (truncated)");
    }
    what
}

fn answer(answer: &Answer) -> String {
    match &answer.data {
        Some(data) => format!("{} {data}", answer.kind),
        None => answer.kind.clone(),
    }
}

fn protocol(number: u8) -> String {
    match IpNumber(number).keyword_str().filter(|keyword| !keyword.is_empty()) {
        Some(keyword) => keyword.to_lowercase(),
        None => format!("protocol {number}"),
    }
}
