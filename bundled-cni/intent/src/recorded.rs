//! What the plugin writes down about one attachment: a file in `att/` (SPEC.md, section 7.3).

use crate::{AttachmentKey, PodName, inputs, names::SCHEMA};
use netcheck_node_state::Mac;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// One attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attachment {
    /// [`SCHEMA`].
    pub schema: u32,
    /// How far its ADD came.
    pub state: Progress,
    /// The network's name.
    pub network: String,
    /// The sandbox, as the runtime calls it.
    #[serde(rename = "containerID")]
    pub container_id: String,
    /// The interface's name inside.
    pub if_name: String,
    /// File of its network namespace.
    pub netns: String,
    /// Device number of that file.
    pub netns_dev: u64,
    /// Inode of that file.
    pub netns_ino: u64,
    /// The pod's addresses.
    pub ips: Vec<IpAddr>,
    /// The pod's hardware address.
    pub mac: Mac,
    /// The veth's end on the node.
    pub host_veth: String,
    /// MTU of both ends when it was added, in bytes.
    pub link_mtu: u32,
    /// MTU in the pod's default routes when it was added, in bytes.
    pub route_mtu: u32,
    /// The plugin that gave out its addresses.
    pub ipam: String,
    /// The pod, as far as the runtime said.
    pub pod: PodName,
    /// When it was added, RFC 3339, UTC.
    pub created: String,
}

/// How far an ADD came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Progress {
    /// Begun: more or less of it may be in the kernel.
    Intent,
    /// All of it is there.
    Done,
}

impl Attachment {
    /// Reads a file's content; the key is that of its name.
    ///
    /// # Errors
    /// What is wrong with it, in words: it was cut, or is foreign.
    pub fn parse(key: &AttachmentKey, content: &[u8]) -> Result<Self, String> {
        let parsed: Self = serde_json::from_slice(content).map_err(|error| error.to_string())?;
        if parsed.schema != SCHEMA {
            return Err(format!("schema {}, not {SCHEMA}", parsed.schema));
        }
        if parsed.key() != *key {
            return Err(format!("it is about {}", parsed.key()));
        }
        Ok(parsed)
    }

    /// What it is kept under.
    pub fn key(&self) -> AttachmentKey {
        AttachmentKey {
            network: self.network.clone(),
            container_id: self.container_id.clone(),
            if_name: self.if_name.clone(),
        }
    }

    /// What of it decides about the node's state.
    pub fn reduced(self) -> inputs::Attachment {
        inputs::Attachment {
            key: self.key(),
            ips: self.ips,
            mac: Some(self.mac),
            pod: self.pod,
            link_mtu: self.link_mtu,
            netns: Some(self.netns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The file of SPEC.md 7.3.
    const EXAMPLE: &str = r#"{"schema": 1, "state": "done", "network": "netcheck", "containerID": "a1b2c3d4", "ifName": "eth0", "netns": "/run/netns/cni-x",
        "netnsDev": 4, "netnsIno": 4026532777, "ips": ["10.244.1.2", "fd00:10:244:1::2"], "mac": "0a:58:0a:f4:01:02",
        "hostVeth": "nc53ffe5c7906", "linkMtu": 1500, "routeMtu": 1450, "ipam": "netcheck-cni",
        "pod": {"namespace": "default", "name": "web", "uid": "0000aaaa"}, "created": "2026-01-01T00:00:00Z"}"#;

    fn key() -> AttachmentKey {
        "netcheck@a1b2c3d4@eth0".parse().unwrap()
    }

    #[test]
    fn the_specifications_file_is_read_and_written() {
        let attachment = Attachment::parse(&key(), EXAMPLE.as_bytes()).unwrap();
        assert_eq!(attachment.state, Progress::Done);
        assert_eq!(attachment.key(), key());
        let as_value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        let written = serde_json::to_string(&attachment).unwrap();
        assert_eq!(as_value(&written), as_value(EXAMPLE));
    }

    #[test]
    fn a_cut_or_foreign_file_is_none() {
        for length in 0..EXAMPLE.len() {
            assert!(Attachment::parse(&key(), &EXAMPLE.as_bytes()[..length]).is_err());
        }
        let other: AttachmentKey = "netcheck@other@eth0".parse().unwrap();
        assert!(
            Attachment::parse(&other, EXAMPLE.as_bytes())
                .unwrap_err()
                .contains("a1b2c3d4")
        );
        let next = EXAMPLE.replace("\"schema\": 1", "\"schema\": 2");
        assert!(Attachment::parse(&key(), next.as_bytes()).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(content in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Attachment::parse(&key(), &content);
        }
    }
}
