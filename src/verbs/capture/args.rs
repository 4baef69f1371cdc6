//! Arguments of `capture`.

use crate::{
    agents::AgentFlags,
    capture::limits::{self, parse_size},
    flags::duration,
};
use clap::Args;
use std::{path::PathBuf, time::Duration};

/// Heading of the flags that say what becomes of packets.
const OUTPUT: &str = "Output";
/// Heading of the flags that bound a capture.
const LIMITS: &str = "Limits";

/// Examples in `capture --help`.
const EXAMPLES: &str = "\
Examples:
  # What a Deployment's pods say to cluster DNS, line by line
  kubectl netcheck capture deploy/web -- port 53

  # All backends of a Service in one file, for Wireshark
  kubectl netcheck capture svc/api -w api.pcapng

  # Live into Wireshark, only what goes to one pod
  kubectl netcheck capture deploy/web --wireshark -- pod db-0 and tcp port 5432

  # Two pods and a node, a file each, without payload
  kubectl netcheck capture web-1 web-2 node/n1 --per-pod captures --headers-only

  # Into another program
  kubectl netcheck capture deploy/web -w - | tshark -r -

  # The first packets of a pod that does not exist yet
  kubectl netcheck capture pod/migrate --wait -w first.pcapng

The filter after -- is that of tcpdump (pcap-filter(7)), and besides: pod NAME, svc NAME, also NAMESPACE/NAME";

/// Arguments of `capture`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = EXAMPLES)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches")]
pub struct CaptureArgs {
    /// Pods, workloads, Services (their backends) or nodes: POD, TYPE/NAME, TYPE NAME or node/NAME
    #[arg(value_name = "TARGET")]
    pub targets: Vec<String>,

    /// Which packets, in the language of tcpdump; also: pod NAME, svc NAME (default: all)
    #[arg(last = true, value_name = "FILTER")]
    pub filter: Vec<String>,

    /// Interface in the pods or on the nodes; may be given several times (default: all)
    #[arg(short = 'i', long, value_name = "NAME")]
    pub interface: Vec<String>,

    /// Write a capture file: pcapng, or classic pcap if its name ends in .pcap; - is stdout
    #[arg(short = 'w', long, value_name = "FILE", help_heading = OUTPUT)]
    pub write: Option<PathBuf>,

    /// Show the packets in Wireshark as they come
    #[arg(long, conflicts_with_all = ["write", "per_pod"], help_heading = OUTPUT)]
    pub wireshark: bool,

    /// Write a file for each pod and node into a folder
    #[arg(long, value_name = "FOLDER", conflicts_with = "write", help_heading = OUTPUT)]
    pub per_pod: Option<PathBuf>,

    /// Keep at most this many bytes of a packet
    #[arg(long, value_name = "BYTES", default_value_t = 262_144, value_parser = clap::value_parser!(u32).range(14..=262_144), help_heading = OUTPUT)]
    pub snaplen: u32,

    /// Leave the payload out: nothing behind the innermost transport header leaves the node
    #[arg(long, conflicts_with = "redact", help_heading = OUTPUT)]
    pub headers_only: bool,

    /// Overwrite the payload with zeros before it leaves the node
    #[arg(long, help_heading = OUTPUT)]
    pub redact: bool,

    /// End after this many packets; 0 for no limit
    #[arg(long, value_name = "NUMBER", default_value_t = limits::COUNT, help_heading = LIMITS)]
    pub count: u64,

    /// End after this time; 0 for no limit
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "5m", help_heading = LIMITS)]
    pub duration: Duration,

    /// End after so many bytes of packets; 0 for no limit
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "100M", help_heading = LIMITS)]
    pub max_bytes: u64,

    /// Use at most this many nodes (default: 20; with --yes no limit)
    #[arg(long, value_name = "NUMBER", help_heading = LIMITS)]
    pub max_nodes: Option<usize>,

    /// Arm every node first, and capture what is named as soon as it appears: pods, or a workload, need not exist yet
    #[arg(long)]
    pub wait: bool,

    /// Keep to what is named through rescheduling: pods that come later are captured from their beginning
    #[arg(long)]
    pub follow: bool,

    /// Exit with 1 if a packet was lost
    #[arg(long)]
    pub strict: bool,

    /// How agents get in.
    #[command(flatten)]
    pub agents: AgentFlags,
}

impl CaptureArgs {
    /// Whether pods may come later: then every node has an agent.
    pub fn awaits(&self) -> bool {
        self.wait || self.follow
    }

    /// The filter as it was typed.
    pub fn expression(&self) -> String {
        self.filter.join(" ")
    }
}
