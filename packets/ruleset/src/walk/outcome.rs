//! What becomes of packets.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

/// What happens to a packet in the end.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// It goes on.
    Accepted,
    /// It vanishes.
    Dropped(Place),
    /// It vanishes, and its sender is told.
    Rejected(Place),
}

/// A rule, or the policy of a chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Family and name of the table: `ip filter`.
    pub table: String,
    /// Of which flavour it is.
    pub flavour: crate::Flavour,
    /// The chain that it is in.
    pub chain: String,
    /// The base chain by which the packet came there.
    pub base: String,
    /// Its words; `None`: the chain's policy.
    pub rule: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.chain)?;
        match &self.rule {
            Some(rule) => write!(f, ": {rule}"),
            None => write!(f, ": its policy"),
        }
    }
}

/// Where a packet is sent instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dnat {
    /// The new destination; `None`: this host.
    pub to: Option<IpAddr>,
    /// Its port.
    pub port: u16,
}

/// What can become of a packet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Outcome {
    /// In the end.
    pub verdict: Verdict,
    /// Its new destination, if it gets one.
    pub dnat: Option<Dnat>,
    /// Where it gets another source, if it does.
    pub snat: Option<Place>,
    /// Its mark at the end.
    pub mark: u32,
    /// Chains that it came through, in their order: `ip nat KUBE-SERVICES`.
    pub trail: Vec<String>,
}

impl Outcome {
    /// Whether it goes on.
    pub fn is_accepted(&self) -> bool {
        self.verdict == Verdict::Accepted
    }

    /// What counts for those who ask: by which rule it happens, and by what trail, is another question.
    fn result(&self) -> (u8, Option<Dnat>, bool) {
        let verdict = match self.verdict {
            Verdict::Accepted => 0,
            Verdict::Dropped(_) => 1,
            Verdict::Rejected(_) => 2,
        };
        (verdict, self.dnat, self.snat.is_some())
    }
}

/// What becomes of a packet cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undecidable {
    /// What is not known: an expression, or a limit.
    pub expression: String,
    /// Where it stands: family, table and chain; empty of a limit.
    pub place: String,
}

impl fmt::Display for Undecidable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not decidable: {}", self.expression)?;
        if self.place.is_empty() {
            return Ok(());
        }
        write!(f, " in {}", self.place)
    }
}

/// An outcome, and the answers that were assumed to come to it: by the number of the question.
pub(super) struct Assumed {
    pub outcome: Outcome,
    pub answers: Vec<(usize, usize)>,
}

/// All ways that were gone, and the questions that have no known answer.
#[derive(Default)]
pub(super) struct Ways {
    pub ways: Vec<Assumed>,
    pub questions: Vec<Undecidable>,
}

/// An open question does not matter if the same happens whatever its answer is.
pub(super) fn settle(ways: Ways) -> Result<Vec<Outcome>, Undecidable> {
    let mut by_question: Vec<BTreeMap<usize, BTreeSet<_>>> = Vec::new();
    by_question.resize_with(ways.questions.len(), BTreeMap::new);
    for way in &ways.ways {
        for (question, answer) in &way.answers {
            let results = by_question[*question].entry(*answer).or_default();
            results.insert(way.outcome.result());
        }
    }
    for (question, results) in ways.questions.into_iter().zip(by_question) {
        let mut results = results.into_values();
        let first = results.next();
        if results.any(|other| Some(other) != first) {
            return Err(question);
        }
    }
    let mut outcomes: Vec<Outcome> = ways.ways.into_iter().map(|way| way.outcome).collect();
    outcomes.sort();
    outcomes.dedup();
    Ok(outcomes)
}
