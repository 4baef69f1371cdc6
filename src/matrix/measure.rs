//! Has a plan's probes sent and watched for, by agents. The only part of `matrix` that waits.
//!
//! Order: every place where a probe may arrive is watched before the first probe leaves; then all sources send, in rounds at least a second
//! apart (see [`super::plan::rounds`]); then each destination is asked what it saw.

use super::{
    evidence::{End, Observed, Protocol, SourceSide, Watch},
    plan::{EndPoint, Facts, Row, rounds},
    ports,
};
use crate::{
    cluster::inventory::Subject,
    findings::{Absence, Obstacle},
};
use futures::{StreamExt as _, future::join_all, stream::FuturesUnordered};
use netcheck_wire::{
    message::{Event, Task},
    probe::{Outcome, Probe, ProbeResult, Query, Sightings},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    net::SocketAddr,
    pin::{Pin, pin},
    time::Duration,
};
use tokio::sync::oneshot;

/// Probes that one agent has under way at once.
const PARALLEL: u32 = 512;
/// Time between two rounds of one agent at least, and also between the end of one and the begin of the next: an agent that is behind (its
/// queue is full, its stream stands still) would otherwise send two at once.
const BETWEEN_ROUNDS: Duration = Duration::from_secs(1);
/// How long probes under way, and then destinations, may take at most after the user interrupted.
const AFTER_INTERRUPT: Duration = Duration::from_secs(3);
/// What it takes an agent to report after its last probe.
const FAREWELL: Duration = Duration::from_millis(500);

/// The agents of a run, as far as measuring needs them.
pub trait Agents {
    /// Names one agent.
    type Agent: Copy + Ord + std::hash::Hash;
    /// The agent that can enter a subject's namespace, and the place's number there.
    fn place(&self, subject: &Subject) -> Option<(Self::Agent, u32)>;
    /// Has one agent do one task; an error means that the result is not whole.
    fn run(&self, agent: Self::Agent, task: Task) -> impl Future<Output = Result<Vec<Event>, Absence>>;
}

/// What was observed of every row, in the order of the rows.
#[derive(Debug)]
pub struct Measured {
    /// One for each row.
    pub observed: Vec<Observed>,
    /// The run was stopped before all probes were through.
    pub interrupted: bool,
}

/// Measures. `stop` resolves when the user interrupts: what is known by then is returned.
pub async fn measure<A: Agents>(
    agents: &A,
    rows: &[Row],
    facts: &Facts,
    timeout: Duration,
    stop: impl Future<Output = ()>,
    progress: impl Fn(u64, u64),
) -> Measured {
    let mut stop = pin!(stop);
    let mut found = Found::default();
    let through = tokio::select! {
        () = &mut stop => false,
        () = watch(agents, rows, facts, &mut found) => true,
    };
    let through = through && send(agents, rows, timeout, &mut found, stop, progress).await;
    if !found.results.is_empty() {
        // Even after an interrupt, what was sent is worth a short look: it is what tells the classes apart.
        let patience = if through { Duration::MAX } else { AFTER_INTERRUPT };
        // Running out of it leaves the destinations unasked, and the rows say so.
        drop(tokio::time::timeout(patience, look(agents, rows, &mut found)).await);
    }
    let observed = rows
        .iter()
        .enumerate()
        .map(|(index, row)| observed(agents, index, row, facts, &found))
        .collect();
    Measured {
        observed,
        interrupted: !through,
    }
}

/// What came in so far. A place is keyed by its agent and number.
struct Found<K> {
    watched: HashMap<K, Result<(), String>>,
    results: HashMap<u32, Result<ProbeResult, Absence>>,
    seen: HashMap<(u32, K), Result<Sightings, String>>,
}

impl<K> Default for Found<K> {
    fn default() -> Self {
        Self {
            watched: HashMap::new(),
            results: HashMap::new(),
            seen: HashMap::new(),
        }
    }
}

type Key<A> = (<A as Agents>::Agent, u32);

async fn watch<A: Agents>(agents: &A, rows: &[Row], facts: &Facts, found: &mut Found<Key<A>>) {
    let mut places: BTreeMap<A::Agent, BTreeSet<u32>> = BTreeMap::new();
    let subjects: BTreeSet<Subject> = rows
        .iter()
        .filter(|row| row.probe.is_ok())
        .flat_map(watchable)
        .collect();
    for subject in &subjects {
        if let Some((agent, place)) = agents.place(subject)
            && facts
                .get(subject)
                .is_some_and(|facts| facts.as_ref().is_ok_and(|facts| facts.cannot_watch.is_none()))
        {
            places.entry(agent).or_default().insert(place);
        }
    }
    let tasks = places.into_iter().map(async |(agent, places)| {
        let task = Task::Watch {
            places: places.iter().copied().collect(),
        };
        (agent, places, agents.run(agent, task).await)
    });
    for (agent, places, outcome) in join_all(tasks).await {
        let mut unheard: BTreeSet<u32> = places.clone();
        match outcome {
            Ok(events) => {
                for event in events {
                    if let Event::Watching(placed) = event
                        && unheard.remove(&placed.place)
                    {
                        found.watched.insert((agent, placed.place), placed.outcome);
                    }
                }
                for place in unheard {
                    found
                        .watched
                        .insert((agent, place), Err("its agent did not say whether it watches".into()));
                }
            }
            Err(why) => places.into_iter().for_each(|place| {
                found.watched.insert((agent, place), Err(why.to_string()));
            }),
        }
    }
}

