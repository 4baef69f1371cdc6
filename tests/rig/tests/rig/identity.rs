//! Who may do what: real certificates, RBAC, webhook authorization on kubelets, the audit log.

use crate::{Outcome, ensure, shared};
use netcheck_rig::{Rig, wait_until};
use std::{fs, path::Path, time::Duration};

/// Runs kubectl with another kubeconfig.
fn kubectl_as(rig: &Rig, kubeconfig: &Path, arguments: &[&str]) -> std::io::Result<std::process::Output> {
    rig.kubectl_command(arguments).env("KUBECONFIG", kubeconfig).output()
}

pub fn plain_user() -> Outcome {
    let rig = shared()?;
    let kubeconfig = rig.kubeconfig_for_user("alice", Some("testers"))?;
    let refused = kubectl_as(&rig, &kubeconfig, &["get", "pods"])?;
    let message = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(!refused.status.success(), "a user without a role listed pods");
    ensure!(
        message.contains("\"alice\" cannot list"),
        "refused for another reason: {message}"
    );

    // By her group, so that the certificate's organisation is seen to count.
    rig.kubectl([
        "create",
        "rolebinding",
        "testers-view",
        "--clusterrole=view",
        "--group=testers",
    ])?;
    let allowed = wait_until("the role binding to be seen", Duration::from_secs(10), || {
        let output = kubectl_as(&rig, &kubeconfig, &["get", "pods"]).map_err(|error| error.to_string())?;
        if output.status.success() {
            Ok(())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    });
    rig.kubectl(["delete", "rolebinding", "testers-view"])?;
    Ok(allowed?)
}

pub fn static_token() -> Outcome {
    let rig = shared()?;
    let (user, token) = rig.static_token();
    let kubeconfig = rig.kubeconfig_with_token(user, token)?;
    let output = kubectl_as(
        &rig,
        &kubeconfig,
        &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"],
    )?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        shown == user,
        "the token's user is {shown:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let wrong = rig.kubeconfig_with_token("nobody", "no-such-token")?;
    let output = kubectl_as(&rig, &wrong, &["get", "pods"])?;
    ensure!(!output.status.success(), "an unknown token was accepted");
    Ok(())
}

pub fn service_account_token() -> Outcome {
    let rig = shared()?;
    let token = rig.kubectl(["create", "token", "default", "-n", "default"])?;
    let kubeconfig = rig.kubeconfig_with_token("default-account", token.trim())?;
    let output = kubectl_as(
        &rig,
        &kubeconfig,
        &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"],
    )?;
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        shown == "system:serviceaccount:default:default",
        "the token's user is {shown:?}"
    );
    Ok(())
}

pub fn kubelet_turns_strangers_away() -> Outcome {
    let rig = shared()?;
    let node = rig.node("n1")?;
    let url = format!("https://{}:10250/pods", node.addresses()[0]);
    let authority = rig.certificate_authority();
    let ask = |extra: &[&str]| {
        let authority = authority.to_string_lossy();
        let mut arguments = vec![
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--cacert",
            &authority,
        ];
        arguments.extend(extra);
        arguments.push(&url);
        node.exec(arguments)
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let anonymous = ask(&[])?;
    ensure!(anonymous == "401", "a stranger got {anonymous}");
    let (_, token) = rig.static_token();
    let known = ask(&["-H", &format!("Authorization: Bearer {token}")])?;
    ensure!(known == "403", "a user without a role got {known}");
    Ok(())
}

pub fn audit_log_counts_execs() -> Outcome {
    let rig = shared()?;
    rig.start_plain_pods("audited", "audited", 1)?;
    let count = || -> std::io::Result<usize> {
        let log = fs::read_to_string(rig.audit_log())?;
        let of_execs = |line: &&str| {
            serde_json::from_str::<serde_json::Value>(line).is_ok_and(|event| {
                event["objectRef"]["subresource"] == "exec"
                    && event["objectRef"]["namespace"] == "audited"
                    && event["stage"] == "ResponseComplete"
            })
        };
        Ok(log.lines().filter(of_execs).count())
    };
    let before = count()?;
    for _ in 0..3 {
        rig.kubectl(["exec", "-n", "audited", "audited-0", "--", "/rig-workload", "--version"])?;
    }
    wait_until(
        "three execs in the audit log",
        Duration::from_secs(10),
        || match count() {
            Ok(now) if now == before + 3 => Ok(()),
            other => Err(format!("{before} before, now {other:?}")),
        },
    )?;
    Ok(())
}
