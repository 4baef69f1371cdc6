//! The report of a run: what was asked, how much was covered, what was found.

use super::{MatrixArgs, Request, Tested};
use crate::{
    agents::{Farewell, Way},
    cluster::inventory::Subject,
    matrix::{
        assemble, found,
        naming::Names,
        report::{API_VERSION, Conclusion, Coverage, KIND, MatrixReport, Metadata, Spec, Status, Timing, Untold},
    },
    output::safe,
};
use std::{collections::BTreeSet, time::Instant};

impl Request {
    pub(super) fn report(
        &self,
        args: &MatrixArgs,
        tested: Tested,
        way: &Way,
        farewell: &Farewell,
        creation_timestamp: String,
        started: Instant,
    ) -> MatrixReport {
        let Tested {
            rows,
            node_findings,
            notes,
            untold,
            over_limit,
            interrupted,
            agents,
            probes,
        } = tested;
        let sent = rows.iter().filter(|row| row.elapsed_us.is_some()).count();
        let pairs: BTreeSet<_> = rows
            .iter()
            .filter(|row| row.elapsed_us.is_some())
            .map(|row| (&row.source, &row.destination))
            .collect();
        let names = Names::new(&self.inventory);
        let asleep = self.selection.asleep.iter().map(|uid| {
            let pod = self.inventory.pods.iter().find(|pod| &pod.uid == uid);
            let why = pod
                .and_then(|pod| pod.reason.clone())
                .unwrap_or_else(|| "not running".into());
            format!(
                "{} is left out, other pods of its workload run: {why}",
                names.in_words(&Subject::Pod(uid.clone()))
            )
        });
        let coverage = Coverage {
            pairs_tested: pairs.len() as u64,
            pairs_in_scope: self.selection.pairs_in_scope as u64,
            probes_sent: sent as u64,
            probes_over_limit: over_limit as u64,
            nodes: self.nodes().iter().map(|name| safe(name)).collect(),
            nodes_in_scope: self.selection.nodes_in_scope as u64,
            sampling: sampling(self.full, over_limit > 0),
            out_of_scope: self.selection.out_of_scope.iter().map(|line| safe(line)).collect(),
            notes: asleep
                .chain(self.inventory.gaps.iter().cloned())
                .chain(notes)
                .chain(farewell.incomplete.iter().chain(&farewell.resumed).cloned())
                .map(|line| safe(&line))
                .collect(),
            untold: untold
                .into_iter()
                .map(|Untold { what, why, hint }| Untold {
                    what: safe(&what),
                    why: safe(&why),
                    hint: safe(&hint),
                })
                .collect(),
        };
        let mut findings = found::findings(&rows);
        findings.extend(found::untold(&coverage.untold));
        MatrixReport {
            api_version: API_VERSION.into(),
            kind: KIND.into(),
            metadata: Metadata {
                creation_timestamp,
                context: self.cluster.context.as_deref().map(safe),
                version: env!("CARGO_PKG_VERSION").into(),
            },
            spec: Spec {
                namespaces: self.namespaces.clone(),
                selector: self.selector.clone(),
                sources: args.targets.iter().map(|word| safe(word)).collect(),
                destinations: args.to.iter().map(|word| safe(word)).collect(),
                protocols: self.wish.protocols.iter().copied().collect(),
                families: self.wish.families.iter().copied().collect(),
                full: self.full,
                timeout_ms: args.timeout.as_millis() as u64,
                max_probes: limit(self.wish.max_probes).map(|limit| limit as u64),
                max_nodes: limit(self.max_nodes).map(|limit| limit as u64),
            },
            status: Status {
                conclusion: conclusion(assemble::conclusion(&rows, interrupted), &coverage.untold, farewell),
                way: safe(&way.to_string()),
                coverage,
                summary: assemble::summary(&rows, allowed(args.allow_inconclusive.as_deref(), farewell)),
                timing: Timing {
                    agents_ms: agents.as_millis() as u64,
                    probe_phase_ms: probes.as_millis() as u64,
                    total_ms: started.elapsed().as_millis() as u64,
                },
                findings,
                node_findings,
                rows,
            },
        }
    }
}

/// How what was tested was chosen.
fn sampling(full: bool, cut: bool) -> String {
    let (chosen, more) = if full {
        ("every ordered pair", "")
    } else {
        (
            "one pod of each workload, on the same node and across nodes",
            "; --full takes every ordered pair",
        )
    };
    let cut = if cut {
        ", of their probes as many as --max-probes allows"
    } else {
        ""
    };
    format!("{chosen}{cut}{more}")
}

/// A limit as it is shown: `None` if there is none.
pub(super) fn limit(limit: usize) -> Option<usize> {
    (limit != usize::MAX).then_some(limit)
}

/// All rows held, and yet something may be missing: that is no good result.
fn conclusion(by_rows: Conclusion, untold: &[Untold], farewell: &Farewell) -> Conclusion {
    match by_rows {
        Conclusion::Held if !untold.is_empty() || !farewell.incomplete.is_empty() => Conclusion::Inconclusive,
        other => other,
    }
}

/// Why what could not be told is accepted. That is said of what is known to be missing: an incomplete run is never accepted (`WIRE.md`).
fn allowed(reason: Option<&str>, farewell: &Farewell) -> Option<String> {
    reason.filter(|_| farewell.incomplete.is_empty()).map(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_to_be_tested_and_is_no_row_keeps_a_run_from_being_called_good() {
        let whole = Farewell::default();
        let dns = [Untold {
            what: "cluster DNS".into(),
            ..Untold::default()
        }];
        assert_eq!(conclusion(Conclusion::Held, &dns, &whole), Conclusion::Inconclusive);
        assert_eq!(conclusion(Conclusion::Failed, &dns, &whole), Conclusion::Failed);
        assert_eq!(
            conclusion(Conclusion::Interrupted, &dns, &whole),
            Conclusion::Interrupted
        );
        assert_eq!(allowed(Some("known"), &whole).as_deref(), Some("known"));
    }

    #[test]
    fn a_limit_that_cuts_is_part_of_what_was_covered() {
        assert_eq!(sampling(true, false), "every ordered pair");
        for full in [true, false] {
            assert!(sampling(full, true).contains("--max-probes"));
        }
    }

    #[test]
    fn an_incomplete_run_is_never_called_good() {
        let whole = Farewell {
            resumed: vec!["the stream was cut and resumed".into()],
            ..Farewell::default()
        };
        let incomplete = Farewell {
            incomplete: vec!["the session has no confirmed end".into()],
            ..Farewell::default()
        };
        assert_eq!(conclusion(Conclusion::Held, &[], &whole), Conclusion::Held);
        assert_eq!(conclusion(Conclusion::Held, &[], &incomplete), Conclusion::Inconclusive);
        for other in [Conclusion::Failed, Conclusion::Inconclusive, Conclusion::Interrupted] {
            assert_eq!(conclusion(other, &[], &incomplete), other);
        }
        assert_eq!(allowed(Some("known"), &whole).as_deref(), Some("known"));
        assert_eq!(allowed(Some("known"), &incomplete), None);
    }
}
