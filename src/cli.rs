//! The command line: what is typed becomes a verb with its arguments.

pub mod duration;
mod kubectl_flags;

pub use kubectl_flags::{ConnectFlags, Format, KubectlFlags, OutputFlags};
