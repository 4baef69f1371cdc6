//! An expression, understood but not yet bound to a kind of link.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::names::Name;
use crate::run::Operation;

/// A boolean expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// All must hold, tested in this order. Empty: everything.
    And(Vec<Node>),
    /// One must hold, tested in this order.
    Or(Vec<Node>),
    Not(Box<Node>),
    /// A test, and the column of the word that asks for it.
    Test(Primitive, usize),
}

/// A protocol word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `ether`: what every frame has.
    Link,
    Ip,
    Ip6,
    Arp,
    Rarp,
    /// Others told by the Ethernet type or service access point.
    Frame(u16),
    /// Told by the protocol number of IPv4 or IPv6.
    Transport(u8),
    /// Told by the protocol number of IPv4 only.
    Transport4(u8),
    Icmp6,
}

/// Which side of a packet is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    Source,
    Destination,
    Either,
    Both,
}

/// What is tested of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Primitive {
    Protocol(Protocol),
    Host {
        within: Option<Protocol>,
        direction: Direction,
        network: Network,
    },
    Named {
        within: Option<Protocol>,
        direction: Direction,
        name: Name,
    },
    Mac {
        direction: Direction,
        address: [u8; 6],
    },
    /// Ports from `low` to `high`, of all of TCP, UDP and SCTP where there is no transport.
    Port {
        transport: Option<u8>,
        direction: Direction,
        low: u16,
        high: u16,
    },
    /// A protocol number; without a protocol both IPv4's and IPv6's.
    Number {
        within: Option<Protocol>,
        number: u32,
    },
    Broadcast,
    Multicast(Protocol),
    Vlan(Option<u16>),
    /// Sent by this host, or not.
    Outbound(bool),
    Relation {
        comparison: Comparison,
        left: Arithmetic,
        right: Arithmetic,
    },
}

/// An address under a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    V4(Ipv4Addr, Ipv4Addr),
    V6(Ipv6Addr, Ipv6Addr),
}

/// How two numbers compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

/// A number out of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arithmetic {
    Constant(u32),
    /// The packet's length on the wire.
    Length,
    /// `protocol[at:size]`
    Bytes {
        protocol: Protocol,
        at: Box<Arithmetic>,
        size: Size,
    },
    Combined(Operation, Box<Arithmetic>, Box<Arithmetic>),
    Negated(Box<Arithmetic>),
}

/// How many bytes are read at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Byte = 1,
    Half = 2,
    Word = 4,
}
