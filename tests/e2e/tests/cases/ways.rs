//! The two ways in, who may use them, and what Pod Security makes of them.

use crate::{Case, healthy};
use anyhow::{Result, ensure};
use netcheck_e2e::{
    fault::Fault,
    lab::{Lab, said},
    manifests,
};
use std::{fs, process::Stdio, time::Duration};

pub const CASES: &[Case] = &[
    (
        "ways: node agents and ephemeral containers give the same answers",
        same_answers,
    ),
    (
        "ways: privileged, baseline and restricted namespaces: the ladder finds the highest rung that works",
        ladder,
    ),
    (
        "ways: a policy that refuses hostPID sends us to ephemeral containers",
        policy,
    ),
    ("ways: a dry run prints objects and creates nothing", dry_run),
    (
        "ways: without a Role each missing verb is named, exit code 3",
        forbidden,
    ),
];

fn same_answers(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2", "n3"])?;
    lab.apply(&manifests::server_pod(&namespace.name, "deaf", "n2", &["sleep"], 8080))?;
    namespace.wait_ready()?;
    let arguments = |via| ["-n", namespace.name.as_str(), "--full", "--via", via];
    let node = lab.matrix(arguments("node"))?;
    let ephemeral = lab.matrix(arguments("ephemeral"))?;
    let mut both = 0;
    for (id, class) in node.verdicts() {
        match ephemeral.verdicts().get(id) {
            // A node has no ephemeral container, so its rows say so.
            None | Some(&"not-tested") => ensure!(id.contains("node"), "{id} is only seen by node agents"),
            Some(other) => {
                ensure!(
                    *other == class,
                    "{id}: {class} by node agents, {other} by ephemeral containers"
                );
                both += 1;
            }
        }
    }
    ensure!(both >= 12, "only {both} rows were seen by both ways");
    Ok(())
}

fn ladder(lab: &Lab) -> Result<()> {
    for (level, rung, watches) in [
        ("privileged", "-raw", true),
        ("baseline", "-root", true),
        ("restricted", "-plain", false),
    ] {
        let namespace = lab.namespace(level)?;
        namespace.pod_per_node(&["n1", "n2"])?;
        let matrix = lab.matrix([
            "-n",
            &namespace.name,
            "--full",
            "--via",
            "ephemeral",
            "--protocol",
            "tcp",
        ])?;
        let rows = matrix
            .expect("on-n1", "on-n2", "reached")
            .map_err(|error| error.context(level))?;
        ensure!(rows.len() >= 2, "{level}: both families should be there: {rows:?}");
        // Pods of ours that do not satisfy the level would have been refused; the containers that are there are the proof.
        let containers = namespace.ephemeral_containers()?;
        ensure!(
            containers.len() == 2 && containers.keys().all(|name| name.ends_with(rung)),
            "{level}: one ephemeral container a pod, {rung}: {containers:?}"
        );
        // What the rung can see: with NET_RAW both ends of a probe, without it neither.
        let seen = matrix.report["status"]["rows"][0]["destinationsSaw"][0]["packets"]
            .as_array()
            .map_or(0, Vec::len);
        ensure!(
            (seen > 0) == watches,
            "{level}: {seen} packets seen: {:#}",
            matrix.report
        );
    }
    Ok(())
}

fn policy(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let policy = manifests::policy_refusing_host_pid();
    let fault = Fault::inject(
        "a policy refusing hostPID",
        || policy.iter().try_for_each(|object| lab.apply(object)),
        || {
            lab.kubectl("delete validatingadmissionpolicy,validatingadmissionpolicybinding no-host-pid")
                .map(drop)
        },
    )?;
    let probe = manifests::server_pod(&namespace.name, "probe", "n1", &["sleep"], 1);
    netcheck_rig::wait_until("the policy is in force", Duration::from_secs(30), || {
        let mut pod = probe.clone();
        pod["spec"]["hostPID"] = true.into();
        let refused = lab.apply_dry_run(&pod).is_err();
        if refused {
            Ok(())
        } else {
            Err("a pod with hostPID is still admitted".into())
        }
    })?;
    let matrix = lab.matrix(["-n", &namespace.name, "--full", "--protocol", "tcp"])?;
    fault.mend()?;
    matrix.expect("on-n1", "on-n2", "reached")?;
    ensure!(
        matrix.stderr.contains("ephemeral") && matrix.stderr.contains("hostPID"),
        "the way is not explained: {}",
        matrix.stderr
    );
    Ok(())
}

fn dry_run(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let audit = netcheck_e2e::audit::Audit::from_now(&lab.rig.audit_log())?;
    let output = lab.netcheck(["matrix", "-n", "shop", "--dry-run"]).output()?;
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    let text = said(&output);
    for word in ["Job", "Lease", "SYS_ADMIN", "probes"] {
        ensure!(text.contains(word), "{word} is missing: {text}");
    }
    let changed: Vec<_> = audit
        .events()?
        .into_iter()
        .filter(|event| {
            event["userAgent"]
                .as_str()
                .is_some_and(|agent| agent.contains("netcheck"))
        })
        .filter(|event| !matches!(event["verb"].as_str(), Some("get" | "list" | "watch")))
        .filter(|event| {
            !event["objectRef"]["resource"]
                .as_str()
                .is_some_and(|resource| resource.contains("reviews"))
        })
        .filter(|event| {
            !event["requestURI"]
                .as_str()
                .is_some_and(|uri| uri.contains("dryRun=All"))
        })
        .collect();
    ensure!(changed.is_empty(), "a dry run changed things: {changed:#?}");
    Ok(())
}

fn forbidden(lab: &Lab) -> Result<()> {
    let kubeconfig = lab.rig.kubeconfig_for_user("nobody-special", None)?;
    let output = lab
        .netcheck_as(&kubeconfig, ["matrix", "-n", "shop"])
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.code() == Some(3), "{}", said(&output));
    for word in ["nobody-special", "list", "pods", "rbac matrix"] {
        ensure!(text.contains(word), "{word:?} is missing: {text}");
    }
    let _kept = fs::metadata(kubeconfig)?;
    Ok(())
}
