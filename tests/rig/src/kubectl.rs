//! Real kubectl, run in the root namespace against the rig.

use crate::{
    Error, Result,
    error::Context,
    sandbox::{checked, show},
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::Write,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// kubectl with the rig's kubeconfig.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Kubectl {
    pub fn new(program: &Path, kubeconfig: &Path) -> Self {
        Self {
            program: program.to_owned(),
            kubeconfig: kubeconfig.to_owned(),
        }
    }

    /// A command to fill and run; a proxy that the environment names is not asked for the rig's own addresses.
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg0("kubectl")
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig);
        for proxy in [
            "HTTP_PROXY",
            "HTTPS_PROXY",
            "http_proxy",
            "https_proxy",
            "ALL_PROXY",
            "all_proxy",
        ] {
            command.env_remove(proxy);
        }
        command
    }

    /// Runs kubectl to its end; a failure is an error.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        let mut command = self.command(arguments);
        let shown = readable(&command);
        let output = command
            .stdin(Stdio::null())
            .output()
            .context(format!("run `{shown}`"))?;
        checked(&shown, &output)
    }

    /// Runs `kubectl … -o json` and parses what it prints.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.run(arguments.iter().chain(&["-o", "json"]))?;
        serde_json::from_str(&text).map_err(|cause| Error::Json {
            what: format!("output of kubectl {}", arguments.join(" ")),
            cause,
        })
    }

    /// Applies a document (server side, so that large ones and repeated ones are fine).
    pub fn apply(&self, document: &str) -> Result<()> {
        let mut command = self.command(["apply", "--server-side", "--force-conflicts", "-f", "-"]);
        let shown = readable(&command);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(format!("start `{shown}`"))?;
        if let Some(mut input) = child.stdin.take() {
            input
                .write_all(document.as_bytes())
                .context(format!("write to `{shown}`"))?;
        }
        let output = child
            .wait_with_output()
            .context(format!("collect the output of `{shown}`"))?;
        checked(&shown, &output).map(drop)
    }
}

fn readable(command: &Command) -> String {
    let line = show(command);
    let arguments = line.split_once(' ').map_or("", |(_, arguments)| arguments);
    format!("kubectl {arguments}")
}
