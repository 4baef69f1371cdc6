//! Expressions and comparisons.

use super::{Named, sets};
use crate::{
    model::{Bits, Condition, Expr, Family, Op, V4, V6},
    packet::Protocol,
    value::{Pattern, Value},
};
use serde_json::Value as Json;
use std::{net::IpAddr, sync::Arc};

/// Chains of `numgen` with more ways than these are not followed.
const MOST_WAYS: u64 = 4096;
/// How deep expressions may be nested.
const DEPTH: u32 = 32;

/// Reads a comparison.
pub(super) fn compare(value: &Json, named: &Named) -> Condition {
    let unknown = || Condition::Unknown(super::words(&serde_json::json!([{ "match": value }])));
    let (Some(left), Some(right)) = (value.get("left"), value.get("right")) else {
        return unknown();
    };
    let op = match value.get("op").and_then(Json::as_str) {
        Some("==") => Op::Is,
        Some("!=") => Op::IsNot,
        Some("<") => Op::Below,
        Some(">") => Op::Above,
        Some("<=") => Op::AtMost,
        Some(">=") => Op::AtLeast,
        Some("in") => Op::HasBits,
        _ => return unknown(),
    };
    let json = left;
    let left = expression(left, named);
    if matches!(left, Expr::Unknown(_)) {
        return guarded(json, unknown());
    }
    let is_not = op == Op::IsNot;
    if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
        return match (named.sets.get(name), op) {
            (Some(set), Op::Is | Op::IsNot | Op::HasBits) => Condition::In {
                left,
                set: set.clone(),
                is_not,
            },
            _ => unknown(),
        };
    }
    if let (Some(elements), Op::Is | Op::IsNot) = (right.get("set"), op) {
        return Condition::In {
            left,
            set: Arc::new(sets::plain(elements)),
            is_not,
        };
    }
    let right = match right {
        // Flags of which some are set.
        Json::Array(each) if op == Op::HasBits => each.iter().map(pattern).collect(),
        Json::Array(each) => match numbers(each) {
            Some(bits) => vec![Pattern::Exactly(Value::Number(bits))],
            None => return unknown(),
        },
        Json::String(name) if matches!(left, Expr::Input | Expr::Output) => vec![device(name)],
        right => vec![pattern(right)],
    };
    Condition::Compare { left, op, right }
}

/// A field that is not known, of a header that the packet may not even have.
fn guarded(left: &Json, unknown: Condition) -> Condition {
    let protocol = left
        .get("payload")
        .and_then(|payload| payload.get("protocol")?.as_str());
    let (left, number) = match protocol {
        Some("ip") => (Expr::NfProto, V4),
        Some("ip6") => (Expr::NfProto, V6),
        Some(name) => match Protocol::named(name) {
            Some(protocol) => (Expr::Protocol(None), u128::from(protocol.0)),
            None => return unknown,
        },
        None => return unknown,
    };
    let has_header = Condition::Compare {
        left,
        op: Op::Is,
        right: vec![Pattern::Exactly(Value::Number(number))],
    };
    let not = |condition| Condition::Not(Box::new(condition));
    not(Condition::Any(vec![not(has_header), not(unknown)]))
}

fn device(name: &str) -> Pattern {
    match name.strip_suffix('*') {
        Some(start) => Pattern::Starts(start.into()),
        None => Pattern::Exactly(Value::Name(name.into())),
    }
}

/// Flags together.
fn numbers(each: &[Json]) -> Option<u128> {
    each.iter()
        .map(|one| pattern(one).exact()?.number())
        .try_fold(0, |all, one| Some(all | one?))
}

/// What a value is held against. Words mean the same wherever they may stand, but for names of devices, which are anything.
pub(super) fn pattern(value: &Json) -> Pattern {
    known_pattern(value, DEPTH).unwrap_or_else(|| Pattern::Unknown(super::words(value)))
}

