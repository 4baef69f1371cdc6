//! `cleanup`: removes what runs left in the cluster, and lists what nobody can remove.

use super::{API_VERSION, Shared};
use crate::{
    agents::{
        DEFAULT_NAMESPACE,
        ladder::Rung,
        run::{COMPONENT_LABEL, RUN_LABEL, RunId, managed_selector},
        sweep, waiting,
    },
    cluster::{
        Cluster,
        list::list,
        request::{self, Problem, attempt},
    },
    exit::{Exit, Failure},
    output::{Format, Printer, Table, document, safe, shortened},
    terminal::read_back,
};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    batch::v1::Job,
    coordination::v1::Lease,
    core::v1::{Namespace, Pod},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Characters of a state that a table shows: a kubelet's words may be a paragraph.
const WIDTH: usize = 60;

/// Arguments of `cleanup`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  # What would go, and what would stay
  kubectl netcheck cleanup --dry-run

  # Also runs of others that may still be at work
  kubectl netcheck cleanup --all")]
pub struct CleanupArgs {
    /// Also runs that have not expired: they may be at work, and will fail
    #[arg(long)]
    all: bool,
    /// Namespace of the node agents, where only that one and the current one may be looked at
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    agent_namespace: String,
}

/// What was found, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CleanupReport {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `CleanupReport`.
    pub kind: String,
    /// One entry per object.
    pub items: Vec<CleanupItem>,
}

/// One object of ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CleanupItem {
    /// `Namespace`, `Job`, `Lease`, `Pod` (of an agent whose Job is gone) or `EphemeralContainer`.
    pub kind: String,
    /// Its namespace; absent for namespaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its name; `POD/CONTAINER` for an ephemeral container.
    pub name: String,
    /// In which state it was found.
    pub state: String,
    /// What became of it.
    pub action: Action,
}

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is removed.
    Removed,
    /// It would be, without `--dry-run`.
    WouldBeRemoved,
    /// It belongs to a run that may be at work.
    Kept,
    /// Somebody has removed it already, and the cluster is at it.
    BeingRemoved,
    /// Nobody can remove it before its pod is deleted.
    CannotBeRemoved,
    /// Removing it failed; stderr says why.
    Failed,
}

impl Action {
    fn words(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::WouldBeRemoved => "would be removed",
            Self::Kept => "kept (--all removes it)",
            Self::BeingRemoved => "being removed",
            Self::CannotBeRemoved => "goes with its pod",
            Self::Failed => "not removed",
        }
    }
}

/// Objects of one run in one namespace.
#[derive(Default)]
struct Found {
    jobs: Vec<Job>,
    /// With the pods of the Jobs; they outlive them where a node died.
    pods: Vec<Pod>,
    lease: Option<Lease>,
}

type Runs = BTreeMap<(String, RunId), Found>;

/// Looks, removes, reports.
///
/// # Errors
/// If nothing can be looked at, or the user interrupts.
pub async fn run(args: CleanupArgs, shared: Shared) -> Result<Exit, Failure> {
    tokio::select! {
        result = clean_up(&args, &shared) => result,
        // A removal may stop anywhere: whoever comes next finds what is left by itself.
        () = shared.interrupt.requested() => Err(
            Failure::interrupted("interrupted: something may be left")
                .hint("kubectl netcheck cleanup goes on where this one ended"),
        ),
    }
}

async fn clean_up(args: &CleanupArgs, shared: &Shared) -> Result<Exit, Failure> {
    let cluster = Cluster::connect(&shared.flags).await?;
    let printer = &shared.printer;
    let phase = printer.phase("looking for remains");
    let (now, runs, namespaces, containers) = tokio::join!(
        cluster.now(),
        find_runs(&cluster, &args.agent_namespace, printer),
        find_namespaces(&cluster, &args.agent_namespace),
        find_containers(&cluster, printer),
    );
    let (runs, namespaces, mut items) = (runs?, namespaces?, containers?);
    drop(phase);
    let mut failed = false;
    let mut kept_in = BTreeSet::new();
    for ((namespace, run), found) in &runs {
        let over = found.lease.as_ref().is_none_or(|lease| sweep::expired(lease, now));
        let action = if !over && !args.all {
            kept_in.insert(namespace.clone());
            Action::Kept
        } else if shared.flags.dry_run {
            Action::WouldBeRemoved
        } else {
            outcome(sweep::remove_objects(&cluster, namespace, run).await, printer)
        };
        failed |= action == Action::Failed;
        items.extend(describe_run(namespace, found, now, action));
    }
    for OurNamespace { name, is_ending } in namespaces {
        let action = if is_ending {
            Action::BeingRemoved
        } else if kept_in.contains(&name) {
            Action::Kept
        } else if shared.flags.dry_run {
            Action::WouldBeRemoved
        } else {
            match sweep::remove_namespace_after_last(&cluster, &name, None).await {
                Ok(true) => Action::Removed,
                // A run has come into it meanwhile.
                Ok(false) => Action::Kept,
                Err(failure) => outcome(vec![failure], printer),
            }
        };
        failed |= action == Action::Failed;
        let state = "created by a run".to_owned();
        items.push(CleanupItem {
            kind: "Namespace".to_owned(),
            namespace: None,
            name,
            state,
            action,
        });
    }
    let report = CleanupReport {
        api_version: API_VERSION.to_owned(),
        kind: "CleanupReport".to_owned(),
        items,
    };
    print(&report, shared.flags.output.format, printer)?;
    Ok(if failed { Exit::Unknown } else { Exit::Held })
}

