//! Addresses: IPv4 in IP and ARP, IPv6, Ethernet, and those behind names.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Lowering, link};
use crate::ast::{Direction, Network, Node, Primitive, Protocol, Size};
use crate::condition::{Condition, Value};
use crate::error::{Error, Problem};
use crate::names::{Name, Names};

impl Lowering<'_> {
    /// The networks a host or name stands for; none for other nodes.
    pub(super) fn networks(&self, node: &Node) -> Result<Vec<Network>, Error> {
        match node {
            Node::Test(Primitive::Host { network, .. }, _) => Ok(vec![*network]),
            Node::Test(Primitive::Named { within, name, .. }, column) => {
                resolve(self.names, name, *within).map_err(|problem| problem.at(*column))
            }
            _ => Ok(Vec::new()),
        }
    }

    /// Packets from or to any of these networks, group by group.
    pub(super) fn host(&self, within: Option<Protocol>, direction: Direction, groups: &[Vec<Network>]) -> Condition {
        // Sender and target stand in an IPv4 header at 12 and 16 (RFC 791), in an ARP message at 14 and 24 (RFC 826), in an IPv6
        // header at 8 and 24 (RFC 8200 section 3).
        let places = [
            (Protocol::Ip, link::IP, 12, 16),
            (Protocol::Arp, link::ARP, 14, 24),
            (Protocol::Rarp, link::RARP, 14, 24),
            (Protocol::Ip6, link::IP6, 8, 24),
        ];
        let wanted = places
            .into_iter()
            .filter(|(protocol, ..)| within.is_none_or(|within| within == *protocol));
        Condition::any(wanted.map(|(protocol, number, source, destination)| {
            let of_family = |network: &&Network| matches!(network, Network::V6(..)) == (protocol == Protocol::Ip6);
            let here = Condition::any(groups.iter().map(|group| {
                let group: Vec<&Network> = group.iter().filter(of_family).collect();
                directed(
                    direction,
                    self.addresses(&group, source),
                    self.addresses(&group, destination),
                )
            }));
            Condition::all([self.frame_type(number), here])
        }))
    }

    /// Whether the address at an offset is in any of the networks. IPv6 addresses alike but for the last word, as those of a node's
    /// pods are, share the tests of the others.
    fn addresses(&self, networks: &[&Network], offset: u32) -> Condition {
        let word = |at, address, mask| self.masked_word(offset + at, address, mask);
        let mut alike: BTreeMap<[(u32, u32); 3], Vec<Condition>> = BTreeMap::new();
        let mut any = Vec::new();
        for network in networks {
            match network {
                Network::V4(address, mask) => any.push(word(0, address.to_bits(), mask.to_bits())),
                Network::V6(address, mask) => {
                    let ([a, b, c, last], [mask_a, mask_b, mask_c, mask_last]) = (words(*address), words(*mask));
                    let front = [(a, mask_a), (b, mask_b), (c, mask_c)];
                    alike.entry(front).or_default().push(word(12, last, mask_last));
                }
            }
        }
        any.extend(alike.into_iter().map(|(front, last)| {
            let front = front
                .into_iter()
                .zip([0, 4, 8])
                .map(|((address, mask), at)| word(at, address, mask));
            Condition::all(front.chain([Condition::any(last)]))
        }));
        Condition::any(any)
    }

    fn masked_word(&self, offset: u32, address: u32, mask: u32) -> Condition {
        match mask {
            0 => Condition::Always,
            _ => Value::at(Size::Word, self.payload + offset).masked(mask).is(address),
        }
    }
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [96, 64, 32, 0].map(|shift| u32::try_from((bits >> shift) & u128::from(u32::MAX)).unwrap_or(0))
}

/// How a host or name is qualified; nothing for other nodes.
pub(super) fn qualifiers(node: &Node) -> Option<(Option<Protocol>, Direction)> {
    match node {
        Node::Test(Primitive::Host { within, direction, .. } | Primitive::Named { within, direction, .. }, _) => {
            Some((*within, *direction))
        }
        _ => None,
    }
}

/// Joins the tests of both sides of a packet.
pub(super) fn directed(direction: Direction, source: Condition, destination: Condition) -> Condition {
    match direction {
        Direction::Source => source,
        Direction::Destination => destination,
        Direction::Either => Condition::any([source, destination]),
        Direction::Both => Condition::all([source, destination]),
    }
}

/// Frames from or to an Ethernet address.
pub(super) fn mac(direction: Direction, address: [u8; 6]) -> Condition {
    // libpcap compares the last four bytes first.
    let [first, second, rest @ ..] = address;
    let side = |offset| {
        Condition::all([
            Value::at(Size::Word, offset + 2).is(u32::from_be_bytes(rest)),
            Value::at(Size::Half, offset).is(u16::from_be_bytes([first, second]).into()),
        ])
    };
    directed(direction, side(6), side(0))
}

/// The addresses of a name, of the families the protocol before it leaves.
pub(super) fn resolve(names: &dyn Names, name: &Name, within: Option<Protocol>) -> Result<Vec<Network>, Problem> {
    let unresolved = |reason: String| Problem::Unresolved {
        name: name.clone(),
        reason: reason
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .filter(|c| !c.is_control())
            .collect(),
    };
    let mut addresses = names.addresses(name).map_err(unresolved)?;
    addresses.sort_unstable();
    addresses.dedup();
    let fits = |address: &IpAddr| match within {
        None => true,
        Some(Protocol::Ip6) => address.is_ipv6(),
        Some(_) => address.is_ipv4(),
    };
    let networks: Vec<Network> = addresses
        .into_iter()
        .filter(fits)
        .map(|address| match address {
            IpAddr::V4(address) => Network::V4(address, Ipv4Addr::BROADCAST),
            IpAddr::V6(address) => Network::V6(address, Ipv6Addr::from_bits(u128::MAX)),
        })
        .collect();
    if networks.is_empty() {
        let reason = match within {
            None => "has no address to look for (yet)",
            Some(Protocol::Ip6) => "has no IPv6 address to look for",
            Some(_) => "has no IPv4 address to look for",
        };
        return Err(unresolved(reason.to_owned()));
    }
    Ok(networks)
}
