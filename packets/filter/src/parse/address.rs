//! Values that mean addresses: hosts, networks, names of pods and Services.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Parser;
use super::value::Qualifiers;
use crate::ast::{Network, Primitive, Protocol};
use crate::error::{Error, Problem};
use crate::lexer::{Token, TokenKind, bad};
use crate::names::{self, Kind, Name};

impl Parser {
    /// A host's address, IP or Ethernet.
    pub(super) fn host(&mut self, qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
        if let Some(slash) = self.peek().filter(|next| next.is("/")) {
            let with = "`host`".to_owned();
            return Err(Problem::Mismatch {
                word: "/".to_owned(),
                with,
                advice: "say `net` for a network",
            }
            .at(slash.column));
        }
        match (&token.kind, qualifiers.within) {
            (TokenKind::Mac(address), Some(Protocol::Link)) => Ok(Primitive::Mac {
                direction: qualifiers.direction,
                address: *address,
            }),
            (_, Some(Protocol::Link)) => {
                let advice = "write it as six hexadecimal pairs: 02:00:5e:10:00:01";
                Err(bad(token.text.clone(), "Ethernet address", advice).at(token.column))
            }
            (TokenKind::Mac(_), _) => Err(bad(
                token.text.clone(),
                "IP address",
                "write `ether host` before an Ethernet address",
            )
            .at(token.column)),
            (TokenKind::Word | TokenKind::Escaped(_), _) => {
                let advice = "use an address, `pod NAME` or `svc NAME`";
                Err(bad(token.text.clone(), "address", advice).at(token.column))
            }
            (TokenKind::Number(value), _) => qualified(
                qualifiers,
                token,
                Network::V4(Ipv4Addr::from_bits(*value), Ipv4Addr::BROADCAST),
            ),
            _ => qualified(qualifiers, token, address(token)?),
        }
    }

    /// A network's address.
    pub(super) fn network(&mut self, qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
        let network = match token.kind {
            TokenKind::Number(number) if !self.peek_is("/") => numbered_network(number),
            TokenKind::Dotted | TokenKind::V6(_) => {
                let (address, implied) = match address(token)? {
                    Network::V4(address, mask) => (address.to_ipv6_mapped(), mask.to_bits()),
                    Network::V6(address, _) => (address, 0),
                };
                self.masked(token, address, implied)?
            }
            TokenKind::Number(_) => {
                return Err(
                    bad(token.text.clone(), "network", "write its address with dots: 10.0.0.0/8").at(token.column),
                );
            }
            _ => return Err(bad(token.text.clone(), "network", "use an address such as 10.0.0.0/8").at(token.column)),
        };
        qualified(qualifiers, token, network)
    }

