//! What expressions and conditions are of a packet.

use crate::{
    model::{Bits, Condition, Expr, Family, Hook, Op, V4, V6},
    packet::{Packet, Protocol, State},
    value::{Pattern, Truth, Value},
};
use std::{collections::BTreeSet, net::IpAddr};

/// A packet on its way.
#[derive(Debug, Clone)]
pub(super) struct Traveller {
    pub packet: Packet,
    pub is_v6: bool,
    pub hook: Hook,
    /// Mark of its connection; `None`: not known.
    pub ct_mark: Option<u32>,
    pub is_snat: bool,
}

/// What an expression is.
pub(super) enum Is {
    This(Value),
    /// Each of them happens.
    Each(Vec<Value>),
    /// The packet has no such thing, and so the rule does not match.
    Nothing,
    Unknown(String),
}

impl Is {
    fn number(number: impl Into<u128>) -> Self {
        Self::This(Value::Number(number.into()))
    }

    /// Changes each value; `None`: there is nothing then.
    fn map(self, change: impl Fn(Value) -> Self) -> Self {
        match self {
            Self::This(value) => change(value),
            Self::Each(values) => {
                let mut each = Vec::with_capacity(values.len());
                for value in values {
                    match change(value) {
                        Self::This(value) => each.push(value),
                        Self::Each(more) => each.extend(more),
                        // A part of the packets have none.
                        Self::Nothing => return Self::Unknown("a value that only some packets have".to_owned()),
                        Self::Unknown(why) => return Self::Unknown(why),
                    }
                }
                Self::Each(each)
            }
            other => other,
        }
    }
}

/// Asks of one packet.
pub(super) struct Asker<'a> {
    pub traveller: &'a Traveller,
    pub locals: &'a BTreeSet<IpAddr>,
}

