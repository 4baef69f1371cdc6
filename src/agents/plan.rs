//! What a launch would create, for `--dry-run`. Pure.

use super::{
    LaunchSpec, Via, crew, image,
    ladder::Rung,
    manifest::{IDLE, NODE_CAPABILITIES},
};
use crate::{
    cluster::inventory::{Inventory, Subject},
    exit::Failure,
    findings::Absence,
    output::{Table, safe},
};
use schemars::JsonSchema;
use serde::Serialize;
use std::{collections::BTreeMap, fmt::Write as _};

/// Objects of one kind that would be created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// `Namespace`, `Lease`, `Job`, `EphemeralContainer`.
    pub kind: String,
    /// Where, or in what.
    pub place: String,
    /// How many.
    pub count: usize,
    /// Capabilities and other privileges.
    pub privileges: String,
    /// When it goes away.
    pub lifetime: String,
}

impl Planned {
    /// As a row: kind, count, where, privileges, lifetime.
    pub fn cells(&self) -> [String; 5] {
        [
            self.kind.clone(),
            self.count.to_string(),
            self.place.clone(),
            self.privileges.clone(),
            self.lifetime.clone(),
        ]
    }
}

/// What a run with agents on nodes would create, and on which nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePlan {
    /// Objects that would be created.
    pub objects: Vec<Planned>,
    /// Nodes that would get no agent, and why.
    pub without_agent: Vec<String>,
    /// Nodes that would be read.
    pub nodes: Vec<String>,
}

impl NodePlan {
    /// For these nodes.
    ///
    /// # Errors
    /// If there is no such image.
    pub fn of(launch: &LaunchSpec, inventory: &Inventory, nodes: &[String]) -> Result<Self, Failure> {
        let (objects, absent) = describe(launch, inventory)?;
        let of_node = |subject: &Subject| match subject {
            Subject::Node(name) => Some(name.clone()),
            Subject::Pod(_) => None,
        };
        Ok(Self {
            objects,
            without_agent: absent
                .iter()
                .filter_map(|(subject, why)| Some(format!("{}: {}", safe(&of_node(subject)?), safe(&why.why))))
                .collect(),
            nodes: nodes.iter().map(|node| safe(node)).collect(),
        })
    }

    /// For people.
    pub fn text(&self) -> String {
        let mut table = Table::new(["KIND", "COUNT", "WHERE", "PRIVILEGES", "LIFETIME"]);
        for object in &self.objects {
            table.push(object.cells());
        }
        let mut text = table.render();
        // Writing to a String cannot fail.
        for line in &self.without_agent {
            let _ = writeln!(text, "no agent: {line}");
        }
        let _ = writeln!(text, "nodes: {}", self.nodes.join(" "));
        text
    }
}

/// All a launch would create, and who would get no agent. With [`Via::Auto`] the first way is described; whether the cluster admits it is
/// only known by asking.
pub fn describe(
    spec: &LaunchSpec,
    inventory: &Inventory,
) -> Result<(Vec<Planned>, BTreeMap<Subject, Absence>), Failure> {
    let image = spec.image.reference(&image::AGENT)?;
    Ok(match spec.via {
        Via::Auto | Via::Node => {
            let crew = crew::on_nodes(inventory, &spec.subjects);
            (node_way(spec, &image, crew.members.len()), crew.absent)
        }
        Via::Ephemeral => {
            let mut crew = crew::in_pods(inventory, &spec.subjects);
            crew.leave_out(
                &spec.bystanders,
                "no ephemeral container is added to pods that were not asked for",
            );
            let planned = Planned {
                kind: "EphemeralContainer".to_owned(),
                place: format!("one in each pod looked at, image {image}"),
                count: crew.members.len(),
                privileges: Rung::ALL.map(Rung::describe).join("; else "),
                lifetime: format!(
                    "ends with the run, at most {} s after the plugin is lost; stays listed in the pod until the pod is deleted: nobody can remove it",
                    IDLE.as_secs()
                ),
            };
            (vec![planned], crew.absent)
        }
    })
}

fn node_way(spec: &LaunchSpec, image: &str, nodes: usize) -> Vec<Planned> {
    let namespace = &spec.agent_namespace;
    let planned = |kind: &str, place: String, count, privileges: String, lifetime: &str| Planned {
        kind: kind.to_owned(),
        place,
        count,
        privileges,
        lifetime: lifetime.to_owned(),
    };
    vec![
        planned(
            "Namespace",
            format!("{namespace}, if it does not exist"),
            1,
            "Pod Security: privileged".to_owned(),
            "removed by the last run",
        ),
        planned(
            "Lease",
            namespace.clone(),
            1,
            "none".to_owned(),
            "removed with the Jobs",
        ),
        planned(
            "Job",
            format!("{namespace}, one pod on each node, image {image}"),
            nodes,
            format!(
                "hostNetwork, hostPID, user 0, drop ALL, add {}",
                NODE_CAPABILITIES.join(" ")
            ),
            &format!(
                "removed at the end; by the cluster after {} s at the latest",
                spec.deadline.as_secs()
            ),
        ),
    ]
}
