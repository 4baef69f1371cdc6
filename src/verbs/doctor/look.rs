//! The look at nodes: `verify`'s own, and a question to the cluster's DNS.

use super::{DoctorArgs, dns};
use crate::{
    agents::{Farewell, Fleet, LaunchSpec, NodePlan},
    cluster::{Cluster, inventory::Subject},
    doctor::{
        assess::{ApiFacts, NodeFacts},
        machines, packets,
    },
    exit::{Exit, Failure},
    findings::{Absence, Obstacle},
    verbs::{Shared, verify},
    verify::report::NodeFinding,
};
use std::{collections::BTreeMap, time::Duration};

/// What was found, and how the agents were left.
pub struct Looked {
    /// For the assessment.
    pub facts: NodeFacts,
    /// How the agents were left.
    pub farewell: Farewell,
}

/// What it would create.
///
/// # Errors
/// If nodes or pods cannot be listed.
pub async fn plan(
    cluster: &Cluster,
    chosen: &[String],
    args: &DoctorArgs,
    shared: &Shared,
) -> Result<NodePlan, Failure> {
    let request = verify::Request::of(cluster, chosen.iter().cloned().collect()).await?;
    NodePlan::of(
        &launch_spec(&request, args, shared),
        &request.inventory,
        &request.chosen,
    )
}

fn launch_spec(request: &verify::Request, args: &DoctorArgs, shared: &Shared) -> LaunchSpec {
    LaunchSpec {
        verb: "doctor",
        ..request.launch_spec(&args.agents, Duration::ZERO, shared)
    }
}

/// Looks. That there can be no agent is not an error, but what is found.
///
/// # Errors
/// On an interrupt.
pub async fn look(
    cluster: &Cluster,
    chosen: &[String],
    api: &ApiFacts,
    args: &DoctorArgs,
    shared: &Shared,
) -> Result<Looked, Failure> {
    let attempt = async {
        let request = verify::Request::of(cluster, chosen.iter().cloned().collect()).await?;
        let launch = launch_spec(&request, args, shared);
        let mut fleet = Fleet::launch(cluster, &request.inventory, &launch, &shared.printer).await?;
        let phase = shared.printer.phase("reading nodes");
        let looked = tokio::select! {
            looked = read(&mut fleet, &request, api) => looked,
            () = shared.interrupt.requested() => Err(super::interrupted()),
        };
        if let Ok(facts) = &looked {
            phase.finish(format!("{} of {} read", facts.machines.len(), chosen.len()));
        }
        let farewell = fleet.close(&shared.printer).await;
        for failure in &farewell.failures {
            shared.printer.failure(failure);
        }
        Ok::<_, Failure>(Looked {
            facts: looked?,
            farewell,
        })
    };
    match Box::pin(attempt).await {
        Err(failure) if failure.exit != Exit::Interrupted => Ok(Looked {
            facts: NodeFacts {
                chosen: chosen.to_vec(),
                none: Some(because(&failure)),
                ..NodeFacts::default()
            },
            farewell: Farewell::default(),
        }),
        looked => looked,
    }
}

/// A launch's failure as what stood in the way.
fn because(failure: &Failure) -> Absence {
    let obstacle = if failure.message.contains("not allowed") || failure.message.contains("orbidden") {
        Obstacle::Forbidden
    } else {
        Obstacle::NotStarted
    };
    obstacle.because(&failure.message)
}

async fn read(fleet: &mut Fleet, request: &verify::Request, api: &ApiFacts) -> Result<NodeFacts, Failure> {
    let look = request.look_twice(fleet).await?;
    let judged = look.judgement.network.map(str::to_owned);
    let judgement = look.judgement.only(&packets::ids());
    let mut absent = BTreeMap::new();
    for (node, looked) in &look.evidence.nodes {
        if let Err(why) = looked {
            let known = fleet.absent().get(&Subject::Node(node.clone())).cloned();
            let why = known.unwrap_or_else(|| Obstacle::StreamIncomplete.because(why));
            // The line it comes to names the node.
            let home = format!("node/{node}: ");
            let why = why.reworded(|why| why.strip_prefix(&home).map(str::to_owned).unwrap_or(why));
            absent.insert(node.clone(), why);
        }
    }
    let asked = match &api.dns {
        Ok(service) => dns::ask(fleet, request, service).await?,
        Err(_) => Vec::new(),
    };
    Ok(NodeFacts {
        chosen: request.chosen.clone(),
        absent,
        machines: machines::of(&look.evidence),
        judged,
        found: NodeFinding::of(&judgement, None),
        asked,
        ..NodeFacts::default()
    })
}
