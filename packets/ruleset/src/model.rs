//! Tables, chains and rules, whatever language they were written in.

use crate::{
    ipset::Sets,
    value::{Pattern, Set, Value},
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

/// Where a packet meets rules (linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// As it comes in.
    Prerouting,
    /// For this host.
    Input,
    /// For another one.
    Forward,
    /// Made here.
    Output,
    /// As it leaves.
    Postrouting,
}

impl Hook {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "prerouting" => Self::Prerouting,
            "input" => Self::Input,
            "forward" => Self::Forward,
            "output" => Self::Output,
            "postrouting" => Self::Postrouting,
            _ => return None,
        })
    }
}

/// Which packets a table sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    Ip,
    /// IPv6.
    Ip6,
    /// Both.
    Inet,
}

impl Family {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ip" => Self::Ip,
            "ip6" => Self::Ip6,
            "inet" => Self::Inet,
            _ => return None,
        })
    }

    /// As nft calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Ip6 => "ip6",
            Self::Inet => "inet",
        }
    }

    pub(crate) fn sees(self, is_v6: bool) -> bool {
        match self {
            Self::Ip => !is_v6,
            Self::Ip6 => is_v6,
            Self::Inet => true,
        }
    }
}

/// Who made a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flavour {
    /// nft and its like.
    Nft,
    /// iptables on top of nf_tables.
    IptablesNft,
    /// iptables on top of x_tables.
    IptablesLegacy,
}

/// All that a network namespace's packet filter holds.
#[derive(Debug, Clone, Default)]
pub struct Ruleset {
    pub(crate) tables: Vec<Table>,
    pub(crate) locals: BTreeSet<IpAddr>,
}

#[derive(Debug, Clone)]
pub(crate) struct Table {
    pub family: Family,
    pub name: String,
    pub flavour: Flavour,
    /// Something that is said of it as a whole and not understood.
    pub unknown: Option<String>,
    pub chains: Vec<Chain>,
    pub by_name: HashMap<String, usize>,
    /// Which chains are base chains: there may be ten thousands of others.
    pub bases: Vec<(usize, Base)>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Chain {
    pub name: String,
    pub base: Option<Base>,
    pub rules: Vec<Rule>,
    pub index: Index,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    pub hook: Hook,
    pub priority: i64,
    pub is_nat: bool,
    pub drops: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub text: Text,
    pub steps: Vec<Step>,
}

/// A rule's own words, made when they are asked for: there may be a hundred thousand rules.
#[derive(Debug, Clone)]
pub(crate) enum Text {
    Line(Box<str>),
    Json(Arc<serde_json::Value>),
}

#[derive(Debug, Clone)]
pub(crate) enum Step {
    If(Condition),
    Do(Action),
}

#[derive(Debug, Clone)]
pub(crate) enum Condition {
    Compare {
        left: Expr,
        op: Op,
        right: Vec<Pattern>,
    },
    In {
        left: Expr,
        set: Arc<Set<()>>,
        is_not: bool,
    },
    Chance,
    Not(Box<Condition>),
    Any(Vec<Condition>),
    Always,
    Unknown(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    /// One of the patterns.
    Is,
    IsNot,
    Below,
    Above,
    AtMost,
    AtLeast,
    /// Some of its bits.
    HasBits,
}

#[derive(Debug, Clone)]
pub(crate) enum Expr {
    /// `None`: of any family.
    Address {
        is_source: bool,
        family: Option<Family>,
    },
    /// `None`: of any protocol with ports.
    Port {
        is_source: bool,
        protocol: Option<u8>,
    },
    Protocol(Option<Family>),
    NfProto,
    EtherType,
    Input,
    Output,
    Mark,
    CtMark,
    CtState,
    CtStatus,
    CtDirection,
    /// `RTN_*` (linux/rtnetlink.h).
    RouteType {
        is_source: bool,
    },
    /// Whether there is a way back, by the device that the packet came by: 1.
    HasReversePath,
    PacketType,
    TcpFlags,
    /// One of so many numbers, from one on.
    Random {
        count: u32,
        first: u32,
    },
    Value(Value),
    Bits(Bits, Box<Expr>, Box<Expr>),
    Tuple(Vec<Expr>),
    Map(Box<Expr>, Arc<Set<Pattern>>),
    Unknown(String),
}

/// What [`Expr::NfProto`] is of IPv4.
pub(crate) const V4: u128 = 4;
/// And of IPv6.
pub(crate) const V6: u128 = 41;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bits {
    And,
    Or,
    Xor,
    Left,
    Right,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Jump {
    Accept,
    Drop,
    Continue,
    Return,
    To(Box<str>),
    /// As [`Jump::To`], and nothing comes back.
    Goto(Box<str>),
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    Go(Jump),
    Reject,
    Dispatch(Expr, Arc<Set<Jump>>),
    Dnat {
        address: Option<Expr>,
        port: Option<Expr>,
    },
    /// To this host, with another port if one is given.
    Redirect(Option<Expr>),
    /// Another source: to whichever address.
    Snat,
    Masquerade,
    SetMark(Expr),
    SetCtMark(Expr),
    Untrack,
    /// It may do anything.
    Unknown(String),
}

/// Which rules of a chain can be about a destination: others need not be looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    by_destination: HashMap<(bool, u128), Vec<usize>>,
    others: Vec<usize>,
}

/// Shorter chains are walked rule by rule.
const INDEX_FROM: usize = 16;

impl Index {
    fn of(family: Family, rules: &[Rule]) -> Self {
        let mut index = Self::default();
        if rules.len() < INDEX_FROM {
            return index;
        }
        for (number, rule) in rules.iter().enumerate() {
            match destination(family, rule) {
                Some(key) => index.by_destination.entry(key).or_default().push(number),
                None => index.others.push(number),
            }
        }
        index
    }

