//! What IP packets carry.

use super::Mac;
use serde::{Serialize, Serializer};
use std::{fmt, net::IpAddr};

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
