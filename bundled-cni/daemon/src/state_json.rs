//! What the daemon believes, for people and `status` (SPEC.md, section 7.4). No program takes it for what is.

use crate::apply::Applied;
use netcheck_cni::disk::{self, DiskError};
use netcheck_cni_intent::census::Reason;
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, path::Path};

/// The file's content.
#[derive(Debug)]
pub struct StateJson<'a> {
    /// Schema of all files.
    pub schema: u32,
    /// Hash of the configuration in force.
    pub config: String,
    /// How often the inputs have changed.
    pub generation: u64,
    /// How many peers there are.
    pub peers: usize,
    /// Nodes that are refused, and why.
    pub refused: &'a BTreeMap<String, Reason>,
    /// `tcx`, `clsact`, or `off: ` and why.
    pub bpf: String,
    /// What the last pass did.
    pub last_pass: LastPass,
}

/// A pass.
#[derive(Debug, Serialize)]
pub struct LastPass {
    time: String,
    ops: u64,
    failed: Vec<String>,
}

impl LastPass {
    /// A pass that has just ended.
    pub fn new(applied: &Applied) -> Self {
        Self {
            time: jiff::Timestamp::now()
                .round(jiff::Unit::Second)
                .unwrap_or_default()
                .to_string(),
            ops: applied.total(),
            failed: applied.failed.clone(),
        }
    }
}

/// What the file says already, but for the time.
#[derive(Debug, Default)]
pub struct Said(Option<Value>);

impl Said {
    /// Writes the file where it has something new to say, or at all events where `is_due`: each time is a `fsync`.
    pub fn say(&mut self, state: &StateJson<'_>, is_due: bool, folder: &Path) -> Result<(), DiskError> {
        let content = state.content();
        let mut timeless = content.clone();
        timeless["lastPass"]["time"] = Value::Null;
        if !is_due && self.0.as_ref() == Some(&timeless) {
            return Ok(());
        }
        self.0 = None;
        disk::put(&folder.join("state.json"), format!("{content:#}\n").as_bytes(), 0o600)?;
        self.0 = Some(timeless);
        Ok(())
    }
}

impl StateJson<'_> {
    fn content(&self) -> Value {
        let refused: Vec<_> = self
            .refused
            .iter()
            .map(|(node, reason)| serde_json::json!({ "node": node, "reason": reason.to_string() }))
            .collect();
        serde_json::json!({
            "schema": self.schema,
            "config": self.config,
            "generation": self.generation,
            "peers": self.peers,
            "refused": refused,
            "bpf": self.bpf,
            "lastPass": self.last_pass,
        })
    }
}
