//! The verbs, one file each: `run(args, shared)` resolves the arguments into a plan and carries it out.

use crate::{
    cli::KubectlFlags,
    output::{Interrupt, Printer},
};

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
