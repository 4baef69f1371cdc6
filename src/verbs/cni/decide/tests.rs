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
