//! What a capture came to, for people and for scripts.

use super::board::Joined;
use crate::{
    agents::Planned,
    capture::account::Account,
    findings::Finding,
    output::{Cell, Table, Tone},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The report's kind.
pub const KIND: &str = "CaptureReport";
/// The kind of what `--dry-run` prints.
pub const PLAN: &str = "CapturePlan";

/// What a capture came to. Printed by `-o json` where stdout holds no packets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaptureReport {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `CaptureReport`.
    pub kind: String,
    /// What was asked for.
    pub spec: Spec,
    /// What came of it.
    pub status: Status,
}

/// What was asked for.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Pods and nodes, in words.
    pub sources: Vec<String>,
    /// The filter as it was typed; empty for everything.
    pub filter: String,
    /// Where the packets went.
    pub output: String,
    /// Bytes kept of each packet at most.
    pub snap_length: u32,
}

/// What came of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Every packet that passed the filter is in the output or in a column of the accounts.
    pub complete: bool,
    /// Why it ended.
    pub ended_by: String,
    /// From the first source's capture to the last one's end, in milliseconds.
    pub milliseconds: u64,
    /// How agents came in.
    pub way: String,
    /// All sources together.
    pub total: Account,
    /// One for each source.
    pub sources: Vec<SourceStatus>,
    /// Packets that stand after a later one in the output.
    pub out_of_order: u64,
    /// What is wrong, if anything: losses, sources that were not captured.
    pub findings: Vec<Finding>,
    /// What else is to be known: clocks, sources that share a namespace, streams that were resumed.
    pub notes: Vec<String>,
}

/// One source.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// `pod shop/web-1`, `node n1`.
    pub name: String,
    /// Its node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why it was not captured at all, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_captured: Option<String>,
    /// Since when it is captured, if it came later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub joined: Option<Joined>,
    /// What else is to be said of it, and is no loss: that it was deleted, for one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Where its packets went.
    pub account: Account,
}

/// What `--dry-run` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapturePlan {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: String,
    /// `CapturePlan`.
    pub kind: String,
    /// What would be created.
    pub objects: Vec<Planned>,
    /// Sources that no agent could reach, and why, one line each.
    pub without_agent: Vec<String>,
    /// What would be captured.
    pub spec: Spec,
    /// When it would end, in words.
    pub limits: String,
}

impl CapturePlan {
    /// For people.
    pub fn text(&self) -> String {
        let mut table = Table::new(["KIND", "COUNT", "PLACE", "PRIVILEGES", "LIFETIME"]);
        for object in &self.objects {
            table = table.row([
                object.kind.clone(),
                object.count.to_string(),
                object.place.clone(),
                object.privileges.clone(),
                object.lifetime.clone(),
            ]);
        }
        let filter = match self.spec.filter.as_str() {
            "" => "all packets".to_owned(),
            filter => format!("packets that match: {filter}"),
        };
        let mut lines = vec![
            String::new(),
            format!("{filter} of {}", self.spec.sources.join(", ")),
            format!("{}; to {}", self.limits, self.spec.output),
        ];
        lines.extend(self.without_agent.iter().map(|line| format!("no agent for {line}")));
        table.render() + &lines.join("\n") + "\n"
    }
}

impl CaptureReport {
    /// A line for each source, where there is more than one or something is to be told.
    pub fn table(&self) -> Option<Table> {
        let told = |source: &SourceStatus| {
            source.not_captured.is_some() || source.account.unsettled.is_some() || !source.remarks.is_empty()
        };
        if self.status.sources.len() < 2 && !self.status.sources.iter().any(told) {
            return None;
        }
        let mut table = Table::new(["SOURCE", "NODE", "PACKETS", "BYTES", "LOST", "REMARK"]);
        for source in &self.status.sources {
            let account = &source.account;
            let (remark, tone) = match (&source.not_captured, &account.unsettled) {
                (Some(why), _) => (format!("not captured: {why}"), Tone::Doubtful),
                (None, Some(why)) => (format!("incomplete: {why}"), Tone::Doubtful),
                (None, None) if account.lost() > 0 => (account.losses().join(", "), Tone::Bad),
                (None, None) => (String::new(), Tone::Quiet),
            };
            let remark = source.remarks.iter().chain((!remark.is_empty()).then_some(&remark));
            let remark = remark.map(String::as_str).collect::<Vec<_>>().join("; ");
            table = table.row([
                Cell::from(&source.name),
                Cell::from(source.node.as_deref().unwrap_or("-")),
                Cell::from(account.written.to_string()),
                Cell::from(account.written_bytes.to_string()),
                Cell::from(account.lost().to_string()),
                Cell::toned(tone, remark),
            ]);
        }
        Some(table)
    }
}
