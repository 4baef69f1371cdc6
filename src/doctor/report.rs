//! The report, as `-o json` and `-o yaml` show it: Kubernetes-shaped, its schema committed and only ever growing.

use crate::{
    findings::{Finding, Severity},
    report::{API_VERSION, Conclusion, Metadata},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kind of the report.
pub const KIND: &str = "DoctorReport";

/// What is where, and who may do what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorReport {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `DoctorReport`.
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
    /// The namespace that verbs would look at; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The agents' namespace.
    pub agent_namespace: String,
    /// Nodes; empty for all.
    pub nodes: Vec<String>,
    /// Verbs that must be allowed; empty where none need be.
    pub verbs: Vec<String>,
    /// Only the API was asked.
    pub api_only: bool,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The run's result in one word.
    pub conclusion: Conclusion,
    /// The pod network, in fact or as the API shows it; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// What programs Services; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_proxy: Option<String>,
    /// Nodes that were looked at.
    pub nodes: Vec<String>,
    /// Nodes that no agent can run on (Windows, virtual).
    pub out_of_scope: Vec<String>,
    /// What was looked at, by topic.
    pub sections: Vec<Section>,
    /// What is wrong, the worst first.
    pub findings: Vec<DoctorFinding>,
    /// What to run next.
    pub next: Vec<String>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// Numbers of lines.
    pub summary: Summary,
    /// How long it took.
    pub timing: Timing,
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// The API server, and who asks it.
    Api,
    /// What verbs may do.
    Rights,
    /// What namespaces admit.
    Admission,
    /// Nodes, as the API tells of them.
    Nodes,
    /// Agents of netcheck on nodes.
    Agents,
    /// The pod network and the service proxy.
    Network,
    /// The cluster's DNS.
    Dns,
}

impl Topic {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Rights => "rights",
            Self::Admission => "admission",
            Self::Nodes => "nodes",
            Self::Agents => "agents",
            Self::Network => "network",
            Self::Dns => "dns",
        }
    }
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It deserves a look.
    Warning,
    /// It could not be told.
    Unknown,
    /// It is not as it must be.
    Failed,
}

impl State {
    /// As it is printed.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Failed => "failed",
        }
    }
}

impl From<Severity> for State {
    fn from(severity: Severity) -> Self {
        match severity {
            Severity::Error => Self::Failed,
            Severity::Warning => Self::Warning,
            Severity::Inconclusive => Self::Unknown,
        }
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Section {
    /// Which.
    pub topic: Topic,
    /// Its lines.
    pub lines: Vec<Line>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// What: the same from run to run.
    pub check: String,
    /// How it stands.
    pub state: State,
    /// What was seen, or why nothing was.
    pub says: String,
    /// The command to run next, if one goes further.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// Something that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorFinding {
    /// The topic.
    pub topic: Topic,
    /// What was found.
    #[serde(flatten)]
    pub finding: Finding,
    /// The command to run next.
    pub next: String,
}

/// Numbers of lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Lines that say ok.
    pub ok: u64,
    /// Lines with a warning.
    pub warnings: u64,
    /// Lines that failed.
    pub failed: u64,
    /// Lines about what could not be told.
    pub unknown: u64,
}

/// How long it took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// Until the API had answered everything.
    pub api_ms: u64,
    /// From then to the last answer of an agent.
    pub nodes_ms: u64,
    /// The whole run, removal of what it created included.
    pub total_ms: u64,
}

impl DoctorReport {
    /// The report on what was assessed.
    pub fn new(metadata: Metadata, spec: Spec, mut status: Status) -> Self {
        status
            .findings
            .sort_by_key(|one| (std::cmp::Reverse(one.finding.severity), one.topic));
        let lines = || status.sections.iter().flat_map(|section| &section.lines);
        let count = |state| lines().filter(|line| line.state == state).count() as u64;
        status.summary = Summary {
            ok: count(State::Ok),
            warnings: count(State::Warning),
            failed: count(State::Failed),
            unknown: count(State::Unknown),
        };
        let is_error = |one: &DoctorFinding| one.finding.severity == Severity::Error;
        status.conclusion = match status.summary {
            _ if status.findings.iter().any(is_error) => Conclusion::Failed,
            Summary { failed: 1.., .. } => Conclusion::Failed,
            Summary { unknown: 1.., .. } => Conclusion::Inconclusive,
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
