//! What a packet says, as data. Text from the packet is bounded, and ASCII with escapes.

mod dns;
mod transport;

pub use dns::{Answer, Dns, Question};
pub use transport::{Icmp, Other, Quoted, Tcp, TcpFlags, Transport, Udp};

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
