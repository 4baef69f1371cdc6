//! The report for people: one screen of lines, then what is wrong.

use super::report::{DoctorReport, Line, Section, State, Topic};
use crate::{
    findings::{Severity, text},
    output::{Cell, Printer, Table, Tone, safe, shortened},
};
use std::fmt::Write as _;

/// Findings that are shown with all they rest on; others are counted.
const MOST_SHOWN: usize = 6;
/// Characters of what a line says.
const WIDTH: usize = 110;

/// `-o table`: one screen. Writing to a String cannot fail, so the results of `writeln!` are dropped throughout.
pub fn table(report: &DoctorReport, printer: Option<&Printer>) -> String {
    let mut out = lines(report, printer, false);
    // Of rights that nobody asked for the lines say enough.
    let (rights, findings): (Vec<_>, Vec<_>) = report
        .status
        .findings
        .iter()
        .partition(|one| one.topic == Topic::Rights && one.finding.severity == Severity::Warning);
    for one in findings.iter().take(MOST_SHOWN) {
        out.push('\n');
        text::write(&mut out, &one.finding, &[("next", one.next.clone())], printer);
    }
    let more = findings.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more (-o wide lists all, -o json has all evidence)");
    }
    if !rights.is_empty() {
        let _ = writeln!(
            out,
            "\nmissing rights (doctor-rights-missing; -o wide has all of them), and what prints the Role for an administrator:"
        );
        let mut table = Table::default();
        for one in rights {
            table.push([format!("  {}", one.finding.subject), one.next.clone()]);
        }
        out.push_str(&table.render_for(printer));
    }
    closing(&mut out, report, printer);
    out
}

/// `-o wide`: lines with the command to run next, and findings a line each.
pub fn wide(report: &DoctorReport, printer: Option<&Printer>) -> String {
    let mut out = lines(report, printer, true);
    if !report.status.findings.is_empty() {
        let mut table = Table::new(["SEVERITY", "FINDING", "SUBJECT", "EXPECTED", "ACTUAL", "FIX", "NEXT"]);
        for one in &report.status.findings {
            let finding = &one.finding;
            table.push([
                Cell::toned(text::tone(finding.severity), finding.severity.word()),
                Cell::from(&finding.id),
                Cell::from(&finding.subject),
                Cell::from(&finding.expected),
                Cell::from(&finding.actual),
                Cell::from(finding.fix.as_deref().unwrap_or("-")),
                Cell::from(&one.next),
            ]);
        }
        out.push('\n');
        out.push_str(&table.render_for(printer));
    }
    closing(&mut out, report, printer);
    out
}

/// `-o name`: ids of what was found, with their subjects.
pub fn names(report: &DoctorReport) -> String {
    report.status.findings.iter().fold(String::new(), |mut out, one| {
        let _ = writeln!(out, "{} {}", one.finding.id, safe(&one.finding.subject));
        out
    })
}

fn tone(state: State) -> Tone {
    match state {
        State::Ok => Tone::Good,
        State::Warning | State::Unknown => Tone::Doubtful,
        State::Failed => Tone::Bad,
    }
}

fn lines(report: &DoctorReport, printer: Option<&Printer>, is_wide: bool) -> String {
    let mut heads = vec!["ABOUT", "CHECK", "STATE", "SAYS"];
    heads.extend(is_wide.then_some("NEXT"));
    let mut table = Table::new(heads);
    for Section { topic, lines } in &report.status.sections {
        for (index, line) in lines.iter().enumerate() {
            let mut cells = row(*topic, line, index == 0 || is_wide, is_wide);
            cells.extend(is_wide.then(|| Cell::from(line.next.as_deref().unwrap_or("-"))));
            table.push(cells);
        }
    }
    table.render_for(printer)
}

fn row(topic: Topic, line: &Line, names_topic: bool, is_wide: bool) -> Vec<Cell> {
    let says = if is_wide {
        line.says.clone()
    } else {
        shortened(&line.says, WIDTH)
    };
    vec![
        Cell::from(if names_topic { topic.word() } else { " " }),
        Cell::from(&line.check),
        Cell::toned(tone(line.state), line.state.word()),
        Cell::from(says),
    ]
}

fn closing(out: &mut String, report: &DoctorReport, printer: Option<&Printer>) {
    let status = &report.status;
    out.push('\n');
    for note in &status.notes {
        let _ = writeln!(out, "note: {}", safe(note));
    }
    for next in &status.next {
        let _ = writeln!(out, "next: {}", safe(next));
    }
    let summary = &status.summary;
    let counts = [
        (summary.ok, State::Ok),
        (summary.warnings, State::Warning),
        (summary.failed, State::Failed),
        (summary.unknown, State::Unknown),
    ];
    let counts: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {}", state.word()))
        .collect();
    let _ = writeln!(
        out,
        "result: {}: {}",
        status.conclusion.painted(printer),
        counts.join(", ")
    );
}
