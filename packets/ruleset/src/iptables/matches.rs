//! What iptables' rules ask for (iptables-extensions(8)).

use super::Reader;
use crate::{
    model::{Bits, Condition, Expr, Op},
    packet::Protocol,
    value::{Pattern, Value},
};
use std::net::IpAddr;

/// Reads one condition, with the `!` before it.
pub(super) fn read(reader: &mut Reader<'_>) -> Condition {
    let is_not = reader.word() == "!";
    if is_not {
        reader.at += 1;
    }
    let condition = match reader.take() {
        "-s" | "--source" => address(reader.take(), true),
        "-d" | "--destination" => address(reader.take(), false),
        "-i" | "--in-interface" => is(Expr::Input, device(reader.take())),
        "-o" | "--out-interface" => is(Expr::Output, device(reader.take())),
        "-p" | "--protocol" => protocol(reader.take()),
        // A second fragment: none is sent.
        "-f" => Condition::Not(Box::new(Condition::Always)),
        "-m" => module(reader),
        other => {
            let rest = reader.rest();
            unknown(format!("{other} {rest}"))
        }
    };
    if is_not {
        Condition::Not(Box::new(condition))
    } else {
        condition
    }
}

fn unknown(text: impl AsRef<str>) -> Condition {
    Condition::Unknown(text.as_ref().trim().to_owned())
}

fn is(left: Expr, pattern: Pattern) -> Condition {
    Condition::Compare {
        left,
        op: Op::Is,
        right: vec![pattern],
    }
}

fn address(text: &str, is_source: bool) -> Condition {
    let left = Expr::Address {
        is_source,
        family: None,
    };
    match range(text) {
        Some(pattern) => is(left, pattern),
        None => unknown(format!("{} {text}", if is_source { "-s" } else { "-d" })),
    }
}

/// `10.0.0.0/8`, `10.0.0.0/255.0.0.0`, `fd00::/8`.
fn range(text: &str) -> Option<Pattern> {
    let Some((ip, length)) = text.split_once('/') else {
        let ip: IpAddr = text.parse().ok()?;
        return Some(Pattern::Exactly(Value::address(ip)));
    };
    let ip: IpAddr = ip.parse().ok()?;
    let length = match length.parse::<u32>() {
        Ok(length) => length,
        Err(_) => u32::from(ipnet::ip_mask_to_prefix(length.parse().ok()?).ok()?),
    };
    Pattern::prefix(ip, length)
}

fn device(name: &str) -> Pattern {
    match name.strip_suffix('+') {
        Some(start) => Pattern::Starts(start.into()),
        None => Pattern::Exactly(Value::Name(name.into())),
    }
}

fn protocol(name: &str) -> Condition {
    if name == "all" || name == "0" {
        return Condition::Always;
    }
    match Protocol::named(name) {
        Some(protocol) => is(Expr::Protocol(None), number(u128::from(protocol.0))),
        None => unknown(format!("-p {name}")),
    }
}

fn number(number: u128) -> Pattern {
    Pattern::Exactly(Value::Number(number))
}

