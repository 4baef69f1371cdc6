//! The ConfigMap's data: its keys, and how an installation changes what is there.

use crate::{exit::Failure, output::safe, suggest::closest};
use sha2::{Digest as _, Sha256};
use std::{collections::BTreeMap, fmt::Write as _};

/// `.data` of the ConfigMap.
pub type Data = BTreeMap<String, String>;

/// Key of the pod ranges.
pub const CLUSTER_CIDRS: &str = "clusterCIDRs";

/// Every key with its default (SPEC.md, section 1.1), but the pod ranges, which have none.
const DEFAULTS: [(&str, &str); 11] = [
    ("backend", "vxlan"),
    ("underlay", "auto"),
    ("vni", "4242"),
    ("port", "8472"),
    ("mtu", "0"),
    ("masquerade", "true"),
    ("noMasqueradeCIDRs", ""),
    ("ebpf", "auto"),
    ("eventSample", "1024"),
    ("chain", "portmap"),
    ("periodSeconds", "30"),
];

/// What the daemon publishes once it has applied a configuration: SPEC.md, section 1.1. A test holds it to the daemon's own, which comes
/// with what reads a Linux kernel and is not for a program that runs elsewhere too.
pub fn hash(data: &Data) -> String {
    let mut lines = Sha256::new();
    for (key, value) in data {
        lines.update(format!("{key}={value}\n"));
    }
    let mut hex = String::new();
    for byte in lines.finalize().iter().take(6) {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The configuration to be: what is asked for, else what is there, else the defaults. So a later installation keeps what was tuned.
pub fn merged(existing: Option<&Data>, asked: &Data) -> Data {
    let mut data: Data = DEFAULTS
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    data.extend(
        existing
            .into_iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone())),
    );
    data.extend(asked.iter().map(|(key, value)| (key.clone(), value.clone())));
    data
}

/// Reads `--set KEY=VALUE`.
///
/// # Errors
/// If it is not of that form, or there is no such key.
pub fn setting(text: &str) -> Result<(String, String), Failure> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(Failure::usage(format!(
            "--set {:?} is not of the form KEY=VALUE",
            safe(text)
        )));
    };
    let mut keys = DEFAULTS.iter().map(|(key, _)| *key).chain([CLUSTER_CIDRS]);
    if keys.any(|known| known == key) {
        return Ok((key.to_owned(), value.to_owned()));
    }
    let all: Vec<_> = DEFAULTS.iter().map(|(key, _)| *key).collect();
    let hint = match closest(key, all.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("keys are {}", all.join(", ")),
    };
    Err(Failure::usage(format!("the configuration has no key {:?}", safe(key))).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> Data {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn the_daemon_takes_what_is_written_and_hashes_it_alike() {
        let written = merged(None, &data(&[("clusterCIDRs", "10.244.0.0/16,fd00:10:244::/48")]));
        let taken = netcheck_cni_intent::Config::parse(&written).unwrap();
        assert_eq!(taken.hash, hash(&written));
    }

    /// Judged by coreutils: `printf 'backend=vxlan\nclusterCIDRs=10.244.0.0/16\n' | sha256sum | cut -c1-12`
    #[test]
    fn the_hash_is_what_the_specifications_pipeline_prints() {
        let data = data(&[("clusterCIDRs", "10.244.0.0/16"), ("backend", "vxlan")]);
        assert_eq!(hash(&data), "2e3db2c7d4c3");
        assert_eq!(hash(&Data::new()), "e3b0c44298fc");
    }

    #[test]
    fn what_was_tuned_is_kept_and_what_is_asked_for_wins() {
        let existing = data(&[("backend", "host-gw"), ("vni", "7")]);
        let merged = merged(Some(&existing), &data(&[("vni", "9")]));
        assert_eq!(merged["backend"], "host-gw");
        assert_eq!(merged["vni"], "9");
        assert_eq!(merged["port"], "8472");
    }

    #[test]
    fn a_setting_names_a_key_that_there_is() {
        assert_eq!(setting("vni=9").unwrap(), ("vni".to_owned(), "9".to_owned()));
        assert_eq!(setting("noMasqueradeCIDRs=").unwrap().1, "");
        assert_eq!(
            setting("bakend=vxlan").unwrap_err().hint.unwrap(),
            "did you mean backend?"
        );
        assert!(setting("vni").unwrap_err().message.contains("KEY=VALUE"));
    }
}
