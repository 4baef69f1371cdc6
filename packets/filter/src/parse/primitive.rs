//! Primitives: what begins with a keyword, or inherits its qualifiers.

use super::value::{Qualifiers, What};
use super::{Parser, Part, arithmetic, keyword};
use crate::ast::{Arithmetic, Comparison, Direction, Node, Primitive, Protocol};
use crate::error::{Error, Problem};
use crate::lexer::{Token, TokenKind, bad};

impl Parser {
    /// A primitive, a comparison or a bare value.
    pub(super) fn primitive(&mut self, inherited: Option<Qualifiers>) -> Result<Part, Error> {
        let Some(token) = self.peek().cloned() else {
            return Err(self.unexpected("a primitive such as `host` or `tcp`"));
        };
        let following = self.tokens.get(self.at + 1);
        match token.kind {
            TokenKind::Word if keyword::is_keyword(&token.text) => self.worded(&token),
            TokenKind::Number(_) if following.is_some_and(arithmetic::continues) => Ok(plain(self.relation()?)),
            TokenKind::Sign if token.is("-") || token.is("(") => Ok(plain(self.relation()?)),
            TokenKind::Sign => Err(self.unexpected("a primitive such as `host` or `tcp`")),
            _ => match inherited {
                Some(qualifiers) => Ok(Part {
                    bare: true,
                    ..self.value(qualifiers)?
                }),
                None => Err(unknown(&token)),
            },
        }
    }

    fn worded(&mut self, token: &Token) -> Result<Part, Error> {
        let column = token.column;
        if matches!(token.text.as_str(), "len" | "length") {
            return Ok(plain(self.relation()?));
        }
        let protocol = keyword::protocol(&token.text);
        if protocol.is_some() {
            if self.tokens.get(self.at + 1).is_some_and(|next| next.is("[")) {
                return Ok(plain(self.relation()?));
            }
            self.at += 1;
        }
        if let Some(what) = self.cast(column, protocol)? {
            return Ok(plain(Node::Test(what, column)));
        }
        if let Some(qualifiers) = self.qualifiers(protocol)? {
            return self.value(qualifiers);
        }
        if let Some(protocol) = protocol {
            return match protocol {
                Protocol::Link => {
                    Err(self.unexpected("`host`, `src`, `dst`, `proto`, `broadcast`, `multicast` or `[`"))
                }
                protocol => Ok(plain(Node::Test(Primitive::Protocol(protocol), column))),
            };
        }
        if let Some(reason) = keyword::left_out(&token.text) {
            return Err(Problem::Unsupported {
                word: token.text.clone(),
                reason,
            }
            .at(column));
        }
        self.at += 1;
        let test = match token.text.as_str() {
            "less" => self.length(Comparison::LessOrEqual)?,
            "greater" => self.length(Comparison::GreaterOrEqual)?,
            "vlan" => Primitive::Vlan(self.vlan()?),
            "inbound" => Primitive::Outbound(false),
            "outbound" => Primitive::Outbound(true),
            _ => {
                self.at -= 1;
                return Err(self.unexpected("a primitive such as `host` or `tcp`"));
            }
        };
        Ok(plain(Node::Test(test, column)))
    }

    /// `broadcast` and `multicast`.
    fn cast(&mut self, column: usize, within: Option<Protocol>) -> Result<Option<Primitive>, Error> {
        let word = if self.take("broadcast") {
            "broadcast"
        } else if self.take("multicast") {
            "multicast"
        } else {
            return Ok(None);
        };
        match (word, within.unwrap_or(Protocol::Link)) {
            ("broadcast", Protocol::Link) => Ok(Some(Primitive::Broadcast)),
            ("broadcast", Protocol::Ip) => {
                let reason = "it needs the interface's netmask, use `dst host` with the network's broadcast address";
                Err(Problem::Unsupported {
                    word: "ip broadcast".to_owned(),
                    reason,
                }
                .at(column))
            }
            ("multicast", protocol @ (Protocol::Link | Protocol::Ip | Protocol::Ip6)) => {
                Ok(Some(Primitive::Multicast(protocol)))
            }
            (_, protocol) => Err(Problem::Mismatch {
                word: keyword::protocol_word(protocol).to_owned(),
                with: format!("`{word}`"),
                advice: "leave one of them away or join them with `and`",
            }
            .at(column)),
        }
    }