fn known_pattern(value: &Json, depth: u32) -> Option<Pattern> {
    let depth = depth.checked_sub(1)?;
    let number = |number| Pattern::Exactly(Value::Number(number));
    match value {
        Json::Number(value) => value.as_u64().map(|value| number(u128::from(value))),
        Json::Bool(value) => Some(number(u128::from(*value))),
        Json::String(text) if text == "*" => Some(Pattern::Everything),
        Json::String(text) => Some(word(text)),
        Json::Array(_) | Json::Null => None,
        Json::Object(object) => {
            let (kind, value) = object.iter().next()?;
            match kind.as_str() {
                "elem" => known_pattern(value.get("val")?, depth),
                "prefix" => {
                    let ip: IpAddr = value.get("addr")?.as_str()?.parse().ok()?;
                    Pattern::prefix(ip, u32::try_from(value.get("len")?.as_u64()?).ok()?)
                }
                "range" => {
                    let [first, last] = value.as_array()?.as_slice() else {
                        return None;
                    };
                    let end = |value| known_pattern(value, depth)?.exact()?.number();
                    Some(Pattern::Range(end(first)?, end(last)?))
                }
                "concat" => {
                    let each = value.as_array()?.iter().map(|one| known_pattern(one, depth));
                    each.collect::<Option<_>>().map(Pattern::Tuple)
                }
                "|" => {
                    let each = value.as_array()?.iter();
                    let mut each = each.map(|one| known_pattern(one, depth)?.exact()?.number());
                    let bits = each.try_fold(0, |all, one| Some(all | one?))?;
                    Some(number(bits))
                }
                _ => None,
            }
        }
    }
}

/// A word: an address, a number, the name of a constant; else a device's name.
fn word(text: &str) -> Pattern {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Pattern::Exactly(Value::address(ip));
    }
    let number = match text.strip_prefix("0x") {
        Some(digits) => u128::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    if let Some(number) = number.or_else(|| constant(text)) {
        return Pattern::Exactly(Value::Number(number));
    }
    device(text)
}

/// Of connection states and statuses, protocols, kinds of routes and packets, flags of TCP. Packets here are always of the kind `host`, so that it
/// does not matter that `broadcast` has another number there. `ipv4` and `ipv6` are, as families, the numbers of the protocols.
fn constant(text: &str) -> Option<u128> {
    const WORDS: [(&str, u128); 28] = [
        ("invalid", 1),
        ("established", 2),
        ("related", 4),
        ("new", 8),
        ("untracked", 64),
        ("expected", 1),
        ("seen-reply", 2),
        ("assured", 4),
        ("confirmed", 8),
        ("snat", 16),
        ("dnat", 32),
        ("dying", 512),
        ("original", 0),
        ("reply", 1),
        ("unicast", 1),
        ("local", 2),
        ("broadcast", 3),
        ("anycast", 4),
        ("multicast", 5),
        ("host", 0),
        ("fin", 1),
        ("syn", 2),
        ("rst", 4),
        ("psh", 8),
        ("ack", 16),
        ("urg", 32),
        ("missing", 0),
        ("exists", 1),
    ];
    let known = WORDS.iter().find(|(word, _)| *word == text);
    known
        .map(|(_, number)| *number)
        .or_else(|| Protocol::named(text).map(|protocol| u128::from(protocol.0)))
}

/// Reads an expression.
pub(super) fn expression(value: &Json, named: &Named) -> Expr {
    known(value, named, DEPTH).unwrap_or_else(|| Expr::Unknown(super::words(value)))
}