/// What comes after `-m`.
fn module(reader: &mut Reader<'_>) -> Condition {
    let name = reader.take();
    match name {
        // It says nothing of the packet, or counts.
        "comment" | "nfacct" => {
            reader.rest();
            Condition::Always
        }
        "statistic" => {
            reader.rest();
            Condition::Chance
        }
        // What notes a source matches always, what asks for one depends on who has come before.
        "recent" if reader.rest().split(' ').any(|word| word == "--set") => Condition::Always,
        "recent" => Condition::Chance,
        // Where the packet came from is on the way back to its source, so says what packets are.
        "rpfilter" => {
            let is_inverted = reader.rest().split(' ').any(|word| word == "--invert");
            let holds = Condition::Always;
            if is_inverted {
                Condition::Not(Box::new(holds))
            } else {
                holds
            }
        }
        _ => {
            let mut conditions = Vec::new();
            while !reader.is_at_end() {
                let is_not = reader.word() == "!";
                if is_not {
                    reader.at += 1;
                }
                let option = reader.take();
                let condition = option_of(reader, name, option).unwrap_or_else(|| {
                    let rest = reader.rest();
                    unknown(format!("-m {name} {option} {rest}"))
                });
                conditions.push(if is_not {
                    Condition::Not(Box::new(condition))
                } else {
                    condition
                });
            }
            // `-m tcp` alone says no more than `-p tcp`.
            match (conditions.pop(), conditions.is_empty(), is_harmless(name)) {
                (None, ..) if is_harmless(name) => Condition::Always,
                (None, ..) => unknown(format!("-m {name}")),
                (Some(one), true, _) => one,
                (Some(last), false, _) => {
                    conditions.push(last);
                    all(conditions)
                }
            }
        }
    }
}

fn is_harmless(name: &str) -> bool {
    ["tcp", "udp", "sctp", "icmp", "icmp6", "multiport", "conntrack"].contains(&name)
}

/// By De Morgan.
fn all(conditions: Vec<Condition>) -> Condition {
    let not = |condition| Condition::Not(Box::new(condition));
    not(Condition::Any(conditions.into_iter().map(not).collect()))
}

