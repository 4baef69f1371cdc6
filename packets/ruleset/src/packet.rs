//! A packet, as far as rules look at it.

use std::net::IpAddr;

/// A protocol above IP, by its number (IANA).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Protocol(pub u8);

impl Protocol {
    /// ICMP.
    pub const ICMP: Self = Self(1);
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
    /// ICMPv6.
    pub const ICMPV6: Self = Self(58);
    /// SCTP.
    pub const SCTP: Self = Self(132);

    /// Names of /etc/protocols, as iptables and nft print them.
    const NAMES: [(&'static str, u8); 17] = [
        ("icmp", 1),
        ("igmp", 2),
        ("ipencap", 4),
        ("ipv4", 4),
        ("tcp", 6),
        ("udp", 17),
        ("dccp", 33),
        ("ipv6", 41),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("icmpv6", 58),
        ("ipv6-icmp", 58),
        ("ospf", 89),
        ("comp", 108),
        ("sctp", 132),
        ("udplite", 136),
    ];

    /// By its name or number.
    pub fn named(name: &str) -> Option<Self> {
        let lower = name.to_ascii_lowercase();
        let known = Self::NAMES.iter().find(|(known, _)| *known == lower);
        known
            .map(|(_, number)| Self(*number))
            .or_else(|| name.parse().ok().map(Self))
    }

    pub(crate) fn has_ports(self) -> bool {
        [Self::TCP, Self::UDP, Self::SCTP, Self(33), Self(136)].contains(&self)
    }
}

/// What connection tracking says of a packet's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// The first packet of one.
    New,
    /// One that was answered.
    Established,
    /// It belongs to another one.
    Related,
    /// It belongs to none.
    Invalid,
    /// It is not followed.
    Untracked,
}

impl State {
    /// Its bit (`NFT_CT_STATE_BIT`, linux/netfilter/nf_conntrack_common.h).
    pub(crate) fn bit(self) -> u128 {
        match self {
            Self::Invalid => 1,
            Self::Established => 2,
            Self::Related => 4,
            Self::New => 8,
            Self::Untracked => 64,
        }
    }
}

/// A packet. It is taken to be addressed to this host by its link layer, to have come the way that answers to it go, to be no fragment, and to
/// begin its connection if that is [`State::New`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Where it comes from.
    pub source: IpAddr,
    /// Where it goes: of the same family.
    pub destination: IpAddr,
    /// What it carries.
    pub protocol: Protocol,
    /// Its source's port, if its protocol has some.
    pub source_port: u16,
    /// Its destination's port.
    pub destination_port: u16,
    /// The device that it came by; `None`: made here, or it cannot be told.
    pub input: Option<String>,
    /// The device that it leaves by; `None`: for here, or it cannot be told.
    pub output: Option<String>,
    /// Its mark.
    pub mark: u32,
    /// Of its connection.
    pub state: State,
    /// Whether its connection's destination is translated.
    pub is_dnat: bool,
}

impl Packet {
    /// The first packet of a connection.
    pub fn new(protocol: Protocol, source: IpAddr, destination: IpAddr, destination_port: u16) -> Self {
        Self {
            source,
            destination,
            protocol,
            source_port: 40_000,
            destination_port,
            input: None,
            output: None,
            mark: 0,
            state: State::New,
            is_dnat: false,
        }
    }

    /// By these devices.
    #[must_use]
    pub fn by(mut self, input: Option<&str>, output: Option<&str>) -> Self {
        self.input = input.map(str::to_owned);
        self.output = output.map(str::to_owned);
        self
    }
}
