//! The first way in: one Job per node. Its pod shares the node's namespaces and enters those of the pods.

mod arrival;
mod namespace;

pub use arrival::refusals;
pub use namespace::{ask_patiently as ask_admission_of_guest, gone, lacks_account};

use super::{
    crew::{Home, Member},
    gate,
    link::Link,
    manifest::{self, AgentSpec},
    sweep,
};
use crate::{
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    exit::Failure,
    findings::Absence,
    output::{Printer, safe},
};
use futures::StreamExt;
use k8s_openapi::api::{batch::v1::Job, coordination::v1::Lease};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use std::collections::{BTreeMap, BTreeSet};

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
    pub absent: BTreeMap<usize, Absence>,
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
    prepare(cluster, spec, &manifest::job(spec, first, 0)?, printer).await?;
    let phase = printer.phase("starting agents");
    phase.set(0, nodes.len());
    let (jobs, mut absent) = create_jobs(cluster, spec, &nodes).await?;
    let created: Vec<Job> = jobs.values().cloned().collect();
    own_lease(cluster, spec, &created, printer).await;
    let waiting: BTreeSet<usize> = jobs.into_keys().collect();
    let launched = arrival::await_agents(cluster, spec, waiting, &phase, nodes.len()).await;
    absent.extend(launched.absent);
    phase.finish(format!("{} of {} nodes", launched.links.len(), nodes.len()));
    Ok(Launched {
        links: launched.links,
        absent,
    })
}

/// Starts one pod of another kind than agents', by a Job that is all of its run.
pub async fn start_one(cluster: &Cluster, spec: &AgentSpec, job: &Job, printer: &Printer) -> Result<(), NoNodeAgents> {
    prepare(cluster, spec, job, printer).await?;
    create_one(cluster, spec, job, printer)
        .await
        .map_err(|problem| creation_failure(problem, "create the Job"))
}

/// Starts one pod in a namespace of somebody else's: that is neither made, nor marked, nor removed, unless it is one
/// that runs make.
pub async fn start_guest(
    cluster: &Cluster,
    spec: &AgentSpec,
    job: &Job,
    printer: &Printer,
) -> Result<(), NoNodeAgents> {
    let ((), is_of_runs) = tokio::join!(
        sweep_expired(cluster, spec, printer),
        namespace::is_of_runs(cluster, &spec.namespace)
    );
    namespace::hold_as_guest(cluster, spec, is_of_runs).await?;
    create_one(cluster, spec, job, printer).await.map_err(|problem| {
        if problem.is_namespace_ending() || problem.is_not_found() {
            gone(&spec.namespace).into()
        } else {
            creation_failure(problem, "create the Job")
        }
    })
}

/// Creates the one Job of a run that has its Lease.
async fn create_one(cluster: &Cluster, spec: &AgentSpec, job: &Job, printer: &Printer) -> Result<(), Problem> {
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), &spec.namespace);
    let limit = request::limit(cluster.request_timeout);
    let created = attempt(limit, jobs.create(&PostParams::default(), job)).await?;
    own_lease(cluster, spec, &[created], printer).await;
    Ok(())
}

/// Makes sure of the namespace, and that Jobs like this one are admitted there; then it is the run's until that is over.
async fn prepare(cluster: &Cluster, spec: &AgentSpec, job: &Job, printer: &Printer) -> Result<(), NoNodeAgents> {
    namespace::ensure(cluster, &spec.namespace).await?;
    namespace::ask_admission(cluster, job).await?;
    sweep_expired(cluster, spec, printer).await;
    namespace::hold(cluster, spec).await
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

fn creation_failure(problem: Problem, doing: &str) -> NoNodeAgents {
    if problem.is_admission() {
        return NoNodeAgents::refused(&gate::message(&problem));
    }
    if problem.is_forbidden() {
        return NoNodeAgents::not_granted(gate::message(&problem));
    }
    problem.into_failure(doing).into()
}

/// The Jobs by index, and why some could not be created. If none could, the first reason counts for all.
async fn create_jobs(
    cluster: &Cluster,
    spec: &AgentSpec,
    nodes: &[&str],
) -> Result<(BTreeMap<usize, Job>, BTreeMap<usize, Absence>), NoNodeAgents> {
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
                let why = why.unwrap_or_else(|| "no answer".to_owned());
                let why = format!("its Job could not be created: {why}");
                absent.insert(index, gate::obstacle(&problem).because(why));
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
