//! Arguments of `matrix`.

use crate::{
    agents::AgentFlags,
    flags::duration,
    matrix::{evidence::Protocol, family::Family},
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// Heading of the flags that say what is tested.
const SCOPE: &str = "What is tested";
/// Heading of the flags that bound a run.
const LIMITS: &str = "Limits";
/// Heading of the flags for CI.
const RESULT: &str = "Result";

/// Examples in `matrix --help`.
const EXAMPLES: &str = "\
Examples:
  # Who reaches whom in the current namespace, its Services and cluster DNS
  kubectl netcheck matrix

  # From one Deployment to one Service, with all evidence
  kubectl netcheck matrix deploy/web --to svc/api -o yaml

  # Every ordered pair of pods in all namespaces, as a gate in CI
  kubectl netcheck matrix -A --full --yes --junit netcheck.xml

  # What would be created and sent
  kubectl netcheck matrix --dry-run";

/// Arguments of `matrix`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
pub struct MatrixArgs {
    /// Sources: POD, TYPE/NAME, TYPE NAME or node/NAME (default: all pods in scope and all nodes)
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// Destinations, named like sources; may be given several times (default: pods, nodes, Services in scope, cluster DNS)
    #[arg(long, value_name = "TARGET", help_heading = SCOPE)]
    pub to: Vec<String>,

    /// Test every ordered pair instead of representatives
    #[arg(long, help_heading = SCOPE)]
    pub full: bool,

    /// What to probe with: tcp, dns, icmp; may be given several times (default: tcp,dns)
    #[arg(long, value_name = "PROTOCOL", value_enum, value_delimiter = ',', hide_possible_values = true, help_heading = SCOPE)]
    pub protocol: Vec<Protocol>,

    /// IP family: 4 or 6; may be given several times (default: both)
    #[arg(long, value_name = "4|6", value_parser = family, value_delimiter = ',', help_heading = SCOPE)]
    pub family: Vec<Family>,

    /// How long one probe waits for its answer: 2s to 2m
    #[arg(long, value_name = "DURATION", value_parser = duration::of_a_probe, default_value = "3s", help_heading = LIMITS)]
    pub timeout: Duration,

    /// Send at most this many probes (default: 2000; with --yes no limit)
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS)]
    pub max_probes: Option<usize>,

    /// Use at most this many nodes (default: 20; with --yes no limit)
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS)]
    pub max_nodes: Option<usize>,

    /// How agents get in.
    #[command(flatten)]
    pub agents: AgentFlags,

    /// Write a JUnit report, also if the run fails before it has results
    #[arg(long, value_name = "FILE", help_heading = RESULT)]
    pub junit: Option<PathBuf>,

    /// Exit with 0 even if some rows could not be told; the reason is written into the report
    #[arg(long, value_name = "REASON", num_args = 0..=1, require_equals = true, default_missing_value = "by --allow-inconclusive", help_heading = RESULT)]
    pub allow_inconclusive: Option<String>,
}

fn family(text: &str) -> Result<Family, String> {
    match text {
        "4" | "ipv4" => Ok(Family::Ipv4),
        "6" | "ipv6" => Ok(Family::Ipv6),
        _ => Err(format!("{text:?} is no IP family; write 4 or 6")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: MatrixArgs,
    }

    fn parse(line: &[&str]) -> MatrixArgs {
        Line::try_parse_from(std::iter::once(&"matrix").chain(line))
            .map_or_else(|error| panic!("{error}"), |line| line.args)
    }

    #[test]
    fn lists_may_be_repeated_or_separated() {
        let args = parse(&[
            "deploy/web",
            "--to",
            "svc/api",
            "--to",
            "pod/db-0",
            "--protocol",
            "tcp,icmp",
            "--family",
            "6",
        ]);
        assert_eq!(args.targets, ["deploy/web"]);
        assert_eq!(args.to, ["svc/api", "pod/db-0"]);
        assert_eq!(args.protocol, [Protocol::Tcp, Protocol::Icmp]);
        assert_eq!(args.family, [Family::Ipv6]);
    }

    #[test]
    fn a_reason_is_optional_and_never_swallows_a_target() {
        assert_eq!(parse(&["--allow-inconclusive", "web"]).targets, ["web"]);
        assert_eq!(
            parse(&["--allow-inconclusive=known", "web"])
                .allow_inconclusive
                .as_deref(),
            Some("known")
        );
    }

    #[test]
    fn a_family_is_4_or_6() {
        assert!(Line::try_parse_from(["matrix", "--family", "5"]).is_err());
    }
}
