//! `--observe`: counters of every node at both ends of an interval, with probes between.

use super::{Request, look::document, milliseconds};
use crate::{
    agents::{AgentIndex, Fleet, Flow, Piece},
    cluster::{
        Cluster,
        inventory::Subject,
        list::{allowed, list},
    },
    exit::Failure,
    verify::{
        objects::{Objects, PodObject},
        observed::{
            End, Interval, ObservedNode, Probed,
            pairs::{Pair, pairs},
        },
    },
};
use futures::future::join_all;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::Api;
use netcheck_node_state::observation::{NodeObservation, OBSERVATION};
use netcheck_wire::{
    Event, Task,
    message::ObserveOrder,
    probe::{Outcome, Probe, ProbeKind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::{Instant, sleep_until, timeout};

/// How long an agent may take for what is not the interval: to read what was counted, and to hang its program on the kernel.
const PATIENCE: Duration = Duration::from_mins(1);
/// From one round of probes to the next, and how long each waits for its answer.
const ROUND: Duration = Duration::from_secs(1);
/// Rounds at most: what is lost shows in a few.
const MOST_ROUNDS: u32 = 10;
/// Probes under way at once, of an agent.
const PARALLEL: u32 = 64;

/// Namespaces that have NetworkPolicies: what these forbid would look lost. The inner error: they may not be listed.
///
/// # Errors
/// If the API server does not answer.
pub async fn policed(cluster: &Cluster) -> Result<Result<BTreeSet<String>, String>, Failure> {
    let api: Api<NetworkPolicy> = Api::all(cluster.client.clone());
    let policies = allowed(
        list(cluster, &api, None).await,
        "list NetworkPolicies in all namespaces",
    )?;
    let told = "networkpolicies.networking.k8s.io may not be listed: what they forbid looks lost";
    Ok(policies
        .map(|policies| {
            policies
                .into_iter()
                .filter_map(|policy| policy.metadata.namespace)
                .collect()
        })
        .ok_or_else(|| told.to_owned()))
}

/// Observes nodes for so long. One that cannot be observed is told, and the others are. Pods of `policed` namespaces are not probed.
pub async fn observe(
    fleet: &Fleet,
    objects: &Objects,
    nodes: &[String],
    interval: Duration,
    policed: &Result<BTreeSet<String>, String>,
) -> Interval {
    let is_policed = |pod: &PodObject| policed.as_ref().is_ok_and(|policed| policed.contains(&pod.namespace));
    let begun = join_all(nodes.iter().map(|node| begin(fleet, objects, node, interval))).await;
    let closed = nodes.iter().filter_map(|node| {
        let mut pods = objects.wired_on(node).peekable();
        let is_closed = pods.peek().is_some() && pods.all(is_policed);
        is_closed.then(|| format!("no way to node {node}: all its pods are in namespaces with NetworkPolicies"))
    });
    let is_reached = |pod: &PodObject| !is_policed(pod) && fleet.place(&Subject::Pod(pod.uid.clone())).is_some();
    let pairs = if begun.iter().any(Result::is_ok) {
        pairs(objects, nodes, is_reached)
    } else {
        Vec::new()
    };
    let ends = begun.into_iter().map(|begun| async {
        let (flow, places) = begun?;
        let observation: NodeObservation = timeout(interval + PATIENCE, document(flow))
            .await
            .map_err(|_| "its agent did not end its observation in time".to_owned())??;
        if observation.observation != OBSERVATION {
            return Err(format!(
                "its agent sends an observation of version {}, not {OBSERVATION}",
                observation.observation
            ));
        }
        Ok(ObservedNode { observation, places })
    });
    let ((probes, not_probed), observed) = tokio::join!(probe(fleet, &pairs, interval), join_all(ends));
    Interval {
        wanted_ms: milliseconds(interval),
        probes,
        not_probed: not_probed
            .into_iter()
            .chain(policed.as_ref().err().cloned())
            .chain(closed)
            .collect(),
        nodes: nodes.iter().cloned().zip(observed).collect(),
    }
}

/// Starts to observe a node; its interval has begun when this is done.
async fn begin(
    fleet: &Fleet,
    objects: &Objects,
    node: &str,
    interval: Duration,
) -> Result<(Flow, BTreeMap<String, u32>), String> {
    let agent = Request::agent_of(fleet, node).ok_or("it has no agent")?;
    let place = |pod: &PodObject| {
        let (_, place) = fleet.place(&Subject::Pod(pod.uid.clone()))?;
        Some((pod.uid.clone(), place))
    };
    let places: BTreeMap<String, u32> = objects.wired_on(node).filter_map(place).collect();
    let order = ObserveOrder {
        places: places.values().copied().collect(),
        for_ms: milliseconds(interval),
    };
    let flow = fleet.flow(agent, Task::Observe(order)).await;
    let mut flow = flow.map_err(|error| error.to_string())?;
    let first = timeout(PATIENCE, flow.next()).await;
    match first.map_err(|_| "its agent did not begin to observe in time".to_owned())? {
        Some(Piece::Event(Event::Observing { .. })) => Ok((flow, places)),
        Some(_) => Err("its agent says something else than was asked".to_owned()),
        None => {
            let ended = flow.end().await;
            Err(ended.err().map_or_else(
                || "its agent ended before it began".to_owned(),
                |error| error.to_string(),
            ))
        }
    }
}

/// Sends probes, a round each second as long as there is time for their answers. What came of them, and why some were not sent.
async fn probe(fleet: &Fleet, pairs: &[Pair<'_>], interval: Duration) -> (Vec<Probed>, BTreeSet<String>) {
    let mut probed: Vec<Probed> = pairs.iter().map(not_yet).collect();
    let mut why_not = BTreeSet::new();
    let began = Instant::now();
    let wait = ROUND.min(interval);
    for round in 0..MOST_ROUNDS {
        let next = began + ROUND * round;
        if pairs.is_empty() || next + wait > began + interval {
            break;
        }
        sleep_until(next).await;
        if round > 0 && Instant::now() + wait > began + interval {
            break;
        }
        let tasks = tasks(fleet, pairs, round, wait).into_iter();
        let outcomes = join_all(tasks.map(async |(agent, task)| (agent, fleet.run(agent, task).await)));
        for (agent, outcome) in outcomes.await {
            match outcome {
                Ok(events) => events
                    .into_iter()
                    .for_each(|event| count(event, &mut probed, &mut why_not)),
                Err(error) => drop(why_not.insert(format!("{}: {error}", fleet.home(agent)))),
            }
        }
    }
    (probed, why_not)
}

fn not_yet(pair: &Pair) -> Probed {
    let (node, pod) = pair.from;
    Probed {
        from: End {
            node: node.to_owned(),
            pod: pod.map(PodObject::full_name),
        },
        to: End {
            node: pair.to.node.clone(),
            pod: Some(pair.to.full_name()),
        },
        address: pair.address,
        sent: 0,
        answered: 0,
        error: None,
    }
}

/// A round's probes, for each agent. A probe's number tells its pair.
fn tasks(fleet: &Fleet, pairs: &[Pair], round: u32, wait: Duration) -> BTreeMap<AgentIndex, Task> {
    let mut by_agent: BTreeMap<AgentIndex, Vec<Probe>> = BTreeMap::new();
    for (index, pair) in (0..).zip(pairs) {
        let (node, pod) = pair.from;
        let subject = pod.map_or_else(|| Subject::Node(node.to_owned()), |pod| Subject::Pod(pod.uid.clone()));
        let Some((agent, from)) = fleet.place(&subject) else {
            continue;
        };
        by_agent.entry(agent).or_default().push(Probe {
            id: round * pairs.len() as u32 + index,
            from,
            kind: ProbeKind::Icmp { to: pair.address },
        });
    }
    let task = |(agent, probes)| {
        let timeout_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
        (
            agent,
            Task::Probe {
                probes,
                timeout_ms,
                parallel: PARALLEL,
            },
        )
    };
    by_agent.into_iter().map(task).collect()
}

fn count(event: Event, probed: &mut [Probed], why_not: &mut BTreeSet<String>) {
    let Event::Probed(result) = event else { return };
    let index = (result.id as usize).checked_rem(probed.len());
    let Some(pair) = index.and_then(|index| probed.get_mut(index)) else {
        return;
    };
    match result.outcome {
        Outcome::NotSent { why } => {
            why_not.insert(format!("{} to {}: {why}", pair.from.name(), pair.address));
            return;
        }
        Outcome::Echoed => pair.answered += 1,
        Outcome::Failed { errno } => pair.error = Some(errno),
        Outcome::Connected | Outcome::Resolved { .. } | Outcome::TimedOut => {}
    }
    pair.sent += 1;
}
