//! Whether the bundled CNI may be installed, and as what. Pure.

use super::{
    config::{self, CLUSTER_CIDRS, Data},
    manifest::Settings,
    names::{LABEL, NAME},
    others,
    ranges::{self, Clues},
    scene::Scene,
};
use crate::{
    cluster::list::convert,
    exit::{Exit, Failure},
};
use ipnet::IpNet;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};

/// How many names a line may list.
const NAMES: usize = 5;

/// What the user asks for.
#[derive(Debug, Clone, Default)]
pub struct Wish {
    /// Reference of the image.
    pub image: String,
    /// Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// Keys of the configuration that were named.
    pub changes: Data,
    /// `--pod-cidr`.
    pub pod_cidrs: Vec<IpNet>,
    /// `--api-server`.
    pub api_server: Option<(String, u16)>,
    /// `--replace`.
    pub replace: bool,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What to apply.
    pub settings: Settings,
    /// What the user should act upon.
    pub warnings: Vec<String>,
    /// What the user should know.
    pub facts: Vec<String>,
}

/// Decides.
///
/// # Errors
/// Why it may not be: another network, nodes without pod ranges, ranges that nothing tells.
pub fn decide(wish: &Wish, scene: &Scene) -> Result<Decision, Failure> {
    our_namespace(scene)?;
    let mut warnings = Vec::new();
    other_networks(wish, scene, &mut warnings)?;
    let nodes: Vec<Node> = scene.nodes.iter().filter(|node| is_in_scope(node)).cloned().collect();
    without_pod_cidr(scene, &nodes, &mut warnings)?;

    let system_pods: Vec<Pod> = scene
        .pods
        .iter()
        .filter(|pod| pod.metadata.namespace.as_deref() == Some("kube-system"))
        .cloned()
        .collect();
    let ranges = ranges::choose(&Clues {
        asked: &wish.pod_cidrs,
        installed: scene
            .config
            .as_ref()
            .and_then(|data| data.get(CLUSTER_CIDRS))
            .map(String::as_str),
        system_pods: &system_pods,
        kubeadm: scene.kubeadm.as_ref(),
        nodes: &nodes,
    })?;
    let mut facts = vec![format!("pod ranges: {} ({})", ranges.value(), ranges.origin)];
    warnings.extend(
        ranges
            .outgrown
            .as_ref()
            .map(|what| format!("{what}; --pod-cidr names all pod ranges of the cluster anew")),
    );
    if ranges.is_guess {
        warnings.push(format!(
            "{} is only what covers the nodes of today; --pod-cidr names the cluster's whole ranges",
            ranges.value()
        ));
    }
    match scene.policies {
        Some(0) => facts.push("NetworkPolicies are not enforced by netcheck-cni; there are none".to_owned()),
        Some(1) => warnings
            .push("NetworkPolicies are not enforced by netcheck-cni: the one that there is has no effect".to_owned()),
        Some(many) => warnings.push(format!(
            "NetworkPolicies are not enforced by netcheck-cni: the {many} that there are have no effect"
        )),
        None => warnings.push(
            "NetworkPolicies are not enforced by netcheck-cni; whether there are any could not be looked up".to_owned(),
        ),
    }
    let mut changes = wish.changes.clone();
    changes.insert(CLUSTER_CIDRS.to_owned(), ranges.value());
    let settings = Settings {
        image: wish.image.clone(),
        pull_secrets: wish.pull_secrets.clone(),
        data: config::merged(scene.config.as_ref(), &changes),
        api_server: wish
            .api_server
            .clone()
            .or_else(|| api_server_of(scene.daemon.as_ref()?)),
    };
    Ok(Decision {
        settings,
        warnings,
        facts,
    })
}

fn refused(message: String, hint: impl Into<String>) -> Failure {
    Failure {
        exit: Exit::Failed,
        message,
        hint: Some(hint.into()),
    }
}

