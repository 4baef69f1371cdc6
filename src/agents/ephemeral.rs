//! The second way in: one ephemeral container per pod, on the highest rung of the ladder that admission, kubelet and runtime let start.

use super::{
    arrival::{self, NotRunning},
    crew::{Home, Member},
    exec::ExecDial,
    gate,
    ladder::{self, Refused, Rung, Violator},
    link::{Link, Timing},
    manifest::serve_command,
    observe::Which,
    run::RunId,
    waiting::{self, Progress},
};
use crate::{
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    exit::Failure,
    findings::{Absence, Obstacle},
    output::{Printer, safe},
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Pods worked on at once.
const AT_ONCE: usize = 16;

/// What all ephemeral agents of a run have in common.
#[derive(Debug, Clone)]
pub struct EphemeralSpec {
    /// The run.
    pub run: RunId,
    /// Reference of the image.
    pub image: String,
    /// How long the run may take.
    pub deadline: Duration,
}

/// A started agent.
pub struct Started {
    /// The link to it.
    pub link: Link,
    /// The rung it stands on.
    pub rung: Rung,
}

/// The outcome for each member of the crew, by its index.
pub struct Launched {
    /// Agents that answered.
    pub started: BTreeMap<usize, Started>,
    /// Why the others did not.
    pub absent: BTreeMap<usize, Absence>,
    /// Ephemeral containers that were added, those that did not start included: they stay.
    pub added: usize,
}

/// What one pod teaches about the others of its namespace.
#[derive(Default)]
struct Lessons {
    /// Rungs that admission refuses for our container, whatever the pod, with its words.
    refused: Mutex<BTreeMap<(String, Rung), String>>,
    added: Mutex<usize>,
}

impl Lessons {
    fn refusal(&self, namespace: &str, rung: Rung) -> Option<String> {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.get(&(namespace.to_owned(), rung)).cloned()
    }

    fn learn(&self, namespace: &str, rung: Rung, message: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.insert((namespace.to_owned(), rung), message.to_owned());
    }

    fn count(&self) {
        *self.added.lock().unwrap_or_else(PoisonError::into_inner) += 1;
    }
}

/// Adds an agent to each pod and waits until it answers, or cannot.
pub async fn launch(cluster: &Cluster, spec: &EphemeralSpec, members: &[Member], printer: &Printer) -> Launched {
    if !members.is_empty() {
        // A warning, because it must be told before: -q silences notes.
        printer.warn(format!(
            "adding one ephemeral container to each of {} pods: it ends with the run, but stays listed until its pod is deleted (nobody can remove it)",
            members.len()
        ));
    }
    let phase = printer.phase("starting agents");
    phase.set(0, members.len());
    let lessons = Lessons::default();
    let starts = members.iter().enumerate().filter_map(|(index, member)| {
        let Home::Pod { namespace, name } = &member.home else {
            return None;
        };
        let job = Climb {
            cluster,
            spec,
            lessons: &lessons,
            namespace,
            name,
            index,
        };
        Some(async move { (index, job.start().await) })
    });
    let mut outcomes = futures::stream::iter(starts).buffer_unordered(AT_ONCE);
    let (mut started, mut absent) = (BTreeMap::new(), BTreeMap::new());
    while let Some((index, outcome)) = outcomes.next().await {
        match outcome {
            Ok(agent) => {
                started.insert(index, agent);
                phase.set(started.len(), members.len());
            }
            Err(why) => {
                absent.insert(index, why);
            }
        }
    }
    drop(outcomes);
    phase.finish(format!("{} of {} pods", started.len(), members.len()));
    let added = *lessons.added.lock().unwrap_or_else(PoisonError::into_inner);
    Launched { started, absent, added }
}

/// One pod's way down the ladder.
struct Climb<'a> {
    cluster: &'a Cluster,
    spec: &'a EphemeralSpec,
    lessons: &'a Lessons,
    namespace: &'a str,
    name: &'a str,
    index: usize,
}

/// What became of one rung.
enum Step {
    Started(Link),
    /// The next one may do.
    Next(Refusal),
    /// None will do.
    Stop(Absence),
}

/// Why a rung did not do.
enum Refusal {
    ByAdmission(String),
    AtStart(String),
}

