//! Reads what a node's kernel holds, and changes it, namespace by namespace.
//!
//! Nothing here talks to Kubernetes or to a container runtime: namespaces are found through `/proc` and `/run/netns`
//! ([`netns`]), and what they hold is read over netlink ([`snapshot()`], [`addresses()`], [`listeners()`]) and from the processes' own files
//! ([`resolver`]). [`Changer`] makes changes.

pub mod addresses;
pub mod cgroup;
pub mod change;
pub mod changer;
pub mod interfaces;
pub mod listeners;
pub mod mac;
pub mod monitor;
pub mod netlink;
pub mod netns;
mod numbers;
pub mod residents;
pub mod resolver;
pub mod ruleset;
pub mod snapshot;
pub mod state;
pub mod sysctl;
mod wire;

pub use addresses::{Address, addresses};
pub use change::{Change, LinkSetting};
pub use changer::{ChangeError, Changer, CreateVethError, VethEnd};
pub use interfaces::{Interface, interface_names, interfaces};
pub use listeners::{Listener, listeners};
pub use mac::Mac;
pub use monitor::{Monitor, News};
pub use netlink::DumpError;
pub use netns::{Found, FoundBy, Netns, NetnsError, Wanted, find, within};
pub use residents::{Resident, residents, started_ns};
pub use resolver::Resolver;
pub use snapshot::{Table, refresh, snapshot};
pub use state::{FdbEntry, Link, LinkKind, Neighbour, NetState, NextHop, Route, RouteKind, Vxlan};
