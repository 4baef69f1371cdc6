//! The ways into the cluster: starts agents, speaks to them, and leaves nothing behind.
//!
//! ```text
//! LaunchSpec ─ crew (who gets an agent) ─┬─ node       one Job per node, its pod enters the pods' namespaces
//!                                        └─ ephemeral  one ephemeral container per pod, down the ladder
//!                                                │
//!                     exec (one stream each) ── link (survives cuts) ── Fleet ── the verb
//!                                                                         │
//!                                                      sweep (removes; sentinel does if we die)
//! ```

pub mod arrival;
pub mod crew;
pub mod ephemeral;
pub mod exec;
pub mod flags;
pub mod fleet;
pub mod gate;
pub mod image;
pub mod ladder;
pub mod link;
pub mod manifest;
pub mod node;
pub mod observe;
pub mod permissions;
pub mod plan;
pub mod run;
pub mod sentinel;
pub mod sweep;
pub mod teardown;
pub mod waiting;

pub use flags::AgentFlags;
pub use fleet::{AgentIndex, Farewell, Fleet};
pub use image::ImageChoice;
pub use link::{Flow, LinkError, Piece};
pub use manifest::Budget;
pub use plan::{NodePlan, Planned, describe};

use crate::{cluster::inventory::Subject, flags::KubectlFlags, output::Interrupt};
use std::{collections::BTreeSet, time::Duration};

/// The agents' namespace where the user names none.
pub const DEFAULT_NAMESPACE: &str = "netcheck";

/// Which way in the user wants.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// Node agents where they are allowed, else ephemeral containers
    #[default]
    Auto,
    /// One short-lived pod per node
    Node,
    /// One ephemeral container per pod
    Ephemeral,
}

/// Which way in was taken, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// Node agents.
    Node {
        /// In this namespace.
        namespace: String,
    },
    /// Ephemeral containers.
    Ephemeral {
        /// Why not node agents.
        why: String,
    },
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Node { namespace } => write!(f, "via node agents: short-lived pods in namespace {namespace}"),
            Self::Ephemeral { why } => write!(f, "via ephemeral containers: {why}"),
        }
    }
}

/// What to launch.
#[derive(Debug, Clone)]
pub struct LaunchSpec {
    /// The verb, for advice about its Roles.
    pub verb: &'static str,
    /// Whose network namespaces must be reached.
    pub subjects: Vec<Subject>,
    /// Those among them that are only looked at where that leaves no trace: they get no ephemeral container.
    pub bystanders: BTreeSet<Subject>,
    /// Which way.
    pub via: Via,
    /// Image of the agents.
    pub image: ImageChoice,
    /// Namespace of node agents.
    pub agent_namespace: String,
    /// How long the run may take; the cluster ends the agents after it by itself.
    pub deadline: Duration,
    /// What each node agent may use.
    pub budget: Budget,
    /// kubectl's flags, for the sentinel: it must reach the same cluster as the same user.
    pub flags: KubectlFlags,
    /// Whether the user wants to stop.
    pub interrupt: Interrupt,
}
