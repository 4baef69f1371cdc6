//! The command line: what is typed becomes a verb with its arguments. Lists the verbs; each owns its own arguments.

mod complete;
pub mod habits;
mod text;

use clap::{Args, Parser, Subcommand};

use crate::{
    flags::{ConnectFlags, OutputFlags, With},
    verbs::{
        capture::CaptureArgs,
        cleanup::CleanupArgs,
        cni::CniArgs,
        completion::CompletionArgs,
        debug::DebugArgs,
        doctor::DoctorArgs,
        explain::ExplainArgs,
        images::ImagesArgs,
        matrix::MatrixArgs,
        rbac::RbacArgs,
        run::{self, RunArgs},
        schema::SchemaArgs,
        session,
        verify::VerifyArgs,
        version::VersionArgs,
    },
};

pub use complete::{answer as complete, is_completer};

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-netcheck",
    bin_name = "kubectl netcheck",
    version,
    about = text::ABOUT,
    long_about = text::LONG_ABOUT,
    after_help = text::AFTER_HELP,
    after_long_help = text::AFTER_LONG_HELP,
    max_term_width = 120,
    subcommand_value_name = "VERB",
    subcommand_help_heading = "Verbs"
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Test who can reach whom, at both ends: pods, nodes, Services, DNS
    Matrix(Box<With<MatrixArgs>>),
    /// Capture packets of pods, Services and nodes into one pcapng, or read them line by line
    Capture(Box<With<CaptureArgs>>),
    /// Check what every node's kernel and disk hold against what the API says they must
    Verify(Box<With<VerifyArgs>>),
    /// Open a shell, or run a command, in a container beside a pod's own, or on a node
    #[command(mut_arg("profile", session::profile_argument))]
    Debug(Box<With<DebugArgs>>),
    /// Open a shell, or run a command, in a throw-away pod, which is gone afterwards
    #[command(mut_arg("profile", session::profile_argument))]
    #[command(mut_args(run::without_meaning))]
    Run(Box<With<RunArgs>>),
    /// Say what may be done, what this cluster is, and what is wrong with it at first sight
    Doctor(Box<With<DoctorArgs>>),
    /// Remove everything that runs have left in the cluster
    Cleanup(Box<With<CleanupArgs>>),
    /// Install, look at and remove the bundled pod network
    Cni(CniArgs),
    /// Print the least-privilege Role that verbs need
    #[command(args = ConnectFlags::ignored_by_a_verb(&["namespace", "context", "kubeconfig", "user"]))]
    Rbac(Offline<RbacArgs>),
    /// List the container images a run may use, and save them for clusters without internet access
    #[command(args = ConnectFlags::ignored_by_a_verb(&[]))]
    Images(Offline<ImagesArgs>),
    /// Say what a finding means, how to look yourself, and what mends it
    #[command(args = ConnectFlags::ignored_by_a_verb(&[]))]
    Explain(Offline<ExplainArgs>),
    /// Print the JSON Schema of a report
    #[command(args = ConnectFlags::ignored_by_a_verb(&[]))]
    Schema(Offline<SchemaArgs>),
    /// Print a completion script
    #[command(args = ConnectFlags::ignored_by_a_verb(&[]))]
    Completion(CompletionArgs),
    /// Print the versions of the plugin, its agent and the API server
    Version(Box<Connected<VersionArgs>>),
    /// List kubectl's own flags, which every verb takes
    #[command(args = ConnectFlags::ignored_by_a_verb(&[]))]
    Options,
    /// Cleans up after a run that was killed; runs beside it.
    #[command(name = crate::agents::sentinel::VERB, hide = true)]
    Sentinel,
    /// Restores the terminal of a session that was killed; runs beside it.
    #[command(name = crate::output::put_back::VERB, hide = true)]
    Terminal,
    /// Answers TAB for `kubectl netcheck`; kubectl runs it by way of `kubectl_complete-netcheck`.
    #[command(name = "__complete", hide = true)]
    Complete {
        /// The words after `kubectl netcheck`, the last one being the one under the cursor.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
}

/// A verb that talks to the API server, but to no objects.
#[derive(Debug, Args)]
pub struct Connected<A: Args> {
    /// Its own arguments.
    #[command(flatten)]
    pub args: A,
    /// How to reach the cluster, and as whom.
    #[command(flatten)]
    pub connect: ConnectFlags,
    /// How results are printed.
    #[command(flatten)]
    pub output: OutputFlags,
}

/// A verb that needs no cluster.
#[derive(Debug, Args)]
pub struct Offline<A: Args> {
    /// Its own arguments.
    #[command(flatten)]
    pub args: A,
    /// How results are printed.
    #[command(flatten)]
    pub output: OutputFlags,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory as _;

    use super::*;

    /// Verbs, and those below them.
    fn leaves(command: &clap::Command) -> Vec<&clap::Command> {
        command
            .get_subcommands()
            .flat_map(|verb| [vec![verb], leaves(verb)].concat())
            .collect()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    /// A letter that means one thing here and another there is a trap.
    #[test]
    fn a_letter_means_the_same_in_every_verb() {
        let promised = [
            ('n', "namespace"),
            ('A', "all-namespaces"),
            ('l', "selector"),
            ('o', "output"),
            ('f', "filename"),
            ('s', "server"),
            ('c', "container"),
            ('i', "stdin"),
            ('t', "tty"),
            ('q', "quiet"),
            ('w', "write"),
            ('v', "v"),
            ('h', "help"),
        ];
        let mut meanings: BTreeMap<char, String> = promised
            .iter()
            .map(|(letter, long)| (*letter, (*long).to_owned()))
            .collect();
        let mut cli = Cli::command();
        cli.build();
        for verb in leaves(&cli) {
            for argument in verb.get_arguments() {
                let (Some(letter), Some(long)) = (argument.get_short(), argument.get_long()) else {
                    continue;
                };
                // tcpdump's and ksniff's letter is worth the exception: kubectl's -i takes no value, so neither is ever taken for the other.
                if (verb.get_name(), letter, long) == ("capture", 'i', "interface") {
                    continue;
                }
                let meaning = meanings.entry(letter).or_insert_with(|| long.to_owned());
                assert_eq!(meaning, long, "-{letter} of {}", verb.get_name());
            }
        }
    }

    #[test]
    fn every_verb_and_flag_says_what_it_does() {
        let mut cli = Cli::command();
        cli.build();
        for verb in leaves(&cli) {
            assert!(verb.get_about().is_some(), "{}", verb.get_name());
            for argument in verb.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(
                    !help.is_empty() && !help.ends_with('.'),
                    "{} {}: {help:?}",
                    verb.get_name(),
                    argument.get_id()
                );
            }
        }
    }
}
