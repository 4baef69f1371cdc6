//! Reads what the daemon tells the plugin about the node: `node.json` (SPEC.md 7.2).

use crate::disk;
use netcheck_cni_intent::{
    names::{NODE_JSON, SCHEMA},
    publish::NodeJson,
};
use serde::Deserialize;
use std::path::Path;

/// Why `node.json` tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The daemon has not written it yet.
    #[error("{0} is missing: the node's daemon has not got the network ready yet")]
    Missing(String),
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(#[from] disk::DiskError),
    /// It is not what this version knows.
    #[error("{path} is of another version than this plugin or damaged: {reason}")]
    Foreign {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Reads it from a state directory.
pub fn read(state: &Path) -> Result<NodeJson, NodeError> {
    let path = state.join(NODE_JSON);
    let shown = path.display().to_string();
    let Some(content) = disk::read(&path)? else {
        return Err(NodeError::Missing(shown));
    };
    parse(&content).map_err(|reason| NodeError::Foreign { path: shown, reason })
}

fn parse(content: &[u8]) -> Result<NodeJson, String> {
    #[derive(Deserialize)]
    struct Version {
        schema: u32,
    }
    let Version { schema } = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if schema != SCHEMA {
        return Err(format!("schema {schema}, not {SCHEMA}"));
    }
    serde_json::from_slice(content).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The line of SPEC.md 7.2.
    const EXAMPLE: &str = r#"{"schema":1,"node":"n1","ready":true,"reason":"","podCIDRs":["10.244.1.0/24","fd00:10:244:1::/64"],"linkMtu":1500,"routeMtu":1450}"#;

    #[test]
    fn the_specifications_line_is_read_and_written() {
        let node = parse(EXAMPLE.as_bytes()).unwrap();
        assert_eq!((node.pod_cidrs.len(), node.link_mtu, node.route_mtu), (2, 1500, 1450));
        assert_eq!(serde_json::to_string(&node).unwrap(), EXAMPLE);
        let not_ready = r#"{"schema":1,"node":"n1","ready":false,"reason":"NoPodCIDR","linkMtu":0,"routeMtu":0}"#;
        assert!(parse(not_ready.as_bytes()).unwrap().pod_cidrs.is_empty());
    }

    #[test]
    fn another_schema_is_named() {
        let reason = parse(EXAMPLE.replace("\"schema\":1", "\"schema\":2").as_bytes()).unwrap_err();
        assert_eq!(reason, "schema 2, not 1");
        assert!(parse(&EXAMPLE.as_bytes()[..60]).is_err());
        let state = tempfile::tempdir().unwrap();
        assert!(matches!(read(state.path()), Err(NodeError::Missing(_))));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&content);
        }
    }
}
