//! What all reports have in common.

use crate::output::{Printer, Tone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Version of the reports' format: `apiVersion` of every document that netcheck prints.
pub const API_VERSION: &str = "netcheck.dev/v1alpha1";

/// About the run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// When the run began, RFC 3339.
    pub creation_timestamp: String,
    /// The kubeconfig's context.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context: Option<String>,
    /// Version of the plugin.
    pub version: String,
}

/// The run's result in one word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Conclusion {
    /// All that was checked held: exit code 0.
    Held,
    /// Something did not hold: exit code 1.
    Failed,
    /// Nothing failed, something could not be told: exit code 3, or 0 if allowed.
    #[default]
    Inconclusive,
    /// Interrupted by the user: exit code 130.
    Interrupted,
}

impl Conclusion {
    /// Its word, coloured where the printer's stdout is.
    pub fn painted(self, printer: Option<&Printer>) -> String {
        let (tone, word) = match self {
            Self::Held => (Tone::Good, "held"),
            Self::Failed => (Tone::Bad, "failed"),
            Self::Inconclusive => (Tone::Doubtful, "inconclusive"),
            Self::Interrupted => (Tone::Doubtful, "interrupted"),
        };
        printer.map_or_else(|| word.to_owned(), |printer| printer.paint(tone, word))
    }
}
