//! What was read of a whole node: its own network namespace, those of pods, and what of its disk and programs was asked for.
//!
//! Plain values that travel and are kept: they say what was there, or why that could not be read, and nothing of what should be there.

use crate::NetState;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// The number of this layout. A reader of another one says so and reads nothing.
pub const RECORD: u32 = 1;

/// What was read, or why it could not be.
pub type Reading<T> = Result<T, String>;

/// What was read of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// [`RECORD`].
    pub record: u32,
    /// `uname -r`.
    pub kernel: String,
    /// The node's own network namespace.
    pub node: Space,
    /// Namespaces of pods, by the number that they were asked for by.
    #[serde(default)]
    pub pods: BTreeMap<u32, Reading<Space>>,
    /// The answer to `nft -j list ruleset` in the node's namespace (libnftables-json(5)).
    pub nft: Reading<Value>,
    /// The answers to `iptables-legacy-save` and its like in the node's namespace, by the program's name.
    #[serde(default)]
    pub iptables: BTreeMap<String, Reading<String>>,
    /// Folders that were asked for, by path, and the files in them by name.
    #[serde(default)]
    pub folders: BTreeMap<String, Reading<BTreeMap<String, Entry>>>,
    /// BPF objects pinned under the folder that was asked for; `None`: nothing was asked for.
    #[serde(default)]
    pub pins: Option<Reading<Pins>>,
}

/// What was read of one network namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Space {
    /// Number of its file, which tells it from others on the node.
    pub inode: u64,
    /// Its devices and tables.
    pub net: NetState,
    /// What is to be seen of a device and is nobody's wish, by its name.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
    /// Kernel parameters that were asked for, as sysctl(8) writes them; those that are not there are left out.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// What is to be seen of a device and is nobody's wish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// `IFF_LOWER_UP`: whether there is a carrier.
    pub has_carrier: bool,
    /// `IFLA_MASTER`: name of the bridge or bond that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// `IFLA_LINK`: number of the device at its other end or below it, in whatever namespace that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// `IFLA_STATS64`: `rx_packets`, `tx_dropped`, `rx_otherhost_dropped` …, those that are not zero.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// A file or another entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// In bytes.
    pub length: u64,
    /// Its permission bits, as chmod(1) takes them.
    pub mode: u32,
    /// Seconds since it was changed.
    pub age_seconds: u64,
    /// What it says, where text was asked for; of a symbolic link, where it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Reading<String>>,
}

/// BPF objects that are pinned under one folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pins {
    /// Maps, by the pin's path below the folder.
    #[serde(default)]
    pub maps: BTreeMap<String, Reading<PinnedMap>>,
    /// Programs.
    #[serde(default)]
    pub programs: BTreeMap<String, Reading<PinnedProgram>>,
    /// Links.
    #[serde(default)]
    pub links: BTreeMap<String, Reading<PinnedLink>>,
    /// What hangs on devices of the node's namespace (TCX), by device and side (`ncvx0 ingress`), in the order in which it runs: identifiers of
    /// programs.
    #[serde(default)]
    pub hooks: BTreeMap<String, Vec<u32>>,
}

/// A map, by `BPF_OBJ_GET_INFO_BY_FD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedMap {
    /// Its number in the kernel.
    pub id: u32,
    /// `BPF_MAP_TYPE_*`.
    pub kind: u32,
    /// Size of a key in bytes.
    pub key: u32,
    /// Size of a value in bytes.
    pub value: u32,
    /// How many it may hold.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Its entries, of kinds that have some: bytes of keys and values in hexadecimal digits; of kinds with a value for each processor, one after
    /// the other, each filled up to 8 bytes.
    #[serde(default)]
    pub entries: BTreeMap<String, String>,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedProgram {
    /// Its number in the kernel.
    pub id: u32,
    /// Its tag: the same instructions have the same.
    pub tag: String,
    /// Numbers of the maps that it uses.
    pub maps: Vec<u32>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedLink {
    /// Its number in the kernel.
    pub id: u32,
    /// The program that it runs.
    pub program: u32,
    /// The device that it hangs on; 0 once that is gone.
    pub ifindex: u32,
    /// `BPF_TCX_INGRESS` …
    pub attach_type: u32,
}
