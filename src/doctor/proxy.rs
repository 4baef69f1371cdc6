//! The service proxy: what the API lets one guess, and what nodes hold.

use super::{
    book::{Book, finding, listed},
    machines::Machine,
    report::{State, Topic},
};
use crate::verify::services::Proxy;
use std::collections::{BTreeMap, BTreeSet};

const CHECK: &str = "service proxy";

/// What the API shows of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guess {
    /// Who it should be.
    pub proxy: Option<Proxy>,
    /// By what that is guessed.
    pub evidence: String,
    /// Why nothing could be read.
    pub unread: Option<String>,
}

impl Guess {
    /// By a mode in kube-proxy's configuration; empty is the default of Linux.
    pub fn of_mode(mode: &str) -> Option<Proxy> {
        match mode {
            "" | "iptables" => Some(Proxy::Iptables),
            "nftables" => Some(Proxy::Nftables),
            "ipvs" => Some(Proxy::Ipvs),
            _ => None,
        }
    }
}

/// The `mode` of a `KubeProxyConfiguration`, which is YAML: one line at its top level.
pub fn mode_of(configuration: &str) -> &str {
    let line = configuration.lines().find_map(|line| line.strip_prefix("mode:"));
    line.unwrap_or_default().trim().trim_matches(['"', '\''])
}

/// One line; the proxy, if it is known.
pub fn judge(guess: &Guess, machines: &BTreeMap<String, Machine>, book: &mut Book) -> Option<String> {
    let known: Vec<(&String, &BTreeSet<Proxy>)> = machines
        .iter()
        .filter_map(|(node, machine)| Some((node, machine.proxies.as_ref().ok()?)))
        .collect();
    if known.is_empty() {
        return guessed(guess, machines, book);
    }
    let before = book.findings.len();
    for (node, proxies) in &known {
        one_node(guess, node, proxies, book);
    }
    let mut by_words: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, proxies) in &known {
        let words: Vec<&str> = proxies.iter().map(|proxy| proxy.name()).collect();
        let words = if words.is_empty() {
            "none that this version knows".to_owned()
        } else {
            words.join(" and ")
        };
        by_words.entry(words).or_default().push(node);
    }
    let says: Vec<String> = by_words
        .iter()
        .map(|(words, nodes)| format!("{words}, in fact, on {}", listed(nodes)))
        .collect();
    let state = if book.findings.len() > before {
        State::Warning
    } else {
        State::Ok
    };
    book.line(Topic::Network, CHECK, state, says.join("; "))
        .next("kubectl netcheck verify");
    let first = known.first().and_then(|(_, proxies)| proxies.first())?;
    Some(first.name().to_owned())
}

fn guessed(guess: &Guess, machines: &BTreeMap<String, Machine>, book: &mut Book) -> Option<String> {
    let unread = machines.values().find_map(|machine| machine.proxies.as_ref().err());
    match (&guess.proxy, unread.or(guess.unread.as_ref())) {
        (Some(proxy), _) => {
            let says = format!("{}, by {}", proxy.name(), guess.evidence);
            book.line(Topic::Network, CHECK, State::Ok, says);
            Some(proxy.name().to_owned())
        }
        (None, Some(why)) => {
            book.untold(Topic::Network, CHECK, why);
            None
        }
        (None, None) => {
            book.untold(
                Topic::Network,
                CHECK,
                "no DaemonSet kube-proxy and nothing that replaces it is in the API: only nodes can tell",
            );
            None
        }
    }
}

fn one_node(guess: &Guess, node: &str, proxies: &BTreeSet<Proxy>, book: &mut Book) {
    let next = format!("kubectl netcheck verify {node} -o wide");
    let words = || {
        let words: Vec<&str> = proxies.iter().map(|proxy| proxy.name()).collect();
        words.join(" and ")
    };
    if proxies.len() > 1 {
        let mut found = finding(
            "doctor-proxy-leftover",
            format!("node/{node}"),
            format!("{} have programmed it", words()),
        );
        found.cause = guess.proxy.filter(|proxy| proxies.contains(proxy)).map(|proxy| {
            format!(
                "{} is in use by {}: the other is left over",
                proxy.name(),
                guess.evidence
            )
        });
        book.find(Topic::Network, found, next);
    } else if let Some(wanted) = guess.proxy.filter(|wanted| !proxies.contains(wanted)) {
        let actual = if proxies.is_empty() {
            "nothing of it is there".to_owned()
        } else {
            words()
        };
        let mut found = finding("doctor-proxy-disagrees", format!("node/{node}"), actual);
        found.expected = format!("{}, by {}", wanted.name(), guess.evidence);
        book.find(Topic::Network, found, next);
    }
}
