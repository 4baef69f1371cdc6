//! `debug`: what the new container is, in which pods, and what becomes of it.

use super::debug::{BY_ITSELF, SHELL, SOON, expect, expect_network_of, pod, run, session};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    lab::{Lab, said},
    manifests,
    runner::Case,
};
use netcheck_rig::wait_until;
use serde_json::{Value, json};
use std::{io::Write as _, process::Output};

pub const CASES: &[Case] = &[
    ("debug: profiles that are asked for have kubectl's effects", effects),
    ("debug: a file changes the container as kubectl's does", custom),
    (
        "debug: what does not start as root starts as somebody else",
        not_as_root,
    ),
    (
        "debug: in a pod of its node's network one sees the node's",
        host_network,
    ),
    ("debug: several containers are told apart by their names", names),
    (
        "debug: a session that is kept ends when its time is over",
        kept_no_longer,
    ),
];

/// Bits of capabilities (`linux/capability.h`).
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;

/// A file with this in it.
fn file(text: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new().context("make a file")?;
    file.write_all(text.as_bytes()).context("write a file")?;
    Ok(file)
}

/// The capabilities that the kernel says a command of the session's has.
fn capabilities(output: &Output) -> Result<u64> {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let word = line.with_context(|| said(output))?.trim();
    u64::from_str_radix(word, 16).with_context(|| format!("parse {word:?}"))
}

fn has(capabilities: u64, bit: u32) -> bool {
    capabilities >> bit & 1 == 1
}

fn effects(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let with = |profile: &str, script: &str| {
        run(
            lab,
            &namespace,
            &["on-n1", "--profile", profile, "--", "sh", "-c", script],
        )
    };
    let output = with(
        "general",
        "cat /proc/self/status; ip addr add 192.0.2.7/32 dev lo || echo no",
    )?;
    expect(&output, 0, &["profile general", "Uid:\t0", "no\n"])?;
    let there = capabilities(&output)?;
    ensure!(
        has(there, SYS_PTRACE) && has(there, NET_RAW) && !has(there, NET_ADMIN) && !has(there, SYS_ADMIN),
        "{there:x}"
    );
    let output = with(
        "sysadmin",
        "cat /proc/self/status; mkdir /here && mount -t tmpfs none /here && echo mounted",
    )?;
    expect(&output, 0, &["profile sysadmin", "Uid:\t0", "mounted\n"])?;
    let there = capabilities(&output)?;
    ensure!(has(there, SYS_ADMIN) && has(there, NET_ADMIN), "{there:x}");
    namespace.wait_until_ephemeral_ended(SOON)
}

fn custom(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let file = file(
        "env: [{name: WHAT, value: of the file}]\n\
         securityContext: {capabilities: {add: [NET_RAW]}, readOnlyRootFilesystem: true}\n\
         workingDir: /proc\n",
    )?;
    let path = file.path().to_string_lossy().into_owned();
    let script = "echo $WHAT, $ELSE, $PWD; touch /x; cat self/status";
    let flags = ["--env", "WHAT=of the flag", "--env", "ELSE=and more"];
    let line = [&["on-n1", "--custom", &path], &flags[..], &["--", "sh", "-c", script]].concat();
    let output = run(lab, &namespace, &line)?;
    expect(&output, 0, &["of the file, and more, /proc\n", "Read-only", "Uid:\t0"])?;
    let there = capabilities(&output)?;
    ensure!(there == 1 << NET_RAW, "{there:x}");
    namespace.wait_until_ephemeral_ended(SOON)?;

    for (text, code, word) in [
        ("tty: true", 2, "--custom cannot change tty"),
        ("image: other", 2, "--custom cannot change image"),
        ("envs: []", 2, "envs"),
        // The API has no such thing for containers that come later.
        ("resources: {limits: {memory: 64Mi}}", 3, "resources"),
    ] {
        let file = self::file(text)?;
        let path = file.path().to_string_lossy().into_owned();
        let output = run(lab, &namespace, &["on-n1", "--custom", &path, "--", "true"])?;
        expect(&output, code, &[word]).with_context(|| text.to_owned())?;
    }
    let output = run(lab, &namespace, &["on-n1", "--custom", "/no/such/file", "--", "true"])?;
    expect(&output, 2, &["/no/such/file"])?;
    let there = namespace.ephemeral_containers()?;
    ensure!(there.len() == 1, "a refused container was added: {there:?}");
    Ok(())
}

