//! What a node of the bundled CNI should hold, and how it differs from what it holds (`bundled-cni/SPEC.md`).
//!
//! [`intent()`] computes a node's state from Node objects, the ConfigMap and local facts; [`diff()`] compares it with a snapshot and
//! says what differs and which [`netcheck_node_state::Change`] mends it. Both are pure: the daemon applies the differences, a verifier
//! reports them. [`derive`], [`names`] and [`objects`] are what the plugin goes by too. [`simulate`] plays a kernel in tests.

pub mod bpf;
mod build;
pub mod census;
pub mod config;
pub mod derive;
pub mod desired;
pub mod diff;
pub mod family;
pub mod forward;
pub mod guard;
pub mod inputs;
pub mod local;
mod lookup;
pub mod mtu;
pub mod names;
pub mod nft;
pub mod objects;
pub mod publish;
pub mod recorded;
pub mod simulate;
pub mod ways;
pub mod words;

pub use config::{Backend, Config, ConfigError};
pub use derive::AttachmentKey;
pub use desired::{Desired, Hold, intent};
pub use diff::{Actual, Delta, Diff, Finding, diff};
pub use family::{Family, PerFamily};
pub use inputs::{Attachment, Inputs, LocalAddress, NodeObject, PodName};
