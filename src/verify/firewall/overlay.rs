//! Packets of tunnels, as other nodes send them: they must come in.

use super::{
    Scene, let_through, look,
    scene::{or_unknown, undecidable},
};
use crate::verify::{found::Found, group::Group, network::Differences};
use netcheck_node_state::LinkKind;
use netcheck_ruleset::{Hook, Packet, Protocol, Ruleset, Verdict};
use std::collections::BTreeSet;

pub(super) fn differences(scene: &Scene<'_>, ruleset: &Ruleset, is_v6: bool, differences: &mut Differences) {
    let (own, peers) = (scene.own(is_v6), scene.peers(is_v6));
    let mut unknown = BTreeSet::new();
    for (name, link) in &scene.record.node.net.links {
        let LinkKind::Vxlan(vxlan) = &link.kind else { continue };
        let Some(to) = vxlan.local.or_else(|| own.first().copied()) else {
            continue;
        };
        // One of others, or of the other family.
        let (Some(from), true) = (peers.first().copied(), own.contains(&to)) else {
            continue;
        };
        let device = vxlan.device.as_deref().or_else(|| scene.device(from));
        let packet = Packet::new(Protocol::UDP, from, to, vxlan.port).by(device, None);
        let walked = ruleset.walk(&[Hook::Prerouting, Hook::Input], &packet);
        let Some(outcomes) = or_unknown(walked, &mut unknown) else {
            continue;
        };
        for outcome in outcomes {
            let (Verdict::Dropped(place) | Verdict::Rejected(place)) = outcome.verdict else {
                continue;
            };
            let (family, word) = if is_v6 { ("ip6", "IPv6") } else { ("ip", "IPv4") };
            let with = [format!("-s {from} -p udp --dport {}", vxlan.port)];
            let nft = [format!("{family} saddr {from} udp dport {}", vxlan.port)];
            differences.found.push(
                Found::new(
                    "verify-overlay-blocked",
                    format!("{name} {word} udp port {}", vxlan.port),
                    format!("a packet from {from} to {to} comes in"),
                    place.to_string(),
                )
                .look(look(&place))
                .fix(format!("for each node: {}", let_through(&place, &with, &nft))),
            );
        }
    }
    undecidable(differences, Group::Firewall, &unknown);
}
