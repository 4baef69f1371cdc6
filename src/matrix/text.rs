//! The report for people: `-o table` (grid, then what did not hold) and `-o wide` (a line a row).

use super::{
    class::{Class, Meaning},
    grid,
    naming::exact,
    report::{Conclusion, MatrixReport, Observation, PacketSeen, Party, Row},
    style::{Style, cell},
};
use crate::output::{Cell, Table};
use std::{collections::BTreeMap, fmt::Write as _};

/// Failed rows shown with all their evidence; the others are counted.
const MOST_SHOWN: usize = 12;
/// Reasons shown for rows that could not be told.
const MOST_REASONS: usize = 12;

/// `-o table`. Writing to a String cannot fail, so the results of `writeln!` are dropped throughout.
pub fn table(report: &MatrixReport, style: Style<'_>) -> String {
    let rows = &report.status.rows;
    let mut out = String::new();
    if rows.is_empty() {
        let _ = writeln!(out, "nothing to test: no pair in scope has a port or address to probe");
    } else {
        out.push_str(&grid::render(rows, report.spec.full, style));
    }
    failures(&mut out, rows, style);
    inconclusive(&mut out, report, style);
    out.push('\n');
    coverage(&mut out, report);
    closing(&mut out, report, style);
    out
}

/// `-o wide`.
pub fn wide(report: &MatrixReport, style: Style<'_>) -> String {
    let mut table = Table::new([
        "SOURCE",
        "NODE",
        "DESTINATION",
        "NODE",
        "PROTOCOL",
        "FAMILY",
        "PORT",
        "RESULT",
        "TIME",
        "REASON",
    ]);
    for row in &report.status.rows {
        let node = |party: &Party| party.node.clone().unwrap_or_else(|| "-".into());
        table.push([
            Cell::from(exact(&row.source)),
            Cell::from(node(&row.source)),
            Cell::from(exact(&row.destination)),
            Cell::from(node(&row.destination)),
            Cell::from(row.protocol.id()),
            Cell::from(row.family.id()),
            Cell::from(row.port.map_or_else(|| "-".into(), |port| port.to_string())),
            cell(row.class, row.class.id()),
            Cell::from(row.elapsed_us.map_or_else(|| "-".into(), milliseconds)),
            Cell::from(match (&row.backend, row.class) {
                (Some(backend), Class::Reached) if row.destination.kind != "Pod" => {
                    format!("{} by {backend}", row.reason)
                }
                _ => row.reason.clone(),
            }),
        ]);
    }
    let mut out = style.table(&table);
    out.push('\n');
    coverage(&mut out, report);
    closing(&mut out, report, style);
    out
}

/// `-o name`.
pub fn names(report: &MatrixReport) -> String {
    report.status.rows.iter().fold(String::new(), |mut out, row| {
        let _ = writeln!(out, "{}", row.id);
        out
    })
}

/// A row's title: who, whom, how.
pub fn title(row: &Row) -> String {
    let port = row.port.map_or_else(String::new, |port| format!("{port}/"));
    let relation = row
        .relation
        .map_or_else(String::new, |relation| format!(" ({})", relation.id()));
    format!(
        "{} -> {} {port}{} {}{relation}",
        exact(&row.source),
        exact(&row.destination),
        row.protocol.id(),
        row.family.id()
    )
}

/// What a failed row rests on, line by line; the JUnit report carries the same.
pub fn evidence(row: &Row) -> Vec<(&'static str, String)> {
    let mut lines = vec![("reason", row.reason.clone())];
    lines.extend(row.cause.clone().map(|cause| ("cause", cause)));
    lines.extend(row.transport.map(|transport| ("packets", transport.title().to_owned())));
    lines.extend(
        row.source_saw
            .as_ref()
            .map(|saw| ("source", saw_in_words(saw, row.elapsed_us))),
    );
    let passed = row.transit_saw.iter().filter(|saw| !saw.packets.is_empty());
    lines.extend(passed.map(|saw| ("way", saw_in_words(saw, None))));
    let interesting = row.destinations_saw.iter().filter(|saw| !saw.packets.is_empty());
    let first = row.destinations_saw.first().filter(|saw| saw.packets.is_empty());
    lines.extend(
        interesting
            .chain(first)
            .take(3)
            .map(|saw| ("dest", saw_in_words(saw, None))),
    );
    lines.extend(row.on_path.iter().map(|line| ("on path", line.clone())));
    lines.extend(row.next_step.clone().map(|step| ("next", step)));
    lines
}

