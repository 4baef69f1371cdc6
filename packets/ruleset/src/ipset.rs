//! Sets of ipset(8), as `ipset save` prints them.

use crate::{
    model::{Condition, Expr},
    packet::Protocol,
    value::{Pattern, Set, Value},
};
use std::{collections::HashMap, net::IpAddr, sync::Arc};

/// Sets by name.
#[derive(Debug, Clone, Default)]
pub struct Sets(HashMap<String, IpSet>);

/// A set, with what each of its elements is made of.
#[derive(Debug, Clone, Default)]
struct IpSet {
    parts: Vec<Part>,
    elements: Arc<Set<()>>,
    /// Something of it is not understood: nothing can be told of it.
    is_unknown: bool,
}

/// A part of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Address,
    /// With its protocol.
    Port,
}

impl Sets {
    /// Reads all of them. Lines that are not understood make their set one that nothing can be told of.
    pub fn read(text: &str) -> Self {
        let mut sets = HashMap::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["create", name, kind, options @ ..] => {
                    sets.insert((*name).to_owned(), IpSet::new(kind, options));
                }
                ["add", name, element, options @ ..] => {
                    if let Some(set) = sets.get_mut(*name) {
                        set.add(element, options);
                    }
                }
                _ => {}
            }
        }
        Self(sets)
    }

    /// Whether a packet is in a set, by the sides of it that `sides` names (`src,dst`): `--match-set` of iptables-extensions(8). `None`: that cannot
    /// be told.
    pub(crate) fn condition(&self, name: &str, sides: &str) -> Option<Condition> {
        let set = self.0.get(name).filter(|set| !set.is_unknown)?;
        let sides: Vec<bool> = sides
            .split(',')
            .map(|side| match side {
                "src" => Some(true),
                "dst" => Some(false),
                _ => None,
            })
            .collect::<Option<_>>()?;
        if sides.len() < set.parts.len() {
            return None;
        }
        let fields = set
            .parts
            .iter()
            .zip(sides)
            .flat_map(|(part, is_source)| part.fields(is_source));
        let mut fields: Vec<Expr> = fields.collect();
        let left = if fields.len() == 1 {
            fields.remove(0)
        } else {
            Expr::Tuple(fields)
        };
        Some(Condition::In {
            left,
            set: set.elements.clone(),
            is_not: false,
        })
    }
}

impl Part {
    fn fields(self, is_source: bool) -> Vec<Expr> {
        match self {
            Self::Address => vec![Expr::Address {
                is_source,
                family: None,
            }],
            Self::Port => vec![
                Expr::Protocol(None),
                Expr::Port {
                    is_source,
                    protocol: None,
                },
            ],
        }
    }

    /// What an element says of this part.
    fn patterns(self, text: &str) -> Option<Vec<Pattern>> {
        match self {
            Self::Address => Some(vec![address(text)?]),
            Self::Port => {
                let (protocol, port) = text.split_once(':').unwrap_or(("tcp", text));
                let protocol = Value::Number(u128::from(Protocol::named(protocol)?.0));
                Some(vec![Pattern::Exactly(protocol), span(port)?])
            }
        }
    }
}

/// `10.0.0.1`, `10.0.0.0/8`, `10.0.0.1-10.0.0.9`.
fn address(text: &str) -> Option<Pattern> {
    if let Some((first, last)) = text.split_once('-') {
        let number = |text: &str| Value::address(text.parse::<IpAddr>().ok()?).number();
        return Some(Pattern::Range(number(first)?, number(last)?));
    }
    let (ip, length) = text
        .split_once('/')
        .map_or((text, None), |(ip, length)| (ip, Some(length)));
    let ip: IpAddr = ip.parse().ok()?;
    let whole = if ip.is_ipv4() { 32 } else { 128 };
    Pattern::prefix(ip, length.map_or(Ok(whole), str::parse).ok()?)
}

fn span(text: &str) -> Option<Pattern> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.parse().ok()?, last.parse().ok()?);
    Some(if first == last {
        Pattern::Exactly(Value::Number(first.into()))
    } else {
        Pattern::Range(first.into(), last.into())
    })
}

impl IpSet {
    fn new(kind: &str, options: &[&str]) -> Self {
        let parts = kind.split_once(':').map_or("", |(_, parts)| parts).split(',');
        let parts: Option<Vec<Part>> = parts
            .map(|part| match part {
                "ip" | "net" => Some(Part::Address),
                "port" => Some(Part::Port),
                _ => None,
            })
            .collect();
        let mut elements = Set::default();
        // What has a time limit goes by itself.
        elements.is_fleeting = options.contains(&"timeout");
        Self {
            is_unknown: parts.is_none(),
            parts: parts.unwrap_or_default(),
            elements: Arc::new(elements),
        }
    }

    fn add(&mut self, element: &str, options: &[&str]) {
        let texts: Vec<&str> = element.split(',').collect();
        let patterns: Option<Vec<Vec<Pattern>>> = (texts.len() == self.parts.len())
            .then(|| {
                self.parts
                    .iter()
                    .zip(&texts)
                    .map(|(part, text)| part.patterns(text))
                    .collect()
            })
            .flatten();
        // An exception of a larger range: the longest prefix would decide.
        let is_exception = options.contains(&"nomatch");
        let Some(patterns) = patterns.filter(|_| !is_exception) else {
            self.is_unknown = true;
            return;
        };
        let mut patterns = patterns.concat();
        let pattern = if patterns.len() == 1 {
            patterns.remove(0)
        } else {
            Pattern::Tuple(patterns)
        };
        Arc::make_mut(&mut self.elements).insert(pattern, ());
    }
}