fn known(value: &Json, named: &Named, depth: u32) -> Option<Expr> {
    let depth = depth.checked_sub(1)?;
    let Json::Object(object) = value else {
        if let Json::Array(each) = value {
            return Some(Expr::Value(Value::Number(numbers(each)?)));
        }
        return pattern(value).exact().map(Expr::Value);
    };
    let (kind, value) = object.iter().next()?;
    let word = |name: &str| value.get(name).and_then(Json::as_str);
    match kind.as_str() {
        "payload" => payload(word("protocol")?, word("field")?),
        "meta" => meta(word("key")?),
        "ct" => ct(word("key")?, value.get("dir").is_some()),
        "fib" => fib(value),
        "numgen" | "jhash" | "symhash" => ways(kind, value),
        "concat" => {
            let each = value.as_array()?.iter().map(|one| known(one, named, depth));
            each.collect::<Option<_>>().map(Expr::Tuple)
        }
        "map" => {
            let key = known(value.get("key")?, named, depth)?;
            let data = value.get("data")?;
            let map = match data.as_str() {
                Some(name) => named.maps.get(name.strip_prefix('@')?)?.clone(),
                None => Arc::new(sets::values(data.get("set")?)),
            };
            Some(Expr::Map(Box::new(key), map))
        }
        "&" | "|" | "^" | "<<" | ">>" => {
            let bits = match kind.as_str() {
                "&" => Bits::And,
                "|" => Bits::Or,
                "^" => Bits::Xor,
                "<<" => Bits::Left,
                _ => Bits::Right,
            };
            let mut each = value.as_array()?.iter().map(|one| known(one, named, depth));
            let first = each.next()??;
            each.try_fold(first, |left, right| {
                Some(Expr::Bits(bits, Box::new(left), Box::new(right?)))
            })
        }
        _ => pattern(&Json::Object(object.clone())).exact().map(Expr::Value),
    }
}

fn payload(protocol: &str, field: &str) -> Option<Expr> {
    let is_source = field.starts_with('s');
    let family = Family::named(protocol);
    Some(match (protocol, field) {
        ("ip" | "ip6", "saddr" | "daddr") => Expr::Address { is_source, family },
        ("ip", "protocol") | ("ip6", "nexthdr") => Expr::Protocol(family),
        ("th", "sport" | "dport") => Expr::Port {
            is_source,
            protocol: None,
        },
        ("tcp" | "udp" | "sctp" | "dccp" | "udplite", "sport" | "dport") => Expr::Port {
            is_source,
            protocol: Some(Protocol::named(protocol)?.0),
        },
        ("tcp", "flags") => Expr::TcpFlags,
        _ => return None,
    })
}

fn meta(key: &str) -> Option<Expr> {
    Some(match key {
        "iifname" | "iif" => Expr::Input,
        "oifname" | "oif" => Expr::Output,
        "l4proto" => Expr::Protocol(None),
        "nfproto" => Expr::NfProto,
        "protocol" => Expr::EtherType,
        "mark" => Expr::Mark,
        "pkttype" => Expr::PacketType,
        _ => return None,
    })
}

fn ct(key: &str, has_direction: bool) -> Option<Expr> {
    Some(match key {
        _ if has_direction => return None,
        "state" => Expr::CtState,
        "status" => Expr::CtStatus,
        "mark" => Expr::CtMark,
        "direction" => Expr::CtDirection,
        _ => return None,
    })
}

fn fib(value: &Json) -> Option<Expr> {
    let flags: Vec<&str> = match value.get("flags")? {
        Json::Array(flags) => flags.iter().filter_map(Json::as_str).collect(),
        Json::String(flag) => vec![flag],
        _ => return None,
    };
    match value.get("result")?.as_str()? {
        "type" if flags == ["daddr"] => Some(Expr::RouteType { is_source: false }),
        "type" if flags == ["saddr"] => Some(Expr::RouteType { is_source: true }),
        "oif" | "oifname" | "check" if flags.contains(&"saddr") && flags.contains(&"iif") => Some(Expr::HasReversePath),
        _ => None,
    }
}

/// What sends packets several ways.
fn ways(kind: &str, value: &Json) -> Option<Expr> {
    let count = value.get("mod")?.as_u64().filter(|count| *count > 0)?;
    let first = value.get("offset").and_then(Json::as_u64).unwrap_or_default();
    if count > MOST_WAYS {
        return Some(Expr::Unknown(format!("{kind} mod {count}")));
    }
    Some(Expr::Random {
        count: u32::try_from(count).ok()?,
        first: u32::try_from(first).ok()?,
    })
}