fn saw_in_words(saw: &Observation, elapsed_us: Option<u64>) -> String {
    let mut text = saw.place.clone();
    if let Some(outcome) = &saw.outcome {
        let _ = write!(text, ": {outcome}");
    }
    if let Some(elapsed) = elapsed_us {
        let _ = write!(text, " after {}", milliseconds(elapsed));
    }
    if let Some(why) = &saw.not_watched {
        let _ = write!(text, "; not watched: {why}");
        return text;
    }
    if saw.packets.is_empty() {
        text.push_str("; saw nothing of it");
    }
    for (packet, times) in without_repeats(&saw.packets) {
        let _ = write!(text, "; {}", packet_in_words(packet));
        if times > 1 {
            let _ = write!(text, " ({times} times)");
        }
    }
    if saw.missed > 0 {
        let _ = write!(text, "; may have missed {} packets", saw.missed);
    }
    text
}

/// A packet and its retransmissions as one.
fn without_repeats(packets: &[PacketSeen]) -> Vec<(&PacketSeen, usize)> {
    let same = |one: &PacketSeen, other: &PacketSeen| {
        let what = |packet: &PacketSeen| (packet.from, packet.to);
        what(one) == what(other)
            && one.interface == other.interface
            && one.direction == other.direction
            && one.packet == other.packet
    };
    let mut distinct: Vec<(&PacketSeen, usize)> = Vec::new();
    for packet in packets {
        match distinct.iter_mut().find(|(known, _)| same(known, packet)) {
            Some((_, times)) => *times += 1,
            None => distinct.push((packet, 1)),
        }
    }
    distinct
}

fn packet_in_words(packet: &PacketSeen) -> String {
    format!(
        "+{} {} {} {} {} > {}",
        milliseconds(packet.after_us),
        packet.interface,
        packet.direction,
        packet.packet,
        packet.from,
        packet.to
    )
}

fn milliseconds(us: u64) -> String {
    // Times of a run are far below 2^52 microseconds, so the conversion is exact.
    #[allow(
        clippy::cast_precision_loss,
        reason = "times of a run are far below 2^52 microseconds"
    )]
    let ms = us as f64 / 1000.0;
    if ms >= 100.0 {
        format!("{:.2}s", ms / 1000.0)
    } else {
        format!("{ms:.2}ms")
    }
}

fn failures(out: &mut String, rows: &[Row], style: Style<'_>) {
    let mut failed: Vec<&Row> = rows
        .iter()
        .filter(|row| row.class.meaning() == Meaning::Failed)
        .collect();
    // One row of each kind of failure first: the twentieth of the same kind says nothing new.
    let mut seen: BTreeMap<(Class, &str, &str), usize> = BTreeMap::new();
    let mut ranked: Vec<(usize, usize, &Row)> = Vec::new();
    for (index, row) in failed.drain(..).enumerate() {
        let nodes = (
            row.source.node.as_deref().unwrap_or_default(),
            row.destination.node.as_deref().unwrap_or_default(),
        );
        let repeat = seen.entry((row.class, nodes.0, nodes.1)).or_default();
        ranked.push((*repeat, index, row));
        *repeat += 1;
    }
    ranked.sort_by_key(|(repeat, index, _)| (*repeat, *index));
    for (_, _, row) in ranked.iter().take(MOST_SHOWN) {
        let _ = writeln!(out, "\n{}: {}", title(row), style.word(row.class, row.class.title()));
        for (head, line) in evidence(row) {
            let _ = writeln!(out, "  {head:<8} {line}");
        }
    }
    let more = ranked.len().saturating_sub(MOST_SHOWN);
    if more > 0 {
        let _ = writeln!(
            out,
            "\nand {more} more failed rows (-o wide lists all, -o json has all evidence)"
        );
    }
}

