//! The first way in: one Job per node. Its pod shares the node's namespaces and enters those of the pods.

use super::{
    crew::{Home, Member},
    exec::ExecDial,
    gate::{self, Verdict},
    link::{Link, LinkError, Timing},
    manifest::{self, AgentSpec, CONTAINER},
    observe::{self, Seen, Which},
    sweep,
    waiting::{self, Progress, TAKEN_UP_WITHIN},
};
use crate::{
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    exit::Failure,
    output::{Phase, Printer, safe},
};
use futures::{StreamExt, stream::FuturesUnordered};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Event, Namespace, Pod},
};
use kube::{
    Api,
    api::{ListParams, Patch, PatchParams, PostParams},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep, sleep_until};

/// How long a namespace that is being removed may take to vanish.
const NAMESPACE_WITHIN: Duration = Duration::from_mins(1);
/// How long a new namespace may take to get its default service account, without which no pod is admitted.
const SERVICE_ACCOUNT_WITHIN: Duration = Duration::from_secs(15);
/// How often it is looked whether somebody is overdue.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Jobs created at once.
const CREATE_AT_ONCE: usize = 16;

/// Why there are no node agents at all.
#[derive(Debug)]
pub enum NoNodeAgents {
    /// They are not allowed here; the other way may be.
    NotAllowed {
        /// Who refuses what, in its own words.
        why: String,
        /// Permissions are missing, which an administrator can grant; else a policy is in the way.
        grantable: bool,
    },
    /// Something else went wrong.
    Failed(Failure),
}

impl NoNodeAgents {
    /// Permissions are missing.
    pub fn not_granted(why: String) -> Self {
        Self::NotAllowed { why, grantable: true }
    }

    /// A policy refuses.
    pub fn refused(refusal: &str) -> Self {
        Self::NotAllowed {
            why: format!("admission refuses them: {refusal}"),
            grantable: false,
        }
    }
}

