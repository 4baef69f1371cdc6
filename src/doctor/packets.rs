//! What becomes of packets on nodes: sizes, connections, forwarding. What `verify` finds of them is taken from there.

use super::{
    book::{Book, finding, listed},
    machines::Machine,
    report::{DoctorFinding, State, Topic},
};
use crate::{findings::Severity, verify::report::NodeFinding};
use std::collections::{BTreeMap, BTreeSet};

/// Checks of `verify` that count here, by the line that they belong to.
pub const CHECKS: [(&str, &[&str]); 6] = [
    (
        FILES,
        &[
            "verify-conf-missing",
            "verify-conf-broken",
            "verify-conf-foreign",
            "verify-plugin-missing",
        ],
    ),
    (LEFTOVERS, &["verify-leftover"]),
    (
        "firewall",
        &[
            "verify-forward-dropped",
            "verify-iptables-both",
            "verify-service-proxy-missing",
        ],
    ),
    (SIZES, &["verify-overlay-mtu", "verify-pod-veth-mtu", "verify-pod-mtu"]),
    (CONNECTIONS, &["verify-conntrack-full", "verify-neighbours-full"]),
    (FORWARDING, &["verify-forwarding-off", "verify-bridge-netfilter"]),
];
const FILES: &str = "cni files";
const LEFTOVERS: &str = "leftovers";
const SIZES: &str = "packet sizes";
const CONNECTIONS: &str = "connections";
const FORWARDING: &str = "forwarding";

/// Ids of those checks.
pub fn ids() -> BTreeSet<String> {
    let ids = CHECKS.iter().flat_map(|(_, ids)| *ids);
    ids.map(|id| (*id).to_owned()).collect()
}

/// A line for each of them. `found`: what `verify` says, of these checks only.
pub fn judge(machines: &BTreeMap<String, Machine>, found: &[NodeFinding], book: &mut Book) {
    if machines.is_empty() {
        return;
    }
    for one in found.iter().filter(|one| one.follows_from.is_none()) {
        book.findings.push(DoctorFinding {
            topic: Topic::Network,
            finding: one.finding.clone(),
            next: format!("kubectl netcheck verify {} -o wide", one.node),
        });
    }
    sizes(machines, found, book);
    for (check, ids) in CHECKS {
        let is_it = |id: &str| ids.contains(&id) || own(check) == Some(id);
        let mut here = book.findings.iter().filter(|one| is_it(&one.finding.id));
        let worst = here.clone().map(|one| one.finding.severity).max();
        let says = match here.next() {
            None => well(check, machines),
            Some(first) => format!(
                "{}: {}{}",
                first.finding.subject,
                first.finding.actual,
                match here.count() {
                    0 => String::new(),
                    more => format!(", and {more} more"),
                }
            ),
        };
        if check == FORWARDING && worst.is_none() && machines.values().all(|machine| machine.forwards.is_none()) {
            book.untold(Topic::Network, check, "no node's parameters could be read");
            continue;
        }
        book.line(Topic::Network, check, worst.map_or(State::Ok, State::from), says);
    }
}

/// The finding of `doctor`'s own that belongs to a line of `verify`'s checks.
fn own(check: &str) -> Option<&'static str> {
    match check {
        SIZES => Some("doctor-mtu-too-large"),
        LEFTOVERS => Some("doctor-conf-leftover"),
        _ => None,
    }
}

/// What is said where nothing is wrong.
fn well(check: &str, machines: &BTreeMap<String, Machine>) -> String {
    let all = machines.values();
    match check {
        SIZES => {
            let underlay = spread(all.clone().filter_map(|machine| Some(machine.underlay.as_ref()?.1)));
            let tunnels = spread(
                all.clone()
                    .flat_map(|machine| machine.tunnels.values().map(|(mtu, _)| *mtu)),
            );
            let pods = spread(all.flat_map(|machine| machine.pods.values().copied()));
            let parts = [("underlay", underlay), ("tunnels", tunnels), ("pods", pods)];
            let parts: Vec<String> = parts
                .into_iter()
                .filter_map(|(what, mtu)| Some(format!("{what} {}", mtu?)))
                .collect();
            format!("{} bytes", parts.join(", "))
        }
        CONNECTIONS => {
            let fullest = all
                .filter_map(|machine| machine.connections)
                .max_by_key(|(count, most)| count.saturating_mul(1000) / (*most).max(1));
            fullest.map_or_else(
                || "no node has a table of connections".to_owned(),
                |(count, most)| format!("at most {count} of {most} in the table"),
            )
        }
        FORWARDING => {
            let on = machines.iter().filter(|(_, machine)| machine.forwards == Some(true));
            format!("on, on {}", listed(on.map(|(node, _)| node)))
        }
        FILES => "the configuration in force is whole, and its plugins are there".to_owned(),
        LEFTOVERS => "nothing of other networks".to_owned(),
        _ => "no rule is in the way of forwarded packets".to_owned(),
    }
}

/// `1450`, or `1450–1500`.
fn spread(values: impl Iterator<Item = u32>) -> Option<String> {
    let values: BTreeSet<u32> = values.collect();
    let (first, last) = (values.first()?, values.last()?);
    Some(if first == last {
        first.to_string()
    } else {
        format!("{first}–{last}")
    })
}

/// Whether each thing fits into what carries it. Where `verify` knows what the network wants, it alone speaks.
fn sizes(machines: &BTreeMap<String, Machine>, found: &[NodeFinding], book: &mut Book) {
    for (node, machine) in machines {
        let is_judged = |one: &&NodeFinding| one.node == *node && one.finding.id.ends_with("-mtu");
        let Some((uplink, most)) = machine
            .underlay
            .as_ref()
            .filter(|_| !found.iter().any(|one| is_judged(&one)))
        else {
            continue;
        };
        let mut say = |object: String, expected: String, actual: String| {
            let mut found = finding("doctor-mtu-too-large", format!("node/{node} {object}"), actual);
            found.expected = expected;
            found.severity = Severity::Error;
            found.evidence = vec![format!("on {node}: ip -d link show")];
            book.find(Topic::Network, found, format!("kubectl netcheck verify {node} -o wide"));
        };
        for (tunnel, (mtu, overhead)) in &machine.tunnels {
            if mtu + overhead > *most {
                say(
                    format!("link {tunnel}"),
                    format!(
                        "at most {} bytes: {uplink} takes {most}",
                        most.saturating_sub(*overhead)
                    ),
                    format!("mtu {mtu}, and {overhead} around it"),
                );
            }
        }
        let large: Vec<(&String, &u32)> = machine.pods.iter().filter(|(_, mtu)| *mtu > most).collect();
        if let Some((pod, mtu)) = large.first() {
            say(
                format!("pod {pod}"),
                format!("at most {most} bytes, as {uplink} takes"),
                match large.len() {
                    1 => format!("it sends up to {mtu}"),
                    count => format!("it sends up to {mtu}, and so do {} more", count - 1),
                },
            );
        }
    }
}
