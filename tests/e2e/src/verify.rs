//! A report of `verify` as a script would read it: from its JSON, without the plugin's own types.

use crate::lab::{Lab, said};
use anyhow::{Context, Result, ensure};
use netcheck_rig::wait_until;
use serde_json::Value;
use std::{collections::BTreeSet, ffi::OsStr, time::Duration};

/// What a run of `verify -o json` gave.
#[derive(Debug)]
pub struct Verify {
    /// Exit code.
    pub exit: i32,
    /// The whole report.
    pub report: Value,
    /// What it said on stderr.
    pub stderr: String,
}

impl Verify {
    /// Runs `kubectl netcheck verify -o json ARGUMENTS…`; a run that printed no report is an error.
    pub fn run<A: AsRef<OsStr>>(lab: &Lab, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut command = lab.netcheck(["verify", "-o", "json"]);
        let output = command
            .args(arguments)
            .output()
            .context("run kubectl netcheck verify")?;
        let report = serde_json::from_slice(&output.stdout).with_context(|| said(&output))?;
        Ok(Self {
            exit: output.status.code().unwrap_or(-1),
            report,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Runs it until there is nothing to say of any node.
    pub fn wait_until_held(lab: &Lab, deadline: Duration) -> Result<()> {
        Ok(wait_until("verify to hold", deadline, || {
            let verify = Self::run(lab, [] as [&str; 0]).map_err(|error| format!("{error:#}"))?;
            if verify.held() { Ok(()) } else { Err(verify.told()) }
        })?)
    }

    /// Of a node's findings that an interval has come to, those of this id (of any, if it is empty): ids of what they follow from, or nothing of one that follows
    /// from none.
    #[must_use]
    pub fn told_of(&self, node: &str, id: &str) -> Vec<&str> {
        let findings = self.report["status"]["findings"].as_array();
        let findings = || findings.into_iter().flatten().filter(|one| one["node"] == node);
        let is_it = |one: &&Value| one["group"] == "observed" && (id.is_empty() || one["id"] == id);
        let root = |one: &Value| {
            let root = findings().find(|root| root["subject"] == one["followsFrom"]);
            root.and_then(|root| root["id"].as_str()).unwrap_or_default()
        };
        findings().filter(is_it).map(root).collect()
    }

    /// A finding on a node.
    #[must_use]
    pub fn finding(&self, node: &str, id: &str) -> Option<&Value> {
        let findings = self.report["status"]["findings"].as_array();
        findings
            .into_iter()
            .flatten()
            .find(|one| one["node"] == node && one["id"] == id)
    }

    /// What packets died of on a node and in its pods.
    #[must_use]
    pub fn died_of(&self, node: &str) -> BTreeSet<&str> {
        let rows = self.report["status"]["observed"]["nodes"].as_array();
        let rows = rows.into_iter().flatten().filter(|row| row["node"] == node);
        let reasons = rows.filter_map(|row| row["reasons"].as_array()).flatten();
        reasons.filter_map(|one| one["reason"].as_str()).collect()
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

    /// Ids of the root causes that were found on a node.
    #[must_use]
    pub fn roots(&self, node: &str) -> BTreeSet<&str> {
        let findings = self.report["status"]["findings"].as_array();
        findings
            .into_iter()
            .flatten()
            .filter(|finding| finding["node"] == node && finding["followsFrom"].is_null())
            .filter_map(|finding| finding["id"].as_str())
            .collect()
    }

    /// Fails unless each group held, on this network.
    pub fn expect_healthy(&self, network: &str, when: &str) -> Result<()> {
        let is_it = self.report["status"]["network"] == network;
        ensure!(self.held() && is_it, "{when}: {}", self.told());
        Ok(())
    }

    /// Whether each group of checks held on each node.
    #[must_use]
    pub fn held(&self) -> bool {
        let nodes = self.report["status"]["nodes"].as_array();
        let mut groups = nodes
            .into_iter()
            .flatten()
            .flat_map(|node| node["groups"].as_object().into_iter().flatten());
        self.exit == 0
            && self.report["status"]["conclusion"] == "held"
            && groups.all(|(_, standing)| standing == "held")
    }
}
