//! The command line.

use clap::{Parser, Subcommand};
use std::{net::SocketAddr, path::PathBuf};

/// Keeps a node's kernel and disk as the Kubernetes API says they must be: the daemon of the bundled CNI
#[derive(Debug, Parser)]
#[command(version)]
pub struct Arguments {
    /// Name of this node's Node object
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node: String,
    /// Where health (/healthz, /readyz) and metrics (/metrics) are served
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9469")]
    pub listen: SocketAddr,
    /// The plugin's binary, to be installed
    #[arg(long, value_name = "FILE", default_value = "/netcheck-cni")]
    pub plugin: PathBuf,
    /// Where things are.
    #[command(flatten)]
    pub places: Places,
    /// What to do instead of keeping the node.
    #[command(subcommand)]
    pub instead: Option<Instead>,
}

/// What else there is to do, once.
#[derive(Debug, Subcommand)]
pub enum Instead {
    /// Remove all of netcheck-cni from this node, and leave it as it was
    Uninstall {
        /// Also if pods are still wired: they lose their network
        #[arg(long)]
        evict: bool,
    },
    /// Ask the daemon of this node to look at everything now, and print as JSON what it changed
    Reconcile,
}

/// Where things are on the node.
#[derive(Debug, Clone, clap::Args)]
pub struct Places {
    /// Folder of plugins' binaries
    #[arg(long, value_name = "FOLDER", default_value = "/opt/cni/bin")]
    pub bin: PathBuf,
    /// Folder of CNI configurations
    #[arg(long, value_name = "FOLDER", default_value = "/etc/cni/net.d")]
    pub conf: PathBuf,
    /// State of the plugin and the daemon
    #[arg(long, value_name = "FOLDER", default_value = "/run/netcheck-cni")]
    pub state: PathBuf,
    /// Folder below which BPF maps, programs and links are pinned
    #[arg(long, value_name = "FOLDER", default_value = "/sys/fs/bpf/netcheck-cni")]
    pub bpf: PathBuf,
}
