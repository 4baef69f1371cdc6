//! Values with their qualifiers: addresses, ports, numbers and names.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Parser, Part, keyword};
use crate::ast::{Direction, Network, Node, Primitive, Protocol};
use crate::error::{Error, Problem};
use crate::lexer::{self, Token, TokenKind, bad};
use crate::names::{self, Kind, Name};
use crate::words::{self, Carrier};

/// What a value is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Qualifiers {
    pub within: Option<Protocol>,
    pub direction: Direction,
    pub what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Host,
    Net,
    Port,
    PortRange,
    Number,
    Pod,
    Service,
}

impl What {
    fn word(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Net => "net",
            Self::Port => "port",
            Self::PortRange => "portrange",
            Self::Number => "proto",
            Self::Pod => "pod",
            Self::Service => "svc",
        }
    }
}

impl Qualifiers {
    /// Whether the protocol and the kind of value go together.
    pub fn check(self, column: usize) -> Result<(), Error> {
        let Some(protocol) = self.within else { return Ok(()) };
        let (good, advice) = match self.what {
            What::Port | What::PortRange => (
                matches!(protocol, Protocol::Transport(6 | 17 | 132)),
                "only `tcp`, `udp` and `sctp` have ports",
            ),
            What::Number => (
                matches!(protocol, Protocol::Link | Protocol::Ip | Protocol::Ip6),
                "use `ether proto`, `ip proto` or `ip6 proto`",
            ),
            What::Host => (
                matches!(
                    protocol,
                    Protocol::Link | Protocol::Ip | Protocol::Ip6 | Protocol::Arp | Protocol::Rarp
                ),
                "join them with `and`, or say `port` if it is one",
            ),
            What::Net | What::Pod | What::Service => (
                matches!(protocol, Protocol::Ip | Protocol::Ip6 | Protocol::Arp | Protocol::Rarp),
                "join them with `and`",
            ),
        };
        if good {
            Ok(())
        } else {
            Err(self.mismatch(protocol, advice).at(column))
        }
    }

    fn mismatch(self, protocol: Protocol, advice: &'static str) -> Problem {
        let word = keyword::protocol_word(protocol).to_owned();
        Problem::Mismatch {
            word,
            with: format!("`{}`", self.what.word()),
            advice,
        }
    }
}

impl Parser {
    /// A value, a negated one, or some in parentheses.
    pub(super) fn value(&mut self, qualifiers: Qualifiers) -> Result<Part, Error> {
        let column = self.column();
        if self.take("not") || self.take("!") {
            let part = self.nested(column, |parser| parser.value(qualifiers))?;
            self.check_depth(part.depth + 1, column)?;
            return Ok(Part {
                node: Node::Not(Box::new(part.node)),
                depth: part.depth + 1,
                ..part
            });
        }
        if self.take("(") {
            let inside = self.nested(column, |parser| parser.values(qualifiers))?;
            self.expect(")", "`)` (the parenthesis is still open)")?;
            return Ok(inside);
        }
        let Some(token) = self.peek().cloned() else {
            return Err(self.unexpected(expected(qualifiers.what)));
        };
        if token.kind == TokenKind::Sign || matches!(token.text.as_str(), "and" | "or") {
            return Err(self.unexpected(expected(qualifiers.what)));
        }
        if token.kind == TokenKind::Word && keyword::is_keyword(&token.text) {
            return Err(misplaced_keyword(&token, qualifiers.what));
        }
        self.at += 1;
        let primitive = match qualifiers.what {
            What::Host => self.host(qualifiers, &token)?,
            What::Net => self.network(qualifiers, &token)?,
            What::Port => port(qualifiers, &token)?,
            What::PortRange => port_range(qualifiers, &token)?,
            What::Number => number(qualifiers, &token)?,
            What::Pod => self.named(qualifiers, Kind::Pod, &token)?,
            What::Service => self.named(qualifiers, Kind::Service, &token)?,
        };
        let node = Node::Test(primitive, column);
        Ok(Part {
            node,
            depth: 1,
            qualifiers: Some(qualifiers),
            bare: false,
        })
    }

    /// Values joined by `and` and `or`.
    fn values(&mut self, qualifiers: Qualifiers) -> Result<Part, Error> {
        let mut whole = self.value(qualifiers)?;
        while let Some(joint) = self.joint() {
            let column = self.column();
            let next = self.value(qualifiers)?;
            let (node, deeper) = super::join(whole.node, joint, next.node);
            let depth = whole.depth.max(next.depth) + usize::from(deeper);
            self.check_depth(depth, column)?;
            whole = Part { node, depth, ..whole };
        }
        Ok(whole)
    }

