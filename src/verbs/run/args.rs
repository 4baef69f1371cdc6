//! Arguments of `run`.

use crate::{cluster::resolve::object_name, debug::throwaway, verbs::session::SessionArgs};
use clap::{Arg, Args};

/// Heading of the flags about the new pod.
const POD: &str = "The new pod";

/// Examples in `run --help`.
const EXAMPLES: &str = "\
Examples:
  # A shell with the network's tools, in a pod of its own
  kubectl netcheck run

  # One command: its output, and its exit code
  kubectl netcheck run -n shop -- curl -sS http://web

  # What NetworkPolicies say to pods of these labels
  kubectl netcheck run -n shop --labels app=web,tier=front -- nc -zv db 5432

  # On one node, or in its network
  kubectl netcheck run --node n1
  kubectl netcheck run --node n1 --host-network -- ss -tlnp

  # As a service account, with its token
  kubectl netcheck run --serviceaccount reader

The pod is gone when you leave, on Ctrl-C, and when this program is killed.

Exit codes: those of the command, or of the shell; 127 if the image does not have the command. 2 and 3 as ever, if it did not come so far.";

/// Arguments of `run`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct RunArgs {
    /// What the pod's name begins with (default: one that nobody has)
    #[arg(value_name = "NAME", value_parser = throwaway::name)]
    pub name: Option<String>,

    /// The command, and its container.
    #[command(flatten)]
    pub asked: SessionArgs,

    /// Node to be on, whatever its taints
    #[arg(long, value_name = "NODE", value_parser = object_name, help_heading = POD)]
    pub node: Option<String>,
    /// Be in the node's network namespace
    #[arg(long, help_heading = POD)]
    pub host_network: bool,
    /// Labels of the pod: app=web,tier=front. No Service sends traffic to it for their sake
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = throwaway::label, help_heading = POD)]
    pub labels: Vec<(String, String)>,
    /// Service account to be, with its token (default: no token)
    #[arg(long, value_name = "NAME", value_parser = object_name, help_heading = POD)]
    pub serviceaccount: Option<String>,
}

/// Hides kubectl's flags that select objects.
pub fn without_meaning(argument: Arg) -> Arg {
    let selects = ["selector", "all_namespaces", "yes"].contains(&argument.get_id().as_str());
    if selects { argument.hide(true) } else { argument }
}
