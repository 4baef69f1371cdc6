//! What `debug` puts into a pod or onto a node, and `run` beside all others, and what it finds there of earlier sessions. Pure.

pub mod container;
mod grievance;
pub mod kept;
pub mod node;
pub mod place;
pub mod profile;
pub mod throwaway;

pub use container::{Custom, Wanted};
pub use grievance::{Grievance, grievance};
pub use place::Place;
pub use profile::Profile;
pub use throwaway::Throwaway;

/// What the names of our containers begin with; cleanup lists them by it.
pub const PREFIX: &str = "netcheck-debug-";
/// Variable of the container that says whose it is.
pub const OWNER: &str = "NETCHECK_OWNER";
/// Variable of the container that says where one is: the toolbox's prompt shows it.
pub const TARGET: &str = "NETCHECK_TARGET";
