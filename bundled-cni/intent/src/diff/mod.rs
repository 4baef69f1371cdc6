//! How what a node holds differs from what it should hold, and what mends it (SPEC.md, sections 5.9 and 9.1).

mod devices;
mod entries;
mod maps;
mod pods;
mod report;
mod routes;
mod sysctls;

pub use report::{BpfChange, Cause, Delta, Finding, Kind, Mend};

use crate::{bpf::BpfMaps, desired::Desired};
use netcheck_node_state::{NetState, ruleset::NftTable};
use std::collections::BTreeMap;

/// What a node holds, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Actual {
    /// The node's network namespace.
    pub net: NetState,
    /// Kernel parameters: those of [`crate::desired::Sysctls::keys`] that exist.
    pub sysctls: BTreeMap<String, String>,
    /// The nftables table, if it exists.
    pub nft: Option<NftTable>,
    /// Whether there is the table that is kept for NetworkPolicy.
    pub has_policy_table: bool,
    /// Inside of attachments, by key; those that were not looked at are left out.
    pub pods: BTreeMap<String, NetState>,
    /// The BPF maps; `None`: not loaded, or not looked at.
    pub bpf: Option<BpfMaps>,
}

/// All that differs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// What can be mended, in the order in which it must be.
    pub deltas: Vec<Delta>,
    /// What is told and not touched.
    pub findings: Vec<Finding>,
}

impl Diff {
    /// Whether there is nothing to do.
    pub fn is_settled(&self) -> bool {
        self.deltas.is_empty()
    }
}

/// Deltas on their way into order: what is built comes first, what goes comes last and the other way round.
#[derive(Default)]
struct Plan {
    build: Vec<Delta>,
    remove: Vec<Delta>,
    findings: Vec<Finding>,
}

/// Compares. Foreign state is invisible, or told where it stands in our way.
pub fn diff(desired: &Desired, actual: &Actual) -> Diff {
    let mut plan = Plan::default();
    sysctls::global(&mut plan, desired, actual);
    let ground = devices::diff(&mut plan, desired, actual);
    entries::neighbours(&mut plan, desired, &ground);
    entries::fdb(&mut plan, desired, &ground);
    routes::diff(&mut plan, desired, &ground);
    pods::diff(&mut plan, desired, actual);
    maps::nft(&mut plan, desired, actual);
    maps::bpf(&mut plan, desired, actual, ground.is_overlay_new);
    // In reverse of the order in which things are built; a stable sort keeps the order within a kind.
    plan.remove.sort_by_key(|delta| std::cmp::Reverse(delta.kind));
    let mut deltas = plan.build;
    deltas.append(&mut plan.remove);
    Diff {
        deltas,
        findings: plan.findings,
    }
}
