//! The benchmarks of `netcheck-bench`, and what they share.

pub mod capture_engine;
pub mod capture_path;
pub mod cni_add;
pub mod cni_daemon;
pub mod datapath;
mod fake_api;
mod figures;
mod namespace;
mod node_daemon;
mod plugin_call;
mod products;

pub use namespace::leave_mounts;
