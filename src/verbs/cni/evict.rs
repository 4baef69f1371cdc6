//! Takes pods out of our network before it goes: nodes are cordoned, pods evicted as a drain does it, and waited for.

use super::{names::CORDONED, pods::is_wired};
use crate::{
    cluster::{
        Cluster,
        list::list,
        request::{self, attempt},
    },
    exit::Failure,
    output::Phase,
};
use futures::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{EvictParams, Patch, PatchParams},
};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often to look, and to ask again where a disruption budget says not now.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Evictions that are asked for at once.
const AT_ONCE: usize = 20;

/// Cordons the nodes that are not, with a mark, so that nothing new comes and the uninstall knows what to take back.
///
/// # Errors
/// If a node cannot be written to.
pub async fn cordon(cluster: &Cluster, nodes: &[&Node]) -> Result<(), Failure> {
    let api: Api<Node> = Api::all(cluster.client.clone());
    let patch =
        Patch::Merge(json!({ "metadata": { "annotations": { CORDONED: "true" } }, "spec": { "unschedulable": true } }));
    for node in nodes {
        let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        let Some(name) = node.metadata.name.as_deref().filter(|_| !is_cordoned) else {
            continue;
        };
        let answer = attempt(
            request::limit(cluster.request_timeout),
            api.patch(name, &PatchParams::default(), &patch),
        )
        .await;
        answer.map_err(|problem| problem.into_failure(&format!("cordon node {name}")))?;
    }
    Ok(())
}

/// Evicts the pods and waits until they are gone, for so long at most. Says which are still there, with the reason.
///
/// # Errors
/// If pods cannot be listed, or evictions are refused altogether.
pub async fn pods(cluster: &Cluster, wired: &[Pod], within: Duration, phase: &Phase) -> Result<Vec<String>, Failure> {
    let api: Api<Pod> = Api::all(cluster.client.clone());
    let until = Instant::now() + within;
    let uids: BTreeSet<&String> = wired.iter().filter_map(|pod| pod.metadata.uid.as_ref()).collect();
    let mut asked: BTreeSet<String> = BTreeSet::new();
    let mut refusal = String::new();
    loop {
        let left: Vec<Pod> = list(cluster, &api, None)
            .await
            .map_err(|problem| problem.into_failure("list pods"))?
            .into_iter()
            .filter(|pod| is_wired(pod) && pod.metadata.uid.as_ref().is_some_and(|uid| uids.contains(uid)))
            .collect();
        phase.set(uids.len() - left.len(), uids.len());
        if left.is_empty() || Instant::now() >= until {
            let name = |pod: &Pod| {
                let namespace = pod.metadata.namespace.clone().unwrap_or_default();
                let words = format!("{namespace}/{}", pod.metadata.name.clone().unwrap_or_default());
                let was_asked = pod.metadata.uid.as_ref().is_some_and(|uid| asked.contains(uid));
                if was_asked {
                    words
                } else {
                    format!("{words} ({refusal})")
                }
            };
            return Ok(left.iter().map(name).collect());
        }
        let open: Vec<&Pod> = left
            .iter()
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .filter(|pod| pod.metadata.uid.as_ref().is_some_and(|uid| !asked.contains(uid)))
            .collect();
        let answers: Vec<_> = stream::iter(open)
            .map(|pod| evict(cluster, pod))
            .buffer_unordered(AT_ONCE)
            .collect()
            .await;
        for answer in answers {
            match answer? {
                Answer::Going(uid) => drop(asked.insert(uid)),
                Answer::NotNow(why) => refusal = why,
            }
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// What an eviction was answered.
enum Answer {
    /// The pod of this UID goes.
    Going(String),
    /// A disruption budget does not allow it at the moment.
    NotNow(String),
}

async fn evict(cluster: &Cluster, pod: &Pod) -> Result<Answer, Failure> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let going = Answer::Going(pod.metadata.uid.clone().unwrap_or_default());
    match attempt(
        request::limit(cluster.request_timeout),
        api.evict(name, &EvictParams::default()),
    )
    .await
    {
        Ok(_) => Ok(going),
        Err(problem) if problem.is_not_found() => Ok(going),
        // The server's word for a disruption budget (API-initiated eviction).
        Err(problem) if problem.status().is_some_and(|status| status.code == 429) => {
            Ok(Answer::NotNow("its disruption budget does not allow it".to_owned()))
        }
        Err(problem) => Err(problem.into_failure(&format!("evict pod {namespace}/{name}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::fake, output::Printer};
    use serde_json::Value;
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    fn pod() -> Value {
        json!({
            "metadata": { "namespace": "shop", "name": "web", "uid": "u-1" },
            "spec": { "containers": [], "nodeName": "n1" },
            "status": { "phase": "Running", "podIP": "10.244.1.2" },
        })
    }

    /// The first `refused` evictions meet a disruption budget.
    fn cluster(refused: usize) -> Cluster {
        let evictions = Arc::new(AtomicUsize::new(0));
        let (cluster, _) = fake::cluster(move |asked| {
            if asked.line.contains("/eviction") {
                return match evictions.fetch_add(1, Ordering::Relaxed) {
                    tried if tried < refused => fake::status(
                        429,
                        "TooManyRequests",
                        "Cannot evict pod as it would violate the pod's disruption budget.",
                    ),
                    _ => fake::status(201, "", ""),
                };
            }
            let left = evictions.load(Ordering::Relaxed) <= refused;
            fake::list(&if left { json!([pod()]) } else { json!([]) })
        });
        cluster
    }

    async fn left(cluster: &Cluster) -> Vec<String> {
        let wired = [serde_json::from_value(pod()).unwrap()];
        let phase = Printer::silent().phase("evicting");
        pods(cluster, &wired, Duration::from_secs(20), &phase).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_disruption_budget_is_asked_again_and_told_at_last() {
        assert_eq!(left(&cluster(3)).await, [] as [String; 0]);
        assert_eq!(
            left(&cluster(usize::MAX)).await,
            ["shop/web (its disruption budget does not allow it)"]
        );
    }
}
