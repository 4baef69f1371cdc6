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
mod tests {
    use super::*;
    use crate::verbs::cni::{manifest, ranges::tests::node};
    use k8s_openapi::api::core::v1::Namespace;
    use serde_json::{Value, json};

    fn wish() -> Wish {
        Wish {
            image: "cni:dev".to_owned(),
            ..Wish::default()
        }
    }

    /// Two nodes that wait for a network.
    fn scene() -> Scene {
        Scene {
            nodes: vec![
                node("n1", &["10.244.1.0/24"], "192.0.2.11"),
                node("n2", &["10.244.2.0/24"], "192.0.2.12"),
            ],
            policies: Some(0),
            ..Scene::default()
        }
    }

    fn daemon_set(name: &str) -> Value {
        json!({
            "metadata": { "namespace": "kube-system", "name": name },
            "status": { "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2 },
        })
    }

    fn refusal(wish: &Wish, scene: &Scene) -> (Exit, String, String) {
        let failure = decide(wish, scene).unwrap_err();
        (failure.exit, failure.message, failure.hint.unwrap_or_default())
    }

    /// With a pod that runs on n1.
    fn served() -> Scene {
        let mut scene = scene();
        let status = scene.nodes[0].status.as_mut().unwrap();
        status.conditions = serde_json::from_value(json!([{ "type": "Ready", "status": "True" }])).unwrap();
        scene.pods = serde_json::from_value(json!([{
            "metadata": { "name": "p", "namespace": "shop" },
            "spec": { "containers": [], "nodeName": "n1" },
            "status": { "phase": "Running", "podIP": "10.244.1.7" },
        }]))
        .unwrap();
        scene
    }

    #[test]
    fn a_cluster_that_waits_for_a_network_gets_ours() {
        let decision = decide(&wish(), &scene()).unwrap();
        assert_eq!(decision.settings.data["clusterCIDRs"], "10.244.0.0/22");
        assert_eq!(decision.settings.data["backend"], "vxlan");
        assert!(decision.warnings[0].contains("--pod-cidr"), "{:?}", decision.warnings);
        assert!(
            decision
                .facts
                .iter()
                .any(|note| note.contains("NetworkPolicies are not enforced"))
        );
    }

    #[test]
    fn a_network_at_work_is_never_pushed_aside() {
        let mut scene = scene();
        scene.daemon_sets = vec![serde_json::from_value(daemon_set("kube-flannel-ds")).unwrap()];
        for replace in [false, true] {
            let (exit, message, hint) = refusal(&Wish { replace, ..wish() }, &scene);
            assert_eq!(exit, Exit::Failed);
            assert_eq!(
                message,
                "flannel is at work here (DaemonSet kube-system/kube-flannel-ds), and a cluster has one pod network"
            );
            assert!(hint.contains("remove it first"));
        }
    }

    #[test]
    fn a_network_nobody_knows_is_replaced_only_when_asked() {
        let (exit, message, hint) = refusal(&wish(), &served());
        assert_eq!(exit, Exit::Failed);
        assert_eq!(
            message,
            "another network that netcheck does not know is at work: node n1 is ready and runs pods with networks of their own"
        );
        assert!(hint.ends_with("may not reach each other: --replace"), "{hint}");
        let decision = decide(
            &Wish {
                replace: true,
                ..wish()
            },
            &served(),
        )
        .unwrap();
        assert!(decision.warnings[0].contains("keep theirs"), "{:?}", decision.warnings);
    }

    #[test]
    fn what_another_network_left_behind_asks_for_a_word() {
        let mut scene = scene();
        scene.nodes[1].metadata.annotations =
            Some([("flannel.alpha.coreos.com/backend-type".to_owned(), "vxlan".to_owned())].into());
        let (_, message, _) = refusal(&wish(), &scene);
        assert!(
            message.starts_with("flannel has been here (annotation flannel."),
            "{message}"
        );
        assert!(
            decide(
                &Wish {
                    replace: true,
                    ..wish()
                },
                &scene
            )
            .is_ok()
        );
    }

    #[test]
    fn nodes_without_a_range_are_named_with_the_flag_that_is_missing() {
        let mut scene = scene();
        scene.nodes.push(node("n3", &[], "192.0.2.13"));
        let (exit, message, hint) = refusal(&wish(), &scene);
        assert_eq!(
            (exit, message.as_str()),
            (Exit::Failed, "node n3 has no pod range (spec.podCIDRs)")
        );
        assert!(hint.contains("--allocate-node-cidrs=true"), "{hint}");
        let windows = scene.nodes[2]
            .metadata
            .labels
            .insert([("kubernetes.io/os".to_owned(), "windows".to_owned())].into());
        assert_eq!(windows.len(), 1);
        assert!(
            decide(&wish(), &scene).is_ok(),
            "nodes that cannot have the daemon do not count"
        );
    }

    /// An upgrade keeps what was tuned, what it was told of the API server, and is not afraid of its own pods.
    #[test]
    fn a_second_installation_keeps_what_the_first_was_told() {
        let first = Settings {
            api_server: Some(("192.0.2.1".to_owned(), 6443)),
            ..decide(&wish(), &scene()).unwrap().settings
        };
        let mut scene = served();
        let daemon = manifest::objects(&first).pop().unwrap().object;
        scene.daemon = Some(serde_json::from_value(daemon).unwrap());
        scene.config = Some(Data::from([
            ("clusterCIDRs".to_owned(), "10.244.0.0/16".to_owned()),
            ("backend".to_owned(), "host-gw".to_owned()),
        ]));
        let wish = Wish {
            changes: Data::from([("mtu".to_owned(), "1400".to_owned())]),
            ..wish()
        };
        let second = decide(&wish, &scene).unwrap().settings;
        assert_eq!(second.api_server, first.api_server);
        let value = |key: &str| second.data[key].as_str();
        assert_eq!(
            (value("clusterCIDRs"), value("backend"), value("mtu")),
            ("10.244.0.0/16", "host-gw", "1400")
        );
    }

    #[test]
    fn a_namespace_of_somebody_elses_is_left_alone() {
        let mut scene = scene();
        let mut namespace = Namespace::default();
        scene.namespace = Some(namespace.clone());
        assert!(refusal(&wish(), &scene).1.contains("is not netcheck's"));
        namespace.metadata.labels = Some([(LABEL.to_owned(), NAME.to_owned())].into());
        scene.namespace = Some(namespace);
        assert!(decide(&wish(), &scene).is_ok());
    }

    #[test]
    fn policies_without_effect_are_counted() {
        let mut scene = scene();
        scene.policies = Some(7);
        let warnings = decide(&wish(), &scene).unwrap().warnings;
        assert!(
            warnings
                .iter()
                .any(|warning| warning.contains("the 7 that there are have no effect")),
            "{warnings:?}"
        );
    }
}
