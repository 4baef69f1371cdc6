//! Who is captured where: agents, places, clocks, and the orders that follow from them.

use super::{
    Lanes, Request,
    board::Board,
    forward::Part,
    session::{Ended, Session},
};
use crate::{
    agents::{AgentIndex, Fleet},
    capture::{
        clock::{Offset, Sample},
        source::Source,
        writer::{Lane, Outcome},
    },
    exit::Failure,
    output::safe,
};
use futures::future::join_all;
use netcheck_wire::{
    Event, Task,
    capture::{CaptureOrder, CaptureSource},
    claim::Awaiting,
};
use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, SystemTime},
};

/// How often a node is asked for its time; the quickest answer counts.
const CLOCK_SAMPLES: usize = 4;

/// Who is captured where.
pub struct Setup {
    /// What is captured.
    pub sources: Vec<Source>,
    /// One for each ring.
    pub lanes: Vec<Lane>,
    /// Place and interface of each lane.
    pub places: Vec<(u32, Option<String>)>,
    /// Agents with their lanes.
    pub agents: Lanes,
    /// What cannot be captured, and why.
    pub absent: Vec<(Source, String)>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// A line for each node's clock, for the file.
    pub clocks: Vec<String>,
    /// Clocks, as they were compared with ours.
    pub offsets: BTreeMap<AgentIndex, Option<Offset>>,
    /// Nodes on which pods are to be awaited and cannot be, and why.
    pub unwatched: Vec<(Source, String)>,
}

impl Setup {
    /// Finds the places and asks the clocks.
    pub async fn make(request: &Request, fleet: &mut Fleet) -> Self {
        let located = fleet.locate().await;
        let fleet = &*fleet;
        let offsets: BTreeMap<AgentIndex, Option<Offset>> = join_all(
            fleet
                .agents()
                .map(|agent| async move { (agent, ask_time(fleet, agent).await) }),
        )
        .await
        .into_iter()
        .collect();
        let mut setup = Self {
            sources: Vec::new(),
            lanes: Vec::new(),
            places: Vec::new(),
            agents: Vec::new(),
            absent: Vec::new(),
            notes: Vec::new(),
            clocks: Vec::new(),
            offsets: BTreeMap::new(),
            unwatched: Vec::new(),
        };
        let mut taken: HashMap<(AgentIndex, u32), String> = HashMap::new();
        for source in &request.sources {
            let why_not = match located.get(&source.subject) {
                Some(Err(why)) => Some(why.to_string()),
                Some(Ok(facts)) => facts.cannot_watch.clone(),
                None => Some("it has no agent".to_owned()),
            };
            let place = fleet.place(&source.subject);
            let (Some((agent, place)), None) = (place, &why_not) else {
                let why = why_not.unwrap_or_else(|| "it was not found on its node".to_owned());
                // The agent's home is the pod itself where it is an ephemeral container.
                let why = why.strip_prefix(&format!("{}: ", source.name)).unwrap_or(&why);
                setup.absent.push((source.clone(), why.to_owned()));
                continue;
            };
            if let Some(other) = taken.get(&(agent, place)) {
                setup.notes.push(safe(&format!(
                    "{} uses the network of {other}: captured once, as {other}",
                    source.title
                )));
                continue;
            }
            taken.insert((agent, place), source.title.clone());
            let offset = offsets.get(&agent).copied().flatten();
            let remark = offset.map_or_else(
                || "clock not compared with ours".to_owned(),
                |offset| offset.to_string(),
            );
            setup.add(request, source, agent, place, offset, &remark);
        }
        for (agent, offset) in &offsets {
            if let Some(offset) = offset {
                let line = format!("{}: {offset}", fleet.home(*agent));
                if offset.is_certain() {
                    setup.notes.push(safe(&line));
                }
                setup.clocks.push(line);
            }
        }
        setup.clocks.sort();
        setup.offsets = offsets;
        for node in &request.candidates {
            let agent = fleet.place(&node.subject).map(|(agent, _)| agent);
            match (agent, located.get(&node.subject)) {
                (Some(agent), _) if setup.agents.iter().any(|(one, _)| *one == agent) => {}
                (Some(agent), _) => setup.agents.push((agent, Vec::new())),
                (None, Some(Err(why))) => setup.unwatched.push((node.clone(), why.to_string())),
                (None, _) => setup.unwatched.push((node.clone(), "it has no agent".to_owned())),
            }
        }
        setup
    }

    /// Each lane with the agent that brings it.
    pub fn owned_lanes(&self) -> Vec<(AgentIndex, Lane)> {
        let agent_of = |lane: usize| {
            let owner = self.agents.iter().find(|(_, lanes)| lanes.contains(&lane));
            owner.map_or_else(AgentIndex::default, |(agent, _)| *agent)
        };
        let lanes = self.lanes.iter().enumerate();
        lanes.map(|(index, lane)| (agent_of(index), lane.clone())).collect()
    }

