//! The everyday language of pcap-filter(7), with pods and Services, compiled to classic BPF.
//!
//! The crate is pure: it reads no file, asks no resolver, opens no socket. [`Filter::parse`] understands an expression,
//! [`Filter::compile`] binds it to a kind of link and makes a program, [`run`] runs a program where no kernel does.
//!
//! # Ours on top
//! `pod NAME`, `pod NAMESPACE/NAME`, `svc NAME`, `svc NAMESPACE/NAME`, with `src` and `dst` as for `host`, mean a host of any of the
//! addresses the caller's [`Names`] has for it. Names are those of Kubernetes (RFC 1123); what reads as a number never is one.
//!
//! # What differs from tcpdump
//! Everything not listed here passes the same packets as tcpdump 4.99 with libpcap 1.10, and is refused if they refuse it.
//!
//! Refused here:
//! * host names, network names and `gateway`, because nothing is resolved: use an address, a pod or a Service;
//! * services beyond the well-known ones;
//! * `ip broadcast`, because it needs the interface's netmask;
//! * `inbound` and `outbound` for files (libpcap reads `-d` as live);
//! * `protochain`, `byte`, `llc`, `mpls`, `pppoed`, `pppoes`, `geneve`, `ifindex`, the IS-IS family, and all that is for links no pod has
//!   (802.11, ATM, SS7, pf, …);
//! * divisors that come to 0 and distances to shift beyond 31, however they are calculated from constants (libpcap sees through
//!   some of them only);
//! * numbers that the field cannot hold, such as `ip proto 300` (newer libpcap refuses them, too).
//!
//! Accepted here:
//! * bare values in doubled parentheses, `port ((80 or 443) or 22)`;
//! * filters that contradict themselves, such as `ip and arp`: libpcap's optimiser refuses some as rejecting everything, here only
//!   those are refused that do so whatever the packet, such as `arp` where there is no link layer;
//! * more arithmetic before the kernel's sixteen scratch words are used up.
//!
//! Decided otherwise:
//! * in `1 + tcp[0] = 1` libpcap forgets to ask whether there is a TCP header, because only the leftmost number is asked for; here
//!   all bytes of a protocol are read from packets of that protocol only;
//! * shifting by a distance of 32 or more taken from a packet gives 0 on a socket, too, where libpcap leaves it to the kernel;
//! * of a list of more than eight hosts all are looked for at one side of a packet first, so a packet that was cut between its two
//!   addresses may pass;
//! * on a socket, what stands behind `vlan` looks behind a tag even where `vlan` itself was never asked because of an `and` or
//!   `or` before it, as in files.

//!
//! # Limits
//! A program has at most [`MAX_INSTRUCTIONS`]. Apart from that, a kernel refuses with `ENOMEM` to attach one whose translation is
//! larger than `net.core.optmem_max` (128 KiB from Linux 6.9 on, 20 KiB before); each read of a packet counts several times.

mod ast;
mod condition;
mod emit;
mod error;
mod lexer;
mod lower;
mod names;
mod parse;
mod program;
mod run;
mod words;

pub use error::{Error, Problem};
pub use names::{Kind, Name, Names, NoNames};
pub use program::{Instruction, MAX_INSTRUCTIONS};
pub use run::{Metadata, Packet, run};

use ast::{Node, Primitive};
use condition::{Condition, Value};
use lower::{Framing, Lowering};
use program::metadata;

/// What libpcap accepts of a packet unless told otherwise: more than any packet has, in bytes.
pub const WHOLE_PACKET: u32 = 262_144;

/// `PACKET_OUTGOING` of `linux/if_packet.h`.
pub(crate) const PACKET_OUTGOING: u32 = 4;

/// Hardware types of `linux/if_arp.h` whose packets begin with an Ethernet header: `ARPHRD_ETHER`, `ARPHRD_LOOPBACK`.
const ETHERNET_HARDWARE: [u32; 2] = [1, LOOPBACK];
const LOOPBACK: u32 = 772;

/// Hardware types whose packets begin with an IP header: `ARPHRD_NONE` (tun, WireGuard), `ARPHRD_TUNNEL`, `ARPHRD_TUNNEL6`,
/// `ARPHRD_SIT`, `ARPHRD_IPGRE`, `ARPHRD_IP6GRE`, `ARPHRD_RAWIP`.
const RAW_HARDWARE: [u32; 7] = [65534, 768, 769, 776, 778, 823, 519];

/// Where the packets come from that a program shall see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// A file of Ethernet frames (`LINKTYPE_ETHERNET`): VLAN tags are in their bytes.
    EthernetFile,
    /// A file of IP packets (`LINKTYPE_RAW`).
    RawFile,
    /// An `AF_PACKET` socket of type `SOCK_RAW` on an Ethernet or loopback interface: the kernel keeps the outer VLAN tag aside.
    EthernetSocket,
    /// Such a socket on an interface whose packets begin with an IP header.
    RawSocket,
    /// Such a socket on all interfaces of a namespace: the program asks each packet's interface for its hardware type. Packets of
    /// interfaces that are neither Ethernet nor raw IP (PPP, InfiniBand, …) are rejected, because their bytes would be misread,
    /// unless the expression is empty and nothing is read. On raw IP, primitives about the link layer do not hold.
    AnySocket,
}

