//! Which probes a selection of pairs means, once it is known what the namespaces hold. Pure.
//!
//! A row is one probe: a pair, a protocol, an IP family and a port. Rows that cannot be probed stay in the plan with their reason; nothing
//! disappears silently but what the notes say.

use super::{
    evidence::Protocol,
    family::Family,
    report::Untold,
    select::{Goal, Named, Selection},
    words::list,
};
use crate::{
    cluster::inventory::{Inventory, Pod, Subject},
    findings::Absence,
};
use netcheck_wire::probe::PlaceFacts;
use std::collections::{BTreeMap, BTreeSet, HashMap};

mod dns;
mod left_out;
mod limit;
mod lookup;
mod nodes;
mod pods;
mod rounds;
pub mod row;
mod services;

pub use rounds::{Round, rounds};
pub use row::{EndPoint, Row};

/// What to probe with.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Protocols.
    pub protocols: BTreeSet<Protocol>,
    /// IP families.
    pub families: BTreeSet<Family>,
    /// Probes at most.
    pub max_probes: usize,
}

/// What the namespaces hold, or why that is not known.
pub type Facts = BTreeMap<Subject, Result<PlaceFacts, Absence>>;

/// All rows of a run.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// The rows, in the order of the pairs.
    pub rows: Vec<Row>,
    /// Rows that the limit left out.
    pub over_limit: usize,
    /// What is no row and why, one line each.
    pub notes: Vec<String>,
    /// What was to be tested and could not even be made rows: with any, the run is not called good.
    pub untold: Vec<Untold>,
}

impl Plan {
    /// How many probes it sends.
    pub fn probes(&self) -> usize {
        self.rows.iter().filter(|row| row.probe.is_ok()).count()
    }
}

/// How many probes a selection means by declared ports alone, before any namespace was looked into.
pub fn estimate(selection: &Selection, inventory: &Inventory, wish: &Wish) -> usize {
    let unlimited = Wish {
        max_probes: usize::MAX,
        ..wish.clone()
    };
    Planner {
        inventory,
        pods: by_uid(inventory),
        facts: None,
        wish: &unlimited,
        named: None,
    }
    .plan(selection)
    .probes()
}

/// Makes the plan. `named` are destinations that the user named: they get a row even if they offer no port.
pub fn plan(selection: &Selection, inventory: &Inventory, facts: &Facts, wish: &Wish, named: Option<&Named>) -> Plan {
    Planner {
        inventory,
        pods: by_uid(inventory),
        facts: Some(facts),
        wish,
        named,
    }
    .plan(selection)
}

struct Planner<'a> {
    inventory: &'a Inventory,
    pods: HashMap<&'a str, &'a Pod>,
    facts: Option<&'a Facts>,
    wish: &'a Wish,
    named: Option<&'a Named>,
}

/// What a plan is made of before the limit.
#[derive(Default)]
struct Draft {
    rows: Vec<Row>,
    /// What is no row: why, and whom it is about.
    left_out: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Planner<'_> {
    fn plan(&self, selection: &Selection) -> Plan {
        let mut draft = Draft::default();
        for pair in &selection.pairs {
            match &pair.to {
                Goal::Pod(uid) => {
                    if let Some(pod) = self.pod(uid) {
                        self.to_pod(pair, pod, &mut draft);
                    }
                }
                Goal::Node(name) => self.to_node(pair, name, &mut draft),
                Goal::Service(namespace, name) => {
                    if let Some(service) = self.service(namespace, name) {
                        self.to_service(pair, service, &mut draft);
                    }
                }
                Goal::Dns(namespace, name) => {
                    if let Some(service) = self.service(namespace, name) {
                        self.to_dns(pair, service, &mut draft);
                    }
                }
            }
        }
        let notes = draft.left_out.iter();
        let mut plan = Plan {
            rows: draft.rows,
            notes: notes.map(|(why, whom)| format!("{why} {}", list(whom))).collect(),
            ..Plan::default()
        };
        plan.untold.extend(self.untold_dns());
        self.limit(&mut plan);
        plan
    }
}

fn by_uid(inventory: &Inventory) -> HashMap<&str, &Pod> {
    inventory.pods.iter().map(|pod| (pod.uid.as_str(), pod)).collect()
}

#[cfg(test)]
mod tests;
