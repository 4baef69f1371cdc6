//! The pod network: what the API lets one guess, and what nodes hold.

use super::{
    book::{Book, finding, listed},
    machines::{InForce, Machine},
    report::{State, Topic},
};
use crate::networks::{self, Trace};
use std::collections::{BTreeMap, BTreeSet};

const CHECK: &str = "pod network";
const NEXT: &str = "kubectl netcheck verify";

/// Networks that are at work, by the API; where none is, those that left a trace.
pub fn guess(traces: &[Trace]) -> Vec<&Trace> {
    let active: Vec<&Trace> = traces.iter().filter(|trace| trace.is_active).collect();
    if active.is_empty() {
        traces.iter().collect()
    } else {
        active
    }
}

fn goes_with(one: &str, other: &str) -> bool {
    one == other || networks::named(one).is_some_and(|one| one.goes_with(other))
}

/// Lines about it; its name, if it is known. `judged`: what `verify` takes it for.
pub fn judge(
    traces: &Result<Vec<Trace>, String>,
    machines: &BTreeMap<String, Machine>,
    judged: Option<&str>,
    book: &mut Book,
) -> Option<String> {
    let all = traces.as_deref().unwrap_or_default();
    let guessed = guess(all);
    remains(all, &guessed, book);
    if machines.is_empty() {
        return by_the_api(traces, &guessed, book);
    }
    let before = book.findings.len();
    let mut by_words: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    let mut name = None;
    for (node, machine) in machines {
        let (words, own) = in_fact(machine, &guessed, judged);
        by_words.entry(words).or_default().push(node);
        name = name.or(own);
        one_node(&guessed, judged, node, machine, book);
    }
    let says: Vec<String> = by_words
        .iter()
        .map(|(words, nodes)| format!("{words}, on {}", listed(nodes)))
        .collect();
    let evidence = guessed.first().filter(|first| first.is_active);
    let evidence = evidence.map_or_else(String::new, |first| format!(" ({})", first.evidence));
    let says = format!("{}{evidence}", says.join("; "));
    let wrong = &book.findings[before..];
    let worst = wrong.iter().map(|one| one.finding.severity).max();
    let state = match worst {
        Some(severity) => severity.into(),
        None if name.is_some() => State::Ok,
        None => State::Unknown,
    };
    book.line(Topic::Network, CHECK, state, says).next(NEXT);
    name
}

/// Without a look at any node.
fn by_the_api(traces: &Result<Vec<Trace>, String>, guessed: &[&Trace], book: &mut Book) -> Option<String> {
    match (traces, guessed) {
        (Err(why), []) => {
            book.untold(Topic::Network, CHECK, why)
                .next("kubectl netcheck rbac doctor");
            None
        }
        (_, []) => {
            book.untold(
                Topic::Network,
                CHECK,
                "no network that this version knows shows itself in the API: only nodes can tell",
            );
            None
        }
        (_, [first, ..]) if networks::named(&first.name).is_none() => {
            let says = format!("{} ({}), which this version does not know", first.name, first.evidence);
            book.untold(Topic::Network, CHECK, &says);
            None
        }
        (_, [first, ..]) => {
            let names = listed(guessed.iter().map(|trace| trace.name.as_str()));
            let sure = if first.is_active { "" } else { "probably " };
            let says = format!("{sure}{names}, by {}", first.evidence);
            book.line(Topic::Network, CHECK, State::Ok, says).next(NEXT);
            Some(first.name.clone())
        }
    }
}

/// What a node has, in words, and its name.
fn in_fact(machine: &Machine, guessed: &[&Trace], judged: Option<&str>) -> (String, Option<String>) {
    match &machine.configuration {
        Ok(configuration) => {
            let (words, name) = of_configuration(configuration, machine, guessed, judged);
            let multus = if configuration.has_multus {
                "Multus, and behind it "
            } else {
                ""
            };
            let says = format!("{multus}{words}, in fact: {}", in_words(configuration));
            (says, name)
        }
        // Runtimes of some distributions have their configurations elsewhere.
        Err(why) => match judged.or_else(|| Some(guessed.first()?.name.as_str())) {
            Some(name) => (format!("{name}, by its agents ({why})"), Some(name.to_owned())),
            None => (format!("not known ({why})"), None),
        },
    }
}

fn in_words(configuration: &InForce) -> String {
    format!("{} with {}", configuration.file, listed(&configuration.plugins))
}

