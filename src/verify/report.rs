//! The report, as `-o json` and `-o yaml` show it: Kubernetes-shaped, its schema committed and only ever growing.

use super::{group::Group, judge::Judgement, network::Differences, observed::report::ObservedReport};
use crate::{
    findings::{Finding, Harm, Severity},
    report::{API_VERSION, Conclusion, Metadata},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Kind of the report.
pub const KIND: &str = "VerifyReport";

/// What nodes hold, against what they must.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyReport {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `VerifyReport`.
    pub kind: String,
    /// About the run.
    pub metadata: Metadata,
    /// What was asked.
    pub spec: Spec,
    /// What was found.
    pub status: Status,
}

/// What was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Nodes; empty for all.
    pub nodes: Vec<String>,
    /// Checks, by their ids; empty for all.
    pub checks: Vec<String>,
    /// The archive that was judged; absent if the cluster itself was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The run's result in one word.
    pub conclusion: Conclusion,
    /// The pod network; absent if it is none that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// When nodes were read, RFC 3339.
    pub taken: String,
    /// How agents got into the cluster; empty for an archive.
    #[serde(default)]
    pub way: String,
    /// Each node and how its groups of checks stand.
    pub nodes: Vec<Node>,
    /// What is wrong, the worst first.
    pub findings: Vec<NodeFinding>,
    /// What `--fix` came to; absent without it, or where nothing was to be put right. The findings are those that are left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
    /// What was observed in an interval; absent where that was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<ObservedReport>,
    /// What was not checked, and why.
    pub not_checked: Vec<NotChecked>,
    /// Numbers of them.
    pub summary: Summary,
    /// How long it took.
    pub timing: Timing,
    /// What else is to be known.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Each group of checks, by its name.
    pub groups: BTreeMap<Group, Standing>,
}

/// How a group of checks stands on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// All of it holds.
    Held,
    /// Something of it deserves a look.
    Warned,
    /// Something of it does not hold.
    Failed,
    /// Something of it was not checked, and nothing else is wrong.
    NotChecked,
}

/// A finding on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFinding {
    /// The node.
    pub node: String,
    /// The group of the check.
    pub group: Group,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// What it does to traffic.
    #[serde(default)]
    pub harm: Harm,
    /// The subject of the finding that this one follows from: mend that one, and this one goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows_from: Option<String>,
}

/// What `--fix` came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fix {
    /// What each daemon that was asked did.
    pub nodes: Vec<NodeFix>,
    /// What was found before and is gone.
    pub gone: Vec<Gone>,
}

/// What a daemon did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeFix {
    /// Its node.
    pub node: String,
    /// Changes it made, by kind.
    pub changed: BTreeMap<String, u64>,
    /// What it could not change, a line each.
    pub failed: Vec<String>,
    /// Why it was not asked, or did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A finding that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gone {
    /// Its id.
    pub id: String,
    /// What it was about.
    pub subject: String,
}

impl NodeFix {
    /// Changes and failures by a daemon's answer, or why there is none.
    pub fn new(node: &str, answer: Result<(BTreeMap<String, u64>, Vec<String>), String>) -> Self {
        let (answer, why) = match answer {
            Ok(answer) => (answer, None),
            Err(why) => (Default::default(), Some(why)),
        };
        let (changed, failed) = answer;
        Self {
            node: node.to_owned(),
            changed,
            failed,
            why,
        }
    }
}

impl Fix {
    /// By what was found before and after.
    pub fn new(nodes: Vec<NodeFix>, before: &Judgement, after: &Judgement) -> Self {
        let mut gone = Vec::new();
        for (node, differences) in &before.nodes {
            let left = after
                .nodes
                .get(node)
                .map(|left| left.found.as_slice())
                .unwrap_or_default();
            let is_gone = |one: &&super::found::Found| !left.iter().any(|left| left.is_same(one));
            gone.extend(differences.found.iter().filter(is_gone).map(|one| Gone {
                id: one.id.to_owned(),
                subject: one.finding(node).subject,
            }));
        }
        Self { nodes, gone }
    }
}

/// What was not checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotChecked {
    /// The node.
    pub node: String,
    /// Groups of checks.
    pub groups: Vec<Group>,
    /// Why.
    pub why: String,
}

/// Numbers of findings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Nodes that were to be looked at.
    pub nodes: u64,
    /// Things that break traffic, those that follow from others not counted.
    pub errors: u64,
    /// Things that deserve a look.
    pub warnings: u64,
    /// Findings that follow from others.
    pub follow: u64,
    /// Groups of checks on nodes that were not checked.
    pub not_checked: u64,
}

