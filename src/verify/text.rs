//! The report for people: nodes and groups of checks, then what is wrong.

use super::{
    group::Group,
    report::{NodeFinding, Standing, VerifyReport},
};
use crate::{
    findings::{Effect, text},
    flags::duration,
    output::{Cell, Printer, Table, Tone, safe},
};
use std::{fmt::Write as _, time::Duration};

/// Findings that are shown with all they rest on; others are counted.
const MOST_SHOWN: usize = 12;
/// Reasons for what was not checked.
const MOST_REASONS: usize = 12;
/// Reasons of dropped packets, for each node.
const MOST_DROPS: usize = 3;

/// `-o table`: one screen. Writing to a String cannot fail, so the results of `writeln!` are dropped throughout.
pub fn table(report: &VerifyReport, printer: Option<&Printer>) -> String {
    let mut out = overview(report, printer);
    let roots: Vec<&NodeFinding> = roots(report).collect();
    for one in roots.iter().take(MOST_SHOWN) {
        finding(&mut out, report, one, printer);
    }
    let more = roots.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        let _ = writeln!(out, "\nand {more} more (-o wide lists all, -o json has all evidence)");
    }
    closing(&mut out, report, printer);
    out
}

/// `-o wide`: a line each.
pub fn wide(report: &VerifyReport, printer: Option<&Printer>) -> String {
    let mut out = overview(report, printer);
    if !report.status.findings.is_empty() {
        let mut table = Table::new([
            "NODE",
            "SEVERITY",
            "TRAFFIC",
            "FINDING",
            "SUBJECT",
            "EXPECTED",
            "ACTUAL",
            "FOLLOWS FROM",
        ]);
        for one in &report.status.findings {
            table.push([
                Cell::from(&one.node),
                Cell::toned(text::tone(one.finding.severity), one.finding.severity.word()),
                Cell::from(one.harm.worst().map_or("-", Effect::word)),
                Cell::from(&one.finding.id),
                Cell::from(&one.finding.subject),
                Cell::from(&one.finding.expected),
                Cell::from(&one.finding.actual),
                Cell::from(one.follows_from.as_deref().unwrap_or("-")),
            ]);
        }
        out.push('\n');
        out.push_str(&table.render_for(printer));
    }
    closing(&mut out, report, printer);
    out
}

/// `-o name`: ids of what was found, with their nodes.
pub fn names(report: &VerifyReport) -> String {
    report.status.findings.iter().fold(String::new(), |mut out, one| {
        let _ = writeln!(out, "{} {}", one.finding.id, safe(&one.finding.subject));
        out
    })
}

fn paint(tone: Tone, word: &str, printer: Option<&Printer>) -> String {
    printer.map_or_else(|| word.to_owned(), |printer| printer.paint(tone, word))
}

fn roots(report: &VerifyReport) -> impl Iterator<Item = &NodeFinding> {
    report.status.findings.iter().filter(|one| one.follows_from.is_none())
}

fn overview(report: &VerifyReport, printer: Option<&Printer>) -> String {
    let heads = std::iter::once("NODE").chain(report.status.groups().map(Group::head));
    let mut table = Table::new(heads);
    for node in &report.status.nodes {
        let cells = report.status.groups().map(|group| match node.groups.get(&group) {
            Some(Standing::Held) => Cell::toned(Tone::Good, "ok"),
            Some(Standing::Warned) => Cell::toned(Tone::Doubtful, "warn"),
            Some(Standing::Failed) => {
                let here = |one: &&NodeFinding| one.node == node.name && one.group == group;
                let count = report.status.findings.iter().filter(here).count();
                Cell::toned(Tone::Bad, format!("{count} wrong"))
            }
            Some(Standing::NotChecked) | None => Cell::toned(Tone::Doubtful, "?"),
        });
        table.push(std::iter::once(Cell::from(&node.name)).chain(cells));
    }
    table.render_for(printer) + &observed(report, printer)
}