    /// Puts together what became of all. Sources that never came are among the absent.
    pub fn end(self, board: &Board, mut outcome: Outcome, ended: Ended, took: Duration) -> Session {
        let mut guard = board.content();
        let content = &mut *guard;
        let (mut sources, mut absent, mut joined) = (Vec::new(), self.absent, BTreeMap::new());
        let (mut accounts, mut remarks) = (Vec::new(), Vec::new());
        let told = outcome.accounts.drain(..).zip(outcome.remarks.drain(..));
        for ((number, source), (account, said)) in content.sources.iter().enumerate().zip(told) {
            let has_joined = content.joined.remove(&number);
            if number >= content.first && has_joined.is_none() {
                let why = content.failed.remove(&number).unwrap_or_else(|| {
                    let gone = said.first().map(|said| format!("; {said}")).unwrap_or_default();
                    format!("its network namespace has not appeared{gone}")
                });
                absent.push((source.clone(), why));
                continue;
            }
            if let Some(has_joined) = has_joined {
                joined.insert(sources.len(), has_joined);
            }
            sources.push(source.clone());
            accounts.push(account);
            remarks.push(said);
        }
        Session {
            sources,
            absent,
            joined,
            outcome: Outcome {
                accounts,
                remarks,
                ..outcome
            },
            ended,
            took,
            notes: self.notes,
        }
    }

    fn add(
        &mut self,
        request: &Request,
        source: &Source,
        agent: AgentIndex,
        place: u32,
        offset: Option<Offset>,
        remark: &str,
    ) {
        self.sources.push(source.clone());
        let interfaces: Vec<Option<String>> = match request.args.interface.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        for interface in interfaces {
            let lane = self.lanes.len();
            self.lanes.push(Lane {
                source: self.sources.len() - 1,
                correction_ns: offset.map_or(0, Offset::correction_ns),
                remark: remark.to_owned(),
            });
            self.places.push((place, interface));
            match self.agents.iter_mut().find(|(one, _)| *one == agent) {
                Some((_, lanes)) => lanes.push(lane),
                None => self.agents.push((agent, vec![lane])),
            }
        }
    }

    /// What one agent is to do.
    pub fn order(&self, request: &Request, lanes: &[usize]) -> CaptureOrder {
        CaptureOrder {
            sources: lanes
                .iter()
                .map(|&lane| {
                    let (place, interface) = &self.places[lane];
                    CaptureSource {
                        source: lane as u32,
                        place: *place,
                        interface: interface.clone(),
                        program: request.programs.of(&self.sources[self.lanes[lane].source]),
                    }
                })
                .collect(),
            programs: request.programs.all.clone(),
            snap_length: request.args.snaplen,
            payload: request.payload(),
            ring_bytes: u32::try_from(request.ring_bytes()).unwrap_or(u32::MAX),
            awaiting: request.awaited.as_ref().map(|_| Awaiting {
                program: 0,
                interfaces: request.args.interface.clone(),
            }),
        }
    }

    /// Notes what could not be started; of lanes, their sources' accounts say so too.
    pub fn lose(&mut self, failed: &BTreeMap<Part, String>, fleet: &Fleet) {
        for (part, why) in failed {
            let note = match part {
                Part::Lane(lane) => {
                    let source = &self.sources[self.lanes[*lane].source];
                    format!("{} is not captured: {why}", source.title)
                }
                Part::Watch(agent) => format!("pods that come to {} are not captured: {why}", fleet.home(*agent)),
            };
            self.notes.push(safe(&note));
        }
        for (node, why) in &self.unwatched {
            let note = format!("pods that come to {} are not captured: {why}", node.title);
            self.notes.push(safe(&note));
        }
    }
}

/// Why there is no capture at all.
pub fn nothing(absent: &[(Source, String)]) -> Failure {
    let mut lines = absent.iter().map(|(source, why)| format!("{}: {why}", source.title));
    let first = lines.next().unwrap_or_else(|| "there is no source".to_owned());
    let more = match lines.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let failure = Failure::unknown(format!("nothing can be captured: {}{more}", safe(&first)));
    // What an agent says when it may not watch packets, which only happens in an ephemeral container.
    if first.contains("NET_RAW") {
        return failure.hint(
            "Pod Security level restricted admits no ephemeral container with NET_RAW; --via node needs none, baseline and privileged admit it",
        );
    }
    failure
}

/// A few questions about the time; `None` if none was answered.
async fn ask_time(fleet: &Fleet, agent: AgentIndex) -> Option<Offset> {
    let mut samples = Vec::new();
    for _ in 0..CLOCK_SAMPLES {
        let asked_ns = now_ns();
        let events = fleet.run(agent, Task::Clock).await.ok()?;
        let answered_ns = now_ns();
        samples.extend(events.iter().filter_map(|event| match event {
            Event::Time { at_ns } => Some(Sample {
                asked_ns,
                theirs_ns: *at_ns,
                answered_ns,
            }),
            _ => None,
        }));
    }
    Offset::of(&samples)
}

/// Our clock, in nanoseconds since 1970.
pub fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}
