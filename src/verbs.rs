//! The verbs, one file each: `run(args, shared)` resolves the arguments into a plan and carries it out.

pub mod capture;
pub mod cleanup;
pub mod cni;
pub mod completion;
pub mod debug;
pub mod doctor;
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
    exit::Failure,
    flags::KubectlFlags,
    output::{Format, Interrupt, Printer, document},
};
use serde::Serialize;

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

impl Shared {
    /// Prints a report: as a document where that was asked for, else as `people` get it in that format.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn print<T: Serialize>(&self, report: &T, people: impl FnOnce(Format) -> String) -> Result<(), Failure> {
        let format = self.flags.output.format;
        let text = document(format, report)?;
        self.printer.data(&text.unwrap_or_else(|| people(format)))
    }
}
