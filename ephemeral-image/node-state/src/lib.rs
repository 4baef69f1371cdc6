//! Reads what a node's kernel holds, namespace by namespace.
//!
//! Nothing here talks to Kubernetes or to a container runtime: namespaces are found through `/proc` and `/run/netns`
//! ([`netns`]), and what they hold is read over netlink ([`addresses()`], [`listeners()`]) and from the processes' own files
//! ([`resolver`]).

pub mod addresses;
pub mod cgroup;
pub mod change;
pub mod interfaces;
pub mod listeners;
pub mod mac;
mod netlink;
pub mod netns;
pub mod residents;
pub mod resolver;
pub mod state;

pub use addresses::{Address, addresses};
pub use change::{Change, LinkSetting};
pub use interfaces::{Interface, interface_names, interfaces};
pub use listeners::{Listener, listeners};
pub use mac::Mac;
pub use netlink::{DumpError, dump};
pub use netns::{Found, FoundBy, Netns, NetnsError, Wanted, find, within};
pub use residents::{Resident, residents, started_ns};
pub use resolver::Resolver;
pub use state::{FdbEntry, Link, LinkKind, Neighbour, NetState, Route, RouteKind, Vxlan};
