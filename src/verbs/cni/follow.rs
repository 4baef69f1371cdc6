//! Follows nodes until each has settled: a line for each change on a terminal, a line for the whole elsewhere.

use super::{
    report::{CniNode, CniStatus, State},
    status::look,
};
use crate::{
    cluster::Cluster,
    exit::{Exit, Failure},
    output::safe,
    verbs::Shared,
};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

/// How often to look: four requests each.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How often an API server that does not answer is forgiven: it may be restarting, with its node.
const FORGIVEN: u32 = 5;

/// The first status in which every node has settled; when time is up, the last one.
///
/// # Errors
/// If it is not installed, cannot be looked at, or the user interrupts.
pub async fn until_settled(cluster: &Cluster, timeout: Duration, shared: &Shared) -> Result<CniStatus, Failure> {
    let until = Instant::now() + timeout;
    let phase = shared.printer.phase("waiting for nodes");
    let mut told = BTreeMap::new();
    let mut failures = 0;
    loop {
        let looked = tokio::select! {
            looked = look(cluster) => looked,
            () = shared.interrupt.requested() => return Err(interrupted()),
        };
        let is_over = Instant::now() >= until;
        match looked {
            Ok(status) => {
                failures = 0;
                let settled = status.items.iter().filter(|node| node.is_settled()).count();
                phase.set(settled, status.items.len());
                if shared.printer.draws_bars() {
                    for line in news(&mut told, &status.items) {
                        shared.printer.note(line);
                    }
                }
                if settled == status.items.len() || is_over {
                    phase.finish(format!(
                        "{} of {} ready",
                        status.count(State::Ready),
                        status.items.len()
                    ));
                    if settled < status.items.len() {
                        shared.printer.warn(format!(
                            "{} of {} nodes have not settled within {timeout:?}",
                            status.items.len() - settled,
                            status.items.len()
                        ));
                    }
                    return Ok(status);
                }
            }
            Err(failure) if failure.exit == Exit::Unknown && failures < FORGIVEN && !is_over => failures += 1,
            Err(failure) => return Err(failure),
        }
        tokio::select! {
            () = sleep(LOOK_AGAIN) => {}
            () = shared.interrupt.requested() => return Err(interrupted()),
        }
    }
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted: nodes go on without being looked at")
        .hint("kubectl netcheck cni status --wait looks on")
}

/// What has changed since it was last told, a line for each node.
fn news(told: &mut BTreeMap<String, String>, nodes: &[CniNode]) -> Vec<String> {
    let mut lines = Vec::new();
    for node in nodes {
        let problems = node.problems();
        let words = match node.state {
            State::Ready => "ready, configuration applied".to_owned(),
            State::Pending => problems,
            State::Degraded => format!("degraded: {problems}"),
            State::Refused => format!("refused: {problems}"),
        };
        let line = format!("{}: {words}", safe(&node.node));
        if told.get(&node.node) != Some(&line) {
            told.insert(node.node.clone(), line.clone());
            lines.push(line);
        }
    }
    for gone in told
        .keys()
        .filter(|name| !nodes.iter().any(|node| &node.node == *name))
        .cloned()
        .collect::<Vec<_>>()
    {
        told.remove(&gone);
        lines.push(format!("{}: gone", safe(&gone)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake;
    use crate::{
        flags::KubectlFlags,
        output::{Interrupt, Printer},
        verbs::cni::{
            config,
            rows::{
                self,
                tests::{node, pod, sources, up},
            },
        },
    };
    use serde_json::{Value, json};
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    #[test]
    fn a_change_is_told_once() {
        let with = |config: Option<&str>| {
            rows::status(&sources(
                json!([node("n1", config, json!([]))]),
                json!([pod("n1", "2", up())]),
            ))
            .items
        };
        let hash = config::hash(&sources(json!([]), json!([])).config);
        let mut told = BTreeMap::new();
        assert_eq!(news(&mut told, &with(None)), ["n1: has applied no configuration yet"]);
        assert!(news(&mut told, &with(None)).is_empty());
        assert_eq!(
            news(&mut told, &with(Some(&hash))),
            ["n1: ready, configuration applied"]
        );
        assert_eq!(news(&mut told, &[]), ["n1: gone"]);
    }

    fn shared() -> Shared {
        Shared {
            flags: KubectlFlags::default(),
            printer: Printer::silent(),
            interrupt: Interrupt::never(),
        }
    }

    /// A cluster whose node applies the configuration with the given look, counted from 0.
    fn cluster_that_applies_at(look: usize) -> Cluster {
        let looks = Arc::new(AtomicUsize::new(0));
        let (cluster, _) = fake::cluster(move |asked| {
            let parts = sources(json!([]), json!([]));
            match asked.line.as_str() {
                line if line.contains("/daemonsets/") => (200, serde_json::to_value(&parts.daemon).unwrap()),
                line if line.contains("/configmaps/") => (200, json!({ "metadata": {}, "data": parts.config })),
                line if line.contains("/pods") => fake::list(&json!([pod("n1", "2", up())])),
                _ => {
                    let applied = looks.fetch_add(1, Ordering::Relaxed) >= look;
                    let hash = config::hash(&parts.config);
                    let nodes: Value = json!([node("n1", applied.then_some(hash.as_str()), json!([]))]);
                    fake::list(&nodes)
                }
            }
        });
        cluster
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_the_last_node_has_applied_the_configuration() {
        let cluster = cluster_that_applies_at(7);
        let status = until_settled(&cluster, Duration::from_mins(1), &shared())
            .await
            .unwrap();
        assert_eq!(status.exit(), Exit::Held);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_its_time() {
        let cluster = cluster_that_applies_at(usize::MAX);
        let status = until_settled(&cluster, Duration::from_secs(30), &shared())
            .await
            .unwrap();
        assert_eq!(status.exit(), Exit::Unknown);
    }
}
