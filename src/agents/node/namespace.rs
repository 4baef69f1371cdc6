//! The node agents' namespace: there before the run, asked what it admits, held against others who would remove it.

use super::{NoNodeAgents, creation_failure};
use crate::{
    agents::{
        DEFAULT_NAMESPACE,
        gate::{self, Verdict},
        manifest::{self, AgentSpec},
        run::{self, managed_selector},
        sweep::{self, Agents},
    },
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    exit::Failure,
    output::safe,
};
use jiff::Timestamp;
use k8s_openapi::api::{batch::v1::Job, coordination::v1::Lease, core::v1::Namespace};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long a namespace that is being removed may take to vanish.
const NAMESPACE_WITHIN: Duration = Duration::from_mins(1);
/// How long a new namespace may take to get its default service account, without which no pod is admitted.
const SERVICE_ACCOUNT_WITHIN: Duration = Duration::from_secs(15);

/// Creates the namespace if it does not exist, once an earlier one of its name has vanished.
pub async fn ensure(cluster: &Cluster, name: &str) -> Result<(), NoNodeAgents> {
    let limit = request::limit(cluster.request_timeout);
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let until = Instant::now() + NAMESPACE_WITHIN;
    let mut helped = false;
    loop {
        match attempt(limit, api.get(name)).await {
            Ok(namespace) if namespace.metadata.deletion_timestamp.is_none() => return Ok(()),
            // It is on its way out; a new one can be made when it is gone. Agents on a node that died would hold it for ever.
            Ok(_) if !helped => {
                helped = true;
                if let Err(problem) = sweep::remove_pods(cluster, name, &managed_selector(), Agents::MayRun).await {
                    // Whoever may not do this can still wait.
                    tracing::debug!(?problem, namespace = name, "agents of earlier runs cannot be removed");
                }
            }
            Ok(_) => {}
            // Whoever may not read it finds out by using it.
            Err(problem) if problem.is_forbidden() => return Ok(()),
            Err(problem) if problem.is_not_found() => {
                let namespace = manifest::namespace(name, false)?;
                match attempt(limit, api.create(&PostParams::default(), &namespace)).await {
                    Ok(_) => return Ok(()),
                    Err(problem) if problem.is_conflict() => {}
                    Err(problem) if problem.is_forbidden() => {
                        return Err(NoNodeAgents::not_granted(format!(
                            "namespace {name:?} does not exist and may not be created: {}",
                            gate::message(&problem)
                        )));
                    }
                    Err(problem) => return Err(problem.into_failure(&format!("create namespace {name:?}")).into()),
                }
            }
            Err(problem) => return Err(problem.into_failure(&format!("look up namespace {name:?}")).into()),
        }
        if Instant::now() >= until {
            return Err(NoNodeAgents::Failed(
                Failure::unknown(format!(
                    "namespace {name:?} is being removed and has not vanished within {} s",
                    NAMESPACE_WITHIN.as_secs()
                ))
                .hint(format!(
                    "kubectl get namespace {name} -o yaml says what holds it; --agent-namespace names another"
                )),
            ));
        }
        sleep(Duration::from_millis(250)).await;
    }
}

/// Asks what admission says of the agents; waits for what a namespace gets only a moment after its creation.
pub async fn ask_admission(cluster: &Cluster, job: &Job) -> Result<(), NoNodeAgents> {
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let until = Instant::now() + SERVICE_ACCOUNT_WITHIN;
    loop {
        match ask_patiently(cluster, job).await? {
            // Agents' names are their run's.
            Verdict::Admitted | Verdict::NameTaken => return Ok(()),
            Verdict::NamespaceGone if Instant::now() < until => ensure(cluster, namespace).await?,
            Verdict::NamespaceGone => {
                let gone = format!("namespace {namespace:?} is removed again and again");
                return Err(Failure::unknown(gone).into());
            }
            Verdict::Refused(refusal) => return Err(NoNodeAgents::refused(&refusal)),
        }
    }
}

/// Asks admission; waits for the account that every namespace gets a moment after its creation.
pub async fn ask_patiently(cluster: &Cluster, job: &Job) -> Result<Verdict, Failure> {
    let until = Instant::now() + SERVICE_ACCOUNT_WITHIN;
    loop {
        match gate::ask_admission(cluster, job).await? {
            Verdict::Refused(refusal)
                if lacks_account(&refusal) && refusal.contains("\"default\"") && Instant::now() < until =>
            {
                sleep(Duration::from_millis(100)).await;
            }
            verdict => return Ok(verdict),
        }
    }
}

/// Whether a refusal says that there is no such service account (plugin/pkg/admission/serviceaccount/admission.go).
pub fn lacks_account(refusal: &str) -> bool {
    refusal.contains("error looking up service account")
}

/// Whether runs make and remove this namespace; no, so far as a user can tell who may not read it.
pub(super) async fn is_of_runs(cluster: &Cluster, name: &str) -> bool {
    let limit = request::limit(cluster.request_timeout);
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let namespace = attempt(limit, namespaces.get(name)).await;
    namespace.is_ok_and(|namespace| sweep::is_removable(&namespace))
}

/// The one line where a namespace is not there that is somebody else's to make.
pub fn gone(name: &str) -> Failure {
    let message = format!("there is no namespace {:?}, or it is being removed", safe(name));
    Failure::usage(message).hint(if name == DEFAULT_NAMESPACE {
        "netcheck makes that namespace for its agents and removes it after them: -n names one that stays"
    } else {
        "-n names another"
    })
}

