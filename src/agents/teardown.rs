//! What a run has to remove in the end, and who does it should the plugin not live to.

use super::{
    manifest::AgentSpec,
    run::RunId,
    sentinel,
    sweep::{self, Agents},
};
use crate::{cluster::Cluster, exit::Failure, flags::KubectlFlags, output::Printer, survivor::Survivor};

/// What has to be removed in the end.
pub struct Teardown {
    cluster: Cluster,
    namespace: String,
    run: RunId,
    sentinel: Option<Survivor>,
}

impl Teardown {
    /// To be called before anything is created.
    pub fn begin(cluster: &Cluster, flags: &KubectlFlags, spec: &AgentSpec, printer: &Printer) -> Self {
        let sentinel = sentinel::start(flags, &spec.run, &spec.namespace)
            .inspect_err(|error| {
                printer.warn(format!(
                    "no process to clean up should this one be killed ({error}): the cluster then does it within {} s",
                    spec.deadline.as_secs()
                ));
            })
            .ok();
        Self {
            cluster: cluster.clone(),
            namespace: spec.namespace.clone(),
            run: spec.run.clone(),
            sentinel,
        }
    }

    /// Removes it; what could not be.
    pub async fn finish(self, agents: Agents) -> Vec<Failure> {
        let failures = sweep::remove_run(&self.cluster, &self.namespace, &self.run, agents).await;
        // What could not be removed now the sentinel tries again, for a while.
        if failures.is_empty()
            && let Some(sentinel) = self.sentinel
        {
            sentinel.dismiss();
        }
        failures
    }
}
