//! `capture` asked for what cannot be: one clear line before anything is created, and the right exit code.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    audit::Audit,
    capture::{Files, in_bash},
    lab::{Lab, Namespace, said},
    traffic::talkers,
};
use serde_json::Value;
use std::process::{Command, Output};

pub const CASES: &[Case] = &[
    (
        "capture input: what is wrong is said in one line, and nothing is created",
        wrong,
    ),
    ("capture input: a wrong filter is shown with its place", filter),
    ("capture input: binary data is not written to a terminal", terminal),
    (
        "capture input: a dry run says what would be and creates nothing",
        dry_run,
    ),
];

fn run(lab: &Lab, namespace: &Namespace<'_>, arguments: &[&str]) -> Result<Output> {
    let mut command = lab.netcheck(["capture", "-n", &namespace.name]);
    command.args(arguments).output().context("run capture")
}

/// Exit code 2, nothing on stdout, all the words on stderr.
fn refused(lab: &Lab, namespace: &Namespace<'_>, arguments: &[&str], words: &[&str]) -> Result<()> {
    let output = run(lab, namespace, arguments)?;
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(2), "{arguments:?}: {}", said(&output));
    ensure!(output.stdout.is_empty(), "data on stdout: {}", said(&output));
    for word in words {
        ensure!(text.contains(word), "{word:?} is not said for {arguments:?}: {text}");
    }
    Ok(())
}

/// What the API server was asked to change, apart from questions whether it would.
fn changes(audit: &Audit) -> Result<Vec<Value>> {
    let mut events = audit.events()?;
    events.retain(|event| {
        let of = |value: &Value, part: &str| value.as_str().is_some_and(|text| text.contains(part));
        of(&event["userAgent"], "netcheck")
            && !matches!(event["verb"].as_str(), Some("get" | "list" | "watch"))
            && !of(&event["objectRef"]["resource"], "reviews")
            && !of(&event["requestURI"], "dryRun=All")
    });
    Ok(events)
}

fn wrong(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let audit = Audit::from_now(&lab.rig.audit_log())?;
    let refused = |arguments: &[&str], words: &[&str]| refused(lab, &namespace, arguments, words);
    refused(&[], &["say what to capture"])?;
    refused(&["no-such-pod"], &["no-such-pod"])?;
    refused(&["deploy/no-such"], &["no-such"])?;
    refused(&["-l", "app=nothing"], &["no pod matches app=nothing"])?;
    let nowhere = files.path("no/such/folder.pcapng").1;
    refused(&["one", "-w", &nowhere], &["cannot be written", "No such file"])?;
    refused(
        &["one", "-w", &files.folder().display().to_string()],
        &["is a folder", "--per-pod"],
    )?;
    let (path, file) = files.path("kept.pcap");
    std::fs::write(&path, "of another capture")?;
    for arguments in [
        &["one", "two", "-i", "eth0", "-w", &file][..],
        &["one", "-w", &file],
        &["one", "-i", "eth0", "-i", "lo", "-w", &file],
    ] {
        refused(arguments, &["one interface", "-i eth0"])?;
    }
    refused(&["one", "--per-pod", &file], &["is no folder"])?;
    refused(&["no-such-pod", "-w", &file], &["no-such-pod"])?;
    ensure!(
        std::fs::read_to_string(&path)? == "of another capture",
        "a refused capture emptied the file"
    );
    let (new, file) = files.path("new.pcapng");
    refused(&["no-such-pod", "-w", &file], &["no-such-pod"])?;
    ensure!(!new.exists(), "a refused capture left a file");
    refused(&["one", "--headers-only", "--redact"], &["--headers-only", "--redact"])?;
    refused(&["one", "two", "--max-nodes", "1"], &["2 nodes", "--max-nodes 2"])?;
    let changes = changes(&audit)?;
    ensure!(changes.is_empty(), "refused captures changed things: {changes:#?}");
    Ok(())
}

fn filter(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1")])?;
    for (expression, place, words) in [
        ("tcp port 80 and protochain 7", 17, "protochain"),
        ("host", 5, "address"),
        ("port 80 or pod nobody", 16, "nobody"),
        ("tcp and (udp", 13, ""),
        ("port 99999", 6, "99999"),
    ] {
        let output = run(lab, &namespace, &["one", "--", expression])?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{expression}: {}", said(&output));
        let lines: Vec<&str> = text.lines().collect();
        let shown = lines.iter().position(|line| line.trim() == expression);
        let shown = shown.with_context(|| format!("{expression:?} is not shown: {text}"))?;
        let indent = lines[shown].find(expression).unwrap_or(0);
        let caret = lines
            .get(shown + 1)
            .and_then(|line| line.find('^'))
            .context("no place is shown")?;
        ensure!(
            caret - indent + 1 == place,
            "column {} instead of {place}: {text}",
            caret - indent + 1
        );
        let error = lines
            .iter()
            .find(|line| line.starts_with("error:"))
            .context("no error")?;
        ensure!(
            error.contains(words) && error.contains(&format!("column {place}")),
            "{text}"
        );
    }
    Ok(())
}

fn terminal(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1")])?;
    // `script` gives its command a terminal of its own, as a shell at a desk does.
    let plugin = lab.netcheck(["capture", "-n", &namespace.name, "one", "-w", "-"]);
    let bash = in_bash(&plugin, "run");
    let quoted = |word: &std::ffi::OsStr| format!("'{}'", word.to_string_lossy());
    let line: Vec<String> = std::iter::once(bash.get_program())
        .chain(bash.get_args())
        .map(quoted)
        .collect();
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line.join(" "), "/dev/null"]);
    command.envs(bash.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command
        .stdin(std::process::Stdio::null())
        .output()
        .context("run script")?;
    ensure!(output.status.code() == Some(2), "{}", said(&output));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        text.contains("is a terminal") && text.contains("tshark -r -"),
        "{text:?}"
    );
    Ok(())
}

fn dry_run(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (path, file) = files.path("dry.pcapng");
    let audit = Audit::from_now(&lab.rig.audit_log())?;
    let text = run(
        lab,
        &namespace,
        &["one", "two", "-w", &file, "--dry-run", "--", "port 53"],
    )?;
    ensure!(text.status.code() == Some(0), "{}", said(&text));
    for word in ["Job", "Lease", "port 53", "pod", "5m", "dry.pcapng"] {
        ensure!(said(&text).contains(word), "{word:?} is not said: {}", said(&text));
    }
    let json = run(lab, &namespace, &["one", "two", "-w", &file, "--dry-run", "-o", "json"])?;
    let plan: Value = serde_json::from_slice(&json.stdout).with_context(|| said(&json))?;
    ensure!(plan["kind"] == "CapturePlan", "{plan:#}");
    ensure!(plan["spec"]["sources"].as_array().map_or(0, Vec::len) == 2, "{plan:#}");
    let changes = changes(&audit)?;
    ensure!(changes.is_empty(), "a dry run changed things: {changes:#?}");
    ensure!(!path.exists(), "a dry run left a file");
    Ok(())
}
