//! Counts a node's pod traffic by eBPF, and keeps what the programs know in maps that anyone can compare with the API.
//!
//! `bundled-cni/SPEC.md` section 6 says what is where: this crate loads the programs (`src/*.c`), pins them with their maps and links
//! ([`Bpf`]), hangs them on devices, fills the maps ([`Contents`]) and reads them back ([`Maps`], [`Events`]). Traffic never depends on
//! any of it.
//!
//! Devices are those of the calling thread's network namespace.

mod attach;
mod bpf;
mod clsact;
mod contents;
mod error;
mod events;
mod layout;
mod maps;
mod pins;
mod slots;
mod sys;

pub use attach::{AttachChange, Attached, Hook, Hooking, Program};
pub use bpf::{Bpf, Options, capability, remove_all};
pub use contents::{Change, Contents, What};
pub use error::{BpfError, Off};
pub use events::Events;
pub use layout::{Address, Amount, Config, Endpoint, EndpointCount, Event, Node, PeerCount, Prefix, REASONS, SCHEMA};
pub use maps::{Counters, Dump, Maps, Reasons};