/// What is taken of the loopback interface, which shows each packet twice: as sent, and as received.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Loopback {
    /// Both.
    Twice,
    /// Each packet once, as received; what tcpdump shows.
    #[default]
    Once,
    /// Nothing.
    Never,
}

/// How to compile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Options {
    /// Where packets come from.
    pub source: Source,
    /// Bytes to keep of an accepted packet; zero would reject all.
    pub snap_length: u32,
    /// What is taken of the loopback interface. Says nothing about files.
    pub loopback: Loopback,
}

/// An expression that has been understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter(Node);

impl Filter {
    /// Understands an expression; an empty one lets everything pass.
    ///
    /// # Errors
    /// What is wrong with the text whatever the link: words, values, nesting, length.
    pub fn parse(text: &str) -> Result<Self, Error> {
        parse::parse(text).map(Self)
    }

    /// All pods and Services it names, in order, for callers that must look them up before they compile.
    pub fn names(&self) -> Vec<&Name> {
        let mut names = Vec::new();
        for_each_test(&self.0, &mut |primitive| {
            if let Primitive::Named { name, .. } = primitive {
                names.push(name);
            }
        });
        names
    }

    /// Makes a program of it.
    ///
    /// # Errors
    /// A name without addresses, a primitive the link lacks, a filter no packet can pass there, a program beyond the kernel's limits.
    pub fn compile(&self, options: Options, names: &dyn Names) -> Result<Vec<Instruction>, Error> {
        let condition = self.condition(options.source, names)?;
        if condition == Condition::Never {
            let link = match options.source {
                Source::RawFile | Source::RawSocket => "a link without Ethernet headers",
                _ => "any link",
            };
            return Err(Problem::MatchesNothing { link }.at(1));
        }
        let on_socket = !matches!(options.source, Source::EthernetFile | Source::RawFile);
        let guard = match options.loopback {
            Loopback::Once if on_socket => not_loopback_copy(),
            Loopback::Never if on_socket => hardware_is(&[LOOPBACK]).negated(),
            _ => Condition::Always,
        };
        emit::emit(&Condition::all([guard, condition]), options.snap_length).map_err(|problem| problem.at(1))
    }

    fn condition(&self, source: Source, names: &dyn Names) -> Result<Condition, Error> {
        match source {
            Source::EthernetFile => Lowering::new(Framing::Ethernet, false, names).node(&self.0),
            Source::RawFile => Lowering::new(Framing::Raw, false, names).node(&self.0),
            Source::EthernetSocket => self.on_ethernet_socket(names),
            Source::RawSocket => Lowering::new(Framing::Raw, true, names).node(&self.0),
            Source::AnySocket => {
                let ethernet = self.on_ethernet_socket(names)?;
                let raw = Lowering {
                    lenient: true,
                    ..Lowering::new(Framing::Raw, true, names)
                }
                .node(&self.0)?;
                if ethernet == Condition::Always && raw == Condition::Always {
                    return Ok(Condition::Always);
                }
                let raw = Condition::all([hardware_is(&RAW_HARDWARE), raw]);
                Ok(Condition::choose(hardware_is(&ETHERNET_HARDWARE), ethernet, raw))
            }
        }
    }

    /// The kernel takes the outer tag out of the bytes, mostly: where `vlan` is asked for, both ways are there.
    fn on_ethernet_socket(&self, names: &dyn Names) -> Result<Condition, Error> {
        let lowering = || Lowering::new(Framing::Ethernet, true, names);
        let in_bytes = lowering().node(&self.0)?;
        if !asks_for_vlan(&self.0) {
            return Ok(in_bytes);
        }
        let aside = Lowering {
            tag_aside: true,
            ..lowering()
        }
        .node(&self.0)?;
        Ok(Condition::choose(
            Value::Metadata(metadata::VLAN_TAG_PRESENT).is(1),
            aside,
            in_bytes,
        ))
    }
}

fn asks_for_vlan(node: &Node) -> bool {
    let mut asks = false;
    for_each_test(node, &mut |primitive| asks |= matches!(primitive, Primitive::Vlan(_)));
    asks
}

fn for_each_test<'a>(node: &'a Node, see: &mut impl FnMut(&'a Primitive)) {
    match node {
        Node::And(parts) | Node::Or(parts) => parts.iter().for_each(|part| for_each_test(part, see)),
        Node::Not(inner) => for_each_test(inner, see),
        Node::Test(primitive, _) => see(primitive),
    }
}

fn hardware_is(types: &[u32]) -> Condition {
    Condition::any(
        types
            .iter()
            .map(|number| Value::Metadata(metadata::HARDWARE_TYPE).is(*number)),
    )
}

fn not_loopback_copy() -> Condition {
    Condition::all([
        Value::Metadata(metadata::PACKET_TYPE).is(PACKET_OUTGOING),
        hardware_is(&[LOOPBACK]),
    ])
    .negated()
}

#[cfg(test)]
mod tests;