fn outcome(failures: Vec<Failure>, printer: &Printer) -> Action {
    if failures.is_empty() {
        return Action::Removed;
    }
    for failure in failures {
        printer.warn(failure.message);
    }
    Action::Failed
}

/// Runs in all namespaces; where only one may be looked at, in that one.
async fn find_runs(cluster: &Cluster, agent_namespace: &str, printer: &Printer) -> Result<Runs, Failure> {
    let managed = managed_selector();
    let all = &cluster.client;
    let everywhere = (Api::all(all.clone()), Api::all(all.clone()), Api::all(all.clone()));
    match list_runs(cluster, everywhere, &managed).await {
        Ok(runs) => Ok(runs),
        Err(problem) if problem.is_forbidden() => {
            // Agents are in the one, pods of `run` in the other.
            let here = BTreeSet::from([agent_namespace, &cluster.namespace]);
            printer.warn(format!(
                "Jobs, pods and Leases may not be listed in all namespaces: only {} looked at",
                looked_at(&here)
            ));
            let (mut runs, mut refusals) = (Runs::new(), Vec::new());
            for namespace in &here {
                match list_in(cluster, namespace, &managed).await {
                    Ok(found) => runs.extend(found),
                    Err(problem) if problem.is_forbidden() => refusals.push((*namespace, problem)),
                    Err(problem) => return Err(not_listed(problem, namespace)),
                }
            }
            let none_may_be = refusals.len() == here.len();
            for (namespace, problem) in refusals {
                let failure = not_listed(problem, namespace);
                if none_may_be {
                    return Err(failure);
                }
                printer.warn(failure.message);
            }
            Ok(runs)
        }
        Err(problem) => Err(problem.into_failure("list Jobs, pods and Leases in all namespaces")),
    }
}

/// `namespace "a" is`, `namespaces "a" and "b" are`.
fn looked_at(namespaces: &BTreeSet<&str>) -> String {
    let quoted: Vec<String> = namespaces.iter().map(|name| format!("{name:?}")).collect();
    match &quoted[..] {
        [one] => format!("namespace {one} is"),
        several => format!("namespaces {} are", several.join(" and ")),
    }
}

fn not_listed(problem: Problem, namespace: &str) -> Failure {
    problem.into_failure(&format!("list Jobs, pods and Leases in namespace {namespace:?}"))
}

async fn list_in(cluster: &Cluster, namespace: &str, managed: &str) -> Result<Runs, Problem> {
    let client = &cluster.client;
    let here = (
        Api::namespaced(client.clone(), namespace),
        Api::namespaced(client.clone(), namespace),
        Api::namespaced(client.clone(), namespace),
    );
    list_runs(cluster, here, managed).await
}

async fn list_runs(
    cluster: &Cluster,
    (jobs, pods, leases): (Api<Job>, Api<Pod>, Api<Lease>),
    managed: &str,
) -> Result<Runs, Problem> {
    // The Leases last: a run that starts in between then has its Lease in the later list.
    let jobs = list(cluster, &jobs, Some(managed)).await?;
    let pods = list(cluster, &pods, Some(managed)).await?;
    let leases = list(cluster, &leases, Some(managed)).await?;
    let mut runs = Runs::new();
    for job in jobs {
        if let Some(key) = key_of(&job.metadata) {
            runs.entry(key).or_default().jobs.push(job);
        }
    }
    for pod in pods {
        if let Some(key) = key_of(&pod.metadata) {
            runs.entry(key).or_default().pods.push(pod);
        }
    }
    for lease in leases {
        if let Some(key) = key_of(&lease.metadata) {
            runs.entry(key).or_default().lease = Some(lease);
        }
    }
    Ok(runs)
}

