//! Binds an expression to a kind of link: which bytes to look at for each primitive. The offsets and orders of tests are
//! libpcap's (`gencode.c`), so that the same packets pass, cut ones included.

mod host;
mod link;
mod transport;

use crate::ast::{Arithmetic, Node, Primitive, Protocol};
use crate::condition::{Base, Condition, Value};
use crate::error::{Error, Problem};
use crate::names::Names;
use crate::program::metadata;

/// Lists of more hosts than this are looked for at one side of a packet after the other, not host by host: every read of a packet
/// costs the kernel several instructions of its own, which a socket's `net.core.optmem_max` must hold. Only packets cut between their
/// two addresses can tell.
const LONG_LIST: usize = 8;

/// How packets begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Ethernet,
    /// With an IP header.
    Raw,
}

/// One walk over an expression, from left to right.
pub(crate) struct Lowering<'a> {
    pub framing: Framing,
    /// Whether the kernel's knowledge beside the bytes is there.
    pub on_socket: bool,
    /// Whether the kernel took a VLAN tag out of the packet, which the first `vlan` then stands for.
    pub tag_aside: bool,
    /// Whether what the link lacks is just never there, instead of an error: another link of the same program may have it.
    pub lenient: bool,
    pub names: &'a dyn Names,
    /// Where the Ethernet type is: moves behind each tag that `vlan` steps over.
    pub type_at: u32,
    /// Where the network layer begins.
    pub payload: u32,
}

impl<'a> Lowering<'a> {
    pub fn new(framing: Framing, on_socket: bool, names: &'a dyn Names) -> Self {
        let (type_at, payload) = match framing {
            Framing::Ethernet => (12, 14),
            Framing::Raw => (0, 0),
        };
        Self {
            framing,
            on_socket,
            tag_aside: false,
            lenient: false,
            names,
            type_at,
            payload,
        }
    }

    /// The condition a node stands for.
    pub fn node(&mut self, node: &Node) -> Result<Condition, Error> {
        Ok(match node {
            Node::And(parts) => Condition::all(self.nodes(parts)?),
            Node::Or(parts) => self.alternatives(parts)?,
            Node::Not(inner) => self.node(inner)?.negated(),
            Node::Test(primitive, column) => match self.primitive(primitive, *column) {
                Err(Error {
                    problem: Problem::Unsupported { .. },
                    ..
                }) if self.lenient => Condition::Never,
                other => other?,
            },
        })
    }

    fn nodes(&mut self, nodes: &[Node]) -> Result<Vec<Condition>, Error> {
        nodes.iter().map(|node| self.node(node)).collect()
    }

    /// Any of some nodes. Hosts in a row share the tests for what carries them: lists of them are long, programs are not.
    fn alternatives(&mut self, parts: &[Node]) -> Result<Condition, Error> {
        let mut any = Vec::new();
        let mut rest = parts;
        while let [first, others @ ..] = rest {
            let Some((within, direction)) = host::qualifiers(first) else {
                any.push(self.node(first)?);
                rest = others;
                continue;
            };
            let alike = rest
                .iter()
                .take_while(|node| host::qualifiers(node) == Some((within, direction)));
            let groups = alike.map(|node| self.networks(node)).collect::<Result<Vec<_>, _>>()?;
            rest = rest.get(groups.len()..).unwrap_or_default();
            let groups = if groups.len() > LONG_LIST {
                vec![groups.concat()]
            } else {
                groups
            };
            any.push(self.host(within, direction, &groups));
        }
        Ok(Condition::any(any))
    }

    fn primitive(&mut self, primitive: &Primitive, column: usize) -> Result<Condition, Error> {
        let unsupported = |word: &str, reason| {
            Problem::Unsupported {
                word: word.to_owned(),
                reason,
            }
            .at(column)
        };
        let ethernet = |word| match self.framing {
            Framing::Ethernet => Ok(()),
            Framing::Raw => Err(unsupported(word, "packets here have no Ethernet header")),
        };
        Ok(match primitive {
            Primitive::Protocol(protocol) => self.protocol(*protocol),
            Primitive::Host { .. } | Primitive::Named { .. } => {
                return self.alternatives(&[Node::Test(primitive.clone(), column)]);
            }
            Primitive::Mac { direction, address } => {
                ethernet("ether host")?;
                host::mac(*direction, *address)
            }
            Primitive::Port {
                transport,
                direction,
                low,
                high,
            } => self.port(*transport, *direction, (*low, *high)),
            Primitive::Number {
                within: Some(Protocol::Link),
                number,
            } => self.frame_type(*number),
            Primitive::Number { within, number } => self.protocol_number(*within, *number),
            Primitive::Broadcast => {
                ethernet("broadcast")?;
                host::mac(crate::ast::Direction::Destination, [0xff; 6])
            }
            Primitive::Multicast(protocol) => {
                if *protocol == Protocol::Link {
                    ethernet("multicast")?;
                }
                self.multicast(*protocol)
            }
            Primitive::Vlan(number) => {
                ethernet("vlan")?;
                self.vlan(*number)
            }
            Primitive::Outbound(outbound) if self.on_socket => {
                let sent = Value::Metadata(metadata::PACKET_TYPE).is(crate::PACKET_OUTGOING);
                if *outbound { sent } else { sent.negated() }
            }
            Primitive::Outbound(outbound) => {
                let word = if *outbound { "outbound" } else { "inbound" };
                return Err(unsupported(word, "a file does not say which way its packets went"));
            }
            Primitive::Relation {
                comparison,
                left,
                right,
            } => {
                let mut present = Vec::new();
                let left = self.arithmetic(left, &mut present);
                let right = self.arithmetic(right, &mut present);
                present.push(Condition::compare(left, *comparison, right));
                Condition::all(present)
            }
        })
    }

    /// The number an arithmetic stands for, and what a packet must be to have it.
    fn arithmetic(&self, arithmetic: &Arithmetic, present: &mut Vec<Condition>) -> Value {
        match arithmetic {
            Arithmetic::Constant(value) => Value::Constant(*value),
            Arithmetic::Length => Value::Length,
            Arithmetic::Negated(inner) => Value::Negated(Box::new(self.arithmetic(inner, present))),
            Arithmetic::Combined(operation, left, right) => {
                let left = self.arithmetic(left, present);
                let right = self.arithmetic(right, present);
                Value::combined(*operation, left, right)
            }
            Arithmetic::Bytes { protocol, at, size } => {
                let index = Box::new(self.arithmetic(at, present));
                let needed = self.presence(*protocol);
                if !present.contains(&needed) {
                    present.push(needed);
                }
                Value::Bytes {
                    size: *size,
                    base: self.base(*protocol),
                    index,
                }
            }
        }
    }

    /// What offsets into a protocol count from.
    fn base(&self, protocol: Protocol) -> Base {
        match protocol {
            Protocol::Link => Base::Start(0),
            Protocol::Ip | Protocol::Ip6 | Protocol::Arp | Protocol::Rarp | Protocol::Frame(_) => {
                Base::Start(self.payload)
            }
            Protocol::Transport(_) | Protocol::Transport4(_) => Base::Ipv4Payload(self.payload),
            Protocol::Icmp6 => Base::Start(self.payload + transport::IP6_HEADER),
        }
    }
}
