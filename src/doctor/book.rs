//! Where lines and findings are collected, topic by topic.

use super::report::{DoctorFinding, Line, Section, State, Topic};
use crate::findings::{Finding, Page, Severity, page};

/// What was assessed so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// Topics in the order in which they came first.
    pub sections: Vec<Section>,
    /// As they were found.
    pub findings: Vec<DoctorFinding>,
}

impl Book {
    /// Writes a line.
    pub fn line(&mut self, topic: Topic, check: impl Into<String>, state: State, says: impl Into<String>) -> &mut Line {
        let line = Line {
            check: check.into(),
            state,
            says: says.into(),
            next: None,
        };
        let known = self.sections.iter().position(|section| section.topic == topic);
        let at = known.unwrap_or_else(|| {
            self.sections.push(Section {
                topic,
                lines: Vec::new(),
            });
            self.sections.len() - 1
        });
        let lines = &mut self.sections[at].lines;
        lines.push(line);
        let last = lines.len() - 1;
        &mut lines[last]
    }

    /// Writes a line about what could not be told.
    pub fn untold(&mut self, topic: Topic, check: impl Into<String>, why: &str) -> &mut Line {
        self.line(topic, check, State::Unknown, format!("could not tell: {why}"))
    }

    /// Notes a finding, and the command to run next.
    pub fn find(&mut self, topic: Topic, finding: Finding, next: impl Into<String>) {
        self.findings.push(DoctorFinding {
            topic,
            finding,
            next: next.into(),
        });
    }
}

impl Line {
    /// With the command to run next.
    pub fn next(&mut self, command: impl Into<String>) {
        self.next = Some(command.into());
    }
}

/// A finding of `doctor`'s own, by its page; that each id has one, a test holds.
pub fn finding(id: &'static str, subject: impl Into<String>, actual: impl Into<String>) -> Finding {
    let none = Page {
        id,
        severity: Severity::Warning,
        title: "",
        proves: "",
        expected: "",
        breaks: "",
        look: &[],
        fix: &[],
    };
    Finding::new(page(id).unwrap_or(&none), subject, actual)
}

/// Names in a line: the first few, and how many more.
pub fn listed<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> String {
    const MOST: usize = 5;
    let names: Vec<S> = names.into_iter().collect();
    let first: Vec<&str> = names.iter().take(MOST).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MOST) {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
