//! Flags of every verb that starts agents.

use super::{Budget, DEFAULT_NAMESPACE, ImageChoice, LaunchSpec, Via};
use crate::{cluster::inventory::Subject, flags::KubectlFlags, output::Interrupt};
use clap::Args;
use std::{collections::BTreeSet, time::Duration};

/// How agents get into the cluster.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Agents")]
pub struct AgentFlags {
    /// Way into the cluster
    #[arg(long, value_enum, default_value_t)]
    pub via: Via,
    /// Namespace of node agents; created if it does not exist
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    pub agent_namespace: String,
    /// Image of the agents (default: the one that belongs to this plugin)
    #[arg(long, value_name = "REFERENCE")]
    pub image: Option<String>,
    /// Registry, and path in it, that mirrors the agents' image
    #[arg(long, value_name = "PREFIX", conflicts_with = "image")]
    pub image_prefix: Option<String>,
    /// Secret in the agents' namespace to pull the image with; may be given several times
    #[arg(long, value_name = "NAME")]
    pub image_pull_secret: Vec<String>,
}

impl AgentFlags {
    /// What to launch for these subjects.
    pub fn launch_spec(
        &self,
        subjects: Vec<Subject>,
        deadline: Duration,
        flags: &KubectlFlags,
        interrupt: &Interrupt,
    ) -> LaunchSpec {
        LaunchSpec {
            verb: "matrix",
            subjects,
            bystanders: BTreeSet::new(),
            via: self.via,
            image: ImageChoice {
                image: self.image.clone(),
                prefix: self.image_prefix.clone(),
                pull_secrets: self.image_pull_secret.clone(),
            },
            agent_namespace: self.agent_namespace.clone(),
            deadline,
            budget: Budget::PROBING,
            flags: flags.clone(),
            interrupt: interrupt.clone(),
        }
    }
}