/// `None`: it is not known.
fn option_of(reader: &mut Reader<'_>, module: &str, option: &str) -> Option<Condition> {
    let of_protocol = |name| Protocol::named(name).map(|protocol| protocol.0);
    let port = |is_source, protocol| Expr::Port { is_source, protocol };
    match (module, option) {
        ("tcp" | "udp" | "sctp", "--dport" | "--destination-port") => {
            compare(port(false, of_protocol(module)), ports(reader.take())?)
        }
        ("tcp" | "udp" | "sctp", "--sport" | "--source-port") => {
            compare(port(true, of_protocol(module)), ports(reader.take())?)
        }
        ("tcp", "--syn") => Some(flags(0x17, 0x02)),
        ("tcp", "--tcp-flags") => {
            let (mask, set) = (tcp_flags(reader.take())?, tcp_flags(reader.take())?);
            Some(flags(mask, set))
        }
        ("multiport", "--dports") => compare(port(false, None), ports(reader.take())?),
        ("multiport", "--sports") => compare(port(true, None), ports(reader.take())?),
        ("multiport", "--ports") => {
            let ports = ports(reader.take())?;
            let either = [true, false].map(|is_source| compare(port(is_source, None), ports.clone()));
            Some(Condition::Any(either.into_iter().flatten().collect()))
        }
        ("conntrack", "--ctstate") | ("state", "--state") => states(reader.take()),
        ("conntrack", "--ctdir") => {
            let word = reader.take();
            let direction = ["ORIGINAL", "REPLY"].iter().position(|known| *known == word)?;
            Some(is(Expr::CtDirection, number(direction as u128)))
        }
        ("mark", "--mark") => marked(Expr::Mark, reader.take()),
        ("connmark", "--mark") => marked(Expr::CtMark, reader.take()),
        ("addrtype", "--dst-type") => route_types(false, reader.take()),
        ("addrtype", "--src-type") => route_types(true, reader.take()),
        ("iprange", "--src-range") => span(true, reader.take()),
        ("iprange", "--dst-range") => span(false, reader.take()),
        ("set", "--match-set") => {
            let (name, sides) = (reader.take(), reader.take());
            let condition = reader.sets.condition(name, sides);
            // Counting is nothing of what it fits.
            while reader.word() == "!"
                && reader
                    .words
                    .get(reader.at + 1)
                    .is_some_and(|word| word.starts_with("--update-"))
            {
                reader.at += 2;
            }
            Some(condition.unwrap_or_else(|| unknown(format!("-m set --match-set {name} {sides}"))))
        }
        ("pkttype", "--pkt-type") => {
            let word = reader.take();
            let kinds = ["unicast", "broadcast", "multicast"];
            let kind = kinds.iter().position(|known| *known == word)?;
            Some(is(Expr::PacketType, number(kind as u128)))
        }
        _ => None,
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends branches of a match of options")]
fn compare(left: Expr, right: Vec<Pattern>) -> Option<Condition> {
    Some(Condition::Compare {
        left,
        op: Op::Is,
        right,
    })
}

/// `80`, `80:90`, `:90`, `22,80:90`.
fn ports(text: &str) -> Option<Vec<Pattern>> {
    let port = |text: &str, otherwise: u16| {
        if text.is_empty() {
            Some(otherwise)
        } else {
            text.parse::<u16>().ok()
        }
    };
    let each = text.split(',').map(|one| match one.split_once(':') {
        None => Some(number(u128::from(one.parse::<u16>().ok()?))),
        Some((first, last)) => Some(Pattern::Range(
            u128::from(port(first, 0)?),
            u128::from(port(last, u16::MAX)?),
        )),
    });
    each.collect()
}

fn flags(mask: u128, set: u128) -> Condition {
    let mask = Expr::Value(Value::Number(mask));
    is(
        Expr::Bits(Bits::And, Box::new(Expr::TcpFlags), Box::new(mask)),
        number(set),
    )
}

fn tcp_flags(text: &str) -> Option<u128> {
    let names = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let each = text.split(',').map(|word| match word {
        "NONE" => Some(0),
        "ALL" => Some(0x3f),
        word => names.iter().position(|name| *name == word).map(|bit| 1 << bit),
    });
    each.sum()
}

fn states(text: &str) -> Option<Condition> {
    let mut any = Vec::new();
    for word in text.split(',') {
        let (left, bits) = match word {
            "INVALID" => (Expr::CtState, 1),
            "ESTABLISHED" => (Expr::CtState, 2),
            "RELATED" => (Expr::CtState, 4),
            "NEW" => (Expr::CtState, 8),
            "UNTRACKED" => (Expr::CtState, 64),
            "SNAT" => (Expr::CtStatus, 16),
            "DNAT" => (Expr::CtStatus, 32),
            _ => return None,
        };
        any.push(Condition::Compare {
            left,
            op: Op::HasBits,
            right: vec![number(bits)],
        });
    }
    Some(Condition::Any(any))
}

/// A number as iptables prints it: `0x4000` or `16384`.
pub(super) fn hex(text: &str) -> Option<u128> {
    match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok().map(u128::from),
        None => text.parse::<u32>().ok().map(u128::from),
    }
}

fn marked(left: Expr, text: &str) -> Option<Condition> {
    let (value, mask) = text.split_once('/').unwrap_or((text, "0xffffffff"));
    let mask = Expr::Value(Value::Number(hex(mask)?));
    Some(is(
        Expr::Bits(Bits::And, Box::new(left), Box::new(mask)),
        number(hex(value)?),
    ))
}

fn route_types(is_source: bool, text: &str) -> Option<Condition> {
    // By the numbers of `RTN_*`.
    let names = [
        "UNSPEC",
        "UNICAST",
        "LOCAL",
        "BROADCAST",
        "ANYCAST",
        "MULTICAST",
        "BLACKHOLE",
        "UNREACHABLE",
        "PROHIBIT",
    ];
    let each = text.split(',').map(|word| {
        let kind = names.iter().position(|name| *name == word)?;
        Some(number(kind as u128))
    });
    compare(Expr::RouteType { is_source }, each.collect::<Option<_>>()?)
}

fn span(is_source: bool, text: &str) -> Option<Condition> {
    let (first, last) = text.split_once('-')?;
    let ip = |text: &str| Value::address(text.parse().ok()?).number();
    let left = Expr::Address {
        is_source,
        family: None,
    };
    Some(is(left, Pattern::Range(ip(first)?, ip(last)?)))
}
