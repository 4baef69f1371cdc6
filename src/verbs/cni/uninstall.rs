//! `cni uninstall`: nodes first, each by its own daemon; then the objects, and what Node objects carry of us.

use super::{
    apply,
    config::Data,
    decide::is_in_scope,
    evict, lock,
    manifest::{self, Settings, Undoing, uninstall_selector},
    names::{LABEL, NAME, PREFIX},
    pods::{is_of_daemon_set, is_wired, node_of},
    remains::{CniUninstallReport, NodeOutcome, Outcome},
    scene::get,
    undo,
};
use crate::{
    agents::{image, sweep},
    cluster::{
        Cluster,
        list::list,
        request::{self, attempt},
    },
    exit::{Exit, Failure},
    flags::duration,
    output::{Explained, Printer},
    verbs::Shared,
};
use clap::Args;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    batch::v1::Job,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// How long the daemon's pods may take to end; what is there then has no kubelet.
const DAEMONS_WITHIN: Duration = Duration::from_secs(30);
/// How long to look on while the namespace goes.
const NAMESPACE_WITHIN: Duration = Duration::from_mins(1);
/// What may come on top of the timeout before somebody else may think us dead.
const MARGIN: Duration = Duration::from_mins(3);

/// Arguments of `cni uninstall`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Pods that live in netcheck-cni's network cannot keep it: without --evict they are listed, and nothing is done. Afterwards nodes are without a \
pod network until another one is installed.

Examples:
  # What would be done, and which pods are in the way
  kubectl netcheck cni uninstall --dry-run

  # Cordon nodes, evict pods, clean every node, remove all objects
  kubectl netcheck cni uninstall --evict")]
pub struct UninstallArgs {
    /// Evict the pods that live in its network, as kubectl drain does, and go on even if some stay
    #[arg(long)]
    evict: bool,
    /// How long evictions may take, and after that nodes
    #[arg(long, value_name = "DURATION", default_value = "3m", value_parser = duration::parse)]
    timeout: Duration,
    /// Image of the daemon, if its DaemonSet is gone already (default: that of the DaemonSet)
    #[arg(long, value_name = "REFERENCE")]
    image: Option<String>,
}

/// What is there of us.
struct Installed {
    nodes: Vec<Node>,
    daemon: Option<DaemonSet>,
    namespace: Option<Namespace>,
    wired: Vec<Pod>,
}

impl Installed {
    async fn read(cluster: &Cluster) -> Result<Self, Failure> {
        let client = &cluster.client;
        let (node_api, pod_api): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::all(client.clone()));
        let (nodes, pods, daemon, namespace) = tokio::join!(
            list(cluster, &node_api, None),
            list(cluster, &pod_api, None),
            get::<DaemonSet>(cluster, Api::namespaced(client.clone(), NAME), NAME),
            get::<Namespace>(cluster, Api::all(client.clone()), NAME),
        );
        let nodes = nodes.map_err(|problem| problem.into_failure("list nodes"))?;
        let pods = pods.map_err(|problem| problem.into_failure("list pods in all namespaces"))?;
        let nodes = touched(nodes, &pods);
        let names: BTreeSet<&str> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
        let is_ours = |pod: &Pod| is_wired(pod) && node_of(pod).is_some_and(|node| names.contains(node));
        let wired = pods.into_iter().filter(is_ours).collect();
        Ok(Self {
            wired,
            nodes,
            daemon: daemon.map_err(|problem| problem.into_failure(&format!("look up DaemonSet {NAME}/{NAME}")))?,
            namespace: namespace.map_err(|problem| problem.into_failure(&format!("look up namespace {NAME}")))?,
        })
    }

    /// Nothing new can be made in a namespace that goes.
    fn is_ending(&self) -> bool {
        let namespace = self.namespace.as_ref();
        namespace.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some())
    }

    fn names(&self) -> Vec<String> {
        self.nodes
            .iter()
            .filter_map(|node| node.metadata.name.clone())
            .collect()
    }

    /// The image that nodes have already, and the Secrets to pull it with.
    fn image(&self) -> Option<(String, Vec<String>)> {
        let spec = self.daemon.as_ref()?.spec.as_ref()?.template.spec.as_ref()?;
        let secrets = spec
            .image_pull_secrets
            .iter()
            .flatten()
            .map(|secret| secret.name.clone());
        Some((spec.containers.first()?.image.clone()?, secrets.collect()))
    }
}