impl Asker<'_> {
    pub fn condition(&self, condition: &Condition) -> Truth {
        match condition {
            Condition::Always => Truth::Yes,
            Condition::Chance => Truth::Chance,
            Condition::Unknown(why) => Truth::Unknown(why.clone()),
            Condition::Not(inner) => self.condition(inner).not(),
            Condition::Any(each) => each.iter().map(|one| self.condition(one)).fold(Truth::No, Truth::or),
            Condition::Compare { left, op, right } => self.hold(left, |value| compare(*op, value, right)),
            Condition::In { left, set, is_not } => self.hold(left, |value| {
                let is_in = set.get(value).map_or(Truth::No, |((), truth)| truth);
                if *is_not { is_in.not() } else { is_in }
            }),
        }
    }

    fn hold(&self, left: &Expr, holds: impl Fn(&Value) -> Truth) -> Truth {
        match self.value(left) {
            Is::This(value) => holds(&value),
            Is::Each(values) => {
                let mut truths = values.iter().map(holds);
                let first = truths.next().unwrap_or(Truth::No);
                truths.fold(first, |so_far, one| match (so_far, one) {
                    (unknown @ Truth::Unknown(_), _) | (_, unknown @ Truth::Unknown(_)) => unknown,
                    (so_far, one) if so_far == one => so_far,
                    _ => Truth::Chance,
                })
            }
            // Whatever is asked of what is not there, the rule does not match.
            Is::Nothing => Truth::No,
            Is::Unknown(why) => Truth::Unknown(why),
        }
    }

    pub fn value(&self, expr: &Expr) -> Is {
        let packet = &self.traveller.packet;
        let address = |is_source: bool| if is_source { packet.source } else { packet.destination };
        match expr {
            Expr::Address { is_source, family } => {
                if family.is_some_and(|family| !family.sees(self.traveller.is_v6)) {
                    return Is::Nothing;
                }
                Is::This(Value::address(address(*is_source)))
            }
            Expr::Port { is_source, protocol } => {
                let is_other = protocol.is_some_and(|protocol| protocol != packet.protocol.0);
                if is_other || !packet.protocol.has_ports() {
                    return Is::Nothing;
                }
                Is::number(if *is_source {
                    packet.source_port
                } else {
                    packet.destination_port
                })
            }
            Expr::Protocol(family) if family.is_some_and(|family| !family.sees(self.traveller.is_v6)) => Is::Nothing,
            Expr::Protocol(_) => Is::number(packet.protocol.0),
            Expr::NfProto => Is::number(if self.traveller.is_v6 { V6 } else { V4 }),
            Expr::EtherType => {
                let family = if self.traveller.is_v6 { Family::Ip6 } else { Family::Ip };
                Is::This(Value::Name(family.word().into()))
            }
            Expr::Input => self.device(packet.input.as_deref(), Hook::Output, "iifname"),
            // A packet has no way yet.
            Expr::Output if matches!(self.traveller.hook, Hook::Prerouting | Hook::Input) => no_device(),
            Expr::Output => self.device(packet.output.as_deref(), Hook::Input, "oifname"),
            Expr::Mark => Is::number(packet.mark),
            Expr::CtMark => match self.traveller.ct_mark {
                Some(mark) => Is::number(mark),
                None => Is::Unknown("ct mark".to_owned()),
            },
            Expr::CtState => Is::number(packet.state.bit()),
            Expr::CtStatus => self.status(),
            Expr::CtDirection => match packet.state {
                State::New => Is::number(0_u8),
                State::Invalid | State::Untracked => Is::Nothing,
                State::Established | State::Related => Is::Unknown("ct direction".to_owned()),
            },
            Expr::RouteType { is_source } => Is::number(self.route_type(address(*is_source))),
            Expr::HasReversePath => Is::number(1_u8),
            Expr::PacketType => Is::number(0_u8),
            Expr::TcpFlags if packet.protocol != Protocol::TCP => Is::Nothing,
            Expr::TcpFlags => match packet.state {
                State::New => Is::number(2_u8),
                _ => Is::Unknown("tcp flags".to_owned()),
            },
            Expr::Random { count, first } => {
                let last = first.saturating_add(*count);
                Is::Each((*first..last).map(|number| Value::Number(number.into())).collect())
            }
            Expr::Value(value) => Is::This(value.clone()),
            Expr::Bits(bits, left, right) => self.bits(*bits, left, right),
            Expr::Tuple(each) => self.tuple(each),
            Expr::Map(key, map) => self.value(key).map(|key| match map.get(&key) {
                None => Is::Nothing,
                Some((pattern, Truth::Yes)) => match pattern.exact() {
                    Some(value) => Is::This(value),
                    None => Is::Unknown("a map to a range".to_owned()),
                },
                Some(_) => Is::Unknown("a map".to_owned()),
            }),
            Expr::Unknown(why) => Is::Unknown(why.clone()),
        }
    }

    /// `without`: where a packet has no such device, and a rule that asks for one does not match.
    fn device(&self, name: Option<&str>, without: Hook, word: &str) -> Is {
        match name {
            Some(name) => Is::This(Value::Name(name.into())),
            None if self.traveller.hook == without => no_device(),
            None => Is::Unknown(word.to_owned()),
        }
    }

    fn status(&self) -> Is {
        let mut status = 0_u128;
        for (is_set, bit) in [(self.traveller.is_snat, 16), (self.traveller.packet.is_dnat, 32)] {
            status |= if is_set { bit } else { 0 };
        }
        // Seen reply, assured, confirmed.
        if matches!(self.traveller.packet.state, State::Established) {
            status |= 0x0e;
        }
        Is::number(status)
    }

    /// `RTN_LOCAL`, `RTN_BROADCAST`, `RTN_MULTICAST`, else `RTN_UNICAST`.
    fn route_type(&self, ip: IpAddr) -> u8 {
        if self.locals.contains(&ip) || ip.is_loopback() {
            2
        } else if ip == IpAddr::V4(std::net::Ipv4Addr::BROADCAST) {
            3
        } else if ip.is_multicast() {
            5
        } else {
            1
        }
    }

    fn bits(&self, bits: Bits, left: &Expr, right: &Expr) -> Is {
        let (left, right) = (self.value(left), self.value(right));
        let right = match right {
            Is::This(Value::Number(right)) => right,
            Is::Nothing => return Is::Nothing,
            Is::Unknown(why) => return Is::Unknown(why),
            _ => return Is::Unknown("bits of something else than a number".to_owned()),
        };
        left.map(|left| match left.number() {
            None => Is::Unknown("bits of something else than a number".to_owned()),
            Some(left) => {
                let shift = u32::try_from(right).unwrap_or(u32::MAX);
                Is::number(match bits {
                    Bits::And => left & right,
                    Bits::Or => left | right,
                    Bits::Xor => left ^ right,
                    Bits::Left => left.checked_shl(shift).unwrap_or_default(),
                    Bits::Right => left.checked_shr(shift).unwrap_or_default(),
                })
            }
        })
    }

    /// One part may have several values, the others have one.
    fn tuple(&self, each: &[Expr]) -> Is {
        let mut tuples = vec![Vec::with_capacity(each.len())];
        for expr in each {
            match self.value(expr) {
                Is::This(value) => tuples.iter_mut().for_each(|tuple| tuple.push(value.clone())),
                Is::Each(values) if tuples.len() == 1 => {
                    let begun = tuples.pop().unwrap_or_default();
                    tuples.extend(values.into_iter().map(|value| {
                        let mut tuple = begun.clone();
                        tuple.push(value);
                        tuple
                    }));
                }
                Is::Each(_) => return Is::Unknown("two random numbers in one key".to_owned()),
                Is::Nothing => return Is::Nothing,
                Is::Unknown(why) => return Is::Unknown(why),
            }
        }
        if tuples.len() == 1 {
            return Is::This(Value::Tuple(tuples.pop().unwrap_or_default()));
        }
        Is::Each(tuples.into_iter().map(Value::Tuple).collect())
    }
}

/// No name is empty, and nothing that is asked for a name fits it.
fn no_device() -> Is {
    Is::This(Value::Name("".into()))
}

fn compare(op: Op, value: &Value, patterns: &[Pattern]) -> Truth {
    let any = || {
        let each = patterns.iter().map(|pattern| pattern.matches(value));
        each.fold(Truth::No, Truth::or)
    };
    let than = |holds: fn(u128, u128) -> bool| {
        let known = patterns.first().and_then(Pattern::exact);
        match (value.number(), known.and_then(|known| known.number())) {
            (Some(value), Some(known)) => Truth::when(holds(value, known)),
            _ => Truth::Unknown("a comparison".to_owned()),
        }
    };
    match op {
        Op::Is => any(),
        Op::IsNot => any().not(),
        Op::Below => than(|value, than| value < than),
        Op::Above => than(|value, than| value > than),
        Op::AtMost => than(|value, than| value <= than),
        Op::AtLeast => than(|value, than| value >= than),
        Op::HasBits => {
            let each =
                patterns.iter().map(
                    |pattern| match (value.number(), pattern.exact().and_then(|bits| bits.number())) {
                        (Some(value), Some(bits)) => Truth::when(value & bits != 0),
                        _ => Truth::Unknown("flags".to_owned()),
                    },
                );
            each.fold(Truth::No, Truth::or)
        }
    }
}