impl Climb<'_> {
    fn limit(&self) -> Duration {
        request::limit(self.cluster.request_timeout)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), self.namespace)
    }

    async fn start(&self) -> Result<Started, Absence> {
        let pod = attempt(self.limit(), self.pods().get(self.name)).await;
        let pod = pod.map_err(|problem| cannot("read the pod", problem))?;
        let failed_before = failed_rungs(&pod);
        let mut refusals = Vec::new();
        let mut at_start = None;
        for rung in Rung::ALL {
            if failed_before.contains(&rung) {
                continue;
            }
            match self.step(rung).await {
                Step::Started(link) => return Ok(Started { link, rung }),
                Step::Stop(why) => return Err(why),
                Step::Next(Refusal::ByAdmission(message)) => refusals.push((rung, message)),
                Step::Next(Refusal::AtStart(why)) => at_start = Some(why),
            }
        }
        // That it was admitted somewhere and did not start says more than the refusals of other rungs.
        Err(match at_start {
            Some(why) => Obstacle::NotStarted.because(format!("its agent did not start on any rung, at last: {why}")),
            None => match refusals.last() {
                Some((rung, message)) => self.refused_at(*rung, message),
                None => ladder::no_rung_left(None),
            },
        })
    }

    async fn step(&self, rung: Rung) -> Step {
        if let Some(message) = self.lessons.refusal(self.namespace, rung) {
            return Step::Next(Refusal::ByAdmission(message));
        }
        // The dry run costs no container in a pod that would keep it for good.
        for dry_run in [true, false] {
            if let Err(problem) = self.patch(rung, dry_run).await {
                return self.refused(rung, problem);
            }
        }
        self.lessons.count();
        match self.await_running(rung).await {
            Ok(()) => match Link::open(self.dial(rung), self.spec.run.session(self.index), Timing::default()).await {
                Ok(link) => Step::Started(link),
                Err(error) => {
                    Step::Stop(Absence::from(error).reworded(|why| format!("its agent does not answer: {why}")))
                }
            },
            Err(NotRunning::Hopeless(why)) => Step::Next(Refusal::AtStart(why)),
            Err(NotRunning::WithAny(why)) => {
                Step::Stop(why.reworded(|why| format!("its agent did not start: {}", safe(&why))))
            }
        }
    }

    async fn patch(&self, rung: Rung, dry_run: bool) -> Result<(), Problem> {
        let command = serve_command(&self.spec.run.session(self.index), self.spec.deadline);
        let patch = ladder::patch(&self.spec.run, rung, &self.spec.image, &command);
        add(&self.pods(), self.name, &patch, self.limit(), dry_run).await
    }

    fn refused(&self, rung: Rung, problem: Problem) -> Step {
        if !problem.is_admission() {
            return Step::Stop(cannot("add an ephemeral container to the pod", problem));
        }
        let message = safe(&gate::message(&problem));
        match ladder::violator(&message, &rung.container_name(&self.spec.run)) {
            Violator::ThePod => Step::Stop(self.refused_at(rung, &message)),
            Violator::OurContainer => {
                self.lessons.learn(self.namespace, rung, &message);
                Step::Next(Refusal::ByAdmission(message))
            }
            Violator::Unknown => Step::Next(Refusal::ByAdmission(message)),
        }
    }

    fn refused_at(&self, rung: Rung, message: &str) -> Absence {
        ladder::no_rung_left(Some(Refused {
            container: &rung.container_name(&self.spec.run),
            asked: rung.describe(),
            message,
        }))
    }

    async fn await_running(&self, rung: Rung) -> Result<(), NotRunning> {
        let container = rung.container_name(&self.spec.run);
        let which = Which::Named(self.name.to_owned());
        let progress = |pod: &Pod| waiting::of_ephemeral_container(pod, &container);
        arrival::running(self.pods(), which, self.limit(), progress)
            .await
            .map(drop)
    }

    fn dial(&self, rung: Rung) -> ExecDial {
        ExecDial {
            pods: self.pods(),
            pod: self.name.to_owned(),
            container: rung.container_name(&self.spec.run),
            session: self.spec.run.session(self.index),
            limit: self.limit(),
        }
    }
}

async fn add(
    pods: &Api<Pod>,
    name: &str,
    patch: &serde_json::Value,
    limit: Duration,
    dry_run: bool,
) -> Result<(), Problem> {
    let params = PatchParams {
        dry_run,
        ..PatchParams::default()
    };
    let patch = Patch::Strategic(patch);
    attempt(limit, pods.patch_ephemeral_containers(name, &params, &patch))
        .await
        .map(drop)
}

/// The highest rung that admission lets an agent of a pod on; `None`: none. Nothing is created: all of it is a dry run.
///
/// # Errors
/// If it cannot be asked.
pub async fn admits(
    cluster: &Cluster,
    namespace: &str,
    pod: &str,
    run: &RunId,
    image: &str,
) -> Result<Option<Rung>, Failure> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let limit = request::limit(cluster.request_timeout);
    for rung in Rung::ALL {
        let patch = ladder::patch(run, rung, image, &serve_command(&run.session(0), limit));
        match add(&pods, pod, &patch, limit, true).await {
            Ok(()) => return Ok(Some(rung)),
            Err(problem) if problem.is_admission() => {}
            Err(problem) => {
                return Err(problem.into_failure(&format!("ask admission about pod {namespace}/{pod}")));
            }
        }
    }
    Ok(None)
}

/// Why a request for an agent failed.
fn cannot(doing: &str, problem: Problem) -> Absence {
    let obstacle = gate::obstacle(&problem);
    obstacle.because(problem.into_failure(doing).message)
}

/// Rungs on which an agent of an earlier run never started in this pod: trying again would add one more container that stays for good.
/// What the image was to blame for does not count.
fn failed_rungs(pod: &Pod) -> BTreeSet<Rung> {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.ephemeral_container_statuses.as_ref());
    statuses
        .into_iter()
        .flatten()
        .filter_map(|status| {
            let (_, rung) = Rung::of_container(&status.name)?;
            let state = status.state.as_ref()?;
            let never_ran = state.waiting.is_some()
                || state
                    .terminated
                    .as_ref()
                    .is_some_and(|ended| ended.started_at.is_none());
            match waiting::of_ephemeral_container(pod, &status.name) {
                Progress::Hopeless(_) if never_ran => Some(rung),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_rung_that_failed_in_an_earlier_run_is_not_tried_again() {
        let status = |name: &str, state: serde_json::Value| json!({ "name": name, "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": "" });
        let pod: Pod = serde_json::from_value(json!({ "status": { "phase": "Running", "ephemeralContainerStatuses": [
            status("netcheck-0123bcdf-raw", json!({ "waiting": { "reason": "CreateContainerConfigError" } })),
            status("netcheck-0123bcdf-root", json!({ "waiting": { "reason": "ErrImageNeverPull" } })),
            status("netcheck-1123bcdf-plain", json!({ "terminated": { "exitCode": 0, "startedAt": "2026-01-01T00:00:00Z" } })),
            status("debugger-raw", json!({ "waiting": { "reason": "CreateContainerConfigError" } })),
        ] } }))
        .unwrap();
        assert_eq!(failed_rungs(&pod), BTreeSet::from([Rung::Raw]));
    }
}
