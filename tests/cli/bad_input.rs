//! What users get wrong, and what clusters do wrong: one clear line, what to do, and the right code.

use crate::{
    fake_api::{Answer, FakeApi, closed, status, version},
    plugin::Plugin,
    shop,
};

#[test]
fn no_kubeconfig() {
    Plugin::new().look(&[]).assert_fails(
        2,
        "no kubeconfig: KUBECONFIG is not set and ~/.kube/config does not exist",
        "--kubeconfig",
    );
    let missing = Plugin::new().env("KUBECONFIG", "/nowhere/config");
    missing.look(&[]).assert_fails(
        2,
        "KUBECONFIG names /nowhere/config, which does not exist",
        "--kubeconfig",
    );
    Plugin::new().look(&["--kubeconfig", "/nowhere/config"]).assert_fails(
        2,
        "cannot read kubeconfig /nowhere/config",
        "--kubeconfig",
    );
}

#[test]
fn a_kubeconfig_that_is_none() {
    let plugin = Plugin::new();
    plugin.write_kubeconfig("contexts: 7\n");
    plugin.look(&[]).assert_fails(2, ".kube/config", "--kubeconfig");
    plugin.write_kubeconfig("apiVersion: v1\nkind: Config\n");
    plugin
        .look(&[])
        .assert_fails(2, "the kubeconfig has no contexts", "--kubeconfig");
}

#[test]
fn kubeconfig_files_are_merged_and_missing_ones_skipped() {
    let api = FakeApi::start(|_| version());
    let plugin = Plugin::new();
    let folder = plugin.home.path().display().to_string();
    let write = |name: &str, text: String| std::fs::write(format!("{folder}/{name}"), text).unwrap();
    write(
        "clusters",
        format!("clusters: [{{name: lab, cluster: {{server: '{}'}}}}]", api.url()),
    );
    write(
        "contexts",
        "current-context: lab\ncontexts: [{name: lab, context: {cluster: lab}}]".into(),
    );
    let plugin = plugin.env(
        "KUBECONFIG",
        &format!("{folder}/clusters:{folder}/missing:{folder}/contexts"),
    );
    assert!(plugin.run(&["version"]).stdout.contains("v1.34.0"));
}

#[test]
fn unknown_context_cluster_and_user() {
    let plugin = Plugin::with_server("http://127.0.0.1:1", "{}");
    plugin
        .look(&["--context", "lba"])
        .assert_fails(2, "no context \"lba\"", "did you mean lab?");
    plugin
        .look(&["--cluster", "elsewhere"])
        .assert_fails(2, "no cluster \"elsewhere\"", "it has lab");
    plugin
        .look(&["--user", "somebody"])
        .assert_fails(2, "no user \"somebody\"", "it has jane");
}

#[test]
fn nothing_listens() {
    let server = format!("http://{}", closed());
    let plugin = Plugin::with_server(&server, "{}");
    plugin.look(&[]).assert_fails(
        3,
        &format!("{server} refuses connections: nothing listens there"),
        "right context",
    );
}

#[test]
fn a_name_that_does_not_resolve() {
    let plugin = Plugin::with_server("http://api.invalid:6443", "{}");
    plugin.look(&[]).assert_fails(3, "its name does not resolve", "VPN");
}

#[test]
fn no_answer_within_the_request_timeout() {
    let api = FakeApi::start(|_| Answer::Silence);
    let plugin = Plugin::with_server(&api.url(), "{}");
    plugin
        .look(&["--request-timeout", "300ms"])
        .assert_fails(3, "did not answer", "--request-timeout");
}

/// Headers come at once, the rest never: to wait for the beginning of an answer is not enough.
#[test]
fn an_answer_that_stalls_in_its_middle() {
    for (arguments, stalls) in [
        (&["deploy/web"][..], "/deployments/web"),
        (&["deploy", "-l", "app=web"], "/deployments?"),
        (&["rollout/web"], "/apis"),
        (&["-l", "app=web"], "labelSelector=app%3Dweb"),
    ] {
        let api = FakeApi::start(move |request| {
            if request.path().contains(stalls) {
                Answer::Stall
            } else {
                shop::answer(request)
            }
        });
        let outcome = shop::plugin(&api).look(&[arguments, &["--request-timeout", "300ms"]].concat());
        outcome.assert_fails(3, "did not answer within 300ms", "--request-timeout");
    }
}