/// Nodes on which the daemon is, or has left its mark.
fn touched(nodes: Vec<Node>, pods: &[Pod]) -> Vec<Node> {
    let ours = pods.iter().filter(|pod| {
        let labels = pod.metadata.labels.as_ref();
        pod.metadata.namespace.as_deref() == Some(NAME)
            && labels
                .and_then(|labels| labels.get(LABEL))
                .is_some_and(|value| value == NAME)
    });
    let occupied: BTreeSet<&str> = ours.filter_map(node_of).collect();
    let is_touched = |node: &Node| {
        node.metadata
            .annotations
            .iter()
            .flatten()
            .any(|(key, _)| key.starts_with(PREFIX))
            || node
                .metadata
                .name
                .as_deref()
                .is_some_and(|name| occupied.contains(name))
    };
    nodes
        .into_iter()
        .filter(|node| is_in_scope(node) && is_touched(node))
        .collect()
}

/// Uninstalls.
///
/// # Errors
/// If pods are in the way, or it cannot be looked at or begun.
pub async fn run(args: UninstallArgs, shared: Shared) -> Result<Exit, Failure> {
    let cluster = Cluster::connect(&shared.flags).await?;
    let printer = &shared.printer;
    let format = shared.flags.output.format;
    let installed = tokio::select! {
        installed = Installed::read(&cluster) => installed?,
        () = shared.interrupt.requested() => return Err(interrupted()),
    };
    if installed.daemon.is_none() && installed.namespace.is_none() && installed.nodes.is_empty() {
        printer.note("nothing of netcheck-cni is in the cluster");
        return Ok(Exit::Held);
    }
    if installed.is_ending() {
        return Err(Failure::unknown(format!("namespace {NAME} is being removed"))
            .hint("run this again when it is gone: kubectl get namespace netcheck-cni"));
    }
    let in_the_way = !installed.wired.is_empty() && !args.evict;
    if shared.flags.dry_run || in_the_way {
        let outcome = if in_the_way {
            Outcome::Kept
        } else {
            Outcome::WouldBeCleaned
        };
        let rows = installed
            .names()
            .into_iter()
            .map(|node| NodeOutcome::new(node, outcome));
        CniUninstallReport::new(rows.collect(), &installed.wired).print(format, printer)?;
    }
    if in_the_way {
        return Err(Failure {
            exit: Exit::Failed,
            message: match installed.wired.len() {
                1 => "a pod lives in netcheck-cni's network; nothing was done".to_owned(),
                many => format!("{many} pods live in netcheck-cni's network; nothing was done"),
            },
            hint: Some(
                "--evict takes them out of it first; they stay pending until there is another network".to_owned(),
            ),
        });
    }
    if shared.flags.dry_run {
        return Ok(Exit::Held);
    }
    let report = uninstall(&cluster, &args, &installed, &shared).await?;
    report.print(format, printer)?;
    Ok(report.exit())
}

fn interrupted() -> Failure {
    Failure::interrupted("interrupted: something of netcheck-cni may be left").hint("kubectl netcheck cni uninstall goes on where this one ended; where --evict had begun, nodes are cordoned until then")
}

