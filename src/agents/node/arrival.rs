//! Waiting for node agents: one watch for all, each one's fate as soon as it is known.

use super::Launched;
use crate::{
    agents::{
        exec::ExecDial,
        link::{Link, LinkError, Timing},
        manifest::{AgentSpec, CONTAINER},
        observe::{self, Seen, Which},
        waiting::{self, Progress, Stage, TAKEN_UP_WITHIN},
    },
    cluster::{
        Cluster,
        request::{self, attempt},
    },
    findings::{Absence, Obstacle},
    output::{Phase, safe},
};
use futures::{StreamExt, stream::FuturesUnordered};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::{Api, api::ListParams};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep_until};

/// How often it is looked whether somebody is overdue.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is known of one agent that does not answer yet.
struct Awaited {
    stage: Stage,
    /// A pod exists.
    has_pod: bool,
}

/// Opens a link to each agent that comes to run, and says of the others why they do not.
pub async fn await_agents(
    cluster: &Cluster,
    spec: &AgentSpec,
    waiting: BTreeSet<usize>,
    phase: &Phase,
    total: usize,
) -> Launched {
    let limit = request::limit(cluster.request_timeout);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let mut seen = observe::pods(pods.clone(), Which::Labelled(spec.run.selector()), limit);
    let mut waiting: BTreeMap<usize, Awaited> = waiting
        .into_iter()
        .map(|index| {
            (
                index,
                Awaited {
                    stage: Stage::begin(),
                    has_pod: false,
                },
            )
        })
        .collect();
    let mut opening = FuturesUnordered::new();
    let mut launched = Launched {
        links: BTreeMap::new(),
        absent: BTreeMap::new(),
    };
    let begun = Instant::now();
    let mut trouble = None;
    let mut look_again = begun + LOOK_EVERY;
    while !waiting.is_empty() || !opening.is_empty() {
        tokio::select! {
            Some((index, outcome)) = opening.next(), if !opening.is_empty() => {
                let outcome: Result<Link, LinkError> = outcome;
                match outcome {
                    Ok(link) => {
                        launched.links.insert(index, link);
                        phase.set(launched.links.len(), total);
                    }
                    Err(error) => {
                        let why = Absence::from(error).reworded(|why| format!("its agent does not answer: {why}"));
                        launched.absent.insert(index, why);
                    }
                }
            }
            Some(change) = seen.recv() => match change {
                Seen::Trouble(why) => trouble = Some(why),
                Seen::Listed(_) => {}
                Seen::Gone(pod) => {
                    if let Some(index) = index_of(spec, &pod).filter(|index| waiting.remove(index).is_some()) {
                        let why = Obstacle::NotStarted.because("its agent's pod was deleted before it ran");
                        launched.absent.insert(index, why);
                    }
                }
                Seen::Is(pod) => {
                    let Some(index) = index_of(spec, &pod) else { continue };
                    let Some(awaited) = waiting.get_mut(&index) else { continue };
                    awaited.note(waiting::of_container(&pod, CONTAINER));
                    let progress = &awaited.stage.progress;
                    if let Some(why) = progress.final_word() {
                        launched.absent.insert(index, did_not_start(why));
                        waiting.remove(&index);
                    } else if *progress == Progress::Running {
                        waiting.remove(&index);
                        opening.push(open(&pods, spec, index, &pod, limit));
                    }
                }
            },
            () = sleep_until(look_again), if !waiting.is_empty() => {
                look_again = Instant::now() + LOOK_EVERY;
                let waited = begun.elapsed();
                let without_pod = waiting.values().any(|awaited| !awaited.has_pod) && waited >= TAKEN_UP_WITHIN;
                let refusals = if without_pod { refusals(cluster, &spec.namespace).await } else { BTreeMap::new() };
                waiting.retain(|index, awaited| match awaited.overdue(waited, refusals.get(&spec.run.job_name(*index)), trouble.as_deref()) {
                    Some(why) => {
                        launched.absent.insert(*index, why);
                        false
                    }
                    None => true,
                });
            }
        }
    }
    launched
}

impl Awaited {
    fn note(&mut self, progress: Progress) {
        self.has_pod = true;
        self.stage.note(progress);
    }