#[test]
fn named_by_a_label_they_are_listed_page_by_page() {
    let api = FakeApi::start(|request| {
        let path = request.path();
        if !path.contains("/deployments?") {
            return shop::answer(request);
        }
        let deployment = |name: &str| serde_json::json!({"metadata": {"namespace": "shop", "name": name}, "spec": {"selector": {"matchLabels": {"app": name}}}});
        let (name, more) = if path.contains("continue=more") {
            ("web", "")
        } else {
            ("api", "more")
        };
        let page = serde_json::json!({"apiVersion": "apps/v1", "kind": "DeploymentList", "metadata": {"continue": more}, "items": [deployment(name)]});
        Answer::Json(200, page.to_string())
    });
    let outcome = shop::plugin(&api).look(&["deploy", "-l", "tier=front", "--image", "agent:test"]);
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    let pages: Vec<_> = api
        .seen()
        .into_iter()
        .filter(|request| request.path().contains("/deployments?"))
        .collect();
    assert_eq!(pages.len(), 2, "{pages:?}");
    assert!(pages.iter().all(|page| page.path().contains("limit=500")), "{pages:?}");
}

#[test]
fn a_connection_closed_in_mid_request() {
    let api = FakeApi::start(|_| Answer::HangUp);
    let outcome = Plugin::with_server(&api.url(), "{}").look(&[]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.contains(&api.url()), "{}", outcome.stderr);
}

#[test]
fn tls_spoken_to_a_server_without() {
    let api = FakeApi::start(|_| Answer::HangUp);
    let plugin = Plugin::with_server(&format!("https://{}", api.address), "{}");
    let outcome = plugin.look(&[]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(outcome.stderr.starts_with("error: cannot "), "{}", outcome.stderr);
}

#[test]
fn forbidden_names_what_is_missing() {
    let api = FakeApi::start(|request| {
        let message =
            r#"pods is forbidden: User "jane" cannot list resource "pods" in API group "" in the namespace "shop""#;
        if request.path().contains("/pods") {
            status(403, "Forbidden", message)
        } else {
            Answer::Json(200, r#"{"items":[],"metadata":{}}"#.into())
        }
    });
    Plugin::with_server(&api.url(), "{}").look(&[]).assert_fails(
        3,
        "user jane may not list pods in namespace shop",
        "kubectl netcheck rbac",
    );
}

#[test]
fn a_service_that_may_not_be_read_is_not_called_missing() {
    let api = FakeApi::start(|request| {
        if request.path().contains("/namespaces/shop/services") {
            status(403, "Forbidden", "services is forbidden")
        } else {
            shop::answer(request)
        }
    });
    let outcome = shop::plugin(&api).look(&["-n", "shop", "web-1", "--to", "svc/api"]);
    outcome.assert_fails(
        3,
        "you may not list services in namespace shop",
        "kubectl netcheck rbac matrix",
    );
}

#[test]
fn a_bad_selector() {
    let api = FakeApi::start(|_| {
        status(
            400,
            "BadRequest",
            "unable to parse requirement: found '=', expected: identifier",
        )
    });
    let outcome = Plugin::with_server(&api.url(), "{}").look(&["-l", "=="]);
    assert_eq!(outcome.code, 2, "{}", outcome.stderr);
}

#[test]
fn something_that_is_no_api_server() {
    let api = FakeApi::start(|_| Answer::Json(200, "<html>welcome</html>".into()));
    let outcome = Plugin::with_server(&api.url(), "{}").look(&[]);
    assert_eq!(outcome.code, 3, "{}", outcome.stderr);
    assert!(
        outcome
            .stderr
            .contains("is the address in the kubeconfig that of an API server?"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn a_hostile_server_cannot_write_to_the_terminal() {
    let api = FakeApi::start(|_| status(404, "NotFound", "\u{1b}[2J\u{1b}]0;owned\u{7}\nerror: all is well"));
    let outcome = Plugin::with_server(&api.url(), "{}").look(&[]);
    assert!(!outcome.stderr.contains(['\u{1b}', '\u{7}']), "{:?}", outcome.stderr);
}

#[test]
fn version_works_without_a_server() {
    let plugin = Plugin::with_server(&format!("http://{}", closed()), "{}");
    let outcome = plugin.run(&["version"]);
    assert_eq!(outcome.code, 0);
    assert!(
        outcome.stdout.contains("plugin") && outcome.stderr.starts_with("warning: "),
        "{}",
        outcome.stderr
    );
    let api = FakeApi::start(|_| version());
    let outcome = Plugin::with_server(&api.url(), "{}").run(&["version"]);
    assert!(
        outcome.stdout.contains(&format!("v1.34.0 at {}", api.url())),
        "{}",
        outcome.stdout
    );
}

#[test]
fn names_that_cannot_be() {
    let api = FakeApi::start(|_| Answer::Json(200, r#"{"items":[],"metadata":{}}"#.into()));
    let plugin = Plugin::with_server(&api.url(), "{}");
    plugin
        .look(&["deploy/"])
        .assert_fails(2, "\"deploy/\" is not TYPE/NAME", "examples");
    plugin
        .look(&["pod/../../secrets"])
        .assert_fails(2, "cannot be the name of an object", "lower-case");
    plugin.look(&["web", "-A"]).assert_fails(2, "-A all namespaces", "-n");
    assert!(api.seen().iter().all(|request| !request.path().contains("secrets")));
}
