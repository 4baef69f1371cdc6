//! The report for CI: a case for each line, the same from run to run.

use super::report::{DoctorFinding, DoctorReport, Line, State, Topic};
use crate::{exit::Failure, output::junit};
use quick_junit::{NonSuccessKind, Property, TestCase, TestCaseStatus, TestSuite};
use std::{fmt::Write as _, time::Duration};

/// Name of the report and of its suite.
pub const NAME: &str = "kubectl netcheck doctor";

/// The XML of a run. `left_behind` says what could not be removed in the end.
///
/// # Errors
/// If it is no XML, which is a bug.
pub fn of_report(report: &DoctorReport, left_behind: &[Failure]) -> Result<String, Failure> {
    let status = &report.status;
    let mut suite = TestSuite::new(NAME);
    let properties = [("network", &status.network), ("service-proxy", &status.service_proxy)];
    for (name, value) in properties {
        suite.add_property(Property::new(name, value.as_deref().unwrap_or("unknown")));
    }
    for section in &status.sections {
        let found: Vec<&DoctorFinding> = status
            .findings
            .iter()
            .filter(|one| one.topic == section.topic)
            .collect();
        for line in &section.lines {
            let mut case = TestCase::new(line.check.as_str(), outcome(section.topic, line, &found));
            case.set_classname(section.topic.word());
            suite.add_test_case(case);
        }
    }
    junit::add_removal(&mut suite, NAME, left_behind);
    suite.set_time(Duration::from_millis(status.timing.total_ms));
    junit::write(suite)
}

fn outcome(topic: Topic, line: &Line, found: &[&DoctorFinding]) -> TestCaseStatus {
    let kind = match line.state {
        // JUnit has no warnings; the report in JSON has them.
        State::Ok | State::Warning => return TestCaseStatus::success(),
        State::Failed => NonSuccessKind::Failure,
        State::Unknown => NonSuccessKind::Error,
    };
    let mut text = String::new();
    for one in found {
        let finding = &one.finding;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{} ({})", finding.subject, finding.id);
        let _ = writeln!(text, "  expected {}\n  actual   {}", finding.expected, finding.actual);
        let _ = writeln!(text, "  next     {}", one.next);
    }
    let mut outcome = TestCaseStatus::non_success(kind);
    outcome.set_type(topic.word()).set_message(line.says.as_str());
    outcome.set_description(text);
    outcome
}