    /// Why it makes no sense to wait any longer.
    fn overdue(&self, waited: Duration, refusal: Option<&String>, trouble: Option<&str>) -> Option<Absence> {
        if self.has_pod {
            return self.stage.overdue(waited).map(did_not_start);
        }
        match (refusal, trouble) {
            // What keeps a controller from creating a pod is admission: policies, quotas, webhooks.
            (Some(refusal), _) => {
                Some(Obstacle::Forbidden.because(format!("the cluster did not create its agent's pod: {refusal}")))
            }
            _ if waited < TAKEN_UP_WITHIN * 2 => None,
            (None, Some(trouble)) => {
                Some(Obstacle::NotStarted.because(format!("it is not known whether its agent started: {trouble}")))
            }
            (None, None) => Some(
                Obstacle::NotStarted
                    .because("the cluster did not create its agent's pod (is kube-controller-manager at work?)"),
            ),
        }
    }
}

fn did_not_start(absence: Absence) -> Absence {
    absence.reworded(|why| format!("its agent did not start: {why}"))
}

/// What the Job controller says of pods it could not create, by their Job's name.
pub async fn refusals(cluster: &Cluster, namespace: &str) -> BTreeMap<String, String> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), namespace);
    let params = ListParams::default().fields("involvedObject.kind=Job,reason=FailedCreate");
    // Whoever may not read events gets the general reason.
    let Ok(list) = attempt(request::limit(cluster.request_timeout), events.list(&params)).await else {
        return BTreeMap::new();
    };
    list.items
        .into_iter()
        .filter_map(|event| Some((event.involved_object.name?, safe(event.message.as_deref()?))))
        .collect()
}

fn index_of(spec: &AgentSpec, pod: &Pod) -> Option<usize> {
    let owners = pod.metadata.owner_references.as_ref()?;
    owners
        .iter()
        .find(|owner| owner.kind == "Job")
        .and_then(|owner| index_of_job(spec, &owner.name))
}

fn index_of_job(spec: &AgentSpec, name: &str) -> Option<usize> {
    let index = name.rsplit_once('-')?.1.parse().ok()?;
    (spec.run.job_name(index) == name).then_some(index)
}

fn open(
    pods: &Api<Pod>,
    spec: &AgentSpec,
    index: usize,
    pod: &Pod,
    limit: Duration,
) -> impl Future<Output = (usize, Result<Link, LinkError>)> + use<> {
    let dial = ExecDial {
        pods: pods.clone(),
        pod: pod.metadata.name.clone().unwrap_or_default(),
        container: CONTAINER.to_owned(),
        session: spec.run.session(index),
        limit,
    };
    let session = spec.run.session(index);
    async move { (index, Link::open(dial, session, Timing::default()).await) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agents::run::RunId;

    #[tokio::test]
    async fn a_pod_that_was_never_created_is_missed_with_the_controllers_reason() {
        let awaited = Awaited {
            stage: Stage::begin(),
            has_pod: false,
        };
        let refusal = "exceeded quota".to_owned();
        assert_eq!(awaited.overdue(TAKEN_UP_WITHIN, None, None), None);
        let why = |refusal, trouble| awaited.overdue(TAKEN_UP_WITHIN * 2, refusal, trouble).unwrap();
        for (absence, obstacle, words) in [
            (why(Some(&refusal), None), Obstacle::Forbidden, "exceeded quota"),
            (
                why(None, Some("connection refused")),
                Obstacle::NotStarted,
                "connection refused",
            ),
            (why(None, None), Obstacle::NotStarted, "kube-controller-manager"),
        ] {
            assert_eq!(absence.obstacle, obstacle, "{absence}");
            assert!(absence.why.contains(words), "{absence}");
        }
    }

    #[test]
    fn a_job_of_another_run_is_not_ours() {
        let spec = AgentSpec {
            run: RunId::parse("0123bcdf").unwrap(),
            namespace: String::new(),
            image: String::new(),
            pull_secrets: Vec::new(),
            deadline: Duration::ZERO,
            budget: crate::agents::Budget::PROBING,
        };
        assert_eq!(index_of_job(&spec, "netcheck-0123bcdf-12"), Some(12));
        assert_eq!(index_of_job(&spec, "netcheck-0123bcdg-12"), None);
        assert_eq!(index_of_job(&spec, "netcheck-0123bcdf-012"), None);
        assert_eq!(index_of_job(&spec, "backup"), None);
    }
}