/// Admission takes what the kubelet does not start: `runAsNonRoot` of user 0.
fn not_as_root(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let file = file("securityContext: {runAsNonRoot: true}")?;
    let path = file.path().to_string_lossy().into_owned();
    let line = |flags: &[&'static str]| [&["on-n1", "--custom", path.as_str()], flags, &["--", "id", "-u"]].concat();
    let output = run(lab, &namespace, &line(&["-c", "mine"]))?;
    expect(
        &output,
        0,
        &[
            "profile netadmin does not start (CreateContainerConfigError",
            "non-root policy",
            "trying restricted",
            "container mine-restricted",
        ],
    )?;
    ensure!(output.stdout == b"65532\n", "{}", said(&output));
    let there: Vec<String> = namespace.ephemeral_containers()?.into_keys().collect();
    ensure!(there == ["on-n1/mine", "on-n1/mine-restricted"], "{there:?}");

    let output = run(lab, &namespace, &line(&["--profile", "netadmin"]))?;
    expect(&output, 3, &["did not start", "non-root policy", "--profile"])
}

fn host_network(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let mut pod = manifests::server_pod(&namespace.name, "host", "n1", &["serve", "--tcp", "18080"], 18080);
    pod["spec"]["hostNetwork"] = true.into();
    lab.apply(&pod)?;
    namespace.wait_ready()?;
    let output = run(lab, &namespace, &["host", "--", "readlink", "/proc/self/ns/net"])?;
    expect(&output, 0, &["profile netadmin"])?;
    expect_network_of(lab, "n1", &output)
}

fn names(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let mut pod = manifests::server_pod(&namespace.name, "two", "n1", &["serve", "--tcp", "8080"], 8080);
    let mut sidecar = pod["spec"]["containers"][0].clone();
    sidecar["name"] = "sidecar".into();
    sidecar["args"] = json!(["serve", "--tcp", "8081"]);
    sidecar["ports"] = json!([]);
    // One that is over: the pod runs on without it.
    let mut brief = sidecar.clone();
    brief["name"] = "brief".into();
    brief["args"] = json!(["no-such-word"]);
    let containers = pod["spec"]["containers"].as_array_mut().context("containers")?;
    containers.extend([sidecar, brief]);
    pod["spec"]["restartPolicy"] = "Never".into();
    lab.apply(&pod)?;
    let ended = r#"{.status.containerStatuses[?(@.name=="brief")].state.terminated.reason}"#;
    let running = r"{.status.containerStatuses[?(@.ready==true)].name}";
    for (path, expected) in [(ended, "Error"), (running, "server sidecar")] {
        let look = || namespace.kubectl(&format!("get pod two -o jsonpath={path}"));
        wait_until("two of its containers run", SOON, || match look() {
            Ok(shown) if shown == expected => Ok(()),
            Ok(shown) => Err(shown),
            Err(error) => Err(error.to_string()),
        })?;
    }
    let processes = ["--", "sh", "-c", "cat /proc/[0-9]*/cmdline"];
    for (target, sees, not) in [("server", "8080", "8081"), ("sidecar", "8081", "8080")] {
        let output = run(
            lab,
            &namespace,
            &[&["two", "--target", target], &processes[..]].concat(),
        )?;
        expect(&output, 0, &[])?;
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(shown.contains(sees) && !shown.contains(not), "{target}: {shown}");
    }
    let before = namespace.ephemeral_containers()?.len();
    for (flags, words) in [
        (["--target", "sidcar"], "did you mean --target sidecar?"),
        (["--target", "xyz"], "it has server, sidecar, brief"),
        (["--target", "brief"], "does not run"),
        (["-c", "sidecar"], "a container \"sidecar\" already"),
        (["-c", "Mine"], "lower-case"),
    ] {
        let output = run(lab, &namespace, &[&["two"], &flags[..], &["--", "true"]].concat())?;
        expect(&output, 2, &[words]).with_context(|| format!("{flags:?}"))?;
    }
    let after = namespace.ephemeral_containers()?.len();
    ensure!(after == before, "a refused container was added");
    Ok(())
}

fn kept_no_longer(lab: &Lab) -> Result<()> {
    let namespace = pod(lab, "privileged")?;
    let mut terminal = session(lab, &namespace, &["on-n1", "-c", "brief", "--keep", "20s"])?;
    terminal.wait_for(SHELL, SOON)?;
    terminal.type_keys("\u{10}\u{11}")?;
    let status = terminal.wait(SOON)?;
    ensure!(status.code() == Some(0), "{status}: {}", terminal.screen());
    let state = || -> Result<Value> {
        let pod: Value = serde_json::from_str(&namespace.kubectl("get pod on-n1 -o json")?)?;
        Ok(pod["status"]["ephemeralContainerStatuses"][0]["state"].clone())
    };
    // The kubelet may say that it runs a second after it was there.
    for (when, word) in [("it stays", "running"), ("its time is over", "terminated")] {
        wait_until(when, BY_ITSELF, || match state() {
            Ok(state) if state[word].is_object() => Ok(()),
            Ok(state) => Err(state.to_string()),
            Err(error) => Err(error.to_string()),
        })?;
    }
    // There is nothing to come back to.
    let mut terminal = session(lab, &namespace, &["on-n1"])?;
    let shown = terminal.wait_for(SHELL, SOON)?;
    ensure!(shown.contains("number 2"), "{shown}");
    terminal.type_keys("exit\r")?;
    terminal.wait(SOON).map(drop)
}
