//! What a packet says, as data. All text in it comes from the packet: it is bounded, but not yet safe for a terminal; `line` is.

use serde::{Serialize, Serializer};
use std::{fmt, net::IpAddr};

/// One packet. Lengths are bytes as they were on the wire, even where less was captured.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// On the wire.
    pub length: u32,
    /// Captured; less than `length` if the packet was cut.
    pub captured: u32,
    /// The outermost Ethernet header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
    /// The tunnels around what follows, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<Tunnel>,
    /// The innermost network header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// What the innermost IP packet carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<Transport>,
    /// The DNS message, if it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
}

impl Summary {
    /// Sender and receiver by the innermost IP header.
    pub fn addresses(&self) -> Option<(IpAddr, IpAddr)> {
        match &self.network {
            Some(Network::Ip(packet)) => Some((packet.source, packet.destination)),
            _ => None,
        }
    }
}

/// An Ethernet header with its VLAN tags.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Frame {
    /// Sender.
    pub source: Mac,
    /// Receiver.
    pub destination: Mac,
    /// What it carries: the EtherType behind the VLAN tags.
    pub ether_type: u16,
    /// VLAN identifiers, outermost first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
}

/// A MAC address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, byte) in self.0.iter().enumerate() {
            let colon = if position == 0 { "" } else { ":" };
            write!(formatter, "{colon}{byte:02x}")?;
        }
        Ok(())
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A tunnel's outer header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tunnel {
    /// Its protocol.
    pub kind: TunnelKind,
    /// The network identifier, where the protocol has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vni: Option<u32>,
    /// The end it came from.
    pub source: IpAddr,
    /// The end it went to.
    pub destination: IpAddr,
    /// The Ethernet header within it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame: Option<Frame>,
}

/// A tunnel protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelKind {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// IPv4 or IPv6 within IPv4 or IPv6 (RFC 2003, 2473, 4213).
    Ipip,
}

/// A network header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "protocol")]
pub enum Network {
    /// IPv4 or IPv6.
    Ip(IpPacket),
    /// ARP.
    Arp(Arp),
}

/// An IPv4 or IPv6 header.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IpPacket {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub hop_limit: u8,
    /// Set if this is a part of a larger packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<Fragment>,
}

/// Which part of a larger packet this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fragment {
    /// The same for all parts.
    pub identification: u32,
    /// Bytes before this part.
    pub offset: u32,
    /// Whether parts follow.
    pub more: bool,
}

/// ARP for IPv4 over Ethernet (RFC 826).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub operation: u16,
    /// Who asks or answers.
    pub sender: IpAddr,
    /// Its hardware address.
    pub sender_mac: Mac,
    /// Who is asked for.
    pub target: IpAddr,
    /// Its hardware address; zeros in a question.
    pub target_mac: Mac,
}

/// What an IP packet carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "protocol")]
pub enum Transport {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// ICMP or ICMPv6.
    Icmp(Icmp),
    /// Anything else: a protocol that is not read, a header that was cut, a later fragment.
    Other(Other),
}

/// A TCP segment (RFC 9293).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tcp {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Control bits.
    pub flags: TcpFlags,
    /// As it is in the header, not relative.
    pub sequence: u32,
    /// As it is in the header; means something if the ACK flag is set.
    pub acknowledgement: u32,
    /// As it is in the header, not scaled.
    pub window: u16,
    /// The maximum segment size option.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mss: Option<u16>,
    /// Bytes of payload.
    pub length: u32,
}

/// TCP's control bits, the lowest first: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u16);

impl TcpFlags {
    /// Names and tcpdump's letters, in the order of the bits.
    const NAMES: [(&'static str, char); 9] = [
        ("FIN", 'F'),
        ("SYN", 'S'),
        ("RST", 'R'),
        ("PSH", 'P'),
        ("ACK", '.'),
        ("URG", 'U'),
        ("ECE", 'E'),
        ("CWR", 'W'),
        ("AE", 'e'),
    ];
    const ACK: u16 = 1 << 4;

    /// Whether the acknowledgement means something.
    pub fn has_ack(self) -> bool {
        self.0 & Self::ACK != 0
    }

    fn set(self) -> impl Iterator<Item = (&'static str, char)> {
        let numbered = Self::NAMES.into_iter().enumerate();
        numbered
            .filter(move |(bit, _)| self.0 >> bit & 1 == 1)
            .map(|(_, names)| names)
    }
}

/// tcpdump's letters.
impl fmt::Display for TcpFlags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.set().next().is_none() {
            return formatter.write_str("none");
        }
        let letters: String = self.set().map(|(_, letter)| letter).collect();
        formatter.write_str(&letters)
    }
}

/// A list of names.
impl Serialize for TcpFlags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.set().map(|(name, _)| name))
    }
}

/// A UDP datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Udp {
    /// Sender's port.
    pub source_port: u16,
    /// Receiver's port.
    pub destination_port: u16,
    /// Bytes of payload.
    pub length: u32,
}

/// An ICMP or ICMPv6 message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Icmp {
    /// 4 or 6.
    pub version: u8,
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// Type and code in words.
    pub meaning: String,
    /// Of an echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<u16>,
    /// Of an echo.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u16>,
    /// What fits, in bytes, where a packet was too big.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The neighbour asked for or told about, or the better router.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<IpAddr>,
    /// The hardware address told by neighbour discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The packet an error is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quoted: Option<Quoted>,
    /// Bytes of the whole message.
    pub length: u32,
}

/// The packet an ICMP error is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Quoted {
    /// Who sent it.
    pub source: IpAddr,
    /// To whom.
    pub destination: IpAddr,
    /// IP protocol number.
    pub protocol_number: u8,
    /// Ports, of protocols that begin with them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<[u16; 2]>,
}

/// A transport that is not read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Other {
    /// IP protocol number.
    pub protocol_number: u8,
    /// Ports, of protocols that begin with them, if this is not a later fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ports: Option<[u16; 2]>,
    /// Bytes of what the IP packet carries.
    pub length: u32,
}

/// A DNS message (RFC 1035), or mDNS (RFC 6762).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// What joins query and response.
    pub id: u16,
    /// A response; else a query.
    pub response: bool,
    /// 0 is an ordinary query.
    pub opcode: u8,
    /// Response code by name.
    pub code: String,
    /// The answer did not fit: ask again over TCP.
    pub truncated: bool,
    /// What is asked; only the first few.
    pub questions: Vec<Question>,
    /// What is answered; only the first few.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<Answer>,
    /// How many answers the message says it has.
    pub answer_count: u16,
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// ASCII with escapes (RFC 1035, section 5.1), without the last dot.
    pub name: String,
    /// Record type by name.
    pub kind: String,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    /// As in the question.
    pub name: String,
    /// Record type by name.
    pub kind: String,
    /// Seconds it may be kept.
    pub ttl: u32,
    /// The address, name or text, of the usual types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}
