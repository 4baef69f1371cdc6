//! The report for CI: a case for each node and group of checks, the same from run to run.

use super::report::{NodeFinding, Standing, VerifyReport};
use crate::{exit::Failure, output::junit, report::Conclusion};
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};
use std::{fmt::Write as _, time::Duration};

/// Name of the report and of its suite.
pub const NAME: &str = "kubectl netcheck verify";

/// The XML of a run. `left_behind` says what could not be removed in the end.
///
/// # Errors
/// If it is no XML, which is a bug.
pub fn of_report(report: &VerifyReport, left_behind: &[Failure]) -> Result<String, Failure> {
    let status = &report.status;
    let mut suite = TestSuite::new(NAME);
    suite.add_property(Property::new("network", status.network.as_deref().unwrap_or("unknown")));
    for node in &status.nodes {
        for (group, standing) in &node.groups {
            let found = status
                .findings
                .iter()
                .filter(|one| one.node == node.name && one.group == *group);
            let outcome = match standing {
                // JUnit has no warnings; the report in JSON has them.
                Standing::Held | Standing::Warned => TestCaseStatus::success(),
                Standing::Failed => failed(&found.collect::<Vec<_>>()),
                Standing::NotChecked => {
                    let why = status
                        .not_checked
                        .iter()
                        .filter(|one| one.node == node.name && one.groups.contains(group));
                    let why: Vec<&str> = why.map(|one| one.why.as_str()).collect();
                    let mut outcome = TestCaseStatus::non_success(NonSuccessKind::Error);
                    outcome.set_type("not-checked").set_message(why.join("; "));
                    outcome
                }
            };
            let mut case = TestCase::new(group.head().to_lowercase(), outcome);
            case.set_classname(format!("node/{}", node.name));
            suite.add_test_case(case);
        }
    }
    if status.conclusion == Conclusion::Interrupted {
        let mut outcome = TestCaseStatus::non_success(NonSuccessKind::Error);
        outcome
            .set_type("run")
            .set_message("interrupted: not everything was checked");
        suite.add_test_case(junit::of_the_run(NAME, "run", outcome));
    }
    junit::add_removal(&mut suite, NAME, left_behind);
    suite.set_time(Duration::from_millis(status.timing.total_ms));
    junit::write(suite)
}

fn failed(found: &[&NodeFinding]) -> TestCaseStatus {
    let mut text = String::new();
    for one in found {
        let finding = &one.finding;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} ({})", finding.subject, finding.id);
        let _ = writeln!(text, "  expected {}\n  actual   {}", finding.expected, finding.actual);
        for line in &finding.evidence {
            let _ = writeln!(text, "  look     {line}");
        }
    }
    let mut outcome = TestCaseStatus::non_success(NonSuccessKind::Failure);
    if let Some(first) = found.first() {
        outcome
            .set_type(first.finding.id.as_str())
            .set_message(format!("{}: {}", first.finding.subject, first.finding.actual));
    }
    outcome.set_description(text);
    outcome
}
