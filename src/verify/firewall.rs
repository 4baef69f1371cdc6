//! Firewalls, whoever made them: test packets are led through the rules that were read of a node ([`netcheck_ruleset`]), and what becomes of them is
//! held against what must. Nothing is told that depends on a rule which is not understood.

mod between;
mod leaving;
mod overlay;
mod scene;
#[cfg(test)]
pub(super) mod tests;

pub use scene::Scene;

use super::{found::Found, group::Group, network::Differences};
use netcheck_ruleset::{Flavour, Place};
use std::{collections::BTreeSet, net::IpAddr};

/// What is wrong with a node's firewalls; `given` are the addresses of all pods.
pub fn differences(scene: &Scene<'_>, given: &BTreeSet<IpAddr>) -> Differences {
    let mut differences = Differences::default();
    let Some(ruleset) = scene.ruleset(Group::Firewall, &mut differences) else {
        return differences;
    };
    for is_v6 in [false, true] {
        between::differences(scene, given, ruleset, is_v6, &mut differences);
        overlay::differences(scene, ruleset, is_v6, &mut differences);
        leaving::differences(scene, ruleset, is_v6, &mut differences);
    }
    // One rule may be in the way of several packets.
    let mut said = BTreeSet::new();
    differences.unchecked.retain(|one| said.insert(one.why.clone()));
    let deciding = ruleset.deciding();
    if let (Some(legacy), Some(nft)) = (
        deciding.get(&Flavour::IptablesLegacy),
        deciding.get(&Flavour::IptablesNft),
    ) {
        let both = format!("legacy: {}; nft: {}", legacy.join(", "), nft.join(", "));
        let expected = "one flavour of iptables decides";
        let found = Found::new("verify-iptables-both", "iptables", expected, both);
        differences
            .found
            .push(found.look("iptables-legacy-save; iptables-nft-save"));
    }
    differences
}

/// Engines of NetworkPolicy: what they drop is somebody's wish. Names of their chains begin so.
const POLICIES: [&str; 7] = [
    "cali-",
    "KUBE-POD-FW-",
    "KUBE-NWPLCY-",
    "KUBE-ROUTER-",
    "WEAVE-NPC",
    "CILIUM_",
    "OVN-KUBE-",
];
/// And of their tables.
const POLICY_TABLES: [&str; 3] = ["kube-network-policies", "netcheck-policy", "calico"];

/// Whether a rule is there to enforce policies.
fn is_policy(place: &Place) -> bool {
    let table = place.table.split(' ').nth(1).unwrap_or_default();
    POLICIES.iter().any(|start| place.chain.starts_with(start)) || POLICY_TABLES.contains(&table)
}

/// The command that shows a place.
fn look(place: &Place) -> String {
    let is_v6 = place.table.starts_with("ip6 ");
    let table = place.table.split(' ').nth(1).unwrap_or_default();
    let program = match (place.flavour, is_v6) {
        (Flavour::Nft, _) => return format!("nft list chain {} '{}'", place.table, place.chain),
        (Flavour::IptablesNft, false) => "iptables-nft",
        (Flavour::IptablesNft, true) => "ip6tables-nft",
        (Flavour::IptablesLegacy, false) => "iptables-legacy",
        (Flavour::IptablesLegacy, true) => "ip6tables-legacy",
    };
    format!("{program} -t {table} -S {}", place.chain)
}

/// The command that takes a rule away or lets packets past it, in the language of who made it: `with` is put before an accept.
fn let_through(place: &Place, iptables: &[String], nft: &[String]) -> String {
    let is_v6 = place.table.starts_with("ip6 ");
    let table = place.table.split(' ').nth(1).unwrap_or_default();
    let commands: Vec<String> = match place.flavour {
        Flavour::Nft => nft
            .iter()
            .map(|with| format!("nft insert rule {} {} {with} accept", place.table, place.base))
            .collect(),
        Flavour::IptablesNft | Flavour::IptablesLegacy => {
            let program = if is_v6 { "ip6tables" } else { "iptables" };
            let flavour = if place.flavour == Flavour::IptablesNft {
                "nft"
            } else {
                "legacy"
            };
            iptables
                .iter()
                .map(|with| format!("{program}-{flavour} -t {table} -I {} {with} -j ACCEPT", place.base))
                .collect()
        }
    };
    commands.join("; ")
}
