//! The sentinel: a child of the plugin that outlives it. If the plugin dies without a word (kill -9, a closed terminal, a panic), the
//! sentinel removes what the run created; if the plugin says it is done, the sentinel just ends.
//!
//! It is this same binary with a hidden verb. What it must know comes as one line of JSON on its stdin (never on its command line,
//! which everybody on the machine can read); the pipe then stays open for as long as the plugin lives. Behind it, in the cluster, the
//! Jobs' own deadlines do the same more slowly.

use super::{
    run::RunId,
    sweep::{self, Agents},
};
use crate::{cluster::Cluster, flags::KubectlFlags};
use serde::{Deserialize, Serialize};
use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

/// The hidden verb.
pub const VERB: &str = "__sentinel";
/// What the plugin says when nothing is left to do.
const DONE: &str = "done";
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

/// The plugin's end of the pipe.
#[derive(Debug)]
pub struct Sentinel {
    child: Child,
    stdin: ChildStdin,
}

impl Sentinel {
    /// Starts one, before anything is created.
    ///
    /// # Errors
    /// If no process can be started; the run is still safe by its deadlines.
    pub fn start(flags: &KubectlFlags, run: &RunId, agent_namespace: &str) -> std::io::Result<Self> {
        let orders = Orders {
            flags: flags.clone(),
            run: run.clone(),
            agent_namespace: agent_namespace.to_owned(),
        };
        let orders = serde_json::to_string(&orders)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(VERB)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let Some(mut stdin) = child.stdin.take() else {
            return Err(std::io::Error::other("the sentinel has no stdin"));
        };
        writeln!(stdin, "{orders}")?;
        stdin.flush()?;
        Ok(Self { child, stdin })
    }

    /// Nothing is left to remove.
    pub fn dismiss(mut self) {
        // If it is gone already there is nobody to tell.
        let _ = writeln!(self.stdin, "{DONE}");
        drop(self.stdin);
        let _ = self.child.try_wait();
    }
}

/// The sentinel's whole life. It says nothing: nobody is there to read it.
pub async fn watch() {
    // A session of its own: neither Ctrl-C nor the end of the terminal reaches it. It fails only for a leader of a process group, which
    // a child started by the plugin is not.
    let _ = rustix::process::setsid();
    let Ok(Some(orders)) = tokio::task::spawn_blocking(wait_for_silence).await else {
        return;
    };
    // Whatever is not removed in time is left to the deadlines in the cluster.
    let _ = tokio::time::timeout(LIMIT, remove(&orders)).await;
}

/// Waits for the plugin's end; `None` if it ended in order.
fn wait_for_silence() -> Option<Orders> {
    let mut lines = BufReader::new(std::io::stdin()).lines();
    let orders = serde_json::from_str(&lines.next()?.ok()?).ok()?;
    for line in lines {
        match line {
            Ok(line) if line == DONE => return None,
            Ok(_) => {}
            Err(_) => break,
        }
    }
    Some(orders)
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
