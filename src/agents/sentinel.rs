//! The sentinel: a child that outlives the plugin (see [`survivor`](crate::survivor)), and removes what the run created if the plugin died
//! without a word. Behind it, in the cluster, the Jobs' own deadlines do the same more slowly.

use super::{
    run::RunId,
    sweep::{self, Agents},
};
use crate::{
    cluster::Cluster,
    flags::KubectlFlags,
    survivor::{Survivor, outlive},
};
use serde::{Deserialize, Serialize};
use std::{process::Stdio, time::Duration};

/// The hidden verb.
pub const VERB: &str = "__sentinel";
/// How long removing may take.
const LIMIT: Duration = Duration::from_mins(1);
/// A request that was under way when the plugin died may still create something: the sentinel looks again after this time.
const SECOND_LOOK: Duration = Duration::from_secs(3);

/// What the sentinel must know.
#[derive(Serialize, Deserialize)]
struct Orders {
    flags: KubectlFlags,
    run: RunId,
    agent_namespace: String,
}

/// Starts one, before anything is created.
///
/// # Errors
/// If no process can be started; the run is still safe by its deadlines.
pub fn start(flags: &KubectlFlags, run: &RunId, agent_namespace: &str) -> std::io::Result<Survivor> {
    let orders = Orders {
        flags: flags.clone(),
        run: run.clone(),
        agent_namespace: agent_namespace.to_owned(),
    };
    Survivor::start(VERB, &orders, Stdio::null())
}

/// The sentinel's whole life. It says nothing: nobody is there to read it.
pub async fn watch() {
    let Ok(Some(orders)) = tokio::task::spawn_blocking(outlive::<Orders>).await else {
        return;
    };
    // Whatever is not removed in time is left to the deadlines in the cluster.
    let _ = tokio::time::timeout(LIMIT, remove(&orders)).await;
}

async fn remove(orders: &Orders) {
    let mut pause = Duration::from_millis(500);
    loop {
        if let Ok(cluster) = Cluster::connect(&orders.flags).await {
            let first = sweep::remove_run(&cluster, &orders.agent_namespace, &orders.run, Agents::MayRun).await;
            tokio::time::sleep(SECOND_LOOK).await;
            let second = sweep::remove_run(&cluster, &orders.agent_namespace, &orders.run, Agents::MayRun).await;
            if first.is_empty() && second.is_empty() {
                return;
            }
        }
        // The API server may be away for a moment; the caller's limit ends this.
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(8));
    }
}
