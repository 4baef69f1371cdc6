//! What can be captured, and by which way.

use crate::{Case, healthy};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Captured, Files},
    lab::{Lab, Namespace, said},
    manifests,
    traffic::{ECHO, Inside, talkers},
    tshark::fields,
};
use serde_json::Value;
use std::{collections::BTreeSet, path::Path, time::Duration};

pub const CASES: &[Case] = &[
    (
        "capture targets: workloads, Services, selectors, nodes and pods, mixed",
        mixed,
    ),
    (
        "capture targets: a hostNetwork pod is its node's network, a crash-looping pod is captured all the same",
        odd_pods,
    ),
    (
        "capture targets: ephemeral containers where NET_RAW is to be had, a clear refusal where not",
        ephemeral,
    ),
    (
        "capture targets: chosen interfaces, and names of those there are",
        interfaces,
    ),
];

/// Names of the report's sources that were captured.
fn captured_sources(captured: &Captured) -> Result<BTreeSet<String>> {
    let report = captured.report()?;
    let sources = report["status"]["sources"].as_array().context("no sources")?.clone();
    Ok(sources
        .iter()
        .filter(|source| source["notCaptured"].is_null())
        .filter_map(|source| source["name"].as_str().map(str::to_owned))
        .collect())
}

/// Interfaces of which the file has packets that tshark's filter lets through.
fn interfaces_with(path: &Path, filter: &str) -> Result<BTreeSet<String>> {
    Ok(fields(path, &["frame.interface_name"], &["-Y", filter])?
        .into_iter()
        .flatten()
        .collect())
}

fn pods_of(lab: &Lab, namespace: &str, selector: &str) -> Result<BTreeSet<String>> {
    let names = lab.kubectl(&format!("-n {namespace} get pods -l {selector} -o name"))?;
    Ok(names
        .lines()
        .map(|name| name.replace("pod/", &format!("pod {namespace}/")))
        .collect())
}

fn mixed(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let files = Files::new()?;
    let (path, file) = files.path("mixed.pcapng");
    let by_selector = pods_of(lab, "shop", "app=db")?;
    let pod = by_selector.iter().next().context("no db")?.replace("pod shop/", "");
    let mut command = lab.netcheck(["capture", "-n", "shop", "deploy/web", "svc/api", "node/n2", &pod]);
    command.args([
        "-w",
        &file,
        "-o",
        "json",
        "--",
        "tcp port 8080 or tcp port 9000 or tcp port 5432 or icmp",
    ]);
    let capture = Capture::of(command)?;
    // The shop's readiness probes are traffic on every pod; the nodes greet each other.
    netcheck_rig::wait_until("every source has packets", Duration::from_secs(30), || {
        let (n1, n2) = (lab.rig.node("n1"), lab.rig.node("n2"));
        let address = n2.map_err(|error| error.to_string())?.addresses()[0].to_string();
        n1.and_then(|node| node.run(["ping", "-c", "1", &address]))
            .map_err(|error| error.to_string())?;
        let seen = interfaces_with(&path, "frame").unwrap_or_default();
        let sources: BTreeSet<_> = seen
            .iter()
            .filter_map(|name| name.rsplit_once('/'))
            .map(|(source, _)| source)
            .collect();
        if sources.len() == 6 {
            Ok(())
        } else {
            Err(format!("{sources:?}"))
        }
    })?;
    let captured = capture.stop()?;
    let mut expected = pods_of(lab, "shop", "app")?;
    expected.insert("node n2".to_owned());
    ensure!(
        captured_sources(&captured)? == expected,
        "{} should be of {expected:?}",
        captured.all()
    );

    let capture = Capture::of({
        let mut command = lab.netcheck(["capture", "-n", "shop", "-l", "app=db", "-w", &file, "-o", "json"]);
        command.args(["--duration", "1s"]);
        command
    })?;
    let captured = capture.end()?;
    captured.expect(0)?;
    ensure!(captured_sources(&captured)? == by_selector, "{}", captured.all());
    Ok(())
}

