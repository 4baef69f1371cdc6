//! JUnit XML for CI, written whole or not at all.

use super::{Printer, file};
use crate::exit::{Exit, Failure};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use std::{io::Write as _, path::Path};

/// Whether [`save`] can be expected to work: tried before a run, so that a wrong path costs none.
///
/// # Errors
/// A wrong use, in one line.
pub fn check(path: &Path) -> Result<(), Failure> {
    file::check(path).map_err(|why| Failure::usage(format!("--junit {}: {why}", path.display())))
}

/// Writes a file that is either the old one or the whole new one, whatever happens.
///
/// # Errors
/// If it cannot be written.
pub fn save(path: &Path, xml: &str) -> Result<(), Failure> {
    file::replace(path, |file| file.write_all(xml.as_bytes()))
        .map_err(|error| Failure::unknown(format!("cannot write the JUnit report {}: {error}", path.display())))
}

/// Writes what a run came to, if that was asked for; a run that held and could not write it has not told all.
///
/// # Errors
/// Those of the run itself.
pub fn conclude(
    path: Option<&Path>,
    ended: Result<Exit, Failure>,
    text: Result<String, Failure>,
    printer: &Printer,
) -> Result<Exit, Failure> {
    let Some(path) = path else { return ended };
    let saved = text.and_then(|text| save(path, &text));
    if let Err(failure) = &saved {
        printer.failure(failure);
    }
    if saved.is_ok() {
        ended
    } else {
        ended.map(|exit| if exit == Exit::Held { Exit::Unknown } else { exit })
    }
}

/// The XML of a run that failed before it had results. `name` is that of the report and of its suite.
///
/// # Errors
/// If it is no XML, which is a bug.
pub fn of_failure(name: &str, failure: &Failure) -> Result<String, Failure> {
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_type("set-up").set_message(failure.message.as_str());
    if let Some(hint) = &failure.hint {
        status.set_description(hint.as_str());
    }
    let mut suite = TestSuite::new(name);
    suite.add_test_case(of_the_run(name, "set-up", status));
    write(suite)
}

/// A case that stands for the run as a whole.
pub fn of_the_run(report: &str, name: &str, status: TestCaseStatus) -> TestCase {
    let mut case = TestCase::new(name, status);
    case.set_classname(report);
    case
}

/// Adds a case that failed for what a run could not remove; nothing if that is nothing.
pub fn add_removal(suite: &mut TestSuite, report: &str, left_behind: &[Failure]) {
    if let [first, ..] = left_behind {
        let mut outcome = TestCaseStatus::non_success(NonSuccessKind::Error);
        let all: Vec<&str> = left_behind.iter().map(|failure| failure.message.as_str()).collect();
        outcome
            .set_type("removal")
            .set_message(first.message.as_str())
            .set_description(all.join("\n"));
        suite.add_test_case(of_the_run(report, "removal", outcome));
    }
}

/// A report of one suite, which gives it its name.
///
/// # Errors
/// If it is no XML, which is a bug.
pub fn write(suite: TestSuite) -> Result<String, Failure> {
    let mut report = Report::new(suite.name.as_str());
    report.add_test_suite(suite);
    report
        .to_string()
        .map_err(|error| Failure::unknown(format!("cannot write JUnit XML: {error}")))
}
