//! Reads what a node's kernel holds, and changes it, namespace by namespace.
//!
//! Nothing here talks to Kubernetes or to a container runtime: namespaces are found through `/proc` and `/run/netns`
//! ([`netns`]), and what they hold is read over netlink ([`snapshot()`], [`addresses()`], [`listeners()`]) and from the processes' own files
//! ([`resolver`]). [`Changer`] makes changes. What was read of a whole node is a [`record`](mod@record).
//!
//! Without the feature `kernel` there are values only.

#[cfg(feature = "kernel")]
pub mod addresses;
#[cfg(feature = "kernel")]
pub mod bpf;
#[cfg(feature = "kernel")]
pub mod cgroup;
pub mod change;
#[cfg(feature = "kernel")]
pub mod changer;
pub mod counters;
#[cfg(feature = "kernel")]
mod ethtool;
#[cfg(feature = "kernel")]
pub mod interfaces;
#[cfg(feature = "kernel")]
pub mod listeners;
pub mod mac;
#[cfg(feature = "kernel")]
pub mod monitor;
#[cfg(feature = "kernel")]
pub mod netlink;
#[cfg(feature = "kernel")]
pub mod netns;
#[cfg_attr(not(feature = "kernel"), allow(dead_code, reason = "most are for messages"))]
mod numbers;
pub mod observation;
pub mod record;
#[cfg(feature = "kernel")]
pub mod residents;
#[cfg(feature = "kernel")]
pub mod resolver;
pub mod ruleset;
#[cfg(feature = "kernel")]
pub mod snapshot;
pub mod state;
#[cfg(feature = "kernel")]
pub mod sysctl;
#[cfg(feature = "kernel")]
mod wire;

#[cfg(feature = "kernel")]
pub use addresses::addresses;
pub use change::{Change, LinkSetting};
#[cfg(feature = "kernel")]
pub use changer::{ChangeError, Changer, CreateVethError, VethEnd};
#[cfg(feature = "kernel")]
pub use interfaces::{Interface, interface_names, interfaces};
#[cfg(feature = "kernel")]
pub use listeners::{Listener, listeners};
pub use mac::Mac;
#[cfg(feature = "kernel")]
pub use monitor::{Monitor, News};
#[cfg(feature = "kernel")]
pub use netlink::DumpError;
#[cfg(feature = "kernel")]
pub use netns::{Found, FoundBy, Netns, NetnsError, Wanted, find, within};
#[cfg(feature = "kernel")]
pub use residents::{Resident, residents, started_ns};
#[cfg(feature = "kernel")]
pub use resolver::Resolver;
#[cfg(feature = "kernel")]
pub use snapshot::{Table, refresh, snapshot};
pub use state::{Address, FdbEntry, Link, LinkKind, Neighbour, NetState, NextHop, Route, RouteKind, Rule, Vxlan};
