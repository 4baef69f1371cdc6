//! A report of `doctor` as a script would read it: from its JSON, without the plugin's own types.

use crate::{lab::Lab, printed::Printed};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::{ffi::OsStr, ops::Deref, process::Output};

/// What a run of `doctor -o json` gave.
#[derive(Debug)]
pub struct Doctor(Printed);

impl Deref for Doctor {
    type Target = Printed;

    fn deref(&self) -> &Printed {
        &self.0
    }
}

impl Doctor {
    /// Runs `kubectl netcheck doctor -o json ARGUMENTS…`; a run that printed no report is an error.
    pub fn run<A: AsRef<OsStr>>(lab: &Lab, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        Printed::run(lab, "doctor", arguments).map(Self)
    }

    /// Reads what a run has printed.
    pub fn of(output: &Output) -> Result<Self> {
        Printed::of(output).map(Self)
    }

    /// State and words of a line.
    pub fn line(&self, topic: &str, check: &str) -> Result<(&str, &str)> {
        let sections = self.report["status"]["sections"].as_array();
        let of_topic = sections.into_iter().flatten().filter(|one| one["topic"] == topic);
        let mut lines = of_topic.filter_map(|one| one["lines"].as_array()).flatten();
        let line = lines.find(|line| line["check"] == check);
        let line = line.with_context(|| format!("no line {topic} {check}: {}", self.told()))?;
        let word = |key: &str| line[key].as_str().unwrap_or_default();
        Ok((word("state"), word("says")))
    }

    /// Fails unless a line has this state and says this.
    pub fn expect(&self, topic: &str, check: &str, state: &str, says: &str) -> Result<()> {
        let (is, words) = self.line(topic, check)?;
        ensure!(
            is == state && words.contains(says),
            "{topic} {check} should be {state} and say {says:?}: {}",
            self.told()
        );
        Ok(())
    }

    /// Fails unless it ended with this exit code.
    pub fn expect_exit(&self, code: i32) -> Result<()> {
        ensure!(self.exit == code, "not exit code {code}: {}", self.told());
        Ok(())
    }

    /// Ids of findings about what begins so.
    #[must_use]
    pub fn found(&self, subject: &str) -> Vec<&str> {
        let findings = self.report["status"]["findings"].as_array();
        let is_it = |one: &&Value| one["subject"].as_str().is_some_and(|words| words.starts_with(subject));
        let here = findings.into_iter().flatten().filter(is_it);
        here.filter_map(|one| one["id"].as_str()).collect()
    }
}
