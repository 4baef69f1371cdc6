//! A report as a script would read it: from its JSON, without the plugin's own types.

use crate::lab::{Lab, said};
use anyhow::{Context, Result};
use serde_json::Value;
use std::{ffi::OsStr, process::Output};

/// What a run of a verb with `-o json` gave.
#[derive(Debug)]
pub struct Printed {
    /// Exit code.
    pub exit: i32,
    /// The whole report.
    pub report: Value,
    /// What it said on stderr.
    pub stderr: String,
}

impl Printed {
    /// Runs `kubectl netcheck VERB -o json ARGUMENTS…`; a run that printed no report is an error.
    pub fn run<A: AsRef<OsStr>>(lab: &Lab, verb: &str, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut command = lab.netcheck([verb, "-o", "json"]);
        let output = command.args(arguments).output();
        Self::of(&output.with_context(|| format!("run kubectl netcheck {verb}"))?)
    }

    /// Reads what a run has printed.
    pub fn of(output: &Output) -> Result<Self> {
        Ok(Self {
            exit: output.status.code().unwrap_or(-1),
            report: serde_json::from_slice(&output.stdout).with_context(|| said(output))?,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// The status, for people who see a test fail.
    #[must_use]
    pub fn told(&self) -> String {
        format!(
            "exit code {}\n{}\nstderr: {}",
            self.exit,
            serde_json::to_string_pretty(&self.report["status"]).unwrap_or_default(),
            self.stderr
        )
    }
}