/// Creates the Lease of a run that is a guest in a namespace. Where others would remove that, it is held against them, but not made anew.
pub async fn hold_as_guest(cluster: &Cluster, spec: &AgentSpec, is_of_runs: bool) -> Result<(), NoNodeAgents> {
    match create_lease(cluster, spec).await? {
        Ok(_) if !is_of_runs || touch(cluster, spec).await? => Ok(()),
        Ok(_) => Err(gone(&spec.namespace).into()),
        Err(problem) if problem.is_namespace_ending() || problem.is_not_found() => Err(gone(&spec.namespace).into()),
        Err(problem) => Err(creation_failure(problem, "create the run's Lease")),
    }
}

/// Writes to the namespace, so that a run that is about to remove it notices; whether it is there to stay.
async fn touch(cluster: &Cluster, spec: &AgentSpec) -> Result<bool, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let touch = Patch::Merge(manifest::namespace_touch(&spec.run));
    match attempt(
        limit,
        namespaces.patch(&spec.namespace, &PatchParams::default(), &touch),
    )
    .await
    {
        Ok(namespace) => Ok(namespace.metadata.deletion_timestamp.is_none()),
        Err(problem) if problem.is_not_found() || problem.is_conflict() => Ok(false),
        // Whoever may not write to it has not created it, and nobody like this user removes it.
        Err(problem) if problem.is_forbidden() => Ok(true),
        Err(problem) => Err(problem.into_failure(&format!("mark namespace {:?} as used", spec.namespace))),
    }
}

/// Creates the run's Lease, which comes before all else of it; what the server says.
async fn create_lease(cluster: &Cluster, spec: &AgentSpec) -> Result<Result<Lease, Problem>, Failure> {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let lease = manifest::lease(spec, &run::holder(), Timestamp::now())?;
    let limit = request::limit(cluster.request_timeout);
    Ok(attempt(limit, leases.create(&PostParams::default(), &lease)).await)
}

/// Creates the Lease, then writes to the namespace so that a run that is about to remove it notices.
pub async fn hold(cluster: &Cluster, spec: &AgentSpec) -> Result<(), NoNodeAgents> {
    let until = Instant::now() + NAMESPACE_WITHIN;
    loop {
        match create_lease(cluster, spec).await? {
            // Otherwise it was removed in between: make it anew.
            Ok(_) if touch(cluster, spec).await? => return Ok(()),
            Ok(_) => {}
            Err(problem) if problem.is_namespace_ending() || problem.is_not_found() => {}
            Err(problem) => return Err(creation_failure(problem, "create the run's Lease")),
        }
        if Instant::now() >= until {
            return Err(Failure::unknown(format!("namespace {:?} is removed again and again", spec.namespace)).into());
        }
        sleep(Duration::from_millis(250)).await;
        ensure(cluster, &spec.namespace).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::fake;
    use serde_json::json;
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    #[tokio::test]
    async fn a_guest_holds_a_namespace_of_runs_and_is_told_if_it_goes() {
        let spec = AgentSpec {
            run: run::RunId::parse("0123abcd").unwrap(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            image: String::new(),
            pull_secrets: Vec::new(),
            deadline: Duration::from_mins(1),
            budget: crate::agents::Budget::PROBING,
        };
        for (is_of_runs, is_going, held, requests) in
            [(true, false, true, 2), (true, true, false, 2), (false, true, true, 1)]
        {
            let (cluster, asked) = fake::cluster(move |asked| {
                let mut answer = asked.body.clone();
                if is_going && asked.line.starts_with("PATCH") {
                    answer["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                }
                (200, answer)
            });
            let outcome = hold_as_guest(&cluster, &spec, is_of_runs).await;
            assert_eq!(outcome.is_ok(), held, "{outcome:?}");
            assert_eq!(asked.lock().unwrap().len(), requests);
            if let Err(NoNodeAgents::Failed(failure)) = outcome {
                assert!(failure.message.contains("being removed"), "{failure:?}");
                assert!(failure.hint.unwrap().contains("one that stays"));
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn agents_of_a_dead_node_do_not_hold_the_namespace() {
        let gone = Arc::new(AtomicBool::new(false));
        let (cluster, asked) = fake::cluster(move |asked| {
            let (verb, path) = asked.line.split_once(' ').unwrap();
            match verb {
                "DELETE" => {
                    gone.store(path.contains("/pods/agent"), Ordering::Relaxed);
                    fake::status(200, "", "")
                }
                "GET" if path.contains("/pods") => fake::list(&json!([{
                    "metadata": { "name": "agent" },
                    "status": { "phase": "Running", "containerStatuses": [{
                        "name": manifest::CONTAINER, "state": { "running": {} },
                        "ready": true, "restartCount": 0, "image": "", "imageID": "",
                    }] },
                }])),
                "GET" if gone.load(Ordering::Relaxed) => fake::status(404, "NotFound", "not found"),
                _ => (
                    200,
                    json!({ "metadata": { "name": "netcheck", "deletionTimestamp": "2026-01-01T00:00:00Z" } }),
                ),
            }
        });
        assert!(ensure(&cluster, "netcheck").await.is_ok());
        assert!(asked.lock().unwrap().last().unwrap().line.starts_with("POST"));
    }
}