fn inconclusive(out: &mut String, report: &MatrixReport, style: Style<'_>) {
    let mut reasons: BTreeMap<(Class, &str, &str), Vec<&Row>> = BTreeMap::new();
    for row in report
        .status
        .rows
        .iter()
        .filter(|row| row.class.meaning() == Meaning::Inconclusive)
    {
        let finding = row.finding.as_deref().unwrap_or_default();
        reasons.entry((row.class, &row.reason, finding)).or_default().push(row);
    }
    if reasons.is_empty() {
        return;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(key, rows)| (std::cmp::Reverse(rows.len()), *key));
    out.push('\n');
    for ((class, reason, finding), rows) in reasons.iter().take(MOST_REASONS) {
        let example = rows.first().map_or_else(String::new, |row| title(row));
        let _ = match rows.len() {
            1 => writeln!(
                out,
                "{}: {example}: {reason} ({finding})",
                style.word(*class, class.word())
            ),
            count => writeln!(
                out,
                "{}: {count} rows, such as {example}: {reason} ({finding})",
                style.word(*class, class.word())
            ),
        };
    }
    let more = reasons.len().saturating_sub(MOST_REASONS);
    if more > 0 {
        let _ = writeln!(
            out,
            "and {more} more reasons (-o wide lists all, -o json has all evidence)"
        );
    }
}

fn coverage(out: &mut String, report: &MatrixReport) {
    let coverage = &report.status.coverage;
    let over = match coverage.probes_over_limit {
        0 => String::new(),
        more => format!(", {more} more left out by --max-probes"),
    };
    let _ = writeln!(
        out,
        "coverage: {} of {} pairs tested ({}); {} probes{over}; {} of {} nodes: {}",
        coverage.pairs_tested,
        coverage.pairs_in_scope,
        coverage.sampling,
        coverage.probes_sent,
        coverage.nodes.len(),
        coverage.nodes_in_scope,
        coverage.nodes.join(" ")
    );
    for line in &coverage.out_of_scope {
        let _ = writeln!(out, "out of scope: {line}");
    }
    for untold in &coverage.untold {
        let _ = writeln!(out, "not tested: {}: {}; {}", untold.what, untold.why, untold.hint);
    }
    for line in &coverage.notes {
        let _ = writeln!(out, "note: {line}");
    }
    if !report.status.way.is_empty() {
        let _ = writeln!(out, "way: {}", report.status.way);
    }
}

fn closing(out: &mut String, report: &MatrixReport, style: Style<'_>) {
    let summary = &report.status.summary;
    let counts: Vec<String> = Class::ALL
        .iter()
        .filter_map(|class| {
            let count = summary.classes.get(class.id())?;
            Some(format!("{count} {}", style.word(*class, class.word())))
        })
        .collect();
    let (class, word) = match report.status.conclusion {
        Conclusion::Held => (Class::Reached, "held"),
        Conclusion::Failed => (Class::NeverArrived, "failed"),
        Conclusion::Inconclusive => (Class::NotTested, "inconclusive"),
        Conclusion::Interrupted => (Class::NotTested, "interrupted"),
    };
    let allowed = summary
        .inconclusive_allowed
        .as_ref()
        .filter(|_| summary.inconclusive > 0 || !report.status.coverage.untold.is_empty());
    let allowed = allowed.map_or_else(String::new, |reason| {
        format!(" (what could not be told is allowed: {reason})")
    });
    let timing = &report.status.timing;
    let _ = writeln!(
        out,
        "result: {}: {} rows: {}{allowed}; agents {}, probes {}",
        style.word(class, word),
        summary.rows,
        if counts.is_empty() {
            "none".into()
        } else {
            counts.join(", ")
        },
        milliseconds(timing.agents_ms * 1000),
        milliseconds(timing.probe_phase_ms * 1000),
    );
}

#[cfg(test)]
mod tests;
