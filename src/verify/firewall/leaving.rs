//! Packets of pods to somebody outside: with the source of the pod no answer finds back, where the network promises to masquerade.

use super::{
    Scene,
    scene::{or_unknown, undecidable},
};
use crate::verify::{found::Found, group::Group, network::Differences};
use netcheck_cni_intent::Config;
use netcheck_ruleset::{Hook, Packet, Protocol, Ruleset};
use std::collections::BTreeSet;

pub(super) fn differences(scene: &Scene<'_>, ruleset: &Ruleset, is_v6: bool, differences: &mut Differences) {
    if !promises(scene, ruleset, is_v6) {
        return;
    }
    let here = scene.pods_here(is_v6);
    let (Some(pod), Some(outside)) = (here.first(), scene.outside(is_v6)) else {
        return;
    };
    let mut unknown = BTreeSet::new();
    let packet = Packet::new(Protocol::TCP, pod.ip, outside.ip, 443).by(pod.device, outside.device);
    let hooks = [Hook::Prerouting, Hook::Forward, Hook::Postrouting];
    let outcomes = or_unknown(ruleset.walk(&hooks, &packet), &mut unknown).unwrap_or_default();
    // One that does not leave needs no other source.
    let is_bare = outcomes
        .iter()
        .any(|outcome| outcome.is_accepted() && outcome.snat.is_none());
    if is_bare {
        let device = outside.device.unwrap_or("the uplink");
        let found = Found::new(
            "verify-masquerade-missing",
            format!("{} by {device}", if is_v6 { "IPv6" } else { "IPv4" }),
            format!(
                "a packet from {} to {} leaves with the node's address",
                pod.ip, outside.ip
            ),
            "it leaves with its own",
        );
        differences
            .found
            .push(found.look("nft list ruleset | grep -i masquerade; iptables-save -t nat"));
    }
    undecidable(differences, Group::Firewall, &unknown);
}

/// Whether the network is one that masquerades, and is told to.
fn promises(scene: &Scene<'_>, ruleset: &Ruleset, is_v6: bool) -> bool {
    if let Some(data) = &scene.objects.bundled {
        let Ok(config) = Config::parse(data) else { return false };
        let mut exempt = config.cluster_cidrs.iter().chain(&config.no_masquerade_cidrs);
        let outside = scene.outside(is_v6);
        let is_exempt = outside.is_some_and(|outside| exempt.any(|range| range.contains(&outside.ip)));
        return config.masquerade && !is_exempt;
    }
    // `--ip-masq` is told by nothing but the chain that it makes.
    let table = if is_v6 { "flannel-ipv6" } else { "flannel-ipv4" };
    scene.objects.flannel.is_some()
        && (ruleset.has_chain(is_v6, "nat", "FLANNEL-POSTRTG") || ruleset.has_table(is_v6, table))
}
