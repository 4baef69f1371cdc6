//! Arguments of `doctor`.

use crate::agents::{AgentFlags, permissions::Verb};
use clap::{Args, builder::RangedU64ValueParser};
use std::path::PathBuf;

/// Heading of the flags that say what is looked at.
const SCOPE: &str = "What is looked at";
/// Nodes without `--max-nodes`.
const MAX_NODES: usize = 5;

/// Examples in `doctor --help`.
const EXAMPLES: &str = "\
Exit code: 0 if nothing is wrong, 1 if something is, 3 if something could not be told; rights that are missing are a warning, and a failure of
verbs that --verb names.

Examples:
  # Which network is this, may I, can I: what the API says, and a look at up to five nodes
  kubectl netcheck doctor

  # The API alone: nothing is created
  kubectl netcheck doctor --api-only

  # As a gate in CI: the account must be allowed to run the matrix in this namespace
  kubectl netcheck doctor --api-only --verb matrix -n shop --junit doctor.xml

  # One node
  kubectl netcheck doctor n1";

/// Arguments of `doctor`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct DoctorArgs {
    /// Nodes: NAME or node/NAME (default: up to five, of as many kinds as there are; -l chooses by labels)
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,

    /// Only ask the API; create nothing
    #[arg(long, help_heading = SCOPE)]
    pub api_only: bool,

    /// Only these verbs' rights, and have them fail where they are missing; may be given several times
    #[arg(long, value_name = "VERB", value_enum, value_delimiter = ',', help_heading = SCOPE)]
    pub verb: Vec<Verb>,

    /// Look at this many nodes at most
    #[arg(long, value_name = "NUMBER", default_value_t = MAX_NODES, value_parser = RangedU64ValueParser::<usize>::new().range(1..), help_heading = SCOPE)]
    pub max_nodes: usize,

    /// Write a JUnit report, also if the run fails before it has results
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub junit: Option<PathBuf>,

    /// How agents get in.
    #[command(flatten)]
    pub agents: AgentFlags,
}