/// Sends all probes. On `stop` no further round begins, and what is under way gets the time to end. `false` if it was stopped.
async fn send<A: Agents>(
    agents: &A,
    rows: &[Row],
    timeout: Duration,
    found: &mut Found<Key<A>>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
    progress: impl Fn(u64, u64),
) -> bool {
    let stopped = Cell::new(false);
    let timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
    let rounds = rounds(rows, |subject| agents.place(subject).ok_or_else(|| subject.clone()));
    let mut total = 0;
    let mut under_way = FuturesUnordered::new();
    let mut earlier: BTreeMap<A::Agent, oneshot::Receiver<()>> = BTreeMap::new();
    for (round, indices) in rounds.into_iter().enumerate() {
        let mut probes: BTreeMap<A::Agent, Vec<Probe>> = BTreeMap::new();
        for index in indices {
            let Ok(kind) = &rows[index].probe else { continue };
            let id = index as u32;
            if let Some((agent, from)) = agents.place(&rows[index].pair.from) {
                total += 1;
                probes.entry(agent).or_default().push(Probe {
                    id,
                    from,
                    kind: kind.clone(),
                });
            } else {
                let why = Obstacle::NotStarted.because("no agent was started for its source");
                found.results.insert(id, Err(why));
            }
        }
        let start = BETWEEN_ROUNDS * u32::try_from(round).unwrap_or(u32::MAX);
        let stopped = &stopped;
        for (agent, probes) in probes {
            let (through, is_through) = oneshot::channel::<()>();
            let earlier = earlier.insert(agent, is_through);
            under_way.push(async move {
                // Dropped when its round is through, however that ends: that is what the next round waits for.
                let _through = through;
                let after_the_earlier = async {
                    if let Some(earlier) = earlier {
                        drop(earlier.await);
                        tokio::time::sleep(BETWEEN_ROUNDS).await;
                    }
                };
                tokio::join!(tokio::time::sleep(start), after_the_earlier);
                let ids: Vec<u32> = probes.iter().map(|probe| probe.id).collect();
                if stopped.get() {
                    return (ids, Err("interrupted".into()));
                }
                let task = Task::Probe {
                    probes,
                    timeout_ms,
                    parallel: PARALLEL,
                };
                let outcome = agents.run(agent, task).await;
                (
                    ids,
                    outcome.map_err(|why: Absence| {
                        why.reworded(|why| format!("the stream of its agent is incomplete: {why}"))
                    }),
                )
            });
        }
    }
    progress(0, total);
    let mut done = 0;
    let mut grace = pin!(tokio::time::sleep(Duration::MAX));
    loop {
        let next = tokio::select! {
            () = &mut stop, if !stopped.get() => {
                stopped.set(true);
                let patience = timeout.min(AFTER_INTERRUPT) + FAREWELL;
                grace.as_mut().reset(tokio::time::Instant::now() + patience);
                continue;
            }
            () = &mut grace, if stopped.get() => break,
            next = under_way.next() => next,
        };
        let Some((ids, outcome)) = next else { break };
        done += ids.len() as u64;
        progress(done, total);
        match outcome {
            Ok(events) => {
                let mut unheard: BTreeSet<u32> = ids.into_iter().collect();
                for event in events {
                    if let Event::Probed(result) = event
                        && unheard.remove(&result.id)
                    {
                        found.results.insert(result.id, Ok(result));
                    }
                }
                for id in unheard {
                    let why = Obstacle::StreamIncomplete.because("its agent reported no outcome");
                    found.results.insert(id, Err(why));
                }
            }
            Err(why) => ids.into_iter().for_each(|id| {
                found.results.insert(id, Err(why.clone()));
            }),
        }
    }
    !stopped.get()
}

/// Where a row's probe can be seen besides its source.
fn watchable(row: &Row) -> impl Iterator<Item = Subject> {
    let ends = row.ends.iter().filter_map(|end| end.subject.clone());
    ends.chain(row.transit.iter().cloned().map(Subject::Node))
}

/// Of these it does not matter which way they went.
fn succeeded(outcome: &Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Connected | Outcome::Echoed | Outcome::Resolved { rcode: 0, .. }
    )
}

