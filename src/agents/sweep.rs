//! Removes what runs left: one run's objects, the objects of expired runs, and the namespace after the last of them.

use super::{
    run::{KEEP_LABEL, MANAGED_BY_LABEL, NAME, RUN_LABEL, RunId, is_expired, managed_selector},
    waiting,
};
use crate::{
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    exit::Failure,
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams, Preconditions},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::{Instant, sleep};

/// How long pods whose Jobs are gone may take to end: the agents' grace period of a second, and what the garbage collector and the
/// kubelet need.
const PODS_WITHIN: Duration = Duration::from_secs(3);
/// How often they are looked at meanwhile.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What is known of a run's agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Agents {
    /// Each has said that it ends, and needs no time for it.
    Ended,
    /// Some may be at work.
    MayRun,
}

/// Removes everything of one run, and the namespace if it was the last one in it. Collects errors instead of stopping at the first.
pub async fn remove_run(cluster: &Cluster, namespace: &str, run: &RunId, agents: Agents) -> Vec<Failure> {
    match try_remove_objects(cluster, namespace, run, agents).await {
        Ok(mut failures) => {
            failures.extend(remove_namespace_after_last(cluster, namespace, Some(run)).await.err());
            failures
        }
        Err(nobody) => vec![nobody],
    }
}

/// Removes everything of one run but the namespace.
pub async fn remove_objects(cluster: &Cluster, namespace: &str, run: &RunId) -> Vec<Failure> {
    try_remove_objects(cluster, namespace, run, Agents::MayRun)
        .await
        .unwrap_or_else(|nobody| vec![nobody])
}

/// What could not be removed; an error if the API server no longer knows who asks, since then all that follows would fail alike.
async fn try_remove_objects(
    cluster: &Cluster,
    namespace: &str,
    run: &RunId,
    agents: Agents,
) -> Result<Vec<Failure>, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let ours = ListParams::default().labels(&run.selector());
    let mut failures = Vec::new();
    let mut note = |outcome: Result<(), Problem>, doing: &str| match outcome {
        Err(problem) if problem.is_unauthorized() => Err(Failure::unknown(format!(
            "cannot {doing}: the API server does not accept the credentials any more"
        ))
        .hint(
            "what is left ends and goes by itself soon; after a new login kubectl netcheck cleanup removes it at once",
        )),
        Err(problem) if !is_gone(&problem) => {
            failures.push(problem.into_failure(doing));
            Ok(())
        }
        _ => Ok(()),
    };
    note(
        attempt(limit, jobs.delete_collection(&DeleteParams::background(), &ours))
            .await
            .map(drop),
        &format!("remove the Jobs of run {run} in namespace {namespace:?}"),
    )?;
    note(
        remove_pods(cluster, namespace, &run.selector(), agents).await,
        &format!("remove the pods of run {run} in namespace {namespace:?}"),
    )?;
    let name = run.lease_name();
    note(
        attempt(limit, leases.delete(&name, &DeleteParams::default()))
            .await
            .map(drop),
        &format!("remove Lease {namespace}/{name}"),
    )?;
    Ok(failures)
}

/// Removes the pods that a selector of ours selects, whose Jobs are gone.
///
/// A pod whose kubelet never took it up, or whose agent has ended, has nothing to terminate and is removed at once. Pods that run are left
/// to the garbage collector, which follows their Job, and to their kubelet; what is still there after a while has a kubelet that is gone,
/// and would stay "Terminating", and its namespace with it, until that comes back. All are waited for: the Job controller has a finalizer
/// on them.
pub async fn remove_pods(cluster: &Cluster, namespace: &str, selector: &str, agents: Agents) -> Result<(), Problem> {
    let until = Instant::now() + PODS_WITHIN;
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let selected = ListParams::default().labels(selector);
    let limit = request::limit(cluster.request_timeout);
    loop {
        let left = attempt(limit, pods.list(&selected)).await?.items;
        if left.is_empty() {
            return Ok(());
        }
        let over = Instant::now() >= until;
        let is_at_once = over || agents == Agents::Ended;
        // One that was told to go at once is not told again while it waits for its finalizer.
        let is_going = |pod: &&Pod| pod.metadata.deletion_grace_period_seconds == Some(0);
        let stuck = left
            .iter()
            .filter(|pod| !is_going(pod) && (is_at_once || !waiting::runs(pod)));
        delete_at_once(cluster, &pods, stuck).await?;
        if over {
            return Ok(());
        }
        sleep(LOOK_AGAIN).await;
    }
}

