//! Who one is: tokens, exec plugins, impersonation.

use std::{fs, os::unix::fs::PermissionsExt as _};

use crate::{
    fake_api::{Answer, FakeApi, status, version},
    plugin::Plugin,
};

#[test]
fn an_expired_token() {
    let api = FakeApi::start(|_| status(401, "Unauthorized", "Unauthorized"));
    let plugin = Plugin::with_server(&api.url(), "{token: yesterday}");
    plugin
        .look(&[])
        .assert_fails(3, "does not accept the credentials", "log in again");
    assert!(
        api.seen()
            .iter()
            .any(|request| request.header("authorization") == Some("Bearer yesterday"))
    );
}

#[test]
fn flags_say_who() {
    let api = FakeApi::start(|_| version());
    let plugin = Plugin::with_server(&api.url(), "{token: yesterday}");
    let as_bob = [
        "--token",
        "today",
        "--as",
        "bob",
        "--as-uid",
        "42",
        "--as-group",
        "dev",
        "--as-group",
        "ops",
        "--as-user-extra",
        "scope=a",
    ];
    assert_eq!(plugin.run(&[&["version"][..], &as_bob].concat()).code, 0);
    let seen = api.seen();
    let request = seen.last().unwrap();
    assert_eq!(request.header("authorization"), Some("Bearer today"));
    assert_eq!(request.header("impersonate-user"), Some("bob"));
    assert_eq!(request.header("impersonate-uid"), Some("42"));
    assert_eq!(
        request.headers_named("impersonate-group").collect::<Vec<_>>(),
        ["dev", "ops"]
    );
    assert_eq!(request.header("impersonate-extra-scope"), Some("a"));

    plugin.run(&["version", "--username", "u", "--password", "p"]);
    assert_eq!(api.seen().last().unwrap().header("authorization"), Some("Basic dTpw"));
    plugin.run(&["version", "--token", "t", "--username", "u"]);
    assert_eq!(api.seen().len(), seen.len() + 1, "a contradiction is not sent");
}

/// `--context "$CONTEXT"` in a script where the variable is empty.
#[test]
fn empty_flags_are_as_good_as_none() {
    let api = FakeApi::start(|_| version());
    let plugin = Plugin::with_server(&api.url(), "{token: yesterday}");
    let empty = [
        "--context",
        "--namespace",
        "--kubeconfig",
        "--token",
        "--as",
        "--as-group",
        "--client-certificate",
    ];
    let arguments: Vec<&str> = ["version"]
        .into_iter()
        .chain(empty.iter().flat_map(|flag| [*flag, ""]))
        .collect();
    assert!(plugin.run(&arguments).stdout.contains("v1.34.0"));
    assert_eq!(api.seen()[0].header("authorization"), Some("Bearer yesterday"));
}

/// A credential plugin of the kind cloud providers ship.
fn with_exec_plugin(api: &FakeApi, script: &str) -> Plugin {
    let plugin = Plugin::with_server(
        &api.url(),
        "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login, interactiveMode: Never}}",
    );
    let path = plugin.home.path().join(".kube/login");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    plugin
}

#[test]
fn an_exec_plugin_gives_the_token() {
    let api = FakeApi::start(|_| version());
    let credential =
        r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","status":{"token":"fresh"}}"#;
    let plugin = with_exec_plugin(&api, &format!("echo '{credential}'"));
    let outcome = plugin.run(&["version"]);
    assert!(outcome.stdout.contains("v1.34.0"), "{}", outcome.stderr);
    assert_eq!(api.seen()[0].header("authorization"), Some("Bearer fresh"));
}

#[test]
fn an_exec_plugin_that_fails_or_is_missing() {
    let api = FakeApi::start(|_| Answer::HangUp);
    let failing = with_exec_plugin(&api, "echo 'session expired, run cloud login' >&2; exit 1");
    failing
        .look(&[])
        .assert_fails(3, "session expired, run cloud login", "log in again");
    let missing = with_exec_plugin(&api, "");
    fs::remove_file(missing.home.path().join(".kube/login")).unwrap();
    missing
        .look(&[])
        .assert_fails(3, "login is not installed", "kubectl config view");
    assert!(api.seen().is_empty(), "nothing is sent without credentials");
}
