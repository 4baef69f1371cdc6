//! Values of packets' fields, and the patterns that rules hold against them.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

/// A field's value. Addresses, ports, marks and flags are numbers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Value {
    Number(u128),
    /// A device's name.
    Name(Arc<str>),
    /// Several, as nft puts them together with ` . `.
    Tuple(Vec<Value>),
}

impl Value {
    pub fn address(ip: IpAddr) -> Self {
        Self::Number(match ip {
            IpAddr::V4(ip) => u128::from(u32::from(ip)),
            IpAddr::V6(ip) => u128::from(ip),
        })
    }

    pub fn number(&self) -> Option<u128> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(_) | Self::Tuple(_) => None,
        }
    }

    /// As an address of the packet's family.
    pub fn ip(&self, is_v6: bool) -> Option<IpAddr> {
        let number = self.number()?;
        if is_v6 {
            return Some(IpAddr::V6(Ipv6Addr::from(number)));
        }
        Some(IpAddr::V4(Ipv4Addr::from(u32::try_from(number).ok()?)))
    }
}

/// What a value is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pattern {
    Exactly(Value),
    /// First and last.
    Range(u128, u128),
    /// Names that begin so.
    Starts(Arc<str>),
    Tuple(Vec<Pattern>),
    Everything,
    /// Something unknown, in the rule's own words.
    Unknown(String),
}

/// Whether something holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Truth {
    Yes,
    No,
    /// Both happen.
    Chance,
    /// It cannot be told, because of this.
    Unknown(String),
}

impl Truth {
    pub fn when(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    pub fn not(self) -> Self {
        match self {
            Self::Yes => Self::No,
            Self::No => Self::Yes,
            other => other,
        }
    }

    /// Both of them: no is no whatever the other may be.
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Yes, other) | (other, Self::Yes) => other,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Chance, Self::Chance) => Self::Chance,
        }
    }

    /// One of them is enough.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::No, other) | (other, Self::No) => other,
            (unknown @ Self::Unknown(_), _) | (_, unknown @ Self::Unknown(_)) => unknown,
            (Self::Chance, Self::Chance) => Self::Chance,
        }
    }
}

impl Pattern {
    /// A prefix of an address.
    pub fn prefix(ip: IpAddr, length: u32) -> Option<Self> {
        let bits = if ip.is_ipv4() { 32 } else { 128 };
        let Value::Number(number) = Value::address(ip) else {
            return None;
        };
        let free = u32::checked_sub(bits, length)?;
        let low = u128::MAX.checked_shr(128 - free).unwrap_or_default();
        Some(if free == 0 {
            Self::Exactly(Value::Number(number))
        } else {
            Self::Range(number & !low, number | low)
        })
    }

    pub fn matches(&self, value: &Value) -> Truth {
        match (self, value) {
            (Self::Unknown(why), _) => Truth::Unknown(why.clone()),
            (Self::Everything, _) => Truth::Yes,
            (Self::Exactly(wanted), value) => Truth::when(wanted == value),
            (Self::Range(first, last), Value::Number(number)) => Truth::when((first..=last).contains(&number)),
            (Self::Starts(start), Value::Name(name)) => Truth::when(name.starts_with(&**start)),
            (Self::Tuple(patterns), Value::Tuple(values)) if patterns.len() == values.len() => {
                let each = patterns
                    .iter()
                    .zip(values)
                    .map(|(pattern, value)| pattern.matches(value));
                each.fold(Truth::Yes, Truth::and)
            }
            _ => Truth::No,
        }
    }

    /// The one value that it stands for, if there is just one.
    pub fn exact(&self) -> Option<Value> {
        match self {
            Self::Exactly(value) => Some(value.clone()),
            Self::Tuple(patterns) => patterns
                .iter()
                .map(Self::exact)
                .collect::<Option<_>>()
                .map(Value::Tuple),
            Self::Range(..) | Self::Starts(_) | Self::Everything | Self::Unknown(_) => None,
        }
    }
}

/// A set or a map, with a name or without.
#[derive(Debug, Clone)]
pub struct Set<D> {
    exact: HashMap<Value, D>,
    others: Vec<(Pattern, D)>,
    /// What is in it comes and goes by itself.
    pub is_fleeting: bool,
}

impl<D> Default for Set<D> {
    fn default() -> Self {
        Self {
            exact: HashMap::new(),
            others: Vec::new(),
            is_fleeting: false,
        }
    }
}

impl<D> Set<D> {
    pub fn insert(&mut self, pattern: Pattern, data: D) {
        match pattern.exact() {
            Some(value) => {
                self.exact.insert(value, data);
            }
            None => self.others.push((pattern, data)),
        }
    }

    /// What is there for a value. The first that may be it, and whether it is; a catch-all comes after all others.
    pub fn get(&self, value: &Value) -> Option<(&D, Truth)> {
        let fleeting = |truth| match truth {
            Truth::Yes if self.is_fleeting => Truth::Chance,
            truth => truth,
        };
        if let Some(data) = self.exact.get(value) {
            return Some((data, fleeting(Truth::Yes)));
        }
        let mut by_default = None;
        for (pattern, data) in &self.others {
            match pattern.matches(value) {
                Truth::No => {}
                truth if *pattern == Pattern::Everything => by_default = Some((data, truth)),
                truth => return Some((data, fleeting(truth))),
            }
        }
        by_default
    }

    /// Everything that is in it.
    pub fn data(&self) -> impl Iterator<Item = &D> {
        self.exact.values().chain(self.others.iter().map(|(_, data)| data))
    }
}
