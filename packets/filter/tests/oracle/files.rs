//! Files: the same packets as tcpdump, and the same expressions refused.

use std::collections::BTreeSet;

use libtest_mimic::{Failed, Trial};
use netcheck_filter::{Filter, Loopback, NoNames, Options, Packet, Source, WHOLE_PACKET, run};
use netcheck_trials::{Need, trial};

use crate::expressions::{ACCEPTED_HERE, BOTH, OTHERWISE, REFUSED_BY_BOTH, REFUSED_HERE};
use crate::tcpdump::{Corpus, ETHERNET, RAW, Verdict};
use crate::{corpus, expressions};

pub fn trials() -> Vec<Trial> {
    vec![
        judged_by_tcpdump("the same frames of an Ethernet file pass", || {
            same_packets(Source::EthernetFile, ETHERNET, corpus::ethernet())
        }),
        judged_by_tcpdump("the same packets of a raw IP file pass", || {
            same_packets(Source::RawFile, RAW, corpus::raw())
        }),
        judged_by_tcpdump("what tcpdump refuses is refused", refused_by_both),
        judged_by_tcpdump("known differences are as documented", differences),
    ]
}

/// A test that tcpdump judges.
pub fn judged_by_tcpdump(name: &str, test: fn() -> Result<(), Failed>) -> Trial {
    trial(name, &[Need::Program("tcpdump")], test)
}

/// Which packets pass here, or why the expression is refused.
pub fn ours(expression: &str, source: Source, packets: &[corpus::Packet]) -> Result<BTreeSet<usize>, String> {
    let options = Options {
        source,
        snap_length: WHOLE_PACKET,
        loopback: Loopback::Twice,
    };
    let program = Filter::parse(expression)
        .and_then(|filter| filter.compile(options, &NoNames))
        .map_err(|error| error.to_string())?;
    let passes = |packet: &corpus::Packet| {
        let packet = Packet {
            original_length: packet.original_length,
            ..Packet::from(&*packet.bytes)
        };
        run(&program, packet) == WHOLE_PACKET
    };
    Ok(packets
        .iter()
        .enumerate()
        .filter(|(_, packet)| passes(packet))
        .map(|(index, _)| index)
        .collect())
}

/// How ours and tcpdump's judgement of an expression differ, if they do.
///
/// libpcap's optimiser leaves away reads whose outcome cannot matter, so cut packets may pass only with it. Where tcpdump with and
/// without it disagree, either is right.
pub fn difference(expression: &str, source: Source, corpus: &Corpus) -> Option<String> {
    let ours = ours(expression, source, &corpus.packets);
    match (ours, corpus.ask(expression, true), corpus.ask(expression, false)) {
        (Err(_), Verdict::Refused(_), _) => None,
        (Err(ours), Verdict::Passed(_), _) => Some(format!("`{expression}`: refused here only: {ours}")),
        (Ok(ours), Verdict::Refused(theirs), unoptimised) => match unoptimised {
            // The optimiser has found out that nothing passes.
            Verdict::Passed(none) if theirs.contains("rejects all packets") && ours == none => None,
            _ => Some(format!("`{expression}`: refused by tcpdump only: {theirs}")),
        },
        (Ok(ours), Verdict::Passed(optimised), Verdict::Passed(plain)) => {
            let wrong: Vec<usize> = (0..corpus.packets.len())
                .filter(|index| optimised.contains(index) == plain.contains(index))
                .filter(|index| ours.contains(index) != plain.contains(index))
                .collect();
            let first = corpus.packets.get(*wrong.first()?)?;
            Some(format!(
                "`{expression}`: {} packets judged differently, the first is {first:02x?}",
                wrong.len()
            ))
        }
        (Ok(_), Verdict::Passed(_), Verdict::Refused(theirs)) => Some(format!("`{expression}`: {theirs}")),
    }
}

fn same_packets(source: Source, link_type: u32, packets: Vec<corpus::Packet>) -> Result<(), Failed> {
    let corpus = Corpus::new(packets, link_type);
    let mut wrong: Vec<String> = BOTH
        .iter()
        .filter_map(|expression| difference(expression, source, &corpus))
        .collect();
    // Long lists differ for packets cut between their addresses, as documented.
    let is_whole =
        |packet: &corpus::Packet| packet.bytes.len() >= 54 || packet.bytes.len() == packet.original_length as usize;
    let whole = Corpus::new(corpus.packets.into_iter().filter(is_whole).collect(), link_type);
    wrong.extend(
        expressions::long()
            .iter()
            .filter_map(|expression| difference(expression, source, &whole)),
    );
    report(&wrong)
}

fn refused_by_both() -> Result<(), Failed> {
    let corpus = Corpus::new(corpus::ethernet(), ETHERNET);
    let mut wrong = Vec::new();
    for expression in REFUSED_BY_BOTH {
        if ours(expression, Source::EthernetFile, &corpus.packets).is_ok() {
            wrong.push(format!("`{expression}` is accepted here"));
        }
        if let Verdict::Passed(_) = corpus.ask(expression, true) {
            wrong.push(format!("`{expression}` is accepted by tcpdump"));
        }
    }
    report(&wrong)
}

fn differences() -> Result<(), Failed> {
    let corpus = Corpus::new(corpus::ethernet(), ETHERNET);
    let mut wrong = Vec::new();
    for expression in REFUSED_HERE {
        if ours(expression, Source::EthernetFile, &corpus.packets).is_ok() {
            wrong.push(format!("`{expression}` is accepted here"));
        }
        if let Verdict::Refused(theirs) = corpus.ask(expression, false) {
            wrong.push(format!("`{expression}` is refused by tcpdump, too: {theirs}"));
        }
    }
    for (expression, theirs) in OTHERWISE {
        let ours = ours(expression, Source::EthernetFile, &corpus.packets)?;
        match corpus.ask(theirs, true) {
            Verdict::Passed(passed) if passed == ours => {}
            _ => wrong.push(format!("`{expression}` is not tcpdump's `{theirs}`")),
        }
    }
    for expression in ACCEPTED_HERE {
        if let Err(ours) = ours(expression, Source::EthernetFile, &corpus.packets) {
            wrong.push(format!("`{expression}` is refused here: {ours}"));
        }
        if let Verdict::Passed(_) = corpus.ask(expression, true) {
            wrong.push(format!("`{expression}` is accepted by tcpdump, too"));
        }
    }
    report(&wrong)
}

pub fn report(wrong: &[String]) -> Result<(), Failed> {
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(format!("{} differences\n{}", wrong.len(), wrong.join("\n")).into())
    }
}
