//! Keeps a plan within the probes that are allowed.

use super::{Plan, Planner};
use crate::matrix::naming::Names;
use std::collections::{BTreeSet, HashMap};

impl Planner<'_> {
    /// Keeps as many probes as the limit allows: those with the smallest hash of their stable name, so that every part of the cluster keeps
    /// its share and the same cluster gives the same choice, whatever its pods' UIDs and addresses are after a rollout.
    pub(super) fn limit(&self, plan: &mut Plan) {
        let probes = plan.probes();
        if probes <= self.wish.max_probes {
            return;
        }
        let names = Names::new(self.inventory);
        // Replicas share a name; they are told apart by number.
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut ranked: Vec<(u64, usize)> = plan
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| row.probe.is_ok())
            .map(|(index, row)| {
                let case = names.case(row);
                let number = numbers.entry(case.clone()).or_default();
                *number += 1;
                (fingerprint(&format!("{case} {number}")), index)
            })
            .collect();
        ranked.sort_unstable();
        let dropped: BTreeSet<usize> = ranked
            .into_iter()
            .skip(self.wish.max_probes)
            .map(|(_, index)| index)
            .collect();
        plan.over_limit = dropped.len();
        let mut index = 0;
        plan.rows.retain(|_| {
            index += 1;
            !dropped.contains(&(index - 1))
        });
    }
}

/// FNV-1a (64 bits): the same on every machine and in every version, unlike the standard library's hasher.
fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