async fn uninstall(
    cluster: &Cluster,
    args: &UninstallArgs,
    installed: &Installed,
    shared: &Shared,
) -> Result<CniUninstallReport, Failure> {
    // Only for its names: what is removed does not depend on the rest.
    let objects = manifest::within(&Settings {
        image: String::new(),
        pull_secrets: Vec::new(),
        data: Data::new(),
        api_server: None,
    });
    let namespace = manifest::namespace();
    // It may have gone in an earlier, unfinished uninstall; the nodes' Jobs and the lock need it.
    apply::apply(cluster, &namespace).await?;
    let lock = lock::take(cluster, args.timeout * 2 + MARGIN).await?;
    let outcome = tokio::select! {
        outcome = nodes_then_objects(cluster, args, installed, &objects, &shared.printer) => outcome,
        () = shared.interrupt.requested() => Err(interrupted()),
    };
    match outcome {
        // With the namespace, the lock goes too.
        Ok(report) => {
            remove(cluster, &namespace, &shared.printer).await;
            await_namespace(cluster, shared).await;
            Ok(report)
        }
        Err(failure) => {
            lock.release(cluster, &shared.printer).await;
            Err(failure)
        }
    }
}

async fn nodes_then_objects(
    cluster: &Cluster,
    args: &UninstallArgs,
    installed: &Installed,
    objects: &[Explained],
    printer: &Printer,
) -> Result<CniUninstallReport, Failure> {
    let nodes: Vec<&Node> = installed.nodes.iter().collect();
    if args.evict && !installed.wired.is_empty() {
        let phase = printer.phase("evicting pods");
        evict::cordon(cluster, &nodes).await?;
        // A DaemonSet would only make its pods anew, cordoned or not: their network goes with the node's.
        let movable: Vec<Pod> = installed
            .wired
            .iter()
            .filter(|pod| !is_of_daemon_set(pod))
            .cloned()
            .collect();
        let left = evict::pods(cluster, &movable, args.timeout, &phase).await?;
        phase.finish(format!("{} of {} gone", movable.len() - left.len(), movable.len()));
        for pod in left {
            printer.warn(format!("{pod} stays, and loses its network"));
        }
    }
    // First, or it would put back what is removed.
    if let Some(daemon) = objects.iter().find(|object| object.kind() == "DaemonSet") {
        let phase = printer.phase("stopping daemons");
        try_remove(cluster, daemon).await?;
        await_daemons(cluster).await?;
        phase.finish("done");
    }
    let (usual, secrets) = installed
        .image()
        .unwrap_or_else(|| (image::CNI.reference(), Vec::new()));
    let undoing = Undoing {
        image: args.image.clone().unwrap_or(usual),
        pull_secrets: secrets,
        force: args.evict,
        seconds: args.timeout.as_secs(),
    };
    let phase = printer.phase("cleaning nodes");
    let outcomes = undo::nodes(cluster, &undoing, &installed.names(), &phase).await?;
    let cleaned = outcomes.values().filter(|outcome| outcome.is_ok()).count();
    phase.finish(format!("{cleaned} of {} nodes", outcomes.len()));

    for pod in newcomers(cluster, installed, printer).await {
        printer.warn(format!(
            "{pod} came while its node was being left, cordon or not, and loses its network"
        ));
    }
    let by_name: BTreeMap<&str, &Node> = nodes
        .iter()
        .filter_map(|node| Some((node.metadata.name.as_deref()?, *node)))
        .collect();
    let mut rows = Vec::new();
    for (name, outcome) in outcomes {
        let row = match (outcome, by_name.get(name.as_str())) {
            (Err(why), _) => NodeOutcome::not_cleaned(name, &why),
            (Ok(()), None) => NodeOutcome::new(name, Outcome::Cleaned),
            // Read anew: cordoned meanwhile, or annotated by a daemon that was still at it.
            (Ok(()), Some(node)) => match take_back(cluster, node).await {
                Ok(()) => NodeOutcome::new(name, Outcome::Cleaned),
                Err(failure) => NodeOutcome::not_cleaned(name, &failure.message),
            },
        };
        rows.push(row);
    }
    let phase = printer.phase("removing objects");
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), NAME);
    let ours = ListParams::default().labels(&uninstall_selector());
    let limit = request::limit(cluster.request_timeout);
    if let Err(problem) = attempt(limit, jobs.delete_collection(&DeleteParams::background(), &ours)).await {
        printer.warn(
            problem
                .into_failure(&format!("remove the Jobs in namespace {NAME}"))
                .message,
        );
    }
    // A pod on a node that died would keep the namespace for ever.
    if let Err(problem) = sweep::remove_pods(cluster, NAME, &format!("{LABEL}={NAME}"), sweep::Agents::MayRun).await {
        printer.warn(
            problem
                .into_failure(&format!("remove the pods in namespace {NAME}"))
                .message,
        );
    }
    // What is in the namespace goes with it.
    for object in objects.iter().rev().filter(|object| object.namespace() != Some(NAME)) {
        remove(cluster, object, printer).await;
    }
    phase.finish("done");
    Ok(CniUninstallReport::new(rows, &[]))
}

