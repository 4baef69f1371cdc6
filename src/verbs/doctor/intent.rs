//! What `--dry-run` answers: all that would be created and read.

use crate::{agents::NodePlan, exit::Failure, output::document, report::API_VERSION, verbs::Shared};
use schemars::JsonSchema;
use serde::Serialize;

/// What a run would create and read.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DoctorPlan {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: &'static str,
    /// `DoctorPlan`.
    pub kind: &'static str,
    /// Objects and nodes; nothing of them with `--api-only`.
    #[serde(flatten)]
    pub on_nodes: NodePlan,
}

/// Prints it.
///
/// # Errors
/// If stdout cannot be written.
pub fn describe(on_nodes: NodePlan, shared: &Shared) -> Result<(), Failure> {
    let plan = DoctorPlan {
        api_version: API_VERSION,
        kind: "DoctorPlan",
        on_nodes,
    };
    let text = document(shared.flags.output.format, &plan)?;
    shared
        .printer
        .data(&text.unwrap_or_else(|| plan.on_nodes.text() + "nothing was created\n"))
}
