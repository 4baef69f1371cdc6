//! Capturing pods that are still to come: the agent is armed first, and told later whose network namespace it has seen appear.
//!
//! An awaiting capture opens a ring in every network namespace that appears on its node, at once, and reads nothing of it. When the plugin knows
//! from the API which pod was bound to the node, it claims it; the agent finds the pod's namespace by its processes' cgroups (or an address), and
//! the ring becomes the lane of the claimed source, from the namespace's first packet on. Rings that nobody claims are closed unread.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// What an awaiting capture does with namespaces that appear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Awaiting {
    /// Which of the order's filters, by its place in the list.
    pub program: usize,
    /// Names of the only interfaces whose packets are wanted; empty for all.
    pub interfaces: Vec<String>,
}

/// A pod whose namespace is to be captured when it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The number of its source, chosen by the plugin, unique in the session.
    pub source: u32,
    /// The UID in its cgroup folder's name: the pod's, or a static pod's hash.
    pub uid: String,
    /// Its addresses, if they are known by now, for when no process of it can be seen.
    pub ips: Vec<IpAddr>,
    /// Its namespace is the node's own: the filter to use there, by its place in the order's list.
    pub on_node: Option<usize>,
}

/// Since when a claimed namespace is captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// When it appeared, in nanoseconds of the node's real-time clock; `None` if that cannot be told.
    pub appeared_ns: Option<u64>,
    /// Since when every packet of it that passes the filter counts, by the same clock.
    pub attached_ns: u64,
    /// What told when it appeared.
    pub told_by: Witness,
}

/// What told when a namespace appeared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Witness {
    /// The namespace's own file, whose inode is made with it.
    Namespace,
    /// The start of the pod's first process: the namespace may be a little older.
    Process,
    /// Nothing: it is the node's own.
    Nobody,
}
