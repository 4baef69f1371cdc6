//! Bad input against a real API server: one clear line, the right exit code.

use crate::Case;
use anyhow::{Result, ensure};
use netcheck_e2e::lab::{Lab, said};

pub const CASES: &[Case] = &[
    ("input: what does not exist is exit code 2 and named", unknown),
    ("input: a bad selector is exit code 2", selector),
    ("input: an expired token is exit code 3 and says so", expired_token),
];

/// Runs `matrix` with these arguments; stderr must have one error line with all the words.
fn refused(lab: &Lab, arguments: &[&str], code: i32, words: &[&str]) -> Result<()> {
    let output = lab.netcheck(["matrix"].iter().chain(arguments)).output()?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "{arguments:?} should exit {code}: {}",
        said(&output)
    );
    ensure!(output.stdout.is_empty(), "data on stdout: {}", said(&output));
    let errors = text
        .lines()
        .filter(|line| line.to_lowercase().starts_with("error:"))
        .count();
    ensure!(errors == 1, "{errors} error lines for {arguments:?}: {text}");
    for word in words {
        ensure!(text.contains(word), "{word:?} is missing for {arguments:?}: {text}");
    }
    Ok(())
}

fn unknown(lab: &Lab) -> Result<()> {
    refused(lab, &["-n", "default", "no-such-pod"], 2, &["no-such-pod"])?;
    refused(lab, &["-n", "no-such-namespace"], 2, &["no-such-namespace"])?;
    refused(lab, &["--context", "no-such-context"], 2, &["no-such-context"])?;
    refused(lab, &["-n", "shop", "gizmo/web"], 2, &["gizmo"])?;
    refused(lab, &["-n", "shop", "deploy/no-such"], 2, &["no-such"])
}

fn selector(lab: &Lab) -> Result<()> {
    refused(lab, &["-n", "shop", "-l", "app in (web"], 2, &["requirement"])
}

fn expired_token(lab: &Lab) -> Result<()> {
    let kubeconfig = lab.rig.kubeconfig_with_token("expired", "not-a-token")?;
    let kubeconfig = kubeconfig.display().to_string();
    refused(lab, &["-n", "shop", "--kubeconfig", &kubeconfig], 3, &["credentials"])
}