fn odd_pods(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("plain", "n1")])?;
    let mut host = manifests::server_pod(&namespace.name, "on-the-host", "n1", &["sleep"], 18080);
    host["spec"]["hostNetwork"] = true.into();
    lab.apply(&host)?;
    namespace.wait_ready()?;
    let crashing = manifests::server_pod(&namespace.name, "crashing", "n2", &["crash"], 8080);
    lab.apply(&crashing)?;
    netcheck_rig::wait_until("the pod crashes in a loop", Duration::from_mins(1), || {
        let pod = lab.kubectl(&format!("-n {} get pod crashing -o json", namespace.name));
        let pod: Value = pod
            .map_err(|error| error.to_string())
            .and_then(|pod| serde_json::from_str(&pod).map_err(|e| e.to_string()))?;
        let state = &pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"];
        if state == "CrashLoopBackOff" {
            Ok(())
        } else {
            Err(state.to_string())
        }
    })?;

    let files = Files::new()?;
    let (path, file) = files.path("odd.pcapng");
    let line = [
        "crashing",
        "on-the-host",
        "node/n1",
        "-w",
        &file,
        "-o",
        "json",
        "--",
        "icmp",
    ];
    let capture = Capture::start(lab, &namespace, line)?;
    namespace.in_pod(
        "plain",
        &format!("ping -c 2 -i 0.2 {}", namespace.address("crashing", false)?),
    )?;
    let node = lab.rig.node("n1")?.addresses()[0].to_string();
    namespace.in_pod("plain", &format!("ping -c 2 -i 0.2 {node}"))?;
    let captured = capture.stop()?;
    let sources = captured_sources(&captured)?;
    let name = |pod: &str| format!("pod {}/{pod}", namespace.name);
    ensure!(
        sources == BTreeSet::from(["node n1".to_owned(), name("crashing")]),
        "one network twice, or a pod is missing: {}",
        captured.all()
    );
    let remark = format!("{} uses the network of node n1", name("on-the-host"));
    ensure!(
        captured.stderr.contains(&remark),
        "{remark:?} is not said: {}",
        captured.stderr
    );
    let seen = interfaces_with(&path, "icmp.type == 8")?;
    let crashing = format!("{}/crashing/eth0", namespace.name);
    ensure!(
        seen.contains(&crashing) && seen.contains(&format!("n1/{}", namespace.host_veth("plain", "n1")?)),
        "{seen:?}"
    );
    Ok(())
}

fn ephemeral(lab: &Lab) -> Result<()> {
    for level in ["privileged", "baseline", "restricted"] {
        let namespace = lab.namespace(level)?;
        talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
        let files = Files::new()?;
        let (path, file) = files.path("ephemeral.pcapng");
        let line = ["one", "two", "--via", "ephemeral", "-w", &file, "-o", "json"];
        if level == "restricted" {
            let output = lab.netcheck(["capture", "-n", &namespace.name]).args(line).output()?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            ensure!(output.status.code() == Some(3), "{}", said(&output));
            for word in ["NET_RAW", "restricted"] {
                ensure!(text.contains(word), "{word:?} is not said: {text}");
            }
            ensure!(!path.exists(), "a file of a capture that never was");
            continue;
        }
        let capture = Capture::start(lab, &namespace, line).context(level)?;
        let two = namespace.address("two", false)?;
        Inside::pod(lab, &namespace, "one")?.ask((two, ECHO).into(), b"hello")?;
        let captured = capture.stop()?;
        ensure!(captured_sources(&captured)?.len() == 2, "{level}: {}", captured.all());
        let seen = interfaces_with(&path, "udp.port == 9999")?;
        let expected: BTreeSet<_> = ["one", "two"]
            .map(|pod| format!("{}/{pod}/eth0", namespace.name))
            .into();
        ensure!(seen == expected, "{level}: {seen:?}");
        namespace.wait_until_ephemeral_ended(Duration::from_secs(90))?;
    }
    Ok(())
}

fn interfaces(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (path, file) = files.path("interfaces.pcapng");
    let seen_of = |arguments: &[&str], namespace: &Namespace<'_>| -> Result<BTreeSet<String>> {
        let capture = Capture::start(lab, namespace, [&["one", "-w", &file], arguments].concat())?;
        namespace.in_pod("one", "ping -c 1 127.0.0.1")?;
        namespace.in_pod("one", &format!("ping -c 1 {}", namespace.address("two", false)?))?;
        capture.stop()?;
        let seen = interfaces_with(&path, "icmp")?;
        Ok(seen
            .iter()
            .filter_map(|name| name.rsplit('/').next())
            .map(str::to_owned)
            .collect())
    };
    let both = BTreeSet::from(["eth0".to_owned(), "lo".to_owned()]);
    ensure!(seen_of(&[], &namespace)? == both, "not all interfaces");
    ensure!(
        seen_of(&["-i", "eth0"], &namespace)? == BTreeSet::from(["eth0".to_owned()]),
        "not eth0 only"
    );
    ensure!(seen_of(&["-i", "lo", "-i", "eth0"], &namespace)? == both, "not both");
    let echoes = fields(&path, &["icmp.type"], &["-Y", "icmp.type == 8 && ip.dst == 127.0.0.1"])?;
    ensure!(
        echoes.len() == 1,
        "what passes lo is there once, not {} times",
        echoes.len()
    );

    let wrong = lab
        .netcheck(["capture", "-n", &namespace.name, "one", "-i", "eth7", "-w", &file])
        .output()?;
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    ensure!(wrong.status.code() == Some(3), "{}", said(&wrong));
    for word in ["eth7", "eth0", "lo"] {
        ensure!(text.contains(word), "{word:?} is not said: {text}");
    }
    Ok(())
}