async fn look<A: Agents>(agents: &A, rows: &[Row], found: &mut Found<Key<A>>) {
    let mut queries: BTreeMap<A::Agent, Vec<Query>> = BTreeMap::new();
    for (id, result) in &found.results {
        let Ok(ProbeResult {
            mark: Some(mark),
            outcome,
            ..
        }) = result
        else {
            continue;
        };
        let row = &rows[*id as usize];
        let mut asked = BTreeSet::new();
        let transit = row
            .transit
            .iter()
            .filter(|_| !succeeded(outcome))
            .cloned()
            .map(Subject::Node);
        for subject in row.ends.iter().filter_map(|end| end.subject.clone()).chain(transit) {
            if let Some((agent, place)) = agents.place(&subject)
                && matches!(found.watched.get(&(agent, place)), Some(Ok(())))
                && asked.insert((agent, place))
            {
                queries.entry(agent).or_default().push(Query {
                    probe: *id,
                    place,
                    mark: mark.clone(),
                });
            }
        }
    }
    let tasks = queries.into_iter().map(async |(agent, queries)| {
        let asked: Vec<(u32, u32)> = queries.iter().map(|query| (query.probe, query.place)).collect();
        (agent, asked, agents.run(agent, Task::Look { queries }).await)
    });
    for (agent, asked, outcome) in join_all(tasks).await {
        match outcome {
            Ok(events) => {
                for event in events {
                    if let Event::Seen(sightings) = event {
                        found
                            .seen
                            .insert((sightings.probe, (agent, sightings.place)), Ok(sightings));
                    }
                }
            }
            Err(why) => asked.into_iter().for_each(|(probe, place)| {
                found.seen.insert((probe, (agent, place)), Err(why.to_string()));
            }),
        }
    }
}

fn observed<A: Agents>(agents: &A, index: usize, row: &Row, facts: &Facts, found: &Found<Key<A>>) -> Observed {
    let probe = index as u32;
    let source = match (&row.probe, found.results.get(&probe)) {
        (Err(why), _) | (Ok(_), Some(Err(why))) => Err(why.clone()),
        (Ok(_), None) => Err("interrupted".into()),
        (Ok(_), Some(Ok(result))) => Ok(source_side(row, result, facts)),
    };
    let ends = row.ends.iter().map(|end| End {
        who: end.who.clone(),
        at: Some(SocketAddr::new(end.ip, end.port)),
        shares: end.shares.clone(),
        serving: serving(row.protocol, end, facts),
        watch: match &end.subject {
            Some(subject) => watch_of(agents, probe, subject, facts, found),
            None => Watch::Blind("it is no pod or node that netcheck can enter".into()),
        },
    });
    let failed = source.as_ref().is_ok_and(|source| !succeeded(&source.outcome));
    let transit = row.transit.iter().filter(|_| failed).map(|node| End {
        who: format!("node {node}"),
        at: None,
        shares: None,
        serving: None,
        watch: watch_of(agents, probe, &Subject::Node(node.clone()), facts, found),
    });
    Observed {
        source,
        ends: ends.collect(),
        transit: transit.collect(),
    }
}

fn source_side(row: &Row, result: &ProbeResult, facts: &Facts) -> SourceSide {
    let blind = match facts.get(&row.pair.from) {
        Some(Ok(facts)) => facts.cannot_watch.clone(),
        Some(Err(why)) => Some(why.to_string()),
        None => None,
    };
    SourceSide {
        outcome: result.outcome.clone(),
        elapsed: Duration::from_micros(result.elapsed_us),
        marked: result.mark.is_some(),
        blind,
        saw: result.source_saw.clone(),
        missed: result.source_missed,
    }
}

/// Only TCP sockets are listed by agents.
fn serving(protocol: Protocol, end: &EndPoint, facts: &Facts) -> Option<ports::Serving> {
    let facts = facts.get(end.subject.as_ref()?)?.as_ref().ok()?;
    (protocol == Protocol::Tcp).then(|| ports::serving(&facts.listeners, end.ip, end.port))
}

fn watch_of<A: Agents>(agents: &A, probe: u32, subject: &Subject, facts: &Facts, found: &Found<Key<A>>) -> Watch {
    let located = facts.get(subject);
    if let Some(Err(why)) = located {
        return Watch::Blind(why.to_string());
    }
    if let Some(Ok(facts)) = located
        && let Some(why) = &facts.cannot_watch
    {
        return Watch::Blind(why.clone());
    }
    let Some(key) = agents.place(subject) else {
        return Watch::Blind("no agent was started for it".into());
    };
    match (found.watched.get(&key), found.seen.get(&(probe, key))) {
        (Some(Err(why)), _) | (_, Some(Err(why) | Ok(Sightings { seen: Err(why), .. }))) => Watch::Blind(why.clone()),
        (
            _,
            Some(Ok(Sightings {
                seen: Ok(seen), missed, ..
            })),
        ) => Watch::Looked {
            seen: seen.clone(),
            missed: *missed,
        },
        // Without a mark nobody was asked; the judge says so in its own words.
        (Some(Ok(())), None) => Watch::Blind("it was not asked".into()),
        (None, None) => Watch::Blind("it was not watched".into()),
    }
}

#[cfg(test)]
mod tests;
