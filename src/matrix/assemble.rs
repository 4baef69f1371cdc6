//! From verdicts to the report: names, observations in words, counts.

use super::{
    advice::next_step,
    class::{Class, Meaning},
    evidence::{Observed, SourceSide, Watch},
    icmp,
    judge::Verdict,
    naming::{Names, exact},
    plan,
    report::{Conclusion, Observation, PacketSeen, Party, Row, Summary},
};
use crate::output::safe;
use netcheck_wire::probe::{Direction, Outcome, Packet, Sighting};
use std::{collections::BTreeMap, net::IpAddr};

/// A row of the report.
pub fn row(
    names: &Names<'_>,
    planned: &plan::Row,
    observed: &Observed,
    verdict: Verdict,
    source_ips: &[IpAddr],
) -> Row {
    let source = clean_party(names.source(&planned.pair.from));
    let destination = clean_party(names.destination(&planned.pair.to));
    let told = observed.source.as_ref().ok();
    // All that agents and the API say is somebody else's text: cleaned here, once, for every kind of output.
    let clean = |text: Option<String>| text.map(|text| safe(&text));
    Row {
        id: safe(&names.id(planned)),
        case: safe(&names.case(planned)),
        class: verdict.class,
        finding: verdict.finding().map(Into::into),
        next_step: next_step(planned, &verdict, &source, &destination, source_ips),
        source,
        destination,
        relation: planned.pair.relation,
        protocol: planned.protocol,
        family: planned.family,
        port: planned.target.map(|target| target.port()).filter(|port| *port != 0),
        port_name: clean(planned.port_name.clone()),
        target: planned.target,
        expected: None,
        reason: safe(&verdict.reason),
        cause: clean(verdict.cause),
        by: clean(verdict.by),
        backend: clean(verdict.backend),
        transport: verdict.transport,
        elapsed_us: told
            .filter(|told| !matches!(told.outcome, Outcome::NotSent { .. }))
            .map(|told| told.elapsed.as_micros() as u64),
        source_saw: told.map(|told| source_saw(&names.in_words(&planned.pair.from), told)),
        on_path: Vec::new(),
        transit_saw: observed.transit.iter().map(end_saw).collect(),
        destinations_saw: observed.ends.iter().filter(|_| told.is_some()).map(end_saw).collect(),
    }
}

fn clean_party(party: Party) -> Party {
    let clean = |text: Option<String>| text.map(|text| safe(&text));
    Party {
        kind: party.kind,
        namespace: clean(party.namespace),
        name: safe(&party.name),
        workload: clean(party.workload),
        node: clean(party.node),
    }
}

fn source_saw(place: &str, told: &SourceSide) -> Observation {
    Observation {
        place: safe(place),
        not_watched: told.blind.as_deref().map(safe),
        missed: told.missed,
        outcome: Some(safe(&outcome(&told.outcome))),
        packets: packets(&told.saw),
    }
}

fn end_saw(end: &super::evidence::End) -> Observation {
    let (not_watched, missed) = match &end.watch {
        Watch::Blind(why) => (Some(safe(why)), 0),
        Watch::Looked { missed, .. } => (None, *missed),
    };
    Observation {
        place: safe(&end.who),
        not_watched,
        missed,
        outcome: None,
        packets: packets(end.seen()),
    }
}

/// How the probe ended, in words.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Connected => "connected".into(),
        Outcome::Resolved { rcode, addresses, .. } => {
            let addresses: Vec<String> = addresses.iter().take(4).map(ToString::to_string).collect();
            format!("DNS response {rcode} [{}]", addresses.join(" "))
        }
        Outcome::Echoed => "echo reply".into(),
        Outcome::Failed { errno } => errno.clone(),
        Outcome::TimedOut => "timeout".into(),
        Outcome::NotSent { why } => format!("not sent: {why}"),
    }
}

/// Packets with times relative to the first: clocks of two nodes are not compared.
fn packets(seen: &[Sighting]) -> Vec<PacketSeen> {
    let start = seen.iter().map(|sighting| sighting.at_ns).min().unwrap_or_default();
    seen.iter()
        .map(|sighting| PacketSeen {
            after_us: (sighting.at_ns - start) / 1000,
            interface: safe(&sighting.interface),
            direction: match sighting.direction {
                Direction::In => "in".into(),
                Direction::Out => "out".into(),
            },
            packet: packet(sighting),
            from: sighting.source,
            to: sighting.destination,
        })
        .collect()
}

fn packet(sighting: &Sighting) -> String {
    match sighting.packet {
        Packet::Syn => "SYN".into(),
        Packet::SynAck => "SYN-ACK".into(),
        Packet::Rst => "RST".into(),
        Packet::Request => "request".into(),
        Packet::Reply => "reply".into(),
        Packet::IcmpError { kind, code } => icmp::meaning(sighting.source.is_ipv6(), kind, code),
    }
}

/// Where a row stands in the report.
pub fn order(row: &Row) -> impl Ord {
    (
        (row.source.rank(), exact(&row.source)),
        (row.destination.rank(), exact(&row.destination)),
        (row.protocol, row.port, row.family, row.target),
    )
}

/// Counts rows. `allowed` is the reason for which rows that could not be told are accepted.
pub fn summary(rows: &[Row], allowed: Option<String>) -> Summary {
    let mut classes: BTreeMap<String, u64> = BTreeMap::new();
    let mut count = BTreeMap::from([(Meaning::Held, 0), (Meaning::Inconclusive, 0), (Meaning::Failed, 0)]);
    for row in rows {
        *classes.entry(row.class.id().into()).or_default() += 1;
        *count.entry(row.class.meaning()).or_default() += 1;
    }
    Summary {
        rows: rows.len() as u64,
        held: count[&Meaning::Held],
        failed: count[&Meaning::Failed],
        inconclusive: count[&Meaning::Inconclusive],
        classes,
        inconclusive_allowed: allowed,
    }
}

/// The run's result: a failed row outweighs one that could not be told.
pub fn conclusion(rows: &[Row], interrupted: bool) -> Conclusion {
    if interrupted {
        return Conclusion::Interrupted;
    }
    match rows
        .iter()
        .map(|row| row.class)
        .max_by_key(|class: &Class| class.meaning())
    {
        None => Conclusion::Inconclusive,
        Some(class) => match class.meaning() {
            Meaning::Held => Conclusion::Held,
            Meaning::Inconclusive => Conclusion::Inconclusive,
            Meaning::Failed => Conclusion::Failed,
        },
    }
}
