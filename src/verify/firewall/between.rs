//! Packets between pods: they must come through, and with their own source.

use super::{
    Scene, is_policy, let_through, look,
    scene::{End, or_unknown, undecidable},
};
use crate::verify::{found::Found, group::Group, network::Differences};
use netcheck_ruleset::{Hook, Outcome, Packet, Place, Protocol, Ruleset, Verdict};
use std::collections::{BTreeMap, BTreeSet};

const THROUGH: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];

pub(super) fn differences(scene: &Scene<'_>, ruleset: &Ruleset, is_v6: bool, differences: &mut Differences) {
    let (here, elsewhere) = (scene.pods_here(is_v6), scene.pods_elsewhere(is_v6));
    let each = [
        ("between its pods", within(&here)),
        ("from its pods to other nodes'", product(&here, &elsewhere)),
        ("from other nodes' pods to its own", product(&elsewhere, &here)),
    ];
    let mut unknown = BTreeSet::new();
    let mut dropped: BTreeMap<Place, Vec<&str>> = BTreeMap::new();
    let mut masqueraded: BTreeMap<Place, Vec<&str>> = BTreeMap::new();
    for (way, pairs) in each {
        let mut all_dropped = !pairs.is_empty();
        let mut places = BTreeSet::new();
        for (from, to) in pairs {
            let packet = Packet::new(Protocol::TCP, from.ip, to.ip, 80).by(from.device, to.device);
            let Some(outcomes) = or_unknown(ruleset.walk(&THROUGH, &packet), &mut unknown) else {
                all_dropped = false;
                continue;
            };
            match blocked(&outcomes) {
                Some(place) => {
                    places.insert(place.clone());
                }
                None => all_dropped = false,
            }
            for place in outcomes.into_iter().filter_map(|outcome| outcome.snat) {
                let ways = masqueraded.entry(place).or_default();
                if ways.last() != Some(&way) {
                    ways.push(way);
                }
            }
        }
        // What keeps some pods from some others is a policy, whoever enforces it.
        if all_dropped {
            for place in places.into_iter().filter(|place| !is_policy(place)) {
                dropped.entry(place).or_default().push(way);
            }
        }
    }
    let ranges = ranges(scene, is_v6);
    let found = dropped
        .iter()
        .map(|(place, ways)| forward_dropped(place, ways, is_v6, &ranges));
    differences.found.extend(found);
    differences
        .found
        .extend(masqueraded.iter().map(|(place, ways)| masquerade_pods(place, ways)));
    undecidable(differences, Group::Firewall, &unknown);
}

/// Pairs that share no device: what stays on a bridge meets no rules, or does, by a setting.
fn within<'a>(here: &[End<'a>]) -> Vec<(End<'a>, End<'a>)> {
    let pairs = product(here, here).into_iter();
    pairs
        .filter(|(from, to)| from.ip != to.ip && from.device != to.device)
        .collect()
}

fn product<'a>(from: &[End<'a>], to: &[End<'a>]) -> Vec<(End<'a>, End<'a>)> {
    let pairs = from
        .iter()
        .flat_map(|from| to.iter().map(|to| (from.clone(), to.clone())));
    // What would leave by the device that it came by goes past the kernel's hooks: a switch, a program or the underlay has it.
    pairs
        .filter(|(from, to)| from.device.is_none() || from.device != to.device)
        .collect()
}

/// What keeps a packet from going on, if nothing lets it.
fn blocked(outcomes: &[Outcome]) -> Option<&Place> {
    let mut first = None;
    for outcome in outcomes {
        match &outcome.verdict {
            Verdict::Accepted => return None,
            Verdict::Dropped(place) | Verdict::Rejected(place) => first = first.or(Some(place)),
        }
    }
    first
}

fn ranges(scene: &Scene<'_>, is_v6: bool) -> Vec<String> {
    let own = scene.objects.nodes.iter().filter(|node| node.name == scene.node);
    let ranges = own.flat_map(|node| &node.pod_cidrs);
    ranges.filter(|range| range.contains(':') == is_v6).cloned().collect()
}

fn forward_dropped(place: &Place, ways: &[&str], is_v6: bool, ranges: &[String]) -> Found {
    let words = |form: &dyn Fn(&str, &str) -> String| {
        let each = ranges.iter();
        each.flat_map(|range| [form("s", range), form("d", range)])
            .collect::<Vec<_>>()
    };
    let family = if is_v6 { "ip6" } else { "ip" };
    let iptables = words(&|end, range| format!("-{end} {range}"));
    let nft = words(&|end, range| format!("{family} {end}addr {range}"));
    let found = Found::new(
        "verify-forward-dropped",
        format!("{} {} {family}", place.table, place.base),
        "every chain that forwarded packets meet lets those of pods through",
        format!("{}: a test packet {}", place, list(ways)),
    );
    let fix = let_through(place, &iptables, &nft);
    let found = found.look(look(place));
    if fix.is_empty() { found } else { found.fix(fix) }
}

fn masquerade_pods(place: &Place, ways: &[&str]) -> Found {
    Found::new(
        "verify-masquerade-pods",
        format!("{} {}", place.table, place.chain),
        "packets between pods keep their source",
        format!("{}: a test packet {}", place, list(ways)),
    )
    .look(look(place))
}

fn list(ways: &[&str]) -> String {
    ways.join(", and ")
}