/// Where an object is, and the run it belongs to.
fn key_of(metadata: &ObjectMeta) -> Option<(String, RunId)> {
    let run = RunId::parse(metadata.labels.as_ref()?.get(RUN_LABEL)?)?;
    Some((metadata.namespace.clone()?, run))
}

/// A namespace that a run created.
#[derive(Debug, PartialEq, Eq)]
struct OurNamespace {
    name: String,
    /// Removed already, but something holds it still.
    is_ending: bool,
}

/// Namespaces that runs created.
async fn find_namespaces(cluster: &Cluster, agent_namespace: &str) -> Result<Vec<OurNamespace>, Failure> {
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let namespaces = match list(cluster, &api, Some(&managed_selector())).await {
        Ok(namespaces) => namespaces,
        Err(problem) if problem.is_forbidden() => {
            match attempt(request::limit(cluster.request_timeout), api.get(agent_namespace)).await {
                Ok(namespace) => vec![namespace],
                Err(problem) if problem.is_forbidden() || problem.is_not_found() => Vec::new(),
                Err(problem) => return Err(problem.into_failure(&format!("look up namespace {agent_namespace:?}"))),
            }
        }
        Err(problem) => return Err(problem.into_failure("list namespaces")),
    };
    let ours = namespaces.into_iter().filter(sweep::is_removable);
    Ok(ours
        .filter_map(|namespace| {
            Some(OurNamespace {
                name: namespace.metadata.name?,
                is_ending: namespace.metadata.deletion_timestamp.is_some(),
            })
        })
        .collect())
}

/// Ephemeral containers of ours, in all namespaces that may be looked at.
async fn find_containers(cluster: &Cluster, printer: &Printer) -> Result<Vec<CleanupItem>, Failure> {
    let pods: Vec<Pod> = match list(cluster, &Api::all(cluster.client.clone()), None).await {
        Ok(pods) => pods,
        Err(problem) if problem.is_forbidden() => {
            let here: Api<Pod> = Api::namespaced(cluster.client.clone(), &cluster.namespace);
            match list(cluster, &here, None).await {
                Ok(pods) => pods,
                Err(problem) if problem.is_forbidden() => {
                    printer.warn("pods may not be listed: ephemeral containers are not shown");
                    Vec::new()
                }
                Err(problem) => {
                    return Err(problem.into_failure(&format!("list pods in namespace {:?}", cluster.namespace)));
                }
            }
        }
        Err(problem) => return Err(problem.into_failure("list pods in all namespaces")),
    };
    Ok(pods.iter().flat_map(containers_of).collect())
}

fn containers_of(pod: &Pod) -> Vec<CleanupItem> {
    let containers = pod.spec.as_ref().and_then(|spec| spec.ephemeral_containers.as_ref());
    let ours = containers.into_iter().flatten().filter(|container| {
        let is_session = read_back(container.command.as_deref().unwrap_or_default()).is_some();
        is_session || Rung::of_container(&container.name).is_some()
    });
    let state_of = |name: &str| {
        let statuses = pod
            .status
            .as_ref()
            .and_then(|status| status.ephemeral_container_statuses.as_ref());
        let status = statuses.into_iter().flatten().find(|status| status.name == name);
        status.map_or_else(|| "unknown".to_owned(), waiting::describe)
    };
    ours.map(|container| CleanupItem {
        kind: "EphemeralContainer".to_owned(),
        namespace: pod.metadata.namespace.clone(),
        name: format!(
            "{}/{}",
            pod.metadata.name.as_deref().unwrap_or_default(),
            container.name
        ),
        state: state_of(&container.name),
        action: Action::CannotBeRemoved,
    })
    .collect()
}

