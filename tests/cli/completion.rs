//! Completion as kubectl and shells ask for it.

use std::{os::unix::fs::symlink, process::Command};

use crate::{
    fake_api::{Answer, FakeApi},
    plugin::{Plugin, binary},
};

#[test]
fn kubectl_completes_by_a_link_or_by_the_script() {
    let plugin = Plugin::new();
    let link = plugin.home.path().join("kubectl_complete-netcheck");
    symlink(binary(), &link).unwrap();
    let by_link = Command::new(&link).args(["explain", "matrix-no"]).output().unwrap();
    let by_verb = plugin.run(&["__complete", "--", "explain", "matrix-no"]);
    let lines = String::from_utf8(by_link.stdout).unwrap();
    assert_eq!(lines, by_verb.stdout);
    assert!(lines.contains("matrix-no-answer\tThe packet arrived"), "{lines}");
    assert!(lines.ends_with(":4\n"), "no file names beside them: {lines}");
    assert!(
        plugin
            .run(&["completion", "kubectl"])
            .stdout
            .contains("kubectl-netcheck __complete -- \"$@\"")
    );
}

#[test]
fn contexts_of_the_kubeconfig_are_offered() {
    let plugin = Plugin::with_server("http://127.0.0.1:1", "{}");
    let offered = plugin.run(&["__complete", "--", "version", "--context", ""]).stdout;
    assert!(offered.lines().any(|line| line == "lab"), "{offered}");
}

#[test]
fn the_clusters_names_are_offered_and_a_silent_cluster_does_not_hang_tab() {
    let api = FakeApi::start(|request| {
        let names: &[&str] = match request.path().split('?').next() {
            Some("/api/v1/namespaces") => &["shop", "staging"],
            Some("/api/v1/namespaces/shop/pods") => &["web-1", "db-1"],
            _ => return Answer::Silence,
        };
        let items: Vec<_> = names
            .iter()
            .map(|name| serde_json::json!({"metadata": {"name": name}}))
            .collect();
        let list = serde_json::json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {}, "items": items});
        Answer::Json(200, list.to_string())
    });
    let plugin = Plugin::with_server(&api.url(), "{}");
    let offered = |words: &[&str]| plugin.run(&[&["__complete", "--"], words].concat()).stdout;
    assert_eq!(offered(&["matrix", "-n", "s"]), "shop\nstaging\n:4\n");
    assert_eq!(offered(&["matrix", "-n", "shop", "w"]), "web-1\n:4\n");
    let silent = offered(&["matrix", "node/"]);
    assert!(silent.starts_with(':'), "{silent}");
}

#[test]
fn shells_get_scripts() {
    let plugin = Plugin::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let outcome = plugin.run(&["completion", shell]);
        assert!(
            outcome.code == 0 && outcome.stdout.contains("kubectl-netcheck"),
            "{shell}"
        );
    }
    assert_eq!(plugin.run(&["completion", "tcsh"]).code, 2);
}