fn of_configuration(
    configuration: &InForce,
    machine: &Machine,
    guessed: &[&Trace],
    judged: Option<&str>,
) -> (String, Option<String>) {
    let names = names(configuration, machine, judged);
    if !names.is_empty() {
        let name = names.first().map(|name| (*name).to_owned());
        return (names.into_iter().collect::<Vec<_>>().join(" and "), name);
    }
    if let Some(style) = configuration.style {
        return (style.to_owned(), Some(style.to_owned()));
    }
    if let (true, Some(first)) = (configuration.has_multus, guessed.first()) {
        return (first.name.clone(), Some(first.name.clone()));
    }
    ("a network that this version does not know".to_owned(), None)
}

/// Networks by the configuration. Of reference plugins, which networks may call as well as people: what its bridge or `verify` tells, unless the
/// network's own configuration comes behind this one.
fn names(configuration: &InForce, machine: &Machine, judged: Option<&str>) -> BTreeSet<&'static str> {
    if !configuration.networks.is_empty() || configuration.style.is_none() {
        return configuration.networks.clone();
    }
    let bridge = machine.by_devices.iter().copied().filter(|name| *name == "kube-router");
    let judged = judged.and_then(networks::named).map(|known| known.name);
    let is_behind = |name: &str| machine.other_configurations.iter().any(|(_, of)| goes_with(name, of));
    bridge.chain(judged).filter(|name| !is_behind(name)).collect()
}

fn one_node(guessed: &[&Trace], judged: Option<&str>, node: &str, machine: &Machine, book: &mut Book) {
    let next = format!("kubectl netcheck verify {node} -o wide");
    let Ok(configuration) = &machine.configuration else {
        return;
    };
    let names = names(configuration, machine, judged);
    let active: Vec<&&Trace> = guessed.iter().filter(|trace| trace.is_active).collect();
    // Of some networks no plugin of their own is known, and Multus hands on to another configuration.
    let is_decidable = |name: &str| networks::named(name).is_some_and(networks::Known::tells_itself);
    let agrees = active
        .iter()
        .any(|trace| names.iter().any(|name| goes_with(&trace.name, name)));
    if !active.is_empty() && !agrees && !configuration.has_multus && active.iter().all(|one| is_decidable(&one.name)) {
        let mut found = finding(
            "doctor-cni-disagrees",
            format!("node/{node} {}", configuration.file),
            format!("its plugins are {}", listed(&configuration.plugins)),
        );
        found.expected = format!("a configuration of {}", listed(active.iter().map(|one| &one.name)));
        found.evidence = active.iter().map(|one| one.evidence.clone()).collect();
        found.evidence.push(format!("on {node}: ls -l /etc/cni/net.d"));
        book.find(Topic::Network, found, next.clone());
    }
    for (file, name) in &machine.other_configurations {
        let is_own =
            names.iter().any(|own| goes_with(own, name)) || active.iter().any(|one| goes_with(&one.name, name));
        if !is_own {
            let mut found = finding(
                "doctor-conf-leftover",
                format!("node/{node} {file}"),
                format!("it is of {name}"),
            );
            found.evidence = vec![format!("on {node}: cat /etc/cni/net.d/{file}")];
            found.fix = Some(format!("on {node}: rm /etc/cni/net.d/{file}"));
            book.find(Topic::Network, found, next.clone());
        }
    }
}

/// Marks of networks that are not at work, while another one is.
fn remains(all: &[Trace], guessed: &[&Trace], book: &mut Book) {
    let active: Vec<&&Trace> = guessed.iter().filter(|trace| trace.is_active).collect();
    if active.is_empty() {
        return;
    }
    let is_past = |trace: &&Trace| !trace.is_active && !active.iter().any(|one| goes_with(&one.name, &trace.name));
    for trace in all.iter().filter(is_past) {
        let mut found = finding(
            "doctor-network-remains",
            trace.name.clone(),
            format!("{}, and nothing of it is at work", trace.evidence),
        );
        found.evidence = active
            .iter()
            .map(|one| format!("at work: {} ({})", one.name, one.evidence))
            .collect();
        book.line(
            Topic::Network,
            "earlier networks",
            State::Warning,
            format!("{}, by {}", trace.name, trace.evidence),
        );
        book.find(Topic::Network, found, "kubectl get nodes -o yaml");
    }
}