/// How long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Until agents ran and namespaces were found.
    pub agents_ms: u64,
    /// From then to the last verdict.
    pub verify_ms: u64,
    /// The whole run, removal of what it created included.
    pub total_ms: u64,
}

impl NodeFinding {
    /// All findings: roots before what follows from them, the worst and what breaks the most traffic first; otherwise as they were found.
    pub fn of(judgement: &Judgement, observed: Option<&ObservedReport>) -> Vec<Self> {
        let of_node = |(node, differences): (&String, &Differences)| {
            let findings: Vec<Finding> = differences.found.iter().map(|one| one.finding(node)).collect();
            let told = differences.found.iter().zip(&findings).map(|(one, finding)| Self {
                node: node.clone(),
                group: Group::of(one.id),
                finding: finding.clone(),
                harm: Harm::new(one.id, observed.and_then(|observed| observed.probed_at(node))),
                follows_from: one
                    .follows
                    .and_then(|root| findings.get(root))
                    .map(|root| root.subject.clone()),
            });
            told.collect::<Vec<_>>()
        };
        let mut all: Vec<Self> = judgement.nodes.iter().flat_map(of_node).collect();
        all.sort_by_key(|one| {
            let worst = (one.finding.severity, one.harm.worst());
            (one.follows_from.is_some(), std::cmp::Reverse(worst))
        });
        all
    }
}

impl VerifyReport {
    /// The report on a judgement.
    pub fn new(
        metadata: Metadata,
        spec: Spec,
        taken: String,
        judgement: &Judgement,
        observed: Option<ObservedReport>,
    ) -> Self {
        let mut status = Status {
            network: judgement.network.map(str::to_owned),
            taken,
            findings: NodeFinding::of(judgement, observed.as_ref()),
            observed,
            ..Status::default()
        };
        for (node, differences) in &judgement.nodes {
            let mut reasons: BTreeMap<&str, Vec<Group>> = BTreeMap::new();
            for unchecked in &differences.unchecked {
                let groups = reasons.entry(&unchecked.why).or_default();
                if !groups.contains(&unchecked.group) {
                    groups.push(unchecked.group);
                }
            }
            status
                .not_checked
                .extend(reasons.into_iter().map(|(why, groups)| NotChecked {
                    node: node.clone(),
                    groups,
                    why: why.to_owned(),
                }));
        }
        status.nodes = judgement.nodes.keys().map(|node| status.standing(node)).collect();
        status.summary = status.count();
        status.conclusion = match status.summary {
            Summary { errors: 1.., .. } => Conclusion::Failed,
            Summary { not_checked: 1.., .. } => Conclusion::Inconclusive,
            _ if status.nodes.is_empty() => Conclusion::Inconclusive,
            _ => Conclusion::Held,
        };
        Self {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            metadata,
            spec,
            status,
        }
    }
}

impl Status {
    /// Groups of checks that were made, in the order of the columns.
    pub fn groups(&self) -> impl Iterator<Item = Group> {
        let observed = self.observed.is_some().then_some(Group::Observed);
        Group::ALL.into_iter().chain(observed)
    }

    fn standing(&self, node: &str) -> Node {
        let of_group = |group: Group| {
            let here = |one: &&NodeFinding| one.node == node && one.group == group;
            let worst = self.findings.iter().filter(here).map(|one| one.finding.severity).max();
            let is_unchecked = self
                .not_checked
                .iter()
                .any(|one| one.node == node && one.groups.contains(&group));
            match (worst, is_unchecked) {
                (Some(Severity::Error), _) => Standing::Failed,
                (_, true) | (Some(Severity::Inconclusive), _) => Standing::NotChecked,
                (Some(Severity::Warning), _) => Standing::Warned,
                (None, false) => Standing::Held,
            }
        };
        Node {
            name: node.to_owned(),
            groups: self.groups().map(|group| (group, of_group(group))).collect(),
        }
    }

    fn count(&self) -> Summary {
        let roots = |severity| {
            let is_so = |one: &&NodeFinding| one.follows_from.is_none() && one.finding.severity == severity;
            self.findings.iter().filter(is_so).count() as u64
        };
        Summary {
            nodes: self.nodes.len() as u64,
            errors: roots(Severity::Error),
            warnings: roots(Severity::Warning),
            follow: self.findings.iter().filter(|one| one.follows_from.is_some()).count() as u64,
            not_checked: self.not_checked.iter().map(|one| one.groups.len() as u64).sum(),
        }
    }
}