    /// Direction and kind of what follows; nothing where neither stands here.
    fn qualifiers(&mut self, within: Option<Protocol>) -> Result<Option<Qualifiers>, Error> {
        let column = self.column();
        let direction = self.direction();
        let what = match self
            .peek()
            .filter(|token| token.kind == TokenKind::Word)
            .map(|token| token.text.as_str())
        {
            Some("host") => Some(What::Host),
            Some("net") => Some(What::Net),
            Some("port") => Some(What::Port),
            Some("portrange") => Some(What::PortRange),
            Some("pod") => Some(What::Pod),
            Some("svc") => Some(What::Service),
            Some("proto") if direction.is_none() => Some(What::Number),
            _ => None,
        };
        self.at += usize::from(what.is_some());
        if what.is_none() && direction.is_none() {
            return Ok(None);
        }
        let qualifiers = Qualifiers {
            within,
            direction: direction.unwrap_or(Direction::Either),
            what: what.unwrap_or(What::Host),
        };
        // `src` alone means a host, but `tcp src 80` is no way to name a port.
        qualifiers.check(column)?;
        Ok(Some(qualifiers))
    }

    fn direction(&mut self) -> Option<Direction> {
        let side = |token: Option<&Token>| match token {
            Some(token) if token.is("src") => Some(Direction::Source),
            Some(token) if token.is("dst") => Some(Direction::Destination),
            _ => None,
        };
        let first = side(self.peek())?;
        let second = side(self.tokens.get(self.at + 2)).filter(|second| *second != first);
        let joint = self.tokens.get(self.at + 1);
        let both = match joint {
            Some(joint) if joint.is("or") || joint.is("||") => second.map(|_| Direction::Either),
            Some(joint) if joint.is("and") || joint.is("&&") => second.map(|_| Direction::Both),
            _ => None,
        };
        self.at += if both.is_some() { 3 } else { 1 };
        both.or(Some(first))
    }

    fn length(&mut self, comparison: Comparison) -> Result<Primitive, Error> {
        let (limit, _) = self.number("a number of bytes")?;
        Ok(Primitive::Relation {
            comparison,
            left: Arithmetic::Length,
            right: Arithmetic::Constant(limit),
        })
    }

    /// The number of a VLAN, if one follows.
    fn vlan(&mut self) -> Result<Option<u16>, Error> {
        let ahead = self.tokens.iter().skip(self.at).find(|token| !token.is("("));
        if !matches!(ahead.map(|token| &token.kind), Some(TokenKind::Number(_))) {
            return Ok(None);
        }
        let mut open = 0_usize;
        while self.take("(") {
            open += 1;
        }
        let (number, token) = self.number("the number of a VLAN")?;
        for _ in 0..open {
            self.expect(")", "`)` (the parenthesis is still open)")?;
        }
        match u16::try_from(number) {
            Ok(number) if number <= 4095 => Ok(Some(number)),
            _ => Err(bad(token.text, "VLAN", "use 0 to 4095").at(token.column)),
        }
    }
}

/// A part after which nothing can be inherited.
fn plain(node: Node) -> Part {
    Part {
        node,
        depth: 1,
        qualifiers: None,
        bare: false,
    }
}

/// A word without anything that would say what it is.
fn unknown(token: &Token) -> Error {
    let word = token.text.clone();
    let hint = match token.kind {
        TokenKind::Word => keyword::hint(&word),
        TokenKind::Mac(_) => ", write `ether host` before an Ethernet address".to_owned(),
        TokenKind::Number(_) => ", write `port`, `proto` or what it is before a number".to_owned(),
        TokenKind::Escaped(_) => ", write `proto` or what it is before a name".to_owned(),
        _ => ", write `host` before an address".to_owned(),
    };
    Problem::UnknownPrimitive { word, hint }.at(token.column)
}
