//! Keeps a capture to its pods while they come and go: watches them, has agents claim those that come and let go those that are gone.

use super::{
    Request,
    board::Board,
    roster::{Roster, Step},
};
use crate::{
    agents::{
        AgentIndex, Fleet,
        observe::{self, Seen, Which},
    },
    capture::{
        clock::Offset,
        source::Source,
        writer::{Incoming, Lane},
    },
    cluster::{
        Cluster,
        inventory::{Pod, Subject},
        list::{Namespaces, convert},
        request,
    },
    output::{Printer, safe},
    verbs::targets::Wanted,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod as ApiPod;
use kube::Api;
use netcheck_wire::{Task, claim::Claim};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::{sync::mpsc, time::timeout};

/// How long an agent may take to hear of a pod.
const TELLING: Duration = Duration::from_secs(10);

/// Which pods are watched where.
#[derive(Debug, Clone)]
pub struct Watch {
    /// `None` for all.
    namespace: Option<String>,
    which: Which,
}

impl Watch {
    /// As few and as narrow as can be: one for each namespace.
    pub fn all(namespaces: &Namespaces, wanted: Option<&Wanted>, captured: &Roster) -> Vec<Self> {
        let names = captured.names().map(|(namespace, _)| Some(namespace.to_owned()));
        let namespaces: BTreeSet<Option<String>> = match (namespaces, wanted) {
            (Namespaces::All, _) => BTreeSet::from([None]),
            (Namespaces::These(_), None) => names.collect(),
            (Namespaces::These(these), Some(_)) => these.iter().cloned().map(Some).collect(),
        };
        let selector = wanted.and_then(|wanted| wanted.selector.clone());
        let which = |namespace: &Option<String>| {
            let mut names = captured.names().filter(|(of, _)| Some(*of) == namespace.as_deref());
            match (&selector, wanted, names.next(), names.next()) {
                (Some(selector), ..) => Which::Labelled(selector.clone()),
                (None, None, Some((_, only)), None) => Which::Named(only.to_owned()),
                _ => Which::All,
            }
        };
        namespaces
            .into_iter()
            .map(|namespace| Self {
                which: which(&namespace),
                namespace,
            })
            .collect()
    }

    fn api(&self, cluster: &Cluster) -> Api<ApiPod> {
        match &self.namespace {
            Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
            None => Api::all(cluster.client.clone()),
        }
    }
}

/// The keeper.
pub struct Keeper<'a> {
    /// What is asked for.
    pub request: &'a Request,
    /// The agents.
    pub fleet: &'a Fleet,
    /// Who is there.
    pub roster: Roster,
    /// What all know.
    pub board: &'a Board,
    /// The way to the writer.
    pub sender: mpsc::Sender<Incoming>,
    /// Clocks of the agents.
    pub offsets: &'a BTreeMap<AgentIndex, Option<Offset>>,
    /// To say who comes.
    pub printer: &'a Printer,
    /// Whether the capture is over when all pods are gone.
    pub ends: bool,
}