    fn host(&mut self, qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
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

    fn network(&mut self, qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
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
    fn named(&mut self, qualifiers: Qualifiers, kind: Kind, token: &Token) -> Result<Primitive, Error> {
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

fn expected(what: What) -> &'static str {
    match what {
        What::Host => "an address",
        What::Net => "a network such as 10.0.0.0/8",
        What::Port => "a port",
        What::PortRange => "a range of ports such as 8000-8080",
        What::Number => "the number or name of a protocol",
        What::Pod => "the name of a pod",
        What::Service => "the name of a Service",
    }
}

/// `ip proto tcp`: libpcap, too, wants it escaped.
fn misplaced_keyword(token: &Token, what: What) -> Error {
    let word = token.text.clone();
    let reason = match what {
        What::Number => "it is a word of the language, write a backslash before it: `proto \\tcp`",
        What::Pod | What::Service => "it is a word of the language, write a backslash before a name that is one",
        _ => "it is a word of the language, give the value first",
    };
    Problem::Unsupported { word, reason }.at(token.column)
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

fn port(qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
    let (low, carrier) = port_number(&token.text, token)?;
    let transport = transport(qualifiers, carrier, token)?;
    Ok(Primitive::Port {
        transport,
        direction: qualifiers.direction,
        low,
        high: low,
    })
}

fn port_range(qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
    let Some((first, last)) = token.text.split_once('-') else {
        if let TokenKind::Number(_) = token.kind {
            return port(qualifiers, token);
        }
        return Err(bad(token.text.clone(), "range of ports", "write it as 8000-8080").at(token.column));
    };
    let (first, first_carrier) = port_number(first, token)?;
    let (last, last_carrier) = port_number(last, token)?;
    let carrier = last_carrier.filter(|_| first_carrier == last_carrier);
    let transport = transport(qualifiers, carrier, token)?;
    Ok(Primitive::Port {
        transport,
        direction: qualifiers.direction,
        low: first.min(last),
        high: first.max(last),
    })
}

fn port_number(word: &str, token: &Token) -> Result<(u16, Option<Carrier>), Error> {
    let word = word.strip_prefix('\\').unwrap_or(word);
    let number = match &token.kind {
        TokenKind::Number(value) => Some(Ok(*value)),
        _ => lexer::number(word),
    };
    if let Some(number) = number {
        let number = number.map_err(|problem| problem.at(token.column))?;
        return match u16::try_from(number) {
            Ok(port) => Ok((port, None)),
            Err(_) => Err(bad(word.to_owned(), "port", "use 0 to 65535").at(token.column)),
        };
    }
    let unknown = || {
        let advice = match words::closest_service(word) {
            Some(close) => format!("did you mean `{close}`?"),
            None => "use its number".to_owned() + &keyword::hint(word),
        };
        bad(word.to_owned(), "well-known port", advice).at(token.column)
    };
    words::service(word)
        .map(|(port, carrier)| (port, Some(carrier)))
        .ok_or_else(unknown)
}

/// What carries the port, from the protocol written and the one a service name implies.
fn transport(qualifiers: Qualifiers, carrier: Option<Carrier>, token: &Token) -> Result<Option<u8>, Error> {
    let implied = match carrier {
        Some(Carrier::Tcp) => Some(6),
        Some(Carrier::Udp) => Some(17),
        Some(Carrier::Both) | None => None,
    };
    match (qualifiers.within, implied) {
        (Some(Protocol::Transport(written)), Some(implied)) if written != implied => {
            let (word, advice) = (token.text.clone(), "use the port's number");
            let with = format!("`{} port`", keyword::protocol_word(Protocol::Transport(written)));
            Err(Problem::Mismatch { word, with, advice }.at(token.column))
        }
        (Some(Protocol::Transport(written)), _) => Ok(Some(written)),
        _ => Ok(implied),
    }
}

fn number(qualifiers: Qualifiers, token: &Token) -> Result<Primitive, Error> {
    let link = qualifiers.within == Some(Protocol::Link);
    let word = match &token.kind {
        TokenKind::Escaped(name) => name.as_str(),
        _ => token.text.as_str(),
    };
    let number = match (&token.kind, link) {
        (TokenKind::Number(number), _) => Some(*number),
        (TokenKind::Word | TokenKind::Escaped(_), true) => words::ethernet_type(word),
        (TokenKind::Word | TokenKind::Escaped(_), false) => words::ip_protocol(word),
        _ => None,
    };
    let Some(number) = number else {
        let close = if link {
            words::closest_ethernet_type(word)
        } else {
            words::closest_ip_protocol(word)
        };
        let advice = close.map_or_else(
            || "use its number".to_owned(),
            |close| format!("did you mean `{close}`?"),
        );
        return Err(bad(word.to_owned(), "protocol known here", advice).at(token.column));
    };
    let (fits, advice) = if link {
        (
            number <= 0xff || (1501..=0xffff).contains(&number),
            "use an Ethernet type (1501 to 65535) or a service access point (0 to 255)",
        )
    } else {
        (number <= 0xff, "use 0 to 255")
    };
    if !fits {
        return Err(bad(word.to_owned(), "number of a protocol", advice).at(token.column));
    }
    Ok(Primitive::Number {
        within: qualifiers.within,
        number,
    })
}