/// Removes pods from the API without waiting for their kubelets.
async fn delete_at_once(cluster: &Cluster, api: &Api<Pod>, pods: impl Iterator<Item = &Pod>) -> Result<(), Problem> {
    let limit = request::limit(cluster.request_timeout);
    let at_once = DeleteParams::default().grace_period(0);
    let deletes = pods
        .filter_map(|pod| pod.metadata.name.as_deref())
        .map(|name| attempt(limit, api.delete(name, &at_once)));
    for outcome in futures::future::join_all(deletes).await {
        match outcome {
            Err(problem) if !is_gone(&problem) => return Err(problem),
            _ => {}
        }
    }
    Ok(())
}

/// Removes the namespace if it is one that runs create, and no other run that has not expired is in it.
///
/// A run that starts at the same moment creates its Lease first and then writes to the namespace; this side reads the namespace first
/// and then the Leases, and deletes just that version of the namespace. So either the Lease is seen here, or the version is another one.
pub async fn remove_namespace_after_last(cluster: &Cluster, name: &str, own: Option<&RunId>) -> Result<bool, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = match attempt(limit, namespaces.get(name)).await {
        Ok(namespace) => namespace,
        // Whoever may not read it has not created it.
        Err(problem) if problem.is_not_found() || problem.is_forbidden() => return Ok(false),
        Err(problem) => return Err(problem.into_failure(&format!("look up namespace {name:?}"))),
    };
    if !is_removable(&namespace) || namespace.metadata.deletion_timestamp.is_some() {
        return Ok(false);
    }
    let now = cluster.now().await;
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), name);
    let leases = attempt(limit, leases.list(&ListParams::default().labels(&managed_selector()))).await;
    let leases = leases.map_err(|problem| problem.into_failure(&format!("list Leases in namespace {name:?}")))?;
    let others = leases
        .items
        .iter()
        .filter(|lease| run_of(lease) != own.cloned())
        .any(|lease| !expired(lease, now));
    if others {
        return Ok(false);
    }
    let this_version = DeleteParams::background().preconditions(Preconditions {
        uid: namespace.metadata.uid,
        resource_version: namespace.metadata.resource_version,
    });
    match attempt(limit, namespaces.delete(name, &this_version)).await {
        Ok(_) => Ok(true),
        // Changed meanwhile: another run has come, and will remove it.
        Err(problem) if problem.is_conflict() || problem.is_not_found() => Ok(false),
        Err(problem) => Err(problem.into_failure(&format!("delete namespace {name:?}"))),
    }
}

/// Runs in a namespace whose Lease has expired, or whose Jobs have no Lease at all (it is created before them).
pub async fn expired_runs(cluster: &Cluster, namespace: &str) -> Result<Vec<RunId>, Problem> {
    let limit = request::limit(cluster.request_timeout);
    let managed = ListParams::default().labels(&managed_selector());
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), namespace);
    let now = cluster.now().await;
    // First the Jobs: a run that starts in between then has its Lease in the later list.
    let jobs = attempt(limit, jobs.list_metadata(&managed)).await?;
    let leases = attempt(limit, leases.list(&managed)).await?;
    let alive: BTreeSet<_> = leases
        .items
        .iter()
        .filter(|lease| !expired(lease, now))
        .filter_map(run_of)
        .collect();
    let with_lease = leases.items.iter().filter_map(run_of);
    let with_jobs = jobs
        .items
        .iter()
        .filter_map(|job| RunId::parse(job.metadata.labels.as_ref()?.get(RUN_LABEL)?));
    let known: BTreeSet<_> = with_lease.chain(with_jobs).collect();
    Ok(known.difference(&alive).cloned().collect())
}

/// Whether a Lease's run is over.
pub fn expired(lease: &Lease, now: Timestamp) -> bool {
    let created = lease.metadata.creation_timestamp.as_ref().map(|time| time.0);
    is_expired(
        created,
        lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds),
        now,
    )
}

