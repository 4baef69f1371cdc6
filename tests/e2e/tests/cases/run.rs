//! `run` through a real terminal and real kubectl: a pod of the user's namespace that is gone afterwards, whatever ends the plugin.

use super::debug::{BY_ITSELF, IMAGE, SHELL, SOON, expect, expect_network_of, numbers, terminal_of};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    cutting_proxy::{Cut, CuttingProxy},
    helpers::{helpers_of, wait_until_ended},
    lab::{Lab, Namespace, said},
    manifests,
    runner::Case,
};
use netcheck_rig::wait_until;
use rustix::process::{Signal, kill_process};
use serde_json::Value;
use std::{
    process::Output,
    time::{Duration, Instant},
};

pub const CASES: &[Case] = &[
    ("run: a prompt, the shell's code, and nothing stays", prompt),
    ("run: a command's code and whole output, a cut is no success", command),
    ("run: labels are the pod's, and their Service sends it nothing", labels),
    ("run: killed, terminated and interrupted, it leaves nothing", endings),
    (
        "run: killed with all of its helpers, it leaves nothing after a while",
        all_killed,
    ),
    ("run: a restricted namespace gets as much as it admits", restricted),
    ("run: what keeps it from starting is told within seconds", not_started),
    (
        "run: the printed Role is enough, and cleanup removes what is left",
        permissions,
    ),
];

