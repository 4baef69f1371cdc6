//! What a program tests: comparisons of numbers out of a packet, joined. Between the expression and the code.

use crate::ast::{Comparison, Size};
use crate::run::Operation;

/// A boolean over one packet. Reading beyond the packet rejects it, whatever the rest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    Always,
    Never,
    Not(Box<Condition>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    /// The second decides where the first holds, else the third.
    If(Box<[Condition; 3]>),
    Compare {
        value: Value,
        how: Jump,
        with: Value,
    },
}

/// The comparisons classic BPF has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jump {
    Equal,
    Greater,
    GreaterOrEqual,
}

/// A 32-bit number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Constant(u32),
    Length,
    /// Of `program::metadata`.
    Metadata(u32),
    /// Bytes of the packet in network order, `index` bytes behind `base`.
    Bytes {
        size: Size,
        base: Base,
        index: Box<Value>,
    },
    Combined(Operation, Box<Value>, Box<Value>),
    Negated(Box<Value>),
}

/// What an offset counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// This many bytes into the packet.
    Start(u32),
    /// The end of the IPv4 header that begins this many bytes into the packet.
    Ipv4Payload(u32),
}

impl Value {
    /// Bytes at a fixed place.
    pub fn at(size: Size, offset: u32) -> Self {
        Self::Bytes {
            size,
            base: Base::Start(offset),
            index: Box::new(Self::Constant(0)),
        }
    }

    /// Two values combined.
    pub fn combined(operation: Operation, left: Self, right: Self) -> Self {
        Self::Combined(operation, Box::new(left), Box::new(right))
    }

    /// The bits of the value under a mask.
    pub fn masked(self, mask: u32) -> Self {
        if mask == u32::MAX {
            self
        } else {
            Self::combined(Operation::And, self, Self::Constant(mask))
        }
    }

    /// Whether it is this number.
    pub fn is(self, number: u32) -> Condition {
        Condition::compare(self, Comparison::Equal, Self::Constant(number))
    }
}

impl Condition {
    /// A comparison, decided here if both sides are known.
    pub fn compare(value: Value, comparison: Comparison, with: Value) -> Self {
        let (how, negated) = match comparison {
            Comparison::Equal => (Jump::Equal, false),
            Comparison::NotEqual => (Jump::Equal, true),
            Comparison::Greater => (Jump::Greater, false),
            Comparison::LessOrEqual => (Jump::Greater, true),
            Comparison::GreaterOrEqual => (Jump::GreaterOrEqual, false),
            Comparison::Less => (Jump::GreaterOrEqual, true),
        };
        let condition = match (&value, &with) {
            (Value::Constant(left), Value::Constant(right)) => Self::from(match how {
                Jump::Equal => left == right,
                Jump::Greater => left > right,
                Jump::GreaterOrEqual => left >= right,
            }),
            _ => Self::Compare { value, how, with },
        };
        if negated { condition.negated() } else { condition }
    }

    /// The opposite.
    pub fn negated(self) -> Self {
        match self {
            Self::Always => Self::Never,
            Self::Never => Self::Always,
            Self::Not(inner) => *inner,
            other => Self::Not(Box::new(other)),
        }
    }

    /// All of these, in this order. What cannot matter is left away.
    pub fn all(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().filter(|part| *part != Self::Always).collect();
        if parts.contains(&Self::Never) {
            return Self::Never;
        }
        one_or(parts, Self::Always, Self::And)
    }

    /// Any of these, in this order. What cannot matter is left away.
    pub fn any(parts: impl IntoIterator<Item = Self>) -> Self {
        let parts: Vec<Self> = parts.into_iter().filter(|part| *part != Self::Never).collect();
        if parts.contains(&Self::Always) {
            return Self::Always;
        }
        one_or(parts, Self::Never, Self::Or)
    }

    /// One of two, as the first says.
    pub fn choose(choice: Self, then: Self, otherwise: Self) -> Self {
        if then == otherwise {
            then
        } else {
            Self::If(Box::new([choice, then, otherwise]))
        }
    }
}

fn one_or(mut parts: Vec<Condition>, none: Condition, many: fn(Vec<Condition>) -> Condition) -> Condition {
    match parts.len() {
        0 | 1 => parts.pop().unwrap_or(none),
        _ => many(parts),
    }
}

impl From<bool> for Condition {
    fn from(value: bool) -> Self {
        if value { Self::Always } else { Self::Never }
    }
}
