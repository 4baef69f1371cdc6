//! Arguments of `verify`.

use crate::{agents::AgentFlags, flags::duration, verify::group::CHECKS};
use clap::{Args, builder::PossibleValuesParser};
use std::{path::PathBuf, time::Duration};

/// Heading of the flags that say what is checked.
const SCOPE: &str = "What is checked";
/// Heading of the flags about what comes of it.
const RESULT: &str = "Result";

/// Examples in `verify --help`.
const EXAMPLES: &str = "\
Examples:
  # Every node's routes, neighbours, devices, firewall, BPF maps and files against what the API says
  kubectl netcheck verify

  # One node, all findings, a line each
  kubectl netcheck verify n1 -o wide

  # Have the bundled network's daemons put right what is wrong, and see before and after
  kubectl netcheck verify --fix

  # And watch five seconds of traffic: where packets die, and of what
  kubectl netcheck verify --observe 5s

  # Keep what was read, and judge it elsewhere
  kubectl netcheck verify --save evidence.json
  kubectl netcheck verify --from evidence.json

  # As a gate in CI
  kubectl netcheck verify --junit verify.xml";

/// Arguments of `verify`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct VerifyArgs {
    /// Nodes: NAME or node/NAME (default: all; -l chooses by labels)
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,

    /// Only this check, by the id of its finding; may be given several times
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = PossibleValuesParser::new(ids()), hide_possible_values = true, help_heading = SCOPE)]
    pub check: Vec<String>,

    /// Use at most this many nodes (default: 20; with --yes no limit)
    #[arg(long, value_name = "NUMBER", help_heading = SCOPE)]
    pub max_nodes: Option<usize>,

    /// Observe nodes for so long with probes between their pods, and say why packets die: counters, and the kernel's own reasons
    #[arg(long, value_name = "DURATION", value_parser = duration::of_an_observation, help_heading = SCOPE, conflicts_with = "from")]
    pub observe: Option<Duration>,

    /// Write what was read of API and nodes into a file, to be judged with --from
    #[arg(long, value_name = "FILE", help_heading = RESULT, conflicts_with = "from")]
    pub save: Option<PathBuf>,

    /// Judge what --save has written, without any cluster
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub from: Option<PathBuf>,

    /// Ask the bundled network's daemons to put right what was found, look again, and show both
    #[arg(long, help_heading = RESULT, conflicts_with = "from")]
    pub fix: bool,

    /// Write a JUnit report, also if the run fails before it has results
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub junit: Option<PathBuf>,

    /// How agents get in.
    #[command(flatten)]
    pub agents: AgentFlags,
}

/// Ids of all checks.
fn ids() -> impl Iterator<Item = &'static str> {
    CHECKS.iter().flat_map(|(_, ids)| *ids).copied()
}