/// Our name may be somebody else's.
fn our_namespace(scene: &Scene) -> Result<(), Failure> {
    let Some(namespace) = &scene.namespace else {
        return Ok(());
    };
    if namespace.metadata.deletion_timestamp.is_some() {
        return Err(Failure::unknown(format!("namespace {NAME} is being removed")).hint("try again when it is gone"));
    }
    let labels = namespace.metadata.labels.as_ref();
    if labels
        .and_then(|labels| labels.get(LABEL))
        .is_some_and(|value| value == NAME)
    {
        return Ok(());
    }
    Err(refused(
        format!("namespace {NAME} exists and is not netcheck's: it has no label {LABEL}={NAME}"),
        format!("if it is to become netcheck's: kubectl label namespace {NAME} {LABEL}={NAME}"),
    ))
}

fn other_networks(wish: &Wish, scene: &Scene, warnings: &mut Vec<String>) -> Result<(), Failure> {
    let found = others::recognise(&scene.daemon_sets, &scene.nodes);
    if let Some(other) = found.iter().find(|other| other.is_active) {
        return Err(refused(
            format!(
                "{} is at work here ({}), and a cluster has one pod network",
                other.name, other.evidence
            ),
            "remove it first, on its nodes too; then run this again",
        ));
    }
    let unknown = if scene.daemon.is_some() {
        Vec::new()
    } else {
        others::served_by_unknown(&scene.nodes, &scene.pods)
    };
    let (what, is_new) = match (found.first(), unknown.as_slice()) {
        (Some(other), _) => (
            format!("{} has been here ({})", other.name, other.evidence),
            scene.daemon.is_none(),
        ),
        (None, []) => return Ok(()),
        (None, nodes) => (
            format!(
                "another network that netcheck does not know is at work: {} ready and run{} pods with networks of their own",
                listed("node", nodes, "is", "are"),
                if nodes.len() == 1 { "s" } else { "" }
            ),
            true,
        ),
    };
    let consequence = "new pods get netcheck-cni's network, running ones keep theirs until they are made anew, and the two may not reach each other";
    if wish.replace || !is_new {
        warnings.push(format!("{what}; {consequence}"));
        return Ok(());
    }
    Err(refused(
        what,
        format!("remove it first; or, knowing that {consequence}: --replace"),
    ))
}

fn without_pod_cidr(scene: &Scene, nodes: &[Node], warnings: &mut Vec<String>) -> Result<(), Failure> {
    let lacking: Vec<&str> = nodes
        .iter()
        .filter(|node| ranges::pod_cidrs(node).is_empty())
        .filter_map(|node| node.metadata.name.as_deref())
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let what = format!(
        "{} no pod range (spec.podCIDRs)",
        listed("node", &lacking, "has", "have")
    );
    if scene.daemon.is_some() {
        warnings.push(what);
        return Ok(());
    }
    Err(refused(
        what,
        "kube-controller-manager hands them out if it runs with --allocate-node-cidrs=true and --cluster-cidr=RANGE \
         (kubeadm: podSubnet); if it does, the range may be used up: --node-cidr-mask-size",
    ))
}

/// `node n1 is`, `nodes n1, n2 are`, `nodes n1, … and 7 more are`.
pub fn listed(what: &str, names: &[&str], one: &str, several: &str) -> String {
    match names {
        [name] => format!("{what} {name} {one}"),
        names if names.len() <= NAMES => format!("{what}s {} {several}", names.join(", ")),
        names => format!(
            "{what}s {} and {} more {several}",
            names[..NAMES].join(", "),
            names.len() - NAMES
        ),
    }
}

/// A node that can have the daemon: Linux, and real.
pub fn is_in_scope(node: &Node) -> bool {
    convert::node(node).is_some_and(|node| node.os == "linux" && !node.is_virtual)
}

/// What an earlier installation was told of the API server.
fn api_server_of(daemon: &DaemonSet) -> Option<(String, u16)> {
    let spec = daemon.spec.as_ref()?.template.spec.as_ref()?;
    let environment = spec
        .containers
        .iter()
        .flat_map(|container| container.env.iter().flatten());
    let value = |name: &str| {
        environment
            .clone()
            .find(|variable| variable.name == name)?
            .value
            .clone()
    };
    Some((
        value("KUBERNETES_SERVICE_HOST")?,
        value("KUBERNETES_SERVICE_PORT")?.parse().ok()?,
    ))
}

#[cfg(test)]
mod tests;