fn describe_run(namespace: &str, found: &Found, now: Timestamp, action: Action) -> Vec<CleanupItem> {
    let item = |kind: &str, name: Option<String>, state: String| CleanupItem {
        kind: kind.to_owned(),
        namespace: Some(namespace.to_owned()),
        name: name.unwrap_or_default(),
        state,
        action,
    };
    let lease = found
        .lease
        .iter()
        .map(|lease| item("Lease", lease.metadata.name.clone(), lease_state(lease, now)));
    let jobs = found.jobs.iter().map(|job| {
        let node = job
            .spec
            .as_ref()
            .and_then(|spec| spec.template.spec.as_ref()?.node_name.clone());
        let what = what_it_is(&job.metadata);
        let state = node.map_or_else(|| what.to_owned(), |node| format!("{what} on node {node}"));
        item("Job", job.metadata.name.clone(), state)
    });
    let with_job = |pod: &Pod| {
        let owners = pod.metadata.owner_references.iter().flatten();
        let jobs = found.jobs.iter();
        owners
            .filter(|owner| owner.kind == "Job")
            .any(|owner| jobs.clone().any(|job| job.metadata.uid.as_ref() == Some(&owner.uid)))
    };
    let pods = found.pods.iter().filter(|pod| !with_job(pod)).map(|pod| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        let place = node.map_or_else(String::new, |node| format!(" on node {node}"));
        item(
            "Pod",
            pod.metadata.name.clone(),
            format!("{}{place}, its Job is gone", what_it_is(&pod.metadata)),
        )
    });
    lease.chain(jobs).chain(pods).collect()
}

/// By the label that says which part of ours it is.
fn what_it_is(metadata: &ObjectMeta) -> &'static str {
    let labels = metadata.labels.as_ref();
    match labels
        .and_then(|labels| labels.get(COMPONENT_LABEL))
        .map(String::as_str)
    {
        Some("run") => "throw-away pod",
        Some("debug") => "session",
        _ => "agent",
    }
}

fn lease_state(lease: &Lease, now: Timestamp) -> String {
    let spec = lease.spec.as_ref();
    let holder = spec
        .and_then(|spec| spec.holder_identity.as_deref())
        .unwrap_or("unknown");
    if sweep::expired(lease, now) {
        return format!("expired, of {holder}");
    }
    let created = lease.metadata.creation_timestamp.as_ref().map_or(now, |time| time.0);
    let seconds = spec.and_then(|spec| spec.lease_duration_seconds).unwrap_or_default();
    let left = SignedDuration::from_secs(i64::from(seconds)) - now.duration_since(created);
    format!("of {holder}, expires in {} s", left.as_secs().max(0))
}

