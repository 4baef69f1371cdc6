//! What may be said of a session, wherever it is.

use crate::debug::Profile;
use clap::{Arg, Args};

/// Heading of the flags about the new container.
pub const CONTAINER: &str = "The new container";

/// The command of a session, and the container that is made for it.
#[derive(Debug, Clone, Args)]
pub struct SessionArgs {
    /// Command to run (default: a shell: bash, else sh)
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<String>,

    /// Send what is typed or piped to the command (default: without a command)
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal (default: without a command, where there is one)
    #[arg(short = 't', long, requires = "stdin")]
    pub tty: bool,
    /// Image (default: netcheck's toolbox); it needs a shell
    #[arg(long, value_name = "REFERENCE", help_heading = CONTAINER)]
    pub image: Option<String>,
    /// Registry, and path in it, that mirrors the toolbox
    #[arg(long, value_name = "PREFIX", conflicts_with = "image", help_heading = CONTAINER)]
    pub image_prefix: Option<String>,
    /// When to pull the image: Always, IfNotPresent, Never
    #[arg(long, value_name = "POLICY", value_parser = ["Always", "IfNotPresent", "Never"], hide_possible_values = true, help_heading = CONTAINER)]
    pub image_pull_policy: Option<String>,
    /// Secret to pull the image with, for a new pod; may be given several times (pods that are there have their own)
    #[arg(long, value_name = "NAME", help_heading = CONTAINER)]
    pub image_pull_secret: Vec<String>,
    /// Variable for the command; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable, help_heading = CONTAINER)]
    pub env: Vec<(String, String)>,
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
