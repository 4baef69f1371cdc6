//! Completion as kubectl and shells ask for it.

use std::{os::unix::fs::symlink, process::Command};

use crate::plugin::{Plugin, binary};

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
