//! Values with their qualifiers.

use super::{Parser, Part, keyword, number};
use crate::ast::{Direction, Node, Protocol};
use crate::error::{Error, Problem};
use crate::lexer::{Token, TokenKind};
use crate::names::Kind;

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

    /// The protocol does not fit.
    pub fn mismatch(self, protocol: Protocol, advice: &'static str) -> Problem {
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
            What::Port => number::port(qualifiers, &token)?,
            What::PortRange => number::port_range(qualifiers, &token)?,
            What::Number => number::number(qualifiers, &token)?,
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