impl From<Failure> for NoNodeAgents {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// The outcome for each member of the crew, by its index.
pub struct Launched {
    /// Links to the agents that answered.
    pub links: BTreeMap<usize, Link>,
    /// Why the others did not.
    pub absent: BTreeMap<usize, String>,
}

/// Creates everything and waits until each agent answers, or cannot.
pub async fn launch(
    cluster: &Cluster,
    spec: &AgentSpec,
    members: &[Member],
    printer: &Printer,
) -> Result<Launched, NoNodeAgents> {
    let nodes: Vec<&str> = members
        .iter()
        .filter_map(|member| match &member.home {
            Home::Node(name) => Some(name.as_str()),
            Home::Pod { .. } => None,
        })
        .collect();
    let Some(first) = nodes.first() else {
        return Ok(Launched {
            links: BTreeMap::new(),
            absent: BTreeMap::new(),
        });
    };
    ensure_namespace(cluster, &spec.namespace).await?;
    ask_admission(cluster, spec, first).await?;
    sweep_expired(cluster, spec, printer).await;
    hold_namespace(cluster, spec).await?;
    let phase = printer.phase("starting agents");
    phase.set(0, nodes.len());
    let (jobs, mut absent) = create_jobs(cluster, spec, &nodes).await?;
    let created: Vec<Job> = jobs.values().cloned().collect();
    own_lease(cluster, spec, &created, printer).await;
    let waiting: BTreeSet<usize> = jobs.into_keys().collect();
    let launched = await_agents(cluster, spec, waiting, &phase, nodes.len()).await;
    absent.extend(launched.absent);
    phase.finish(format!("{} of {} nodes", launched.links.len(), nodes.len()));
    Ok(Launched {
        links: launched.links,
        absent,
    })
}

async fn ensure_namespace(cluster: &Cluster, name: &str) -> Result<(), NoNodeAgents> {
    let limit = request::limit(cluster.request_timeout);
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let until = Instant::now() + NAMESPACE_WITHIN;
    loop {
        match attempt(limit, api.get(name)).await {
            Ok(namespace) if namespace.metadata.deletion_timestamp.is_none() => return Ok(()),
            // It is on its way out; a new one can be made when it is gone.
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

async fn ask_admission(cluster: &Cluster, spec: &AgentSpec, node: &str) -> Result<(), NoNodeAgents> {
    let until = Instant::now() + SERVICE_ACCOUNT_WITHIN;
    loop {
        match gate::ask_admission(cluster, spec, node).await? {
            Verdict::Admitted => return Ok(()),
            Verdict::NamespaceGone if Instant::now() < until => ensure_namespace(cluster, &spec.namespace).await?,
            Verdict::NamespaceGone => {
                let gone = format!("namespace {:?} is removed again and again", spec.namespace);
                return Err(Failure::unknown(gone).into());
            }
            Verdict::Refused(refusal)
                if refusal.contains("error looking up service account") && Instant::now() < until =>
            {
                sleep(Duration::from_millis(100)).await;
            }
            Verdict::Refused(refusal) => return Err(NoNodeAgents::refused(&refusal)),
        }
    }
}

/// Removes what earlier runs could not. Never in the way of this run: what fails is only told.
async fn sweep_expired(cluster: &Cluster, spec: &AgentSpec, printer: &Printer) {
    match sweep::expired_runs(cluster, &spec.namespace).await {
        Ok(runs) => {
            for run in runs {
                for failure in sweep::remove_objects(cluster, &spec.namespace, &run).await {
                    printer.warn(failure.message);
                }
            }
        }
        Err(problem) => printer.warn(problem.into_failure("look for expired runs").message),
    }
}

/// Creates the Lease, then writes to the namespace so that a run that is about to remove it notices.
async fn hold_namespace(cluster: &Cluster, spec: &AgentSpec) -> Result<(), NoNodeAgents> {
    let limit = request::limit(cluster.request_timeout);
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let lease = manifest::lease(spec, &holder(), Timestamp::now())?;
    let until = Instant::now() + NAMESPACE_WITHIN;
    loop {
        match attempt(limit, leases.create(&PostParams::default(), &lease)).await {
            Ok(_) => {
                let touch = Patch::Merge(manifest::namespace_touch(&spec.run));
                match attempt(
                    limit,
                    namespaces.patch(&spec.namespace, &PatchParams::default(), &touch),
                )
                .await
                {
                    Ok(namespace) if namespace.metadata.deletion_timestamp.is_none() => return Ok(()),
                    // Removed in between: make it anew.
                    Ok(_) => {}
                    Err(problem) if problem.is_not_found() || problem.is_conflict() => {}
                    // Whoever may not write to it has not created it, and nobody like this user removes it.
                    Err(problem) if problem.is_forbidden() => return Ok(()),
                    Err(problem) => {
                        return Err(problem
                            .into_failure(&format!("mark namespace {:?} as used", spec.namespace))
                            .into());
                    }
                }
            }
            Err(problem) if problem.is_namespace_ending() || problem.is_not_found() => {}
            Err(problem) => return Err(creation_failure(problem, "create the run's Lease")),
        }
        if Instant::now() >= until {
            return Err(Failure::unknown(format!("namespace {:?} is removed again and again", spec.namespace)).into());
        }
        sleep(Duration::from_millis(250)).await;
        ensure_namespace(cluster, &spec.namespace).await?;
    }
}

fn creation_failure(problem: Problem, doing: &str) -> NoNodeAgents {
    if problem.is_admission() {
        return NoNodeAgents::refused(&gate::message(&problem));
    }
    if problem.is_forbidden() {
        return NoNodeAgents::not_granted(gate::message(&problem));
    }
    problem.into_failure(doing).into()
}

/// Who runs this, for people who find the Lease.
fn holder() -> String {
    let user = std::env::var("USER")
        .or_else(|_| std::env::var("USERNAME"))
        .unwrap_or_else(|_| "unknown".to_owned());
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{user}@{host}")
}

/// The Jobs by index, and why some could not be created. If none could, the first reason counts for all.
async fn create_jobs(
    cluster: &Cluster,
    spec: &AgentSpec,
    nodes: &[&str],
) -> Result<(BTreeMap<usize, Job>, BTreeMap<usize, String>), NoNodeAgents> {
    let limit = request::limit(cluster.request_timeout);
    let api: Api<Job> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let manifests: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(index, node)| manifest::job(spec, node, index))
        .collect::<Result<_, _>>()?;
    let (params, api) = (PostParams::default(), &api);
    let create = manifests.iter().enumerate().map(|(index, job)| {
        let params = &params;
        async move { (index, attempt(limit, api.create(params, job)).await) }
    });
    let mut answers = futures::stream::iter(create).buffer_unordered(CREATE_AT_ONCE);
    let (mut jobs, mut absent, mut first) = (BTreeMap::new(), BTreeMap::new(), None);
    while let Some((index, answer)) = answers.next().await {
        match answer {
            Ok(job) => {
                jobs.insert(index, job);
            }
            Err(problem) => {
                let why = problem.status().map(|status| safe(&status.message));
                absent.insert(
                    index,
                    format!(
                        "its Job could not be created: {}",
                        why.unwrap_or_else(|| "no answer".to_owned())
                    ),
                );
                first.get_or_insert(problem);
            }
        }
    }
    match first {
        Some(problem) if jobs.is_empty() => Err(creation_failure(problem, "create the agents' Jobs")),
        _ => Ok((jobs, absent)),
    }
}

/// Without this the Lease stays until the next run or `cleanup`, no longer.
async fn own_lease(cluster: &Cluster, spec: &AgentSpec, jobs: &[Job], printer: &Printer) {
    let leases: Api<Lease> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let patch = Patch::Merge(manifest::lease_owners(jobs));
    let limit = request::limit(cluster.request_timeout);
    if let Err(problem) = attempt(
        limit,
        leases.patch(&spec.run.lease_name(), &PatchParams::default(), &patch),
    )
    .await
    {
        printer.warn(problem.into_failure("tie the run's Lease to its Jobs").message);
    }
}

/// What is known of one agent that does not answer yet.
struct Awaited {
    progress: Progress,
    /// Since when it is in this state.
    since: Instant,
    /// A pod exists.
    has_pod: bool,
}

async fn await_agents(
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
                    progress: Progress::Unseen,
                    since: Instant::now(),
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
                        launched.absent.insert(index, format!("its agent does not answer: {error}"));
                    }
                }
            }
            Some(change) = seen.recv() => match change {
                Seen::Trouble(why) => trouble = Some(why),
                Seen::Gone(pod) => {
                    if let Some(index) = index_of(spec, &pod).filter(|index| waiting.remove(index).is_some()) {
                        launched.absent.insert(index, "its agent's pod was deleted before it ran".to_owned());
                    }
                }
                Seen::Is(pod) => {
                    let Some(index) = index_of(spec, &pod) else { continue };
                    let Some(awaited) = waiting.get_mut(&index) else { continue };
                    awaited.note(waiting::of_container(&pod, CONTAINER));
                    match &awaited.progress {
                        Progress::Running => {
                            waiting.remove(&index);
                            opening.push(open(&pods, spec, index, &pod, limit));
                        }
                        Progress::Hopeless(why) => {
                            launched.absent.insert(index, format!("its agent did not start: {why}"));
                            waiting.remove(&index);
                        }
                        Progress::Unseen | Progress::Coming(_) => {}
                    }
                }
            },
            () = sleep_until(look_again), if !waiting.is_empty() => {
                look_again = Instant::now() + LOOK_EVERY;
                let waited = begun.elapsed();
                let without_pod = waiting.values().any(|awaited| !awaited.has_pod) && waited >= TAKEN_UP_WITHIN;
                let refusals = if without_pod { refusals(cluster, spec).await } else { BTreeMap::new() };
                waiting.retain(|index, awaited| match awaited.overdue(waited, refusals.get(index), trouble.as_deref()) {
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
        if self.progress != progress {
            self.progress = progress;
            self.since = Instant::now();
        }
    }

    /// Why it makes no sense to wait any longer.
    fn overdue(&self, waited: Duration, refusal: Option<&String>, trouble: Option<&str>) -> Option<String> {
        if !self.has_pod {
            return match (refusal, trouble) {
                (Some(refusal), _) => Some(format!("the cluster did not create its agent's pod: {refusal}")),
                _ if waited < TAKEN_UP_WITHIN * 2 => None,
                (None, Some(trouble)) => Some(format!("it is not known whether its agent started: {trouble}")),
                (None, None) => {
                    Some("the cluster did not create its agent's pod (is kube-controller-manager at work?)".to_owned())
                }
            };
        }
        let why = self.progress.overdue(waited, self.since.elapsed())?;
        Some(format!("its agent did not start: {why}"))
    }
}

/// What the Job controller says of pods it could not create, by index.
async fn refusals(cluster: &Cluster, spec: &AgentSpec) -> BTreeMap<usize, String> {
    let events: Api<Event> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let params = ListParams::default().fields("involvedObject.kind=Job,reason=FailedCreate");
    // Whoever may not read events gets the general reason.
    let Ok(list) = attempt(request::limit(cluster.request_timeout), events.list(&params)).await else {
        return BTreeMap::new();
    };
    list.items
        .into_iter()
        .filter_map(|event| {
            let index = index_of_job(spec, event.involved_object.name.as_deref()?)?;
            Some((index, safe(event.message.as_deref()?)))
        })
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
            progress: Progress::Unseen,
            since: Instant::now(),
            has_pod: false,
        };
        let refusal = "exceeded quota".to_owned();
        assert_eq!(awaited.overdue(TAKEN_UP_WITHIN, None, None), None);
        let why = |refusal, trouble| awaited.overdue(TAKEN_UP_WITHIN * 2, refusal, trouble).unwrap();
        assert!(why(Some(&refusal), None).contains("exceeded quota"));
        assert!(why(None, Some("forbidden")).contains("forbidden"));
        assert!(why(None, None).contains("kube-controller-manager"));
    }

    #[test]
    fn a_job_of_another_run_is_not_ours() {
        let spec = AgentSpec {
            run: RunId::parse("0123bcdf").unwrap(),
            namespace: String::new(),
            image: String::new(),
            pull_secrets: Vec::new(),
            deadline: Duration::ZERO,
        };
        assert_eq!(index_of_job(&spec, "netcheck-0123bcdf-12"), Some(12));
        assert_eq!(index_of_job(&spec, "netcheck-0123bcdg-12"), None);
        assert_eq!(index_of_job(&spec, "netcheck-0123bcdf-012"), None);
        assert_eq!(index_of_job(&spec, "backup"), None);
    }
}