impl Keeper<'_> {
    /// Returns when all pods are gone, if that is to be the end; never otherwise.
    pub async fn run(mut self, watches: Vec<Watch>) {
        let (sender, mut news) = mpsc::channel(64);
        let limit = request::limit(self.request.cluster.request_timeout);
        for watch in watches {
            let mut seen = observe::pods(watch.api(&self.request.cluster), watch.which.clone(), limit);
            let sender = sender.clone();
            tokio::spawn(async move {
                while let Some(seen) = seen.recv().await {
                    if sender.send((watch.namespace.clone(), seen)).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        while let Some((namespace, seen)) = news.recv().await {
            let at = Timestamp::now();
            let steps: Vec<Step> = match seen {
                Seen::Is(pod) => convert::pod(&pod)
                    .and_then(|pod| self.roster.is(&pod, at))
                    .into_iter()
                    .collect(),
                Seen::Gone(pod) => convert::pod_uid(&pod)
                    .and_then(|uid| self.roster.gone(&uid, at))
                    .into_iter()
                    .collect(),
                Seen::Listed(uids) => self.roster.listed(namespace.as_deref(), &uids, at),
                Seen::Trouble(why) => {
                    // It is tried again, by listing if watching is not allowed.
                    tracing::debug!(why, "pods cannot be watched");
                    Vec::new()
                }
            };
            for step in steps {
                self.take(step).await;
            }
            if self.ends && self.roster.is_over() {
                return;
            }
        }
        std::future::pending::<()>().await;
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Claim { source, as_source, pod } => self.claim(source, as_source, &pod).await,
            Step::ClaimAgain { source, pod } => {
                let lane = {
                    let content = self.board.content();
                    if content.joined.contains_key(&source) || content.failed.contains_key(&source) {
                        return;
                    }
                    content.lanes.iter().position(|(_, lane)| lane.source == source)
                };
                if let Some(lane) = lane {
                    self.tell(lane, &pod).await;
                }
            }
            Step::Release { source, remark } => self.release(source, remark).await,
        }
    }

    async fn claim(&mut self, number: usize, source: Source, pod: &Pod) {
        let is_in_the_way = |other: &Source| other.is_node_network && other.node == source.node;
        let node = pod.node.clone().unwrap_or_default();
        let place = self.fleet.place(&Subject::Node(node.clone()));
        let why_not = match place {
            None => Some(format!("it came to node {node}, where no agent runs")),
            Some(_) if source.is_node_network => {
                let content = self.board.content();
                let other = content.sources.iter().find(|other| is_in_the_way(other));
                other.map(|other| format!("it uses the network of its node, which is captured as {}", other.title))
            }
            Some(_) => None,
        };
        // It has a number in any case, and so it has a lane.
        let agent = place.map_or_else(AgentIndex::default, |(agent, _)| agent);
        let offset = self.offsets.get(&agent).copied().flatten();
        let lane = Lane {
            source: number,
            correction_ns: offset.map_or(0, Offset::correction_ns),
            remark: offset.map_or_else(String::new, |offset| offset.to_string()),
        };
        let index = {
            let mut content = self.board.content();
            content.sources.push(source.clone());
            content.lanes.push((agent, lane.clone()));
            if let Some(why) = &why_not {
                content.failed.insert(number, why.clone());
            }
            content.lanes.len() - 1
        };
        self.send(Incoming::Source(Box::new(source.clone()))).await;
        self.send(Incoming::Lane(lane)).await;
        match why_not {
            Some(why) => self
                .printer
                .warn(safe(&format!("{} is not captured: {why}", source.title))),
            None => self.tell(index, pod).await,
        }
    }

    async fn tell(&self, lane: usize, pod: &Pod) {
        let (agent, source) = {
            let content = self.board.content();
            let Some((agent, of)) = content.lanes.get(lane) else {
                return;
            };
            (*agent, content.sources.get(of.source).cloned())
        };
        let on_node = source
            .filter(|source| source.is_node_network)
            .map(|source| self.request.programs.of(&source));
        let claim = Task::Claim(Claim {
            source: u32::try_from(lane).unwrap_or(u32::MAX),
            uid: pod.uid.clone(),
            ips: pod.ips.clone(),
            on_node,
        });
        let told = timeout(TELLING, self.fleet.run(agent, claim)).await;
        let why = match told {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its node's agent does not answer".to_owned(),
        };
        self.board.fail(lane, &safe(&why));
    }

    async fn release(&mut self, source: usize, remark: String) {
        self.printer.note(safe(&remark));
        self.send(Incoming::Remark(source, safe(&remark))).await;
        let lanes: Vec<(u32, AgentIndex)> = {
            let content = self.board.content();
            let of_source = content
                .lanes
                .iter()
                .zip(0..)
                .filter(|((_, lane), _)| lane.source == source);
            of_source.map(|((agent, _), number)| (number, *agent)).collect()
        };
        for (source, agent) in lanes {
            // An agent that is gone has nothing more to give.
            let _ = timeout(TELLING, self.fleet.run(agent, Task::Release { source })).await;
        }
    }

    async fn send(&self, incoming: Incoming) {
        // The writer ends only after all that sends to it.
        let _ = self.sender.send(incoming).await;
    }
}