/// Pods that live in the network and did not at the start: nobody has evicted them, and nobody said that they would be cut off.
async fn newcomers(cluster: &Cluster, before: &Installed, printer: &Printer) -> Vec<String> {
    let pods: Api<Pod> = Api::all(cluster.client.clone());
    match list(cluster, &pods, None).await {
        Ok(now) => unknown_to(before, &now),
        Err(problem) => {
            printer.warn(problem.into_failure("list pods once more").message);
            Vec::new()
        }
    }
}

fn unknown_to(before: &Installed, now: &[Pod]) -> Vec<String> {
    let nodes: BTreeSet<String> = before.names().into_iter().collect();
    let known: BTreeSet<_> = before.wired.iter().map(|pod| &pod.metadata.uid).collect();
    let is_new = |pod: &&Pod| {
        is_wired(pod) && !known.contains(&pod.metadata.uid) && node_of(pod).is_some_and(|node| nodes.contains(node))
    };
    let name = |pod: &Pod| {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("{}/{}", part(&pod.metadata.namespace), part(&pod.metadata.name))
    };
    now.iter().filter(is_new).map(name).collect()
}

/// Until the namespace is gone, so that who installs next is not refused; it goes in any case.
async fn await_namespace(cluster: &Cluster, shared: &Shared) {
    let phase = shared.printer.phase("waiting for the namespace to go");
    let until = Instant::now() + NAMESPACE_WITHIN;
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    while Instant::now() < until && !shared.interrupt.is_requested() {
        if let Ok(None) = get(cluster, api.clone(), NAME).await {
            phase.finish("done");
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
    phase.finish("it is still going");
}

async fn take_back(cluster: &Cluster, node: &Node) -> Result<(), Failure> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let fresh = get::<Node>(cluster, Api::all(cluster.client.clone()), name).await;
    match fresh.map_err(|problem| problem.into_failure(&format!("look up node {name}")))? {
        Some(node) => undo::node_object(cluster, &node).await,
        None => Ok(()),
    }
}

/// Until the daemon's pods are gone, or only those are left whose kubelets do not answer.
async fn await_daemons(cluster: &Cluster) -> Result<(), Failure> {
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), NAME);
    let until = Instant::now() + DAEMONS_WITHIN;
    loop {
        let left = list(cluster, &pods, Some(&manifest::daemon_selector())).await;
        let left = left.map_err(|problem| problem.into_failure(&format!("list pods in namespace {NAME}")))?;
        if left.is_empty() || Instant::now() >= until {
            return Ok(());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Removes one object; what goes wrong is told.
async fn remove(cluster: &Cluster, object: &Explained, printer: &Printer) {
    if let Err(failure) = try_remove(cluster, object).await {
        printer.warn(failure.message);
    }
}

/// Removes one object; one that is gone is fine.
async fn try_remove(cluster: &Cluster, object: &Explained) -> Result<(), Failure> {
    let api = apply::api_of(cluster, object);
    let limit = request::limit(cluster.request_timeout);
    match attempt(limit, api.delete(object.name(), &DeleteParams::background())).await {
        Err(problem) if !problem.is_not_found() => Err(problem.into_failure(&format!("remove {}", object.reference()))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
