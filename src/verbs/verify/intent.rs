//! What `--dry-run` answers: all that would be created and read.

use super::{Request, Shared, milliseconds};
use crate::{
    agents::{LaunchSpec, NodePlan},
    exit::Failure,
    output::document,
    report::API_VERSION,
    verify::observed::pairs::pairs,
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{fmt::Write as _, time::Duration};

/// Kind of the document.
const KIND: &str = "VerifyPlan";

/// What a run would create and read.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyPlan {
    /// `netcheck.dev/v1alpha1`.
    pub api_version: &'static str,
    /// `VerifyPlan`.
    pub kind: &'static str,
    /// Objects and nodes.
    #[serde(flatten)]
    pub on_nodes: NodePlan,
    /// What would be sent while they are observed; absent without `--observe`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observe: Option<ObservePlan>,
}

/// What `--observe` would do.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObservePlan {
    /// How long, in milliseconds.
    pub interval_ms: u64,
    /// Ways between pods of two nodes that echo requests would be sent on, once a second and ten times at most.
    pub ways: usize,
}

/// Prints it.
///
/// # Errors
/// If stdout cannot be written.
pub fn describe(
    request: &Request,
    launch: &LaunchSpec,
    interval: Option<Duration>,
    shared: &Shared,
) -> Result<(), Failure> {
    let plan = VerifyPlan {
        api_version: API_VERSION,
        kind: KIND,
        on_nodes: NodePlan::of(launch, &request.inventory, &request.chosen)?,
        observe: interval.map(|interval| ObservePlan {
            interval_ms: milliseconds(interval),
            ways: pairs(&request.read.objects, &request.chosen, |_| true).len(),
        }),
    };
    let text = document(shared.flags.output.format, &plan)?;
    shared.printer.data(&text.unwrap_or_else(|| plan.text()))
}

impl VerifyPlan {
    fn text(&self) -> String {
        let mut text = self.on_nodes.text();
        // Writing to a String cannot fail.
        if let Some(observe) = &self.observe {
            let _ = writeln!(
                text,
                "echo requests: on {} ways between pods of two nodes",
                observe.ways
            );
        }
        text.push_str("nothing was created\n");
        text
    }
}
