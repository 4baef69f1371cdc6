//! Addresses: IPv4 in IP and ARP, IPv6, Ethernet, and those behind names.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Lowering, link};
use crate::ast::{Direction, Network, Protocol, Size};
use crate::condition::{Condition, Value};
use crate::error::Problem;
use crate::names::{Name, Names};

impl Lowering<'_> {
    /// Packets from or to any of these networks.
    pub(super) fn host(&self, within: Option<Protocol>, direction: Direction, networks: &[Network]) -> Condition {
        let kinds: &[(Protocol, u32)] = &[
            (Protocol::Ip, link::IP),
            (Protocol::Arp, link::ARP),
            (Protocol::Rarp, link::RARP),
        ];
        let is_v4 = |network: &&Network| matches!(network, Network::V4(..));
        let (v4, v6): (Vec<&Network>, Vec<&Network>) = networks.iter().partition(is_v4);
        let mut any = Vec::new();
        for (protocol, number) in kinds
            .iter()
            .filter(|(protocol, _)| within.is_none_or(|within| within == *protocol))
        {
            // Sender and target stand in an ARP message at 14 and 24 (RFC 826), in an IPv4 header at 12 and 16 (RFC 791).
            let (source, destination) = if *protocol == Protocol::Ip { (12, 16) } else { (14, 24) };
            if !v4.is_empty() {
                let sides = |offset| self.addresses(&v4, offset);
                any.push(Condition::all([
                    self.frame_type(*number),
                    directed(direction, sides(source), sides(destination)),
                ]));
            }
        }
        if !v6.is_empty() && within.is_none_or(|within| within == Protocol::Ip6) {
            // RFC 8200 section 3.
            let sides = |offset| self.addresses(&v6, offset);
            any.push(Condition::all([
                self.frame_type(link::IP6),
                directed(direction, sides(8), sides(24)),
            ]));
        }
        Condition::any(any)
    }

    /// Whether the address at an offset is in any of the networks.
    fn addresses(&self, networks: &[&Network], offset: u32) -> Condition {
        Condition::any(networks.iter().map(|network| match network {
            Network::V4(address, mask) => self.masked_word(offset, address.to_bits(), mask.to_bits()),
            Network::V6(address, mask) => {
                let words = words(*address).into_iter().zip(words(*mask)).zip([0, 4, 8, 12]);
                Condition::all(words.map(|((address, mask), word)| self.masked_word(offset + word, address, mask)))
            }
        }))
    }

    fn masked_word(&self, offset: u32, address: u32, mask: u32) -> Condition {
        Value::at(Size::Word, self.payload + offset).masked(mask).is(address)
    }
}

fn words(address: Ipv6Addr) -> [u32; 4] {
    let bits = address.to_bits();
    [96, 64, 32, 0].map(|shift| u32::try_from((bits >> shift) & u128::from(u32::MAX)).unwrap_or(0))
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
