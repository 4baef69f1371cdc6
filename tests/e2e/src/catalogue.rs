//! The catalogue of faults: what is done to a node's kernel or disk by hand, by which finding it must be known, and what it does to traffic.
//!
//! Deeds are lines of sh for the node, with what each network's `VARIABLES` say at hand; each is undone by another.

pub mod bundled;
pub mod flannel;
pub mod plain;

use crate::effect::Effect;
use std::{collections::BTreeMap, fmt::Write as _};

/// One fault.
#[derive(Debug, Clone)]
pub struct Injection {
    /// What is wrong then, in a few words.
    pub what: &'static str,
    /// What breaks it.
    pub harm: String,
    /// What mends it.
    pub mend: String,
    /// The one root cause that must be found.
    pub finding: &'static str,
    /// What it does to traffic.
    pub effect: Effect,
}

impl Injection {
    /// A fault that breaks traffic.
    #[must_use]
    pub fn new(what: &'static str, finding: &'static str, harm: &str, mend: &str) -> Self {
        Self {
            what,
            harm: harm.to_owned(),
            mend: mend.to_owned(),
            finding,
            effect: Effect::Broken,
        }
    }

    /// With another effect.
    #[must_use]
    pub fn but(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }
}

/// Rules as the plugin `portmap` leaves them behind where it is not called for a pod that goes: a port of the node leads to an address of the node's
/// range that no pod has.
fn host_port(address: &str) -> Injection {
    const ENTERED: &str = "PREROUTING -p tcp -m addrtype --dst-type LOCAL -m tcp --dport 7071 -j CNI-DN-fault";
    Injection::new(
        "a host port leads to a pod that is gone",
        "verify-host-port-stale",
        &format!(
            "iptables -t nat -N CNI-DN-fault; \
             iptables -t nat -A CNI-DN-fault -p tcp -m tcp --dport 7071 -j DNAT --to-destination {address}:80; \
             iptables -t nat -I {ENTERED}"
        ),
        &format!("iptables -t nat -D {ENTERED}; iptables -t nat -F CNI-DN-fault; iptables -t nat -X CNI-DN-fault"),
    )
    // Of the pods' own traffic: what comes to that port gets nowhere.
    .but(Effect::Lucky)
}

/// Each network's faults, by its name.
fn all() -> [(&'static str, Vec<Injection>); 5] {
    let mut bundled = bundled::lanes().concat();
    bundled.push(bundled::last());
    [
        ("netcheck-cni", bundled),
        ("flannel, vxlan", flannel::vxlan()),
        ("flannel, host-gw", flannel::host_gw()),
        ("flannel, udp", flannel::udp()),
        ("reference plugins", plain::faults()),
    ]
}

/// The table for people: each fault, what finds it, what it does to traffic. Writing to a String cannot fail.
#[must_use]
pub fn table() -> String {
    let mut text = String::from(
        "# Faults that `verify` is tested with\n\n\
         Each of them is done to a node of a real cluster by the line shown, without the network's daemon, which would mend it. `verify` must\n\
         find it by exactly this id on exactly that node, and find nothing once it is mended; what it does to traffic is measured with packets.\n\
         `kubectl netcheck explain ID` says more of each id. This file is generated from the catalogue that the tests run.\n",
    );
    for (network, injections) in all() {
        let _ = write!(
            text,
            "\n## {network}\n\n| Fault | Found by | Effect | Done by |\n| --- | --- | --- | --- |\n"
        );
        for injection in &injections {
            let _ = writeln!(
                text,
                "| {} | `{}` | {} | `{}` |",
                injection.what,
                injection.finding,
                injection.effect,
                injection.harm.replace('|', "\\|")
            );
        }
    }
    text
}

/// For `explain` and the reports: each id, an effect that its faults have, and how many have it.
#[must_use]
pub fn effects() -> String {
    let mut counts: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for injection in all().into_iter().flat_map(|(_, injections)| injections) {
        *counts.entry((injection.finding, injection.effect.word())).or_default() += 1;
    }
    counts.iter().fold(String::new(), |mut text, ((id, effect), count)| {
        let _ = writeln!(text, "{id}\t{effect}\t{count}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{collections::BTreeSet, env, fs, path::Path};

    #[test]
    fn the_documented_table_is_of_this_catalogue() {
        is_written("docs/faults.md", &table());
    }

    #[test]
    fn the_effects_that_are_reported_are_of_this_catalogue() {
        is_written("src/findings/tried.tsv", &effects());
    }

    /// Or writes it, if that is asked for.
    fn is_written(file: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file);
        if env::var_os("NETCHECK_UPDATE_FAULTS").is_some() {
            fs::write(&path, text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "{file}: write it anew with NETCHECK_UPDATE_FAULTS=1");
    }

    #[test]
    fn each_fault_is_told_from_the_others() {
        for (network, injections) in all() {
            let distinct: BTreeSet<&str> = injections.iter().map(|one| one.what).collect();
            assert_eq!(distinct.len(), injections.len(), "{network}");
        }
    }
}
