//! Host ports as the real plugin `portmap` programs them, and what is left of one where the plugin was not called.

use anyhow::{Context as _, Result, ensure};
use netcheck_e2e::{
    bundled::{PATIENCE, settled},
    lab::{Lab, Namespace},
    manifests,
    runner::Case,
    verify::Verify,
};
use netcheck_rig::{Node, wait_until};
use serde_json::json;
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[(
    "verify: a host port that still leads to a pod that is gone is found, and its fix gives the port to whoever has it now",
    stale,
)];

const PORT: u16 = 7072;

fn stale(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    settled(lab)?;
    let n1 = lab.rig.node("n1")?;
    with_host_port(&namespace, "before")?;
    reached(lab, true)?;
    Verify::run(lab, [] as [&str; 0])?.expect_healthy("netcheck-cni", "with a pod that has a host port")?;
    let rules = rules(&n1)?;
    let chain = rules.iter().find_map(|rule| rule.strip_prefix("-N "));
    let chain = chain.with_context(|| format!("portmap has made no chain: {rules:?}"))?;
    namespace.kubectl("delete pod before --grace-period=1")?;
    wait_until("its rules to go", PATIENCE, || match self::rules(&n1) {
        Ok(left) if left.is_empty() => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    // As long as the runtime knows the sandbox, it may call DEL for it once more, and that would mend what is broken below.
    let sandbox = rules
        .iter()
        .find_map(|rule| rule.split("id: \\\"").nth(1)?.split('\\').next());
    let sandbox = sandbox.with_context(|| format!("the rules name no sandbox: {rules:?}"))?;
    wait_until("the runtime to forget the sandbox", PATIENCE, || {
        let known = sh(&n1, "ctr -n k8s.io containers ls -q").map_err(|error| error.to_string())?;
        if known.contains(sandbox) { Err(known) } else { Ok(()) }
    })?;
    let outcome = left_behind(lab, &namespace, &n1, &rules);
    // The rule that leads there, and the chain.
    let entered = rules.iter().filter(|rule| rule.ends_with(&format!("-j {chain}")));
    let leaving = entered.map(|rule| format!("iptables -t nat {}; ", rule.replacen("-A", "-D", 1)));
    let mend = leaving.collect::<String>() + &format!("iptables -t nat -F {chain}; iptables -t nat -X {chain}");
    sh(&n1, &mend)?;
    outcome?;
    Verify::wait_until_held(lab, PATIENCE)
}

fn left_behind(lab: &Lab, namespace: &Namespace<'_>, n1: &Node, rules: &[String]) -> Result<()> {
    for rule in rules {
        sh(n1, &format!("iptables -t nat {rule}"))?;
    }
    with_host_port(namespace, "after")?;
    reached(lab, false)?;
    let verify = Verify::run(lab, [] as [&str; 0])?;
    let expected = BTreeSet::from(["verify-host-port-stale"]);
    ensure!(
        verify.roots("n1") == expected && verify.roots("n2").is_empty(),
        "{}",
        verify.told()
    );
    let finding = verify.finding("n1", "verify-host-port-stale").context("it is told")?;
    sh(n1, finding["fix"].as_str().context("it has no fix")?)?;
    reached(lab, true)?;
    Verify::wait_until_held(lab, PATIENCE)
}

/// The plugin's rules for the port, as arguments of iptables: its chain, what is in that, and what leads there.
fn rules(node: &Node) -> Result<Vec<String>> {
    let listing = sh(node, "iptables -t nat -S")?;
    let rules = listing.lines().filter(|rule| rule.contains("CNI-DN-"));
    Ok(rules.map(str::to_owned).collect())
}

fn with_host_port(namespace: &Namespace<'_>, name: &str) -> Result<()> {
    let mut pod = manifests::server_pod(&namespace.name, name, "n1", &["serve", "--tcp", "8080"], 8080);
    pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 8080, "hostPort": PORT }]);
    namespace.apply(&pod)?;
    namespace.wait_ready()
}

/// Waits until n2 gets to n1's port, or does not.
fn reached(lab: &Lab, is_reached: bool) -> Result<()> {
    let n2 = lab.rig.node("n2")?;
    let to = lab.kubectl("get node n1 -o jsonpath={.status.addresses[?(@.type==\"InternalIP\")].address}")?;
    let to = to.split_whitespace().next().context("n1 has no address")?;
    let connect = format!("timeout 3 bash -c 'exec 3<> /dev/tcp/{to}/{PORT}'");
    let what = if is_reached { "an answer of" } else { "no answer of" };
    Ok(wait_until(&format!("{what} {to}:{PORT}"), PATIENCE, || {
        let connected = sh(&n2, &connect);
        if connected.is_ok() == is_reached {
            Ok(())
        } else {
            Err(format!("{connected:?}"))
        }
    })?)
}

fn sh(node: &Node, line: &str) -> Result<String> {
    node.run(["sh", "-ec", line]).with_context(|| line.to_owned())
}