    fn is_empty(&self) -> bool {
        self.others.is_empty() && self.by_destination.is_empty()
    }
}

/// The one destination that a rule is about, if it begins by asking for it.
fn destination(table: Family, rule: &Rule) -> Option<(bool, u128)> {
    let conditions = rule.steps.iter().map_while(|step| match step {
        Step::If(condition) => Some(condition),
        Step::Do(_) => None,
    });
    conditions.into_iter().find_map(|condition| match condition {
        Condition::Compare {
            left: Expr::Address {
                is_source: false,
                family,
            },
            op: Op::Is,
            right,
        } => match (right.as_slice(), family.unwrap_or(table)) {
            (_, Family::Inet) => None,
            ([Pattern::Exactly(Value::Number(number))], family) => Some((family == Family::Ip6, *number)),
            _ => None,
        },
        _ => None,
    })
}

impl Chain {
    /// The next rule from a place on that may be about this destination.
    pub fn next(&self, from: usize, is_v6: bool, destination: u128) -> Option<usize> {
        if self.index.is_empty() {
            return (from < self.rules.len()).then_some(from);
        }
        let after = |numbers: &[usize]| numbers.get(numbers.partition_point(|number| *number < from)).copied();
        let about = self.index.by_destination.get(&(is_v6, destination));
        let about = about.and_then(|numbers| after(numbers));
        [about, after(&self.index.others)].into_iter().flatten().min()
    }
}

impl Table {
    pub fn new(family: Family, name: &str, flavour: Flavour) -> Self {
        Self {
            family,
            name: name.to_owned(),
            flavour,
            unknown: None,
            chains: Vec::new(),
            by_name: HashMap::new(),
            bases: Vec::new(),
        }
    }

    /// A chain by its name, made if it is not there.
    pub fn chain(&mut self, name: &str) -> &mut Chain {
        let place = self.by_name.get(name).copied().unwrap_or_else(|| {
            self.by_name.insert(name.to_owned(), self.chains.len());
            self.chains.push(Chain {
                name: name.to_owned(),
                ..Chain::default()
            });
            self.chains.len() - 1
        });
        &mut self.chains[place]
    }

    pub fn title(&self) -> String {
        format!("{} {}", self.family.word(), self.name)
    }

    fn finish(&mut self) {
        let bases = self.chains.iter().enumerate();
        self.bases = bases
            .filter_map(|(number, chain)| Some((number, chain.base?)))
            .collect();
        for chain in &mut self.chains {
            chain.index = Index::of(self.family, &chain.rules);
        }
    }
}

impl Ruleset {
    /// Puts together what was read: the answer to `nft -j list ruleset`, if there is one, and `iptables-save` texts with their family and
    /// flavour, with the sets of ipset that they ask. Of a table that both tell, the text counts: nft does not show what iptables' extensions match.
    pub fn read<'a>(
        nft: Option<&serde_json::Value>,
        iptables: impl IntoIterator<Item = (Family, Flavour, &'a str)>,
        sets: &Sets,
    ) -> Self {
        let mut tables: Vec<Table> = iptables
            .into_iter()
            .flat_map(|(family, flavour, text)| crate::iptables::tables(family, flavour, text, sets))
            .collect();
        let told: BTreeSet<(Family, String)> = tables
            .iter()
            .filter(|table| table.flavour != Flavour::IptablesLegacy)
            .map(|table| (table.family, table.name.clone()))
            .collect();
        if let Some(nft) = nft {
            let more = crate::nft::tables(nft);
            tables.extend(
                more.into_iter()
                    .filter(|table| !told.contains(&(table.family, table.name.clone()))),
            );
        }
        tables.iter_mut().for_each(Table::finish);
        Self {
            tables,
            locals: BTreeSet::new(),
        }
    }

    /// With the host's own addresses.
    #[must_use]
    pub fn with_locals(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.locals.extend(addresses);
        self
    }

    /// Whether there is a chain of this name in a table of this name, of a family's packets.
    pub fn has_chain(&self, is_v6: bool, table: &str, chain: &str) -> bool {
        let mut tables = self.tables.iter().filter(|one| one.family.sees(is_v6));
        tables.any(|one| one.name == table && one.by_name.contains_key(chain))
    }

    /// Whether there is a table of this name, of a family's packets.
    pub fn has_table(&self, is_v6: bool, name: &str) -> bool {
        let mut tables = self.tables.iter().filter(|one| one.family.sees(is_v6));
        tables.any(|one| one.name == name)
    }

    /// Tables of each flavour that decide something: that have a rule, or a policy, by which a packet is dropped, let through or translated.
    pub fn deciding(&self) -> BTreeMap<Flavour, Vec<String>> {
        let mut deciding: BTreeMap<Flavour, Vec<String>> = BTreeMap::new();
        for table in &self.tables {
            let is_deciding = table
                .chains
                .iter()
                .any(|chain| chain.base.is_some_and(|base| base.drops) || chain.rules.iter().any(Rule::is_deciding));
            if is_deciding {
                deciding.entry(table.flavour).or_default().push(table.title());
            }
        }
        deciding
    }
}

impl Rule {
    fn is_deciding(&self) -> bool {
        self.steps.iter().any(|step| {
            let Step::Do(action) = step else { return false };
            !matches!(
                action,
                Action::Go(Jump::To(_) | Jump::Goto(_) | Jump::Return | Jump::Continue)
                    | Action::SetMark(_)
                    | Action::SetCtMark(_)
            )
        })
    }
}
