//! What `--dry-run` answers: all that would be created and sent.

use crate::{agents::Planned, output::Table};
use schemars::JsonSchema;
use serde::Serialize;
use std::fmt::Write as _;

/// Kind of the document.
pub const KIND: &str = "MatrixPlan";

/// What a run would create and send.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "MatrixPlan")]
pub struct Intent {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: &'static str,
    /// `MatrixPlan`.
    pub kind: &'static str,
    /// Objects that would be created.
    pub objects: Vec<Planned>,
    /// Sources and destinations that would get no agent, and why.
    pub without_agent: Vec<String>,
    /// Ordered pairs that would be tested.
    pub pairs: usize,
    /// Ordered pairs that could be.
    pub pairs_in_scope: usize,
    /// Probes by declared ports alone.
    pub probes_at_least: usize,
    /// The limit; `null` if there is none.
    pub probes_at_most: Option<usize>,
    /// Nodes that are involved.
    pub nodes: Vec<String>,
}

impl Intent {
    /// For people.
    pub fn text(&self) -> String {
        let mut table = Table::new(["KIND", "COUNT", "WHERE", "PRIVILEGES", "LIFETIME"]);
        for object in &self.objects {
            table.push(object.cells());
        }
        let mut text = table.render();
        let at_most = self
            .probes_at_most
            .map_or_else(|| "no limit".into(), |limit| format!("at most {limit}"));
        // Writing to a String cannot fail.
        for line in &self.without_agent {
            let _ = writeln!(text, "no agent: {line}");
        }
        let _ = writeln!(
            text,
            "pairs: {} of {}, on nodes: {}",
            self.pairs,
            self.pairs_in_scope,
            self.nodes.join(" ")
        );
        let _ = writeln!(
            text,
            "probes: at least {} by declared ports, {at_most}; what listens is known once agents run",
            self.probes_at_least
        );
        text.push_str("nothing was created\n");
        text
    }
}