    /// The network an address and the length or mask after it make. IPv4 addresses come as IPv6-mapped ones.
    fn masked(&mut self, token: &Token, address: Ipv6Addr, implied: u32) -> Result<Network, Error> {
        let v4 = if token.kind == TokenKind::Dotted {
            address.to_ipv4_mapped()
        } else {
            None
        };
        let mut written = token.text.clone();
        let network = if self.take("/") {
            let (length, length_token) = self.number("the length of the network's prefix")?;
            written = format!("{written}/{}", length_token.text);
            let longest = if v4.is_some() { 32 } else { 128 };
            if length > longest {
                let (what, advice) = ("length of a prefix", format!("use 0 to {longest}"));
                return Err(bad(length_token.text, what, advice).at(length_token.column));
            }
            match v4 {
                Some(v4) => Network::V4(v4, Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - length).unwrap_or(0))),
                None => Network::V6(
                    address,
                    Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - length).unwrap_or(0)),
                ),
            }
        } else if let (Some(v4), true) = (v4, self.take("mask")) {
            let Some(mask_token) = self.next().filter(|token| token.kind == TokenKind::Dotted) else {
                self.at -= usize::from(self.at < self.tokens.len());
                return Err(self.unexpected("a mask such as 255.255.0.0"));
            };
            written = format!("{written} mask {}", mask_token.text);
            match self::address(&mask_token)? {
                Network::V4(mask, _) => Network::V4(v4, mask),
                Network::V6(..) => return Err(self.unexpected("a mask such as 255.255.0.0")),
            }
        } else {
            match v4 {
                Some(v4) => Network::V4(v4, Ipv4Addr::from_bits(implied)),
                None => Network::V6(address, Ipv6Addr::from_bits(u128::MAX)),
            }
        };
        let stray = match network {
            Network::V4(address, mask) => u128::from(address.to_bits() & !mask.to_bits()),
            Network::V6(address, mask) => address.to_bits() & !mask.to_bits(),
        };
        if stray != 0 {
            return Err(bad(written, "network", "clear the bits behind its prefix").at(token.column));
        }
        Ok(network)
    }

    /// `NAME` or `NAMESPACE/NAME`.
    pub(super) fn named(&mut self, qualifiers: Qualifiers, kind: Kind, token: &Token) -> Result<Primitive, Error> {
        let text = |token: &Token| match &token.kind {
            TokenKind::Escaped(name) => name.clone(),
            _ => token.text.clone(),
        };
        let mut name = Name {
            kind,
            namespace: None,
            name: text(token),
        };
        let mut place = token.column;
        // An escape takes the slash along, as it takes all but spaces and brackets.
        if let Some((namespace, rest)) = name.name.clone().split_once('/') {
            name = Name {
                kind,
                namespace: Some(namespace.to_owned()),
                name: rest.to_owned(),
            };
        } else if self
            .peek()
            .is_some_and(|slash| slash.is("/") && slash.column == token.end())
        {
            self.at += 1;
            let Some(object) = self.next().filter(|object| object.kind != TokenKind::Sign) else {
                return Err(Problem::Unexpected {
                    found: None,
                    expected: "the name after the namespace",
                }
                .at(token.end() + 1));
            };
            place = object.column;
            name = Name {
                kind,
                namespace: Some(name.name),
                name: text(&object),
            };
        }
        if let Some(namespace) = name.namespace.as_ref().filter(|namespace| !names::is_label(namespace)) {
            let advice = "use lower-case letters, digits and `-`";
            return Err(bad(namespace.clone(), "name of a namespace", advice).at(token.column));
        }
        if !names::is_object_name(&name.name) {
            let (what, advice) = match kind {
                Kind::Pod => (
                    "name of a pod",
                    "use the name `kubectl get pods` shows, or `host` for an address",
                ),
                Kind::Service => (
                    "name of a Service",
                    "use the name `kubectl get services` shows, or `host` for an address",
                ),
            };
            return Err(bad(name.name, what, advice).at(place));
        }
        Ok(Primitive::Named {
            within: qualifiers.within,
            direction: qualifiers.direction,
            name,
        })
    }
}

/// The address a token stands for; shortened IPv4 ones are networks, as in libpcap.
fn address(token: &Token) -> Result<Network, Error> {
    if let TokenKind::V6(address) = token.kind {
        return Ok(Network::V6(address, Ipv6Addr::from_bits(u128::MAX)));
    }
    let parts: Option<Vec<u8>> = token.text.split('.').map(|part| part.parse().ok()).collect();
    let parts = parts.filter(|_| token.kind == TokenKind::Dotted);
    let Some(parts) = parts else {
        return Err(bad(token.text.clone(), "IP address", "write it as 10.1.2.3 or 2001:db8::1").at(token.column));
    };
    let missing = 8 * (4_u32.saturating_sub(u32::try_from(parts.len()).unwrap_or(4)));
    let value = parts.iter().fold(0_u32, |value, part| (value << 8) | u32::from(*part));
    Ok(Network::V4(
        Ipv4Addr::from_bits(value << missing),
        Ipv4Addr::from_bits(u32::MAX << missing),
    ))
}

/// `net 10` is 10.0.0.0/8: a short number moves to the front.
fn numbered_network(number: u32) -> Network {
    let (mut address, mut mask) = (number, u32::MAX);
    while address != 0 && address & 0xff00_0000 == 0 {
        address <<= 8;
        mask <<= 8;
    }
    Network::V4(Ipv4Addr::from_bits(address), Ipv4Addr::from_bits(mask))
}

fn qualified(qualifiers: Qualifiers, token: &Token, network: Network) -> Result<Primitive, Error> {
    let Qualifiers { within, direction, .. } = qualifiers;
    match (within, network) {
        (Some(protocol @ Protocol::Ip6), Network::V4(..)) => Err(qualifiers
            .mismatch(protocol, "write `ip` before an IPv4 address")
            .at(token.column)),
        (Some(protocol @ (Protocol::Ip | Protocol::Arp | Protocol::Rarp)), Network::V6(..)) => Err(qualifiers
            .mismatch(protocol, "write `ip6` before an IPv6 address")
            .at(token.column)),
        _ => Ok(Primitive::Host {
            within,
            direction,
            network,
        }),
    }
}
