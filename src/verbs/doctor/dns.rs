//! Asks the cluster's DNS for its own name, from nodes and from pods on them.

use crate::{
    agents::{AgentIndex, Fleet},
    cluster::{
        dns::{USUAL_DOMAIN, cluster_domain, own_name},
        inventory::{Service, Subject},
    },
    doctor::dns::Asked,
    exit::Failure,
    verbs::verify::{self, observe::policed},
};
use futures::future::join_all;
use netcheck_wire::{
    Event, Task,
    probe::{Probe, ProbeKind, Record},
};
use std::{collections::BTreeMap, net::SocketAddr};

/// How long an answer may take: resolvers ask again after five seconds.
const PATIENCE_MS: u32 = 4000;
/// Questions under way at once, of an agent.
const PARALLEL: u32 = 4;
/// Port of DNS.
const PORT: u16 = 53;

/// Asks from each node that has an agent, and from one pod on it that no NetworkPolicy may keep from asking.
///
/// # Errors
/// If the API server does not answer.
pub async fn ask(fleet: &mut Fleet, request: &verify::Request, service: &Service) -> Result<Vec<Asked>, Failure> {
    let Some(ip) = service.cluster_ips.first() else {
        return Ok(Vec::new());
    };
    let located = fleet.locate().await;
    let policed = policed(&request.cluster).await?;
    let mut resolvers = located.values().flatten().filter_map(|facts| facts.resolver.as_ref());
    let domain = resolvers
        .find_map(|resolver| cluster_domain(&resolver.search))
        .unwrap_or(USUAL_DOMAIN);
    let name = own_name(service, domain);
    let server = SocketAddr::new(*ip, PORT);
    let kind = ProbeKind::Dns {
        to: server,
        name: name.clone(),
        record: if ip.is_ipv4() { Record::A } else { Record::Aaaa },
    };
    let mut asked = Vec::new();
    let mut tasks: BTreeMap<AgentIndex, Vec<Probe>> = BTreeMap::new();
    for node in &request.chosen {
        let is_backend = |uid: &str| {
            let mut endpoints = service.endpoints.iter();
            endpoints.any(|endpoint| endpoint.pod_uid.as_deref() == Some(uid))
        };
        let is_free = |namespace: &str| policed.as_ref().is_ok_and(|policed| !policed.contains(namespace));
        let speaks = |pod: &crate::verify::objects::PodObject| pod.ips.iter().any(|own| own.is_ipv4() == ip.is_ipv4());
        let pods = request.read.objects.wired_on(node);
        let pod = pods
            .filter(|pod| is_free(&pod.namespace) && speaks(pod))
            .map(|pod| (is_backend(&pod.uid), pod))
            .filter(|(_, pod)| fleet.place(&Subject::Pod(pod.uid.clone())).is_some())
            .min_by_key(|(is_backend, pod)| (*is_backend, pod.full_name()));
        let of_node = (Subject::Node(node.clone()), format!("node/{node}"), false);
        let of_pod = pod.map(|(_, pod)| {
            let words = format!("pod {} on {node}", pod.full_name());
            (Subject::Pod(pod.uid.clone()), words, true)
        });
        for (subject, from, is_pod) in std::iter::once(of_node).chain(of_pod) {
            let Some((agent, place)) = fleet.place(&subject) else {
                continue;
            };
            // As many as there are nodes, twice.
            let id = u32::try_from(asked.len()).unwrap_or(u32::MAX);
            tasks.entry(agent).or_default().push(Probe {
                id,
                from: place,
                kind: kind.clone(),
            });
            asked.push(Asked {
                from,
                is_pod,
                server,
                name: name.clone(),
                outcome: Err("its agent said nothing of it".to_owned()),
            });
        }
    }
    let fleet = &*fleet;
    let outcomes = join_all(tasks.into_iter().map(async |(agent, probes)| {
        let ids: Vec<u32> = probes.iter().map(|probe| probe.id).collect();
        let task = Task::Probe {
            probes,
            timeout_ms: PATIENCE_MS,
            parallel: PARALLEL,
        };
        (ids, fleet.run(agent, task).await)
    }));
    for (ids, outcome) in outcomes.await {
        match outcome {
            Ok(events) => {
                for event in events {
                    if let Event::Probed(result) = event
                        && let Some(one) = asked.get_mut(result.id as usize)
                    {
                        one.outcome = Ok(result.outcome);
                    }
                }
            }
            Err(why) => {
                for id in ids {
                    if let Some(one) = asked.get_mut(id as usize) {
                        one.outcome = Err(why.to_string());
                    }
                }
            }
        }
    }
    Ok(asked)
}
