//! Arguments of `debug`.

use crate::{agents::DEFAULT_NAMESPACE, debug::Profile, flags::duration};
use clap::{Arg, Args};
use std::{path::PathBuf, time::Duration};

/// Heading of the flags about the new container.
const CONTAINER: &str = "The new container";

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

    /// Command to run (default: a shell: bash, else sh)
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,

    /// Send what is typed or piped to the command (default: without a command)
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal (default: without a command, where there is one)
    #[arg(short = 't', long, requires = "stdin")]
    pub tty: bool,
    /// In a pod: leave it running when you leave, for this long: 30m, 1h
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub keep: Option<Duration>,
    /// Start another one, also where one of yours is running still
    #[arg(long)]
    pub new: bool,

    /// Image (default: netcheck's toolbox); it needs a shell
    #[arg(long, value_name = "REFERENCE", help_heading = CONTAINER)]
    pub image: Option<String>,
    /// Registry, and path in it, that mirrors the toolbox
    #[arg(long, value_name = "PREFIX", conflicts_with = "image", help_heading = CONTAINER)]
    pub image_prefix: Option<String>,
    /// When to pull the image: Always, IfNotPresent, Never
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"], hide_possible_values = true, help_heading = CONTAINER)]
    pub image_pull_policy: Option<String>,
    /// Secret to pull the image with on a node; may be given several times (pods have their own)
    #[arg(long, value_name = "NAME", help_heading = CONTAINER)]
    pub image_pull_secret: Vec<String>,
    /// Name of the new container
    #[arg(short = 'c', long, value_name = "NAME", help_heading = CONTAINER)]
    pub container: Option<String>,
    /// Container of the pod whose processes shall be seen
    #[arg(long, value_name = "CONTAINER", help_heading = CONTAINER)]
    pub target: Option<String>,
    /// File with a part of a container, JSON or YAML, that changes the new one
    #[arg(long, value_name = "FILE", help_heading = CONTAINER)]
    pub custom: Option<PathBuf>,
    /// Variable for the command; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = CONTAINER)]
    pub env: Vec<(String, String)>,
    /// Namespace of a pod on a node; created if it does not exist
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE, help_heading = CONTAINER)]
    pub agent_namespace: String,
}

/// kubectl has two flags of this name: one of its own for its profiler, which is accepted everywhere, and one of `debug`.
pub fn profile_argument(argument: Arg) -> Arg {
    let names = Profile::ALL.map(Profile::word);
    argument
        .value_name("PROFILE")
        .value_parser(names)
        .help("What the container may do (default: netadmin; in a pod that refuses it, baseline or restricted)")
        .help_heading(CONTAINER)
        .hide(false)
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not NAME=VALUE")),
    }
}
