//! `cni` without a real cluster: what it refuses, what it asks for, and what goes to which stream.

use serde_json::{Value, json};

use crate::{
    fake_api::{Answer, FakeApi, Request, status},
    plugin::Outcome,
    shop,
};

/// Two nodes that wait for a network, and these DaemonSets.
fn bare(request: &Request, daemon_sets: &Value) -> Answer {
    let list = |items: &Value| {
        Answer::Json(
            200,
            json!({ "kind": "List", "apiVersion": "v1", "metadata": {}, "items": items }).to_string(),
        )
    };
    let node = |name: &str, cidr: &str| json!({ "metadata": { "name": name }, "spec": { "podCIDRs": [cidr] } });
    match request.path().split('?').next().unwrap_or_default() {
        "/api/v1/nodes" => list(&json!([node("n1", "10.244.1.0/24"), node("n2", "10.244.2.0/24")])),
        "/apis/apps/v1/daemonsets" => list(daemon_sets),
        "/api/v1/pods" | "/apis/networking.k8s.io/v1/networkpolicies" => list(&json!([])),
        _ => status(404, "NotFound", "not found"),
    }
}

fn ask(daemon_sets: Value, arguments: &[&str]) -> (Outcome, Vec<Request>) {
    let api = FakeApi::start(move |request| bare(request, &daemon_sets));
    let outcome = shop::plugin(&api).run(arguments);
    (outcome, api.seen())
}

#[test]
fn a_dry_run_prints_objects_on_stdout_and_changes_nothing() {
    let flags = [
        "cni",
        "install",
        "--dry-run",
        "--pod-cidr",
        "10.244.0.0/16",
        "--backend",
        "auto",
        "--set",
        "vni=7",
    ];
    let (outcome, asked) = ask(json!([]), &flags);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(
        outcome.stdout.starts_with("---\napiVersion: v1\nkind: Namespace\n"),
        "{}",
        outcome.stdout
    );
    for line in ["  clusterCIDRs: 10.244.0.0/16\n", "  backend: auto\n", "  vni: \"7\"\n"] {
        assert!(outcome.stdout.contains(line), "no {line:?}");
    }
    assert!(
        outcome.stderr.contains("NetworkPolicies are not enforced"),
        "{}",
        outcome.stderr
    );
    assert!(
        asked.iter().all(|request| request.line.starts_with("GET ")),
        "{asked:?}"
    );
    let (yaml, _) = ask(json!([]), &[&flags[..], &["-o", "yaml", "-q"]].concat());
    assert_eq!(yaml.stdout, outcome.stdout, "the same with -o yaml");
    assert_eq!(yaml.stderr, "");
}

#[test]
fn a_network_at_work_is_refused_before_anything_is_written() {
    let flannel = json!([{
        "metadata": { "namespace": "kube-flannel", "name": "kube-flannel-ds" },
        "status": { "desiredNumberScheduled": 2, "currentNumberScheduled": 2, "numberMisscheduled": 0, "numberReady": 2 },
    }]);
    let (outcome, asked) = ask(flannel, &["cni", "install"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (1, ""), "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("flannel is at work here (DaemonSet kube-flannel/kube-flannel-ds)"),
        "{}",
        outcome.stderr
    );
    assert!(
        asked.iter().all(|request| request.line.starts_with("GET ")),
        "{asked:?}"
    );
}

#[test]
fn what_is_not_installed_has_no_status_and_nothing_to_remove() {
    let (outcome, _) = ask(json!([]), &["cni", "status"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""));
    assert!(
        outcome.stderr.contains("netcheck-cni is not installed"),
        "{}",
        outcome.stderr
    );
    let (outcome, asked) = ask(json!([]), &["cni", "uninstall", "--evict"]);
    assert_eq!((outcome.code, outcome.stdout.as_str()), (0, ""), "{}", outcome.stderr);
    assert!(
        asked.iter().all(|request| request.line.starts_with("GET ")),
        "{asked:?}"
    );
}

#[test]
fn who_may_not_look_hears_which_roles_to_ask_for() {
    let api = FakeApi::start(|_| {
        status(
            403,
            "Forbidden",
            r#"nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope"#,
        )
    });
    let outcome = shop::plugin(&api).run(&["cni", "install"]);
    assert_eq!(outcome.code, 3);
    assert!(
        outcome.stderr.contains("kubectl netcheck rbac cni-install"),
        "{}",
        outcome.stderr
    );
    let roles = shop::plugin(&api).run(&["rbac", "cni-install", "cni-uninstall", "--user", "jane", "-o", "name"]);
    assert_eq!(roles.code, 0, "{}", roles.stderr);
    let names: Vec<&str> = roles.stdout.lines().collect();
    assert_eq!(names[0], "namespace/netcheck-cni");
    assert!(
        names.contains(&"clusterrole/netcheck-cni-install-cni-uninstall"),
        "{names:?}"
    );
    assert!(
        names.contains(&"role/netcheck-cni-install-cni-uninstall-network"),
        "{names:?}"
    );
}

#[test]
fn bad_input_is_usage() {
    for (arguments, said) in [
        (
            &["cni", "install", "--pod-cidr", "10.244.1.0/16"][..],
            "the range is 10.244.0.0/16",
        ),
        (&["cni", "install", "--mtu", "100"], "576 to 65535"),
        (&["cni", "install", "--set", "bakend=auto"], "did you mean backend?"),
        (&["cni", "install", "--api-server", "2001:db8::1:6443"], "in brackets"),
        (&["cni", "install", "--backend", "ipip"], "host-gw"),
        (&["cni"], "install"),
    ] {
        let (outcome, _) = ask(json!([]), arguments);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (2, ""), "{arguments:?}");
        assert!(outcome.stderr.contains(said), "{arguments:?}: {}", outcome.stderr);
    }
}
