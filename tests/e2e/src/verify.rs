//! A report of `verify` as a script would read it: from its JSON, without the plugin's own types.

use crate::{lab::Lab, printed::Printed};
use anyhow::{Result, ensure};
use netcheck_rig::wait_until;
use serde_json::Value;
use std::{collections::BTreeSet, ffi::OsStr, ops::Deref, time::Duration};

/// What a run of `verify -o json` gave.
#[derive(Debug)]
pub struct Verify(Printed);

impl Deref for Verify {
    type Target = Printed;

    fn deref(&self) -> &Printed {
        &self.0
    }
}

impl Verify {
    /// Runs `kubectl netcheck verify -o json ARGUMENTS…`; a run that printed no report is an error.
    pub fn run<A: AsRef<OsStr>>(lab: &Lab, arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        Printed::run(lab, "verify", arguments).map(Self)
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
