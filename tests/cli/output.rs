//! stdout, stderr, colour, formats.

use std::{io::Read as _, process::Stdio};

use serde_json::Value;

use crate::plugin::Plugin;

const ESCAPE: char = '\u{1b}';

#[test]
fn colour_follows_flag_and_environment() {
    let fails = |plugin: Plugin, more: &[&str]| plugin.run(&[&["explain", "coffee"], more].concat()).stderr;
    assert!(!fails(Plugin::new(), &[]).contains(ESCAPE), "a pipe is no terminal");
    assert!(fails(Plugin::new(), &["--color", "always"]).contains(ESCAPE));
    assert!(fails(Plugin::new().env("CLICOLOR_FORCE", "1"), &[]).contains(ESCAPE));
    assert!(!fails(Plugin::new().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1"), &[]).contains(ESCAPE));
    assert!(!fails(Plugin::new().env("CLICOLOR_FORCE", "1"), &["--color", "never"]).contains(ESCAPE));
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let plugin = Plugin::new();
    let mut child = plugin
        .command(&["explain", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let status = child.wait().unwrap();
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!((status.code(), stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_full_disk_is_an_error() {
    let plugin = Plugin::new();
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = plugin.command(&["explain"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to stdout"));
}

#[test]
fn documents_are_kubernetes_shaped_in_json_and_yaml() {
    let plugin = Plugin::new();
    for (arguments, kind) in [
        (&["version", "--client"][..], "Version"),
        (&["explain"], "FindingList"),
        (&["images", "list"], "ImageList"),
    ] {
        let json: Value = serde_json::from_str(&plugin.run(&[arguments, &["-o", "json"]].concat()).stdout).unwrap();
        assert_eq!(
            (json["apiVersion"].as_str(), json["kind"].as_str()),
            (Some("netcheck.dev/v1alpha1"), Some(kind))
        );
        let yaml = plugin.run(&[arguments, &["-o", "yaml"]].concat()).stdout;
        assert!(
            yaml.contains("apiVersion: netcheck.dev/v1alpha1") && yaml.contains(&format!("kind: {kind}")),
            "{yaml}"
        );
    }
}

#[test]
fn a_page_and_the_list_of_findings() {
    let plugin = Plugin::new();
    insta::with_settings!({snapshot_path => "snapshots", prepend_module_to_snapshot => false}, {
        insta::assert_snapshot!("explain-list", plugin.run(&["explain"]).stdout);
        insta::assert_snapshot!("explain-matrix-reply-lost", plugin.run(&["explain", "matrix-reply-lost"]).stdout);
    });
    let narrow = Plugin::new()
        .env("COLUMNS", "60")
        .run(&["explain", "matrix-reply-lost"])
        .stdout;
    let too_wide: Vec<&str> = narrow
        .lines()
        .filter(|line| line.len() > 60 && !line.starts_with("      "))
        .skip(1)
        .collect();
    assert!(too_wide.is_empty(), "{too_wide:?}");
}

#[test]
fn schemas_are_json_schemas() {
    let plugin = Plugin::new();
    let kinds = plugin.run(&["schema", "-o", "name"]).stdout;
    assert!(kinds.lines().any(|kind| kind == "MatrixReport"), "{kinds}");
    for kind in kinds.lines() {
        let schema: Value = serde_json::from_str(&plugin.run(&["schema", kind]).stdout).unwrap();
        assert_eq!(schema["title"].as_str(), Some(kind));
        assert!(schema["properties"]["apiVersion"].is_object(), "{kind}");
    }
}

#[test]
fn logs_go_to_stderr_and_only_when_asked_for() {
    let plugin = Plugin::with_server("http://127.0.0.1:1", "{token: topsecret}");
    let quiet = plugin.run(&["version"]);
    assert!(!quiet.stderr.contains("DEBUG"), "{}", quiet.stderr);
    for spelling in [&["-v"][..], &["-v", "1"], &["-v=1"], &["--v=1"]] {
        let outcome = plugin.run(&[&["version"], spelling].concat());
        assert!(
            outcome.stderr.contains("cluster chosen"),
            "{spelling:?}: {}",
            outcome.stderr
        );
    }
    let loud = plugin.run(&["version", "-v=8"]);
    assert!(loud.stderr.contains("cluster chosen"), "{}", loud.stderr);
    assert!(
        !loud.stderr.contains("topsecret") && !loud.stdout.contains("DEBUG"),
        "{}",
        loud.stderr
    );
}
