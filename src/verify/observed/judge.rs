//! From an interval to findings, beside those that the nodes' state has come to.

use super::{
    Interval, Probed,
    fingerprints::{FINGERPRINTS, Fingerprint, Sign},
    scene::Scene,
    total,
};
use crate::{
    findings::page,
    verify::{
        evidence::Evidence,
        found::Found,
        generic::traffic,
        group::Group,
        judge::Judgement,
        network::{Differences, Unchecked},
    },
};
use std::collections::BTreeMap;

/// The finding of probes that got lost.
const LOST: &str = "observe-probes-lost";
/// Findings of others that are told with one.
const MOST_ELSEWHERE: usize = 4;

/// Adds what the interval shows, if there was one. What the state of the same node explains follows from that.
#[must_use]
pub fn with_observed(mut judgement: Judgement, evidence: &Evidence) -> Judgement {
    let Some(interval) = &evidence.observed else {
        return judgement;
    };
    if interval.has_wrong_checksums() {
        for (node, looked) in &evidence.nodes {
            if let Ok(looked) = looked {
                let differences = judgement.nodes.entry(node.clone()).or_default();
                traffic::checksums(&looked.record, &mut differences.found);
            }
        }
    }
    // By the state alone: what an interval shows explains nothing on other nodes.
    let state: BTreeMap<String, Vec<Found>> = judgement
        .nodes
        .iter()
        .map(|(node, differences)| (node.clone(), differences.found.clone()))
        .collect();
    for (node, observed) in &interval.nodes {
        let differences = judgement.nodes.entry(node.clone()).or_default();
        match observed {
            Ok(observed) => {
                let scene = Scene::new(evidence, interval, node, observed);
                let others = state.iter().filter(|(other, _)| *other != node);
                let others: Vec<(&str, &Found)> = others
                    .flat_map(|(other, found)| found.iter().map(|one| (other.as_str(), one)))
                    .collect();
                judge(differences, &scene, &others);
            }
            Err(why) => differences.unchecked.push(Unchecked {
                group: Group::Observed,
                why: why.clone(),
            }),
        }
        lost(differences, interval, node, &state);
    }
    judgement
}

fn judge(differences: &mut Differences, scene: &Scene, others: &[(&str, &Found)]) {
    let state = differences.found.len();
    for fingerprint in &FINGERPRINTS {
        for sign in fingerprint.signs(scene) {
            let mut found = found(fingerprint, &sign);
            let root = fingerprint.follows.iter().find_map(|id| {
                let is_it = |one: &Found| {
                    one.id == *id && (one.device.is_none() || found.device.is_none() || one.device == found.device)
                };
                differences.found[..state].iter().position(is_it)
            });
            // Each names the first cause.
            found.follows = root.map(|root| differences.found[root].follows.unwrap_or(root));
            let explain = others.iter().filter(|(_, one)| fingerprint.elsewhere.contains(&one.id));
            found.seen.extend(
                explain
                    .take(MOST_ELSEWHERE)
                    .map(|(other, one)| format!("node/{other} {}: {}", one.object, one.id)),
            );
            differences.found.push(found);
        }
    }
}

fn found(fingerprint: &Fingerprint, sign: &Sign) -> Found {
    let expected = page(fingerprint.id).map_or("", |page| page.expected);
    let mut found =
        Found::new(fingerprint.id, sign.object.clone(), expected, sign.moved.join(", ")).look(sign.look.clone());
    found.device.clone_from(&sign.device);
    found
}

/// Probes from a node that were not answered, a finding for each node that they were to reach.
fn lost(differences: &mut Differences, interval: &Interval, node: &str, state: &BTreeMap<String, Vec<Found>>) {
    let mut by_target: BTreeMap<&str, Vec<&Probed>> = BTreeMap::new();
    for probed in interval
        .probes
        .iter()
        .filter(|probed| probed.from.node == node && probed.lost() > 0)
    {
        by_target.entry(&probed.to.node).or_default().push(probed);
    }
    // What breaks traffic from here, else what was seen of packets here.
    let is_cause = |one: &Found| {
        let is_state = Group::of(one.id) != Group::Observed;
        let breaks = page(one.id).is_some_and(|page| page.severity == crate::findings::Severity::Error);
        one.follows.is_none() && (!is_state || breaks)
    };
    let cause = differences.found.iter().position(is_cause);
    for (target, probes) in by_target {
        let sent = total(probes.iter().map(|one| one.sent.into()));
        let answered = total(probes.iter().map(|one| one.answered.into()));
        let expected = page(LOST).map_or("", |page| page.expected);
        let actual = format!("{answered} of {sent} answered");
        let mut found = Found::new(LOST, format!("to node/{target}"), expected, actual);
        found.follows = cause;
        found.seen = probes.iter().map(|one| told(one)).collect();
        let there = state
            .get(target)
            .into_iter()
            .flatten()
            .filter(|one| one.follows.is_none());
        found.seen.extend(
            there
                .take(MOST_ELSEWHERE)
                .map(|one| format!("node/{target} {}: {}", one.object, one.id)),
        );
        differences.found.push(found);
    }
}

fn told(probed: &Probed) -> String {
    let Probed { from, to, address, .. } = probed;
    let error = probed
        .error
        .as_ref()
        .map_or(String::new(), |error| format!(" ({error})"));
    let (from, to) = (from.name(), to.name());
    format!(
        "{from} to {to} {address}: {} of {} answered{error}",
        probed.answered, probed.sent
    )
}
