//! A finding for people, in a few lines.

use super::{Finding, Severity, page};
use crate::output::{Printer, Tone, safe};
use std::fmt::Write as _;

/// What a severity's word is painted in.
pub fn tone(severity: Severity) -> Tone {
    match severity {
        Severity::Error => Tone::Bad,
        Severity::Warning | Severity::Inconclusive => Tone::Doubtful,
    }
}

/// Writes it: what it is about, expected and actual, evidence, cause and fix, then `more`. Nothing of it drives the terminal.
pub fn write(out: &mut String, finding: &Finding, more: &[(&str, String)], printer: Option<&Printer>) {
    let title = page(&finding.id).map_or("", |page| page.title);
    let word = finding.severity.word();
    let word = printer.map_or_else(
        || word.to_owned(),
        |printer| printer.paint(tone(finding.severity), word),
    );
    // Writing to a String cannot fail.
    let _ = writeln!(out, "{}: {word}: {title} ({})", safe(&finding.subject), finding.id);
    let mut line = |head: &str, text: &str| {
        let _ = writeln!(out, "  {head:<8} {}", safe(text));
    };
    line("expected", &finding.expected);
    line("actual", &finding.actual);
    finding.evidence.iter().for_each(|one| line("look", one));
    finding.cause.iter().for_each(|cause| line("cause", cause));
    finding.fix.iter().for_each(|fix| line("fix", fix));
    for (head, text) in more {
        line(head, text);
    }
}