fn line<'a>(namespace: &'a Namespace, arguments: &[&'a str]) -> Vec<&'a str> {
    [&["run", "-n", namespace.name.as_str(), "--image", IMAGE], arguments].concat()
}

fn run(lab: &Lab, namespace: &Namespace, arguments: &[&str]) -> Result<Output> {
    let line = line(namespace, arguments);
    lab.netcheck(line).output().context("run kubectl netcheck run")
}

/// The only pod of ours there.
fn pod(namespace: &Namespace) -> Result<Value> {
    let list = namespace.kubectl("get pod -l app.kubernetes.io/managed-by=kubectl-netcheck -o json")?;
    let list: Value = serde_json::from_str(&list).context("read the pods")?;
    ensure!(
        list["items"].as_array().is_some_and(|items| items.len() == 1),
        "{list:#}"
    );
    Ok(list["items"][0].clone())
}

fn prompt(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let mut terminal = terminal_of(lab, &lab.netcheck(line(&namespace, &["probe", "--node", "n2"])))?;
    let before = terminal.settings()?;
    let begun = Instant::now();
    let shown = terminal.wait_for(SHELL, SOON)?;
    println!("first prompt after {:?}", begun.elapsed());
    ensure!(shown.contains("profile netadmin"), "{shown}");
    terminal.enter("stty size", "\r\n33 101\r\n", SOON)?;
    // NET_ADMIN, by its effect.
    terminal.enter("ip addr add 192.0.2.7/32 dev lo && echo d''one", "done", SOON)?;
    terminal.enter("ls /var/run/secrets/kubernetes.io 2>&1 | tail -c 10", "directory", SOON)?;
    let pod = pod(&namespace)?;
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    ensure!(name.starts_with("probe-") && pod["spec"]["nodeName"] == "n2", "{pod:#}");
    terminal.type_keys("exit 7\r")?;
    let status = terminal.wait(SOON)?;
    ensure!(status.code() == Some(7), "{status}: {}", terminal.screen());
    ensure!(terminal.settings()? == before, "the terminal is not as before");
    // It waited for that before it ended.
    namespace.wait_until_clean(Duration::from_secs(5))
}

fn command(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let numbers = numbers();
    let script = ["--", "sh", "-c", "seq 1 200000; echo oops >&2; exit 9"];
    let output = run(lab, &namespace, &script)?;
    ensure!(output.status.code() == Some(9), "{:?}", output.status);
    let (written, expected) = (output.stdout.len(), numbers.len());
    ensure!(output.stdout == numbers.as_bytes(), "{written} bytes of {expected}");
    ensure!(
        String::from_utf8_lossy(&output.stderr).contains("oops\n"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let output = run(lab, &namespace, &["--", "no-such-tool"])?;
    expect(&output, 127, &["there is no no-such-tool in image"])?;
    namespace.wait_until_clean(SOON)?;

    let proxy = CuttingProxy::start(lab.server()?, Cut::ForGoodAfter(400_000))?;
    let through = lab.kubeconfig_through(proxy.address())?;
    let line = line(&namespace, &["--", "seq", "1", "1000000"]);
    expect(&lab.netcheck_as(&through, line).output()?, 3, &["was cut"])?;
    ensure!(
        !namespace.remains()?.trim().is_empty(),
        "the proxy lets requests through"
    );
    let cleanup = lab.netcheck(["cleanup", "--all"]).output()?;
    expect(&cleanup, 0, &["throw-away pod", namespace.name.as_str(), "removed"])?;
    namespace.wait_until_clean(SOON)
}

/// The labels of a Service's pod.
fn labels(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1"])?;
    lab.apply(&manifests::service(&namespace.name, "svc", "on-n1", 8080))?;
    let selector = namespace.kubectl("get service svc -o jsonpath={.spec.selector}")?;
    let selector: serde_json::Map<String, Value> = serde_json::from_str(&selector)?;
    let words: Vec<String> = (selector.iter())
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    let list = words.join(",");
    let mut terminal = terminal_of(lab, &lab.netcheck(line(&namespace, &["--labels", &list])))?;
    terminal.wait_for(SHELL, SOON)?;
    let throwaway = pod(&namespace)?;
    for (key, value) in &selector {
        ensure!(throwaway["metadata"]["labels"][key] == *value, "{throwaway:#}");
    }
    let mut address = String::new();
    // A prompt may be there before the API server knows the pod's address.
    wait_until("the pod's address is known", SOON, || {
        let throwaway = pod(&namespace).map_err(|error| format!("{error:#}"))?;
        let known = throwaway["status"]["podIP"].as_str();
        known.unwrap_or_default().clone_into(&mut address);
        known.map(drop).ok_or_else(|| throwaway["status"].to_string())
    })?;
    let ready = |of: &str| -> Result<bool> {
        let slices = namespace.kubectl("get endpointslice -l kubernetes.io/service-name=svc -o json")?;
        let slices: Value = serde_json::from_str(&slices)?;
        let endpoints = slices["items"].as_array().into_iter().flatten();
        let mut endpoints = endpoints.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        let known = endpoints.find(|endpoint| endpoint["addresses"][0] == of);
        known
            .map(|endpoint| endpoint["conditions"]["ready"] == true)
            .context("it is not known yet")
    };
    wait_until("the Service knows it", SOON, || match ready(&address) {
        Ok(false) => Ok(()),
        Ok(true) => Err("it takes the Service's traffic".to_owned()),
        Err(error) => Err(error.to_string()),
    })?;
    ensure!(
        ready(&namespace.address("on-n1", false)?.to_string())?,
        "the Service's own pod is not ready"
    );
    terminal.type_keys("exit\r")?;
    terminal.wait(SOON)?;
    let output = run(lab, &namespace, &["--labels", "netcheck.dev/run=x", "--", "true"])?;
    expect(&output, 2, &["netcheck.dev/run"])?;
    namespace.wait_until_clean(SOON)
}

fn endings(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let start = || -> Result<_> {
        let mut terminal = terminal_of(lab, &lab.netcheck(line(&namespace, &[])))?;
        let before = terminal.settings()?;
        terminal.wait_for(SHELL, SOON)?;
        Ok((terminal, before))
    };
    let (terminal, _) = start()?;
    terminal.signal(Signal::KILL)?;
    drop(terminal);
    namespace.wait_until_clean(BY_ITSELF)?;

    let (mut terminal, before) = start()?;
    terminal.signal(Signal::TERM)?;
    let status = terminal.wait(SOON)?;
    ensure!(status.code() == Some(130), "{status}: {}", terminal.screen());
    ensure!(terminal.settings()? == before, "the terminal is not as before");
    namespace.wait_until_clean(SOON)?;

    // Without a terminal of its own Ctrl-C is a signal; and at any point before there is a pod it leaves nothing either.
    for signal in [Signal::INT, Signal::KILL] {
        let line = line(&namespace, &["--", "sleep", "1000"]);
        let mut terminal = terminal_of(lab, &lab.netcheck(line))?;
        wait_until("something is created", SOON, || match namespace.remains() {
            Ok(left) if !left.trim().is_empty() => Ok(()),
            Ok(_) => Err("nothing yet".to_owned()),
            Err(error) => Err(error.to_string()),
        })?;
        terminal.signal(signal)?;
        let status = terminal.wait(SOON)?;
        ensure!(
            signal == Signal::KILL || status.code() == Some(130),
            "{status}: {}",
            terminal.screen()
        );
        drop(terminal);
        namespace.wait_until_clean(BY_ITSELF)?;
    }
    Ok(())
}

fn all_killed(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let mut terminal = terminal_of(lab, &lab.netcheck(line(&namespace, &[])))?;
    terminal.wait_for(SHELL, SOON)?;
    let helpers = helpers_of(terminal.id())?;
    for helper in &helpers {
        kill_process(*helper, Signal::KILL).context("kill a helper")?;
    }
    terminal.signal(Signal::KILL)?;
    drop(terminal);
    wait_until_ended(&helpers, SOON)?;
    ensure!(!namespace.remains()?.trim().is_empty(), "somebody else removed it");
    // Silence ends the command, the command's end the Job, and that goes with all that it owns.
    namespace.wait_until_clean(BY_ITSELF)
}

fn restricted(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("restricted")?;
    let output = run(lab, &namespace, &["--", "id", "-u"])?;
    expect(&output, 0, &["profile netadmin is refused", "trying restricted"])?;
    ensure!(output.stdout == b"65532\n", "{}", said(&output));
    let output = run(lab, &namespace, &["--profile", "netadmin", "--", "true"])?;
    expect(&output, 3, &["not admitted", "PodSecurity"])?;
    let output = run(lab, &namespace, &["--host-network", "--", "true"])?;
    expect(&output, 3, &["hostNetwork", "--host-network"])?;
    namespace.wait_until_clean(SOON)?;

    let namespace = lab.namespace("privileged")?;
    let network = ["--", "readlink", "/proc/self/ns/net"];
    let output = run(
        lab,
        &namespace,
        &[&["--node", "n1", "--host-network"], &network[..]].concat(),
    )?;
    expect(&output, 0, &[])?;
    expect_network_of(lab, "n1", &output)?;
    namespace.wait_until_clean(SOON)
}

fn not_started(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let begun = Instant::now();
    let missing = [
        "run",
        "-n",
        &namespace.name,
        "--image",
        "registry.invalid/no/such:1",
        "--",
        "true",
    ];
    expect(
        &lab.netcheck(missing).output()?,
        3,
        &["did not start", "Pull", "--image"],
    )?;
    ensure!(
        begun.elapsed() < Duration::from_secs(40),
        "it took {:?}",
        begun.elapsed()
    );
    let scratch = [
        "run",
        "-n",
        &namespace.name,
        "--image",
        manifests::WORKLOAD,
        "--",
        "true",
    ];
    expect(&lab.netcheck(scratch).output()?, 3, &["has no sh"])?;
    for (arguments, code, words) in [
        (&["--node", "n9", "--", "true"] as &[&str], 2, "no node"),
        (&["--serviceaccount", "nobody", "--", "true"], 2, "no service account"),
        (&["-n", "no-such-namespace", "--", "true"], 2, "no namespace"),
        (&["-l", "app=web"], 2, "--labels"),
        (&["ping", "db"], 2, "--"),
        (&["Web_1"], 2, "lower-case"),
    ] {
        let there = ["-n", namespace.name.as_str()];
        let there: &[&str] = if arguments[0] == "-n" { &[] } else { &there };
        let line = [&["run", "--image", IMAGE], there, arguments].concat();
        expect(&lab.netcheck(line).output()?, code, &[words]).with_context(|| format!("{arguments:?}"))?;
    }
    let nodes = ["n1", "n2"];
    for node in nodes {
        lab.kubectl(&format!("cordon {node}"))?;
    }
    let output = run(lab, &namespace, &["--", "true"]);
    for node in nodes {
        lab.kubectl(&format!("uncordon {node}"))?;
    }
    expect(&output?, 3, &["did not start", "nodes are available"])?;
    namespace.wait_until_clean(SOON)
}

fn permissions(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let user = "runner";
    let kubeconfig = lab.rig.kubeconfig_for_user(user, None)?;
    let hello = || {
        let line = line(&namespace, &["--node", "n1", "--", "echo", "hello"]);
        lab.netcheck_as(&kubeconfig, line).output().context("run it")
    };
    expect(&hello()?, 3, &["may not", "rbac run"])?;
    let printed = ["rbac", "run", "-n", &namespace.name, "--user", user, "-o", "json"];
    let roles = lab.netcheck(printed).output()?;
    let roles: Value = serde_json::from_slice(&roles.stdout).with_context(|| said(&roles))?;
    lab.apply(&roles)?;
    wait_until("the Role is in force", SOON, || match hello() {
        Ok(output) if output.stdout == b"hello\n" && output.status.code() == Some(0) => Ok(()),
        Ok(output) => Err(said(&output)),
        Err(error) => Err(error.to_string()),
    })?;
    // Not a word about what it may not do, either.
    let output = hello()?;
    ensure!(
        !said(&output).contains("may not") && !said(&output).contains("warning"),
        "{}",
        said(&output)
    );
    namespace.wait_until_clean(SOON)
}
