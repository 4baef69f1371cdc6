//! Evidence in a file: taken here, judged elsewhere.

use super::evidence::Evidence;
use crate::{exit::Failure, output::file};
use netcheck_node_state::{observation::OBSERVATION, record::RECORD};
use serde::{Deserialize, Serialize};
use std::{fs, io::Write as _, path::Path};

/// What the first field says, so that other JSON is recognised as such.
const KIND: &str = "netcheck-evidence";
/// The layout's number.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Written<'a> {
    kind: &'a str,
    version: u32,
    plugin: &'a str,
    evidence: &'a Evidence,
}

/// Read before the rest, which another version may have otherwise.
#[derive(Deserialize)]
struct Head {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    version: u32,
    #[serde(default)]
    plugin: String,
}

#[derive(Deserialize)]
struct Body {
    evidence: Evidence,
}

/// Writes it, whole or not at all.
///
/// # Errors
/// If the file cannot be written.
pub fn save(path: &Path, evidence: &Evidence) -> Result<(), Failure> {
    let written = Written {
        kind: KIND,
        version: VERSION,
        plugin: env!("CARGO_PKG_VERSION"),
        evidence,
    };
    let saved = file::replace(path, |file| {
        serde_json::to_writer(&mut *file, &written)?;
        file.write_all(b"\n")
    });
    saved.map_err(|error| {
        Failure::unknown(format!("cannot write {}: {error}", path.display()))
            .hint("choose another place with --save FILE")
    })
}

/// Reads one.
///
/// # Errors
/// If there is none, or it is cut, foreign, or of another version.
pub fn load(path: &Path) -> Result<Evidence, Failure> {
    let shown = path.display();
    let bytes = fs::read(path).map_err(|error| Failure::usage(format!("cannot read {shown}: {error}")))?;
    parse(&bytes).map_err(|why| {
        Failure::usage(format!("{shown}: {why}")).hint("kubectl netcheck verify --save FILE makes one that can be read")
    })
}

/// Reads the bytes of one.
///
/// # Errors
/// What is wrong with it.
pub fn parse(bytes: &[u8]) -> Result<Evidence, String> {
    let broken = |error: serde_json::Error| {
        if error.is_eof() {
            "it is cut off: its end is missing".to_owned()
        } else {
            format!("it is no evidence of netcheck: {error}")
        }
    };
    let head: Head = serde_json::from_slice(bytes).map_err(broken)?;
    if head.kind != KIND {
        return Err("it is no evidence of netcheck".to_owned());
    }
    if head.version != VERSION {
        return Err(format!(
            "it is of version {}, made by netcheck {}; this one reads version {VERSION}",
            head.version, head.plugin
        ));
    }
    let body: Body = serde_json::from_slice(bytes).map_err(broken)?;
    for (node, looked) in &body.evidence.nodes {
        if let Ok(looked) = looked
            && looked.record.record != RECORD
        {
            return Err(format!(
                "the record of node {node} is of version {}; this netcheck reads version {RECORD}",
                looked.record.record
            ));
        }
    }
    for (node, observed) in body.evidence.observed.iter().flat_map(|interval| &interval.nodes) {
        if let Ok(observed) = observed
            && observed.observation.observation != OBSERVATION
        {
            return Err(format!(
                "the observation of node {node} is of version {}; this netcheck reads version {OBSERVATION}",
                observed.observation.observation
            ));
        }
    }
    Ok(body.evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{
        judge::judge,
        objects::Objects,
        observed::{Interval, report::ObservedReport, with_observed},
    };
    use proptest::prelude::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    /// Something in each place.
    fn observed() -> Interval {
        let space = json!({
            "inode": 1, "counters": { "before": {}, "after": {
                "protocols": { "IpInReceives": u64::MAX }, "conntrack": { "drop": 1 }, "devices": { "eth0": { "index": 2, "counters": { "tx_dropped": 1 } } },
            } },
        });
        let node = json!({
            "observation": {
                "observation": OBSERVATION, "kernel": "6.18", "elapsedMs": 5000, "node": space, "pods": { "3": { "Ok": space }, "4": { "Err": "gone" } },
                "softnet": { "Ok": { "before": {}, "after": { "dropped": 1 } } },
                "drops": { "Ok": { "counts": [{ "inode": 1, "device": 2, "reason": "NO_SOCKET", "packets": u64::MAX }], "uncounted": 0 } },
            },
            "places": { "uid": 3 },
        });
        serde_json::from_value(json!({
            "wantedMs": 5000, "nodes": { "n1": { "Ok": node }, "n2": { "Err": "no agent" } },
            "probes": [{ "from": { "node": "n1" }, "to": { "node": "n2", "pod": "a/b" }, "address": "10.0.0.1", "sent": u32::MAX, "answered": 1 }],
        }))
        .unwrap()
    }

    fn evidence() -> Evidence {
        Evidence {
            taken: "2026-01-01T00:00:00Z".to_owned(),
            context: None,
            objects: Objects::default(),
            nodes: BTreeMap::from([("n1".to_owned(), Err("no agent".to_owned()))]),
            observed: Some(observed()),
        }
    }

    fn saved() -> Vec<u8> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("evidence.json");
        save(&path, &evidence()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        fs::read(path).unwrap()
    }

    #[test]
    fn what_is_saved_is_loaded() {
        assert_eq!(parse(&saved()), Ok(evidence()));
    }

    #[test]
    fn a_cut_one_says_so() {
        let bytes = saved();
        for length in 0..bytes.len() - 2 {
            let why = parse(&bytes[..length]).unwrap_err();
            assert!(why.contains("cut off"), "{length}: {why}");
        }
    }

    #[test]
    fn another_s_says_so() {
        for foreign in ["{}", "[1]", "7", "{\"kind\":\"List\"}"] {
            assert!(
                parse(foreign.as_bytes()).unwrap_err().contains("no evidence"),
                "{foreign}"
            );
        }
        let newer = r#"{"kind":"netcheck-evidence","version":9,"plugin":"8.0.0","evidence":3}"#;
        let why = parse(newer.as_bytes()).unwrap_err();
        assert!(why.contains("version 9, made by netcheck 8.0.0"), "{why}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_falsified_one_is_read_and_judged_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = saved();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(evidence) = parse(&bytes) {
                let _ = with_observed(judge(&evidence), &evidence);
                ObservedReport::new(&evidence);
            }
        }
    }
}
