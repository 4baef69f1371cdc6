//! `completion`: scripts for shells, and the file by which kubectl completes its plugins.

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};

use crate::{
    exit::{Exit, Failure},
    output::Printer,
};

/// What kubectl runs on TAB; it must be found in PATH under the name `kubectl_complete-netcheck`.
const FOR_KUBECTL: &str = "#!/bin/sh\nexec kubectl-netcheck __complete -- \"$@\"\n";

/// Arguments of `completion`.
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  # Complete 'kubectl netcheck …' (kubectl 1.26 or newer, any shell that completes kubectl)
  kubectl netcheck completion kubectl > ~/bin/kubectl_complete-netcheck
  chmod +x ~/bin/kubectl_complete-netcheck

  # Complete the bare binary 'kubectl-netcheck …' in bash
  source <(kubectl netcheck completion bash)")]
pub struct CompletionArgs {
    /// For whom: kubectl, or a shell that runs kubectl-netcheck directly
    #[arg(value_enum)]
    target: Target,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Target {
    Kubectl,
    Bash,
    Zsh,
    Fish,
    Powershell,
    Elvish,
}

/// Prints the script for a command line.
///
/// # Errors
/// If stdout cannot be written.
pub fn run(args: &CompletionArgs, command: Command, printer: &Printer) -> Result<Exit, Failure> {
    let shell = match args.target {
        Target::Kubectl => {
            printer.data(FOR_KUBECTL)?;
            return Ok(Exit::Held);
        }
        Target::Bash => Shell::Bash,
        Target::Zsh => Shell::Zsh,
        Target::Fish => Shell::Fish,
        Target::Powershell => Shell::PowerShell,
        Target::Elvish => Shell::Elvish,
    };
    let mut command = command.bin_name("kubectl-netcheck");
    let mut script = Vec::new();
    generate(shell, &mut command, "kubectl-netcheck", &mut script);
    printer.data(&String::from_utf8_lossy(&script))?;
    Ok(Exit::Held)
}
