//! `options`: kubectl's own flags, those that verbs hide included.

use clap::{Args as _, Command};

use crate::{
    exit::{Exit, Failure},
    flags::ConnectFlags,
    output::Printer,
};

/// Prints all of kubectl's flags.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(printer: &Printer) -> Result<Exit, Failure> {
    let mut command = ConnectFlags::augment_args(Command::new("options"))
        .disable_help_flag(true)
        .next_help_heading(None)
        .mut_args(|argument| argument.hide(false).help_heading(None))
        .help_template("{options}\n");
    printer.data(&format!(
        "These flags, kubectl's own, are taken by every verb, after the verb; verbs that ask no cluster ignore them:\n\n{}",
        command.render_help()
    ))?;
    Ok(Exit::Held)
}
