//! The report for CI: JUnit XML with one case for each stable name, written whole or not at all.
//!
//! A case is a pair of workloads, a port, a family and a relation of nodes: the same from run to run whatever the pods are called. Rows that
//! share a case are one case with the worst result. What could not be told is an error, never a pass; a run that did not get anywhere still
//! leaves a file with one errored case, and one that did not get through, or left something behind, has one beside those of its rows.

use super::{
    class::{Class, Meaning},
    report::{Conclusion, MatrixReport, Row, Status, Untold},
    text::evidence,
};
pub use crate::output::junit::{check, save};
use crate::{exit::Failure, output::junit};
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};
use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

/// Name of the report and of its suite.
const NAME: &str = "kubectl netcheck matrix";

/// The XML of a run. `left_behind` says what could not be removed in the end.
pub fn of_report(report: &MatrixReport, left_behind: &[Failure]) -> Result<String, Failure> {
    let mut cases: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in &report.status.rows {
        cases.entry(&row.case).or_default().push(row);
    }
    let allowed = report.status.summary.inconclusive_allowed.as_deref();
    let mut suite = TestSuite::new(NAME);
    suite.add_property(Property::new("way", report.status.way.as_str()));
    let coverage = &report.status.coverage;
    suite.add_property(Property::new(
        "coverage",
        format!("{} of {} pairs", coverage.pairs_tested, coverage.pairs_in_scope),
    ));
    suite.add_test_cases(cases.into_iter().map(|(name, rows)| case(name, &rows, allowed)));
    suite.add_test_cases(coverage.untold.iter().map(|untold| untold_case(untold, allowed)));
    if let Some(why) = not_through(&report.status) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status
            .set_type("run")
            .set_message(why)
            .set_description(coverage.notes.join("\n"));
        suite.add_test_case(junit::of_the_run(NAME, "run", status));
    }
    junit::add_removal(&mut suite, NAME, left_behind);
    suite.set_time(Duration::from_millis(report.status.timing.total_ms));
    junit::write(suite)
}

/// The XML of a run that failed before it had rows.
pub fn of_failure(failure: &Failure) -> Result<String, Failure> {
    junit::of_failure(NAME, failure)
}

/// Why the run as a whole is no result although its rows may look well: the exit code says so, and CI reads this file instead of it.
fn not_through(status: &Status) -> Option<&'static str> {
    match status.conclusion {
        Conclusion::Held | Conclusion::Failed => None,
        Conclusion::Interrupted => Some("interrupted: not everything was tested"),
        Conclusion::Inconclusive if status.summary.inconclusive_allowed.is_some() => None,
        // The rows that could not be told are in it by themselves, if there are any.
        Conclusion::Inconclusive if status.summary.inconclusive > 0 => Some("some rows could not be told"),
        Conclusion::Inconclusive if status.rows.is_empty() => Some("could not tell: nothing was tested"),
        Conclusion::Inconclusive => Some("incomplete: results may be missing"),
    }
}

fn case(name: &str, rows: &[&Row], allowed: Option<&str>) -> TestCase {
    let worst = rows.iter().max_by_key(|row| row.class);
    let status = match worst.map(|row| (row.class.meaning(), row)) {
        None | Some((Meaning::Held, _)) => TestCaseStatus::success(),
        Some((Meaning::Failed, row)) => non_success(NonSuccessKind::Failure, row, rows),
        Some((Meaning::Inconclusive, row)) => match allowed {
            None => non_success(NonSuccessKind::Error, row, rows),
            Some(reason) => skipped(row.class, &row.reason, reason),
        },
    };
    let mut case = TestCase::new(name, status);
    case.set_classname(name.split(" -> ").next().unwrap_or(NAME));
    if let Some(slowest) = rows.iter().filter_map(|row| row.elapsed_us).max() {
        case.set_time(Duration::from_micros(slowest));
    }
    case
}

fn untold_case(untold: &Untold, allowed: Option<&str>) -> TestCase {
    let status = match allowed {
        None => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
            status.set_type(Class::NotTested.id()).set_message(untold.why.as_str());
            status.set_description(untold.hint.as_str());
            status
        }
        Some(reason) => skipped(Class::NotTested, &untold.why, reason),
    };
    let mut case = TestCase::new(untold.what.as_str(), status);
    case.set_classname(NAME);
    case
}

/// What could not be told and is accepted.
fn skipped(class: Class, why: &str, allowed: &str) -> TestCaseStatus {
    let mut status = TestCaseStatus::skipped();
    status
        .set_type(class.id())
        .set_message(format!("{why} (allowed: {allowed})"));
    status
}

fn non_success(kind: NonSuccessKind, worst: &Row, rows: &[&Row]) -> TestCaseStatus {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.class.meaning() != Meaning::Held) {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}: {}", row.id, row.class.title());
        if let Some(finding) = &row.finding {
            let _ = writeln!(text, "  {:<8} {finding}", "finding");
        }
        for (head, line) in evidence(row) {
            let _ = writeln!(text, "  {head:<8} {line}");
        }
    }
    let mut status = TestCaseStatus::non_success(kind);
    status
        .set_type(worst.class.id())
        .set_message(worst.reason.as_str())
        .set_description(text);
    status
}

#[cfg(test)]
mod tests;
