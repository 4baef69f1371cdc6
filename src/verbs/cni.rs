//! `cni`: the bundled pod network, brought into a cluster, looked at, and taken out again.
//!
//! ```text
//! install   scene (read once) ─ decide (others, ranges, config) ─ manifest ─ lock ─ apply ─ follow
//! status    rows (from Nodes, pods, ConfigMap) ─ complaints ─ report ─ follow
//! uninstall evict ─ undo (a Job per node) ─ objects ─ remains
//! ```

mod apply;
mod complaints;
mod config;
mod decide;
mod evict;
mod follow;
mod install;
mod lock;
mod manifest;
mod names;
mod others;
mod pods;
mod ranges;
mod remains;
mod report;
mod rows;
mod scene;
mod status;
mod undo;
mod uninstall;

use crate::{
    exit::{Exit, Failure},
    flags::{KubectlFlags, With},
    verbs::Shared,
};
use clap::{Args, Subcommand};

#[cfg(test)]
pub(crate) use manifest::access as daemon_roles;
pub use manifest::namespace;
pub use remains::CniUninstallReport;
pub use report::CniStatus;

/// The network's name, which is that of its namespace and of all its objects.
pub const NETWORK: &str = names::NAME;

/// `cni VERB`.
#[derive(Debug, Args)]
pub struct CniArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub action: CniAction,
}

/// What can be done with the bundled network.
#[derive(Debug, Subcommand)]
pub enum CniAction {
    /// Install it, or bring an installation to this version; refuses where another network is
    Install(Box<With<install::InstallArgs>>),
    /// Say how it stands on each node, at once or when all have settled
    Status(Box<With<status::StatusArgs>>),
    /// Remove it from every node and the cluster; refuses while pods live in it
    Uninstall(Box<With<uninstall::UninstallArgs>>),
}

impl CniAction {
    /// The word that `rbac` takes for it, and kubectl's flags.
    pub fn split(&self) -> (&'static str, KubectlFlags) {
        use crate::agents::permissions::Verb;
        let (verb, flags) = match self {
            Self::Install(with) => (Verb::CniInstall, &with.flags),
            Self::Status(with) => (Verb::CniStatus, &with.flags),
            Self::Uninstall(with) => (Verb::CniUninstall, &with.flags),
        };
        (verb.word(), flags.clone())
    }
}

/// Does it.
///
/// # Errors
/// As the three say.
pub async fn run(action: CniAction, shared: Shared) -> Result<Exit, Failure> {
    match action {
        CniAction::Install(with) => Box::pin(install::run(with.args, shared)).await,
        CniAction::Status(with) => Box::pin(status::run(with.args, shared)).await,
        CniAction::Uninstall(with) => Box::pin(uninstall::run(with.args, shared)).await,
    }
}