/// The run a Lease belongs to.
pub fn run_of(lease: &Lease) -> Option<RunId> {
    RunId::parse(lease.metadata.labels.as_ref()?.get(RUN_LABEL)?)
}

/// Whether runs may remove a namespace: created by one, and not set up to stay.
pub fn is_removable(namespace: &Namespace) -> bool {
    let label = |name: &str| {
        namespace
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(name))
            .map(String::as_str)
    };
    label(MANAGED_BY_LABEL) == Some(NAME) && label(KEEP_LABEL) != Some("true")
}

/// Not there (any more), or being removed with its namespace.
fn is_gone(problem: &Problem) -> bool {
    problem.is_not_found() || problem.is_conflict()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agents::manifest, cluster::fake};
    use serde_json::{Value, json};

    #[test]
    fn only_a_namespace_that_runs_created_is_removed() {
        assert!(is_removable(&manifest::namespace("netcheck", false).unwrap()));
        assert!(!is_removable(&manifest::namespace("netcheck", true).unwrap()));
        assert!(!is_removable(&Namespace::default()));
    }

    fn lease(run: &str, seconds: i32) -> Value {
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": format!("netcheck-run-{run}"),
                "labels": { RUN_LABEL: run },
                "creationTimestamp": Timestamp::now().to_string(),
            },
            "spec": { "leaseDurationSeconds": seconds },
        })
    }

    /// A cluster with our namespace in version 5 and these Leases, which answers a delete with `answer`.
    fn cluster_with(
        leases: Value,
        answer: (u16, Value),
    ) -> (Cluster, std::sync::Arc<std::sync::Mutex<Vec<fake::Asked>>>) {
        fake::cluster(move |asked| match asked.line.split_once(' ').unwrap().0 {
            "DELETE" => answer.clone(),
            _ if asked.line.contains("/leases") => fake::list(&leases),
            _ => {
                let mut namespace = serde_json::to_value(manifest::namespace("netcheck", false).unwrap()).unwrap();
                namespace["metadata"]["uid"] = json!("u-1");
                namespace["metadata"]["resourceVersion"] = json!("5");
                (200, namespace)
            }
        })
    }

    #[tokio::test]
    async fn the_last_run_removes_just_the_version_of_the_namespace_it_has_seen() {
        let own = RunId::parse("0123abcd").unwrap();
        let leases = json!([lease("0123abcd", 600), lease("0123abce", -1)]);
        let (cluster, asked) = cluster_with(leases, fake::status(200, "", ""));
        let removed = remove_namespace_after_last(&cluster, "netcheck", Some(&own)).await;
        assert_eq!(removed, Ok(true), "neither the own Lease nor an expired one counts");
        let asked = asked.lock().unwrap();
        let delete = asked.last().unwrap();
        assert!(
            delete.line.starts_with("DELETE /api/v1/namespaces/netcheck"),
            "{}",
            delete.line
        );
        assert_eq!(
            delete.body["preconditions"],
            json!({ "uid": "u-1", "resourceVersion": "5" })
        );
    }

    #[tokio::test]
    async fn a_run_that_came_in_between_keeps_the_namespace() {
        let (cluster, _) = cluster_with(json!([]), fake::status(409, "Conflict", "the object has been modified"));
        assert_eq!(remove_namespace_after_last(&cluster, "netcheck", None).await, Ok(false));
    }

    #[tokio::test]
    async fn a_run_that_is_at_work_keeps_the_namespace() {
        let (cluster, asked) = cluster_with(json!([lease("0123abce", 600)]), fake::status(200, "", ""));
        assert_eq!(remove_namespace_after_last(&cluster, "netcheck", None).await, Ok(false));
        assert!(
            asked
                .lock()
                .unwrap()
                .iter()
                .all(|asked| !asked.line.starts_with("DELETE"))
        );
    }

    #[tokio::test]
    async fn removing_goes_on_after_an_error_and_names_each() {
        let (cluster, asked) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.contains("/jobs") => fake::status(500, "InternalError", "etcd is away"),
            line if line.contains("/pods") => fake::list(&json!([])),
            _ => fake::status(
                403,
                "Forbidden",
                r#"leases "x" is forbidden: User "ada" cannot delete resource "leases""#,
            ),
        });
        let failures = remove_objects(&cluster, "netcheck", &RunId::parse("0123abcd").unwrap()).await;
        let messages: Vec<_> = failures.iter().map(|failure| failure.message.as_str()).collect();
        assert_eq!(messages.len(), 2, "{messages:?}");
        assert!(messages[0].contains("Jobs of run 0123abcd"), "{messages:?}");
        assert!(
            messages[1].contains("Lease netcheck/netcheck-run-0123abcd"),
            "{messages:?}"
        );
        assert!(
            asked
                .lock()
                .unwrap()
                .iter()
                .any(|asked| asked.line.starts_with("GET") && asked.line.contains("/pods"))
        );
    }

    fn running_pod() -> Value {
        json!({
            "metadata": { "name": "netcheck-0123abcd-0-x", "namespace": "netcheck", "labels": { RUN_LABEL: "0123abcd" } },
            "status": { "phase": "Running", "containerStatuses": [{
                "name": manifest::CONTAINER, "state": { "running": {} },
                "ready": true, "restartCount": 0, "image": "", "imageID": "",
            }] },
        })
    }

    fn deletes_of_pods(asked: &std::sync::Mutex<Vec<fake::Asked>>) -> Vec<Value> {
        let asked = asked.lock().unwrap();
        let deletes = asked
            .iter()
            .filter(|asked| asked.line.starts_with("DELETE") && asked.line.contains("/pods/"));
        deletes.map(|asked| asked.body["gracePeriodSeconds"].clone()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_whose_kubelet_died_is_removed_after_a_while() {
        let (cluster, asked) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.starts_with("GET") && line.contains("/pods") => fake::list(&json!([running_pod()])),
            _ => fake::status(200, "", ""),
        });
        let from = Instant::now();
        let failures = remove_objects(&cluster, "netcheck", &RunId::parse("0123abcd").unwrap()).await;
        assert_eq!(failures, []);
        assert_eq!(deletes_of_pods(&asked), [json!(0)], "once, without grace");
        assert!(from.elapsed() >= PODS_WITHIN, "{:?}", from.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_that_ends_by_itself_is_left_alone() {
        let looks = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (cluster, asked) = fake::cluster(move |asked| match asked.line.as_str() {
            line if line.starts_with("GET") && line.contains("/pods") => {
                let first = looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
                fake::list(&if first { json!([running_pod()]) } else { json!([]) })
            }
            _ => fake::status(200, "", ""),
        });
        let from = Instant::now();
        let failures = remove_objects(&cluster, "netcheck", &RunId::parse("0123abcd").unwrap()).await;
        assert_eq!(failures, []);
        assert_eq!(deletes_of_pods(&asked), [] as [Value; 0]);
        assert!(from.elapsed() < PODS_WITHIN, "{:?}", from.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pod_whose_agent_has_ended_is_removed_at_once_and_seen_to_go() {
        let looks = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let (cluster, asked) = fake::cluster(move |asked| match asked.line.as_str() {
            line if line.starts_with("GET") && line.contains("/pods") => {
                // The Job controller takes a moment to take its finalizer off.
                let mut going = running_pod();
                going["metadata"]["deletionGracePeriodSeconds"] = json!(0);
                fake::list(&match looks.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
                    0 => json!([running_pod()]),
                    1 | 2 => json!([going]),
                    _ => json!([]),
                })
            }
            _ => fake::status(200, "", ""),
        });
        let from = Instant::now();
        let run = RunId::parse("0123abcd").unwrap();
        assert_eq!(
            remove_pods(&cluster, "netcheck", &run.selector(), Agents::Ended)
                .await
                .ok(),
            Some(())
        );
        assert_eq!(deletes_of_pods(&asked), [json!(0)], "once, without grace");
        assert!(from.elapsed() < PODS_WITHIN, "{:?}", from.elapsed());
    }

    #[tokio::test]
    async fn whoever_is_not_known_any_more_hears_it_once() {
        let (cluster, asked) = fake::cluster(|_| fake::status(401, "Unauthorized", "Unauthorized"));
        let failures = remove_run(&cluster, "netcheck", &RunId::parse("0123abcd").unwrap(), Agents::Ended).await;
        assert_eq!(failures.len(), 1, "{failures:?}");
        assert!(failures[0].message.contains("credentials"), "{failures:?}");
        assert_eq!(asked.lock().unwrap().len(), 1, "the rest would fail alike");
    }
}