fn print(report: &CleanupReport, format: Format, printer: &Printer) -> Result<(), Failure> {
    let text = match document(format, report)? {
        Some(text) => text,
        None if format == Format::Name => report.items.iter().fold(String::new(), |names, item| {
            names + &item.kind.to_lowercase() + "/" + &safe(&item.name) + "\n"
        }),
        None if report.items.is_empty() => {
            printer.note("nothing of netcheck is in the cluster");
            return Ok(());
        }
        None => {
            let mut table = Table::new(["KIND", "NAMESPACE", "NAME", "STATE", "ACTION"]);
            for item in &report.items {
                let namespace = item.namespace.as_deref().unwrap_or("-");
                let state = match format {
                    Format::Wide => item.state.clone(),
                    _ => shortened(&item.state, WIDTH),
                };
                table.push([item.kind.as_str(), namespace, &item.name, &state, item.action.words()]);
            }
            table.render_on(printer)
        }
    };
    printer.data(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{agents::manifest, cluster::fake};
    use serde_json::json;

    fn pod_of(job_uid: &str) -> serde_json::Value {
        json!({
            "metadata": {
                "namespace": "netcheck", "name": "netcheck-0123bcdf-0-x", "labels": { RUN_LABEL: "0123bcdf" },
                "ownerReferences": [{ "apiVersion": "batch/v1", "kind": "Job", "name": "netcheck-0123bcdf-0", "uid": job_uid }],
            },
            "spec": { "containers": [], "nodeName": "n1" },
        })
    }

    #[tokio::test]
    async fn a_pod_that_outlives_its_job_is_found() {
        let (cluster, _) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.contains("/pods") => fake::list(&json!([pod_of("u-1")])),
            _ => fake::list(&json!([])),
        });
        let apis = (
            Api::all(cluster.client.clone()),
            Api::all(cluster.client.clone()),
            Api::all(cluster.client.clone()),
        );
        let runs = list_runs(&cluster, apis, &managed_selector()).await.unwrap();
        let found = &runs[&("netcheck".to_owned(), RunId::parse("0123bcdf").unwrap())];
        let items = describe_run("netcheck", found, Timestamp::UNIX_EPOCH, Action::Removed);
        let shown: Vec<_> = items
            .iter()
            .map(|item| (item.kind.as_str(), item.name.as_str(), item.state.as_str()))
            .collect();
        assert_eq!(
            shown,
            [("Pod", "netcheck-0123bcdf-0-x", "agent on node n1, its Job is gone")]
        );
    }

    /// Who may not look everywhere has throw-away pods in one namespace, and agents perhaps in another that is not to be looked at at all.
    #[tokio::test]
    async fn where_not_all_may_be_listed_ones_own_namespace_is() {
        let answer = |own: &'static str| {
            move |asked: &fake::Asked| match asked.line.as_str() {
                line if line.contains(&format!("/namespaces/{own}/")) && line.contains("/jobs") => {
                    let labels = json!({ RUN_LABEL: "0123bcdf", COMPONENT_LABEL: "run" });
                    fake::list(&json!([{ "metadata": { "namespace": own, "name": "probe", "labels": labels } }]))
                }
                line if line.contains(&format!("/namespaces/{own}/")) => fake::list(&json!([])),
                _ => fake::status(403, "Forbidden", "User \"ada\" cannot list resource"),
            }
        };
        let (cluster, _) = fake::cluster(answer("default"));
        let cluster = Cluster {
            namespace: "default".to_owned(),
            ..cluster
        };
        let runs = find_runs(&cluster, "netcheck", &Printer::silent()).await.unwrap();
        let found = &runs[&("default".to_owned(), RunId::parse("0123bcdf").unwrap())];
        let items = describe_run("default", found, Timestamp::UNIX_EPOCH, Action::Removed);
        assert_eq!(
            (items[0].name.as_str(), items[0].state.as_str()),
            ("probe", "throw-away pod")
        );
        let (cluster, _) = fake::cluster(answer("elsewhere"));
        assert!(find_runs(&cluster, "netcheck", &Printer::silent()).await.is_err());
    }

    #[test]
    fn a_pod_of_a_job_that_is_there_is_not_told_of_twice() {
        let job = json!({ "metadata": { "name": "netcheck-0123bcdf-0", "uid": "u-1" } });
        let found = |uid| Found {
            jobs: vec![serde_json::from_value(job.clone()).unwrap()],
            pods: vec![serde_json::from_value(pod_of(uid)).unwrap()],
            lease: None,
        };
        let kinds = |uid| -> Vec<_> {
            let items = describe_run("netcheck", &found(uid), Timestamp::UNIX_EPOCH, Action::Kept);
            items.into_iter().map(|item| item.kind).collect()
        };
        assert_eq!(kinds("u-1"), ["Job"]);
        assert_eq!(kinds("u-2"), ["Job", "Pod"]);
    }

    #[tokio::test]
    async fn a_namespace_that_is_going_is_shown() {
        let (cluster, _) = fake::cluster(|_| {
            let mut ending = serde_json::to_value(manifest::namespace("netcheck", false).unwrap()).unwrap();
            ending["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            fake::list(&json!([ending]))
        });
        let expected = OurNamespace {
            name: "netcheck".to_owned(),
            is_ending: true,
        };
        assert_eq!(find_namespaces(&cluster, "netcheck").await, Ok(vec![expected]));
    }

    #[test]
    fn only_our_ephemeral_containers_are_listed() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "containers": [], "ephemeralContainers": [
                { "name": "netcheck-0123bcdf-raw" }, { "name": "debugger-abc" },
            ] },
            "status": { "ephemeralContainerStatuses": [{
                "name": "netcheck-0123bcdf-raw", "state": { "terminated": { "exitCode": 0, "reason": "Completed" } },
                "ready": false, "restartCount": 0, "image": "", "imageID": "",
            }] },
        }))
        .unwrap();
        let items = containers_of(&pod);
        assert_eq!(items.len(), 1);
        assert_eq!(items[0].name, "web/netcheck-0123bcdf-raw");
        assert_eq!(items[0].state, "container ended (Completed, exit code 0)");
        assert_eq!(items[0].action, Action::CannotBeRemoved);
    }

    #[test]
    fn a_lease_says_whose_it_is_and_how_long_it_lasts() {
        let lease: Lease = serde_json::from_value(json!({
            "metadata": { "name": "netcheck-run-0123bcdf", "creationTimestamp": "2026-01-01T00:00:00Z" },
            "spec": { "holderIdentity": "ada@laptop", "leaseDurationSeconds": 120 },
        }))
        .unwrap();
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(
            lease_state(&lease, at("2026-01-01T00:01:00Z")),
            "of ada@laptop, expires in 60 s"
        );
        assert_eq!(
            lease_state(&lease, at("2026-01-01T00:03:00Z")),
            "expired, of ada@laptop"
        );
    }
}
