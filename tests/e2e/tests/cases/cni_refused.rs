//! The bundled network where another one is: refused, nothing written; and what would be applied is what this API server takes.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    lab::{Lab, said},
    runner::Case,
};
use serde_json::{Value, json};

pub const CASES: &[Case] = &[
    (
        "cni: install refuses where another network is, and writes nothing",
        refused,
    ),
    (
        "cni: the API server knows every field of what is rendered",
        known_to_the_server,
    ),
];

fn refused(lab: &Lab) -> Result<()> {
    let output = lab.netcheck(["cni", "install"]).output()?;
    ensure!(output.status.code() == Some(1), "{}", said(&output));
    ensure!(output.stdout.is_empty(), "data on stdout: {}", said(&output));
    let text = String::from_utf8_lossy(&output.stderr);
    for word in ["--replace", "running ones keep theirs"] {
        ensure!(text.contains(word), "no {word:?} in {text}");
    }
    let namespaces = lab.kubectl("get namespace netcheck-cni --ignore-not-found -o name")?;
    ensure!(namespaces.trim().is_empty(), "{namespaces}");
    Ok(())
}

/// In namespace `default`, for a dry run makes none. kubectl asks for strict validation: an unknown field is an error.
fn known_to_the_server(lab: &Lab) -> Result<()> {
    let output = lab
        .netcheck(["cni", "install", "--replace", "--dry-run", "-o", "json"])
        .output()?;
    ensure!(output.status.success(), "{}", said(&output));
    let list: Value = serde_json::from_slice(&output.stdout).context("the objects")?;
    let mut items = list["items"].as_array().cloned().context("no items")?;
    ensure!(items.len() > 8, "{} objects", items.len());
    for item in &mut items {
        if item["metadata"]["namespace"] == "netcheck-cni" {
            item["metadata"]["namespace"] = json!("default");
        }
        lab.apply_dry_run(item).with_context(|| format!("{}", item["kind"]))?;
    }
    Ok(())
}
