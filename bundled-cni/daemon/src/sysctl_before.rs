//! What kernel parameters read before we changed them, for `uninstall` (SPEC.md, section 5.7).

use netcheck_cni::disk::{self, DiskError};
use netcheck_node_state::sysctl;
use std::{collections::BTreeMap, fs, path::Path};

const FILE: &str = "sysctl.before.json";

/// Writes down what a parameter reads, unless it was written down already: the first value is the one from before us.
pub fn remember(state: &Path, key: &str) -> Result<(), DiskError> {
    let mut before = all(state);
    let Ok(value) = sysctl::read(key) else {
        // What cannot be read cannot be put back either.
        return Ok(());
    };
    if before.contains_key(key) {
        return Ok(());
    }
    before.insert(key.to_owned(), value);
    let text = serde_json::to_vec_pretty(&before).unwrap_or_default();
    disk::put(&state.join(FILE), &text, 0o600).map(drop)
}

/// All that was written down.
pub fn all(state: &Path) -> BTreeMap<String, String> {
    let text = fs::read(state.join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}
