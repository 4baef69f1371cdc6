//! Packets between pods: they must come through, and with their own source.

use super::{
    Scene, is_policy, let_through, look,
    scene::{End, or_unknown, undecidable},
};
use crate::verify::{found::Found, group::Group, network::Differences};
use netcheck_ruleset::{Hook, Outcome, Packet, Place, Protocol, Ruleset, Verdict};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Between ways.
const AND: &str = ", and ";
const THROUGH: [Hook; 3] = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];

pub(super) fn differences(
    scene: &Scene<'_>,
    given: &BTreeSet<IpAddr>,
    ruleset: &Ruleset,
    is_v6: bool,
    differences: &mut Differences,
) {
    let (here, elsewhere) = (scene.pods_here(is_v6), scene.pods_elsewhere(is_v6));
    let each = [
        ("between its pods", within(&here)),
        ("from its pods to other nodes'", product(&here, &elsewhere)),
        ("from other nodes' pods to its own", product(&elsewhere, &here)),
    ];
    let mut unknown = BTreeSet::new();
    let mut dropped: BTreeMap<Place, Vec<String>> = BTreeMap::new();
    let mut masqueraded: BTreeMap<Place, Vec<&str>> = BTreeMap::new();
    for (way, pairs) in each {
        let mut note_masqueraded = |place| {
            let ways = masqueraded.entry(place).or_default();
            if ways.last() != Some(&way) {
                ways.push(way);
            }
        };
        // What keeps some pods from some others is a policy, whoever enforces it.
        for place in all_dropped(ruleset, &pairs, &mut unknown, &mut note_masqueraded) {
            dropped.entry(place).or_default().push(way.to_owned());
        }
    }
    for (way, place) in kept_out(&scene.spare_elsewhere(given, is_v6), ruleset, &here, &mut unknown) {
        dropped.entry(place).or_default().push(way);
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

/// Where packets of these pairs are dropped, if each of them is; nowhere if a policy does that, or if it is not decidable.
fn all_dropped(
    ruleset: &Ruleset,
    pairs: &[(End<'_>, End<'_>)],
    unknown: &mut BTreeSet<String>,
    note_masqueraded: &mut dyn FnMut(Place),
) -> BTreeSet<Place> {
    let mut all_dropped = true;
    let mut places = BTreeSet::new();
    for (from, to) in pairs {
        let packet = Packet::new(Protocol::TCP, from.ip, to.ip, 80).by(from.device, to.device);
        let Some(outcomes) = or_unknown(ruleset.walk(&THROUGH, &packet), unknown) else {
            all_dropped = false;
            continue;
        };
        match blocked(&outcomes) {
            Some(place) => {
                places.insert(place.clone());
            }
            None => all_dropped = false,
        }
        let masquerading = outcomes.into_iter().filter_map(|outcome| outcome.snat);
        masquerading.for_each(&mut *note_masqueraded);
    }
    places.retain(|place| all_dropped && !is_policy(place));
    places
}

/// Where packets of single nodes' ranges are dropped, and of which. An address that no pod has tells it: who enforces policies knows nothing
/// of such addresses, and treats all nodes' alike.
fn kept_out(
    spare: &[(&str, End<'_>)],
    ruleset: &Ruleset,
    here: &[End<'_>],
    unknown: &mut BTreeSet<String>,
) -> Vec<(String, Place)> {
    // One pod of this node's is enough: what keeps others from one of them, whoever they are, is no rule about their node.
    let here = here.get(..1).unwrap_or_default();
    let mut found = Vec::new();
    for is_inward in [true, false] {
        let each = spare.iter().map(|(node, end)| {
            let end = std::slice::from_ref(end);
            let (way, pairs) = if is_inward {
                (format!("from pods of {node} to its own"), product(end, here))
            } else {
                (format!("from its pods to those of {node}"), product(here, end))
            };
            (way, all_dropped(ruleset, &pairs, unknown, &mut |_| {}))
        });
        let each: Vec<_> = each.collect();
        // Nothing from nowhere: that was told already, or is a policy's.
        if each.iter().any(|(_, places)| places.is_empty()) {
            let places = each.into_iter().flat_map(|(way, places)| {
                let named = places.into_iter().map(move |place| (way.clone(), place));
                named.collect::<Vec<_>>()
            });
            found.extend(places);
        }
    }
    found
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

fn forward_dropped(place: &Place, ways: &[String], is_v6: bool, ranges: &[String]) -> Found {
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
        format!("{}: a test packet {}", place, ways.join(AND)),
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
        format!("{}: a test packet {}", place, ways.join(AND)),
    )
    .look(look(place))
}
