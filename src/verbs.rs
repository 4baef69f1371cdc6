//! The verbs, one file each: `run(args, shared)` resolves the arguments into a plan and carries it out.

pub mod capture;
pub mod cleanup;
pub mod cni;
pub mod completion;
pub mod debug;
pub mod explain;
pub mod images;
pub mod matrix;
pub mod options;
pub mod rbac;
pub mod run;
pub mod schema;
pub mod session;
mod targets;
pub mod verify;
pub mod version;

use crate::{
    flags::KubectlFlags,
    output::{Interrupt, Printer},
};

pub use crate::report::API_VERSION;

/// What every verb gets besides its own arguments.
#[derive(Debug, Clone)]
pub struct Shared {
    /// kubectl's flags.
    pub flags: KubectlFlags,
    /// Where to print.
    pub printer: Printer,
    /// Whether the user wants to stop.
    pub interrupt: Interrupt,
}
