//! Arguments of `debug`.

use crate::{
    agents::DEFAULT_NAMESPACE,
    flags::duration,
    verbs::session::{CONTAINER, SessionArgs},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// Examples in `debug --help`.
const EXAMPLES: &str = "\
Examples:
  # A shell with the network's tools, beside the containers of a pod
  kubectl netcheck debug web-7d9c

  # The same in a pod of a Deployment, or behind a Service
  kubectl netcheck debug deploy/web
  kubectl netcheck debug svc/web

  # One command: its output, and its exit code
  kubectl netcheck debug deploy/web -- dig +short db.shop.svc.cluster.local

  # See the processes of a container as well
  kubectl netcheck debug web-7d9c --target app -- ss -tlnp

  # Leave it running and come back: Ctrl-P Ctrl-Q leaves, the same command returns
  kubectl netcheck debug web-7d9c --keep 1h

  # On a node: its network, its processes, its files under /host
  kubectl netcheck debug node/n1

Exit codes: those of the command, or of the shell; 127 if the image does not have the command. 2 and 3 as ever, if it did not come so far.";

/// Arguments of `debug`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct DebugArgs {
    /// A pod, a workload or Service (one of its pods), or a node: POD, TYPE/NAME, TYPE NAME or node/NAME
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// The command, and its container.
    #[command(flatten)]
    pub asked: SessionArgs,

    /// In a pod: leave it running when you leave, for this long: 30m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub keep: Option<Duration>,
    /// Start another one, also where one of yours is running still
    #[arg(long)]
    pub new: bool,

    /// Name of the new container
    #[arg(short = 'c', long, value_name = "NAME", help_heading = CONTAINER)]
    pub container: Option<String>,
    /// Container of the pod whose processes shall be seen
    #[arg(long, value_name = "CONTAINER", help_heading = CONTAINER)]
    pub target: Option<String>,
    /// File with a part of a container, JSON or YAML, that changes the new one
    #[arg(long, value_name = "FILE", help_heading = CONTAINER)]
    pub custom: Option<PathBuf>,
    /// Namespace of a pod on a node; created if it does not exist
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE, help_heading = CONTAINER)]
    pub agent_namespace: String,
}