/// What died on each node in the interval, and of what.
fn observed(report: &VerifyReport, printer: Option<&Printer>) -> String {
    let Some(observed) = &report.status.observed else {
        return String::new();
    };
    let mut table = Table::new(["NODE", "PACKETS DROPPED", "WHY", "UNATTRIBUTED"]);
    for row in &observed.nodes {
        let unknown = row.no_reasons.as_ref().map(|_| "?".to_owned());
        let number = |count: u64| unknown.clone().unwrap_or_else(|| count.to_string());
        table.push([
            Cell::from(&row.node),
            Cell::from(number(row.dropped)),
            Cell::from(row.why(MOST_DROPS)),
            Cell::from(number(row.unattributed)),
        ]);
    }
    let mut out = format!("\n{}", table.render_for(printer));
    let (sent, answered) = observed.probed();
    let seconds = duration::words(Duration::from_millis(observed.interval_ms));
    let _ = writeln!(
        out,
        "observed for {seconds}: {answered} of {sent} echo requests between nodes' pods answered"
    );
    for why in observed.not_probed.iter().take(MOST_REASONS) {
        let _ = writeln!(out, "not probed: {}", safe(why));
    }
    out
}

fn finding(out: &mut String, report: &VerifyReport, one: &NodeFinding, printer: Option<&Printer>) {
    let finding = &one.finding;
    let harm = one.harm.words().map(|words| ("traffic", words));
    let mut more: Vec<(&str, String)> = harm.into_iter().collect();
    let follow = report
        .status
        .findings
        .iter()
        .filter(|other| other.follows_from.as_ref() == Some(&finding.subject) && other.node == one.node);
    let names: Vec<&str> = follow.map(|other| other.finding.subject.as_str()).collect();
    if let [first, ..] = names.as_slice() {
        more.push((
            "so also",
            match names.len() {
                1 => (*first).to_owned(),
                count => format!("{count} more, such as {first}"),
            },
        ));
    }
    out.push('\n');
    text::write(out, finding, &more, printer);
}

fn fixed(out: &mut String, report: &VerifyReport, printer: Option<&Printer>) {
    let Some(fix) = &report.status.fix else { return };
    out.push('\n');
    for one in &fix.nodes {
        let changed: Vec<String> = one
            .changed
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"))
            .collect();
        let what = match &one.why {
            Some(why) => format!("not asked: {why}"),
            None if changed.is_empty() => "its daemon changed nothing".to_owned(),
            None => format!("its daemon changed {}", changed.join(", ")),
        };
        let _ = writeln!(out, "fix: {}: {}", safe(&one.node), safe(&what));
        for line in &one.failed {
            let _ = writeln!(out, "  failed: {}", safe(line));
        }
    }
    for one in &fix.gone {
        let word = paint(Tone::Good, "gone", printer);
        let _ = writeln!(out, "{word}: {} ({})", safe(&one.subject), one.id);
    }
}

fn closing(out: &mut String, report: &VerifyReport, printer: Option<&Printer>) {
    fixed(out, report, printer);
    let status = &report.status;
    out.push('\n');
    for one in status.not_checked.iter().take(MOST_REASONS) {
        let groups: Vec<&str> = one.groups.iter().map(|group| group.head()).collect();
        let _ = writeln!(
            out,
            "not checked: {}: {}: {}",
            safe(&one.node),
            groups.join(", "),
            safe(&one.why)
        );
    }
    let more = status.not_checked.len().saturating_sub(MOST_REASONS);
    if more > 0 {
        let _ = writeln!(out, "and {more} more reasons (-o json has all)");
    }
    for note in &status.notes {
        let _ = writeln!(out, "note: {}", safe(note));
    }
    let network = status.network.as_deref().unwrap_or("none that is known");
    let _ = writeln!(out, "network: {network}; read {}", safe(&status.taken));
    if !status.way.is_empty() {
        let _ = writeln!(out, "way: {}", safe(&status.way));
    }
    let summary = &status.summary;
    let plural = if summary.nodes == 1 { "" } else { "s" };
    let mut counts = vec![format!("{} node{plural}", summary.nodes)];
    counts.extend((summary.errors > 0).then(|| format!("{} wrong", summary.errors)));
    counts.extend((summary.warnings > 0).then(|| format!("{} to look at", summary.warnings)));
    counts.extend((summary.follow > 0).then(|| format!("{} that follow", summary.follow)));
    counts.extend((summary.not_checked > 0).then(|| format!("{} groups not checked", summary.not_checked)));
    let _ = writeln!(
        out,
        "result: {}: {}",
        status.conclusion.painted(printer),
        counts.join(", ")
    );
}
