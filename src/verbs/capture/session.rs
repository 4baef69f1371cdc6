//! A capture while it runs: agents' flows in, one writer out, and what ends it.

use super::{
    Lanes, Request,
    board::{Board, Joined},
    keeper::{Keeper, Watch},
    roster::Roster,
};
use crate::{
    agents::{AgentIndex, Fleet, Flow, Piece},
    capture::{
        clock::{Offset, Sample},
        limits::Reached,
        source::Source,
        writer::{Enough, Incoming, Lane, Outcome, Progress, Writer},
    },
    cluster::inventory::Subject,
    exit::Failure,
    output::{Phase, safe},
    verbs::Shared,
};
use futures::future::join_all;
use netcheck_wire::{
    Event, Task,
    capture::{Batch, CaptureOrder, CaptureSource},
    claim::Awaiting,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

/// How often a node is asked for its time; the quickest answer counts.
const CLOCK_SAMPLES: usize = 4;
/// How long all sources may take until they are captured.
const ARMING: Duration = Duration::from_secs(15);
/// How long agents may take to hand over what is in their rings.
const DRAINING: Duration = Duration::from_secs(30);
/// Pieces that may wait for the writer.
const WAITING: usize = 16;
/// The writer looks at the clock at least this often.
const TICK: Duration = Duration::from_millis(100);
/// How often the live line changes.
const LIVE: Duration = Duration::from_millis(500);

/// What a capture came to.
pub struct Session {
    /// What was captured, in the order of the outcome's accounts.
    pub sources: Vec<Source>,
    /// What could not be, and why.
    pub absent: Vec<(Source, String)>,
    /// Since when those are captured that came later, by their place among the sources.
    pub joined: BTreeMap<usize, Joined>,
    /// What became of the packets.
    pub outcome: Outcome,
    /// What ended it.
    pub ended: Ended,
    /// From the first packet that could be captured to the last.
    pub took: Duration,
    /// Clocks, sources that share a namespace.
    pub notes: Vec<String>,
}

/// What ended a capture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// A limit, or the output.
    Enough(Enough),
    /// The user.
    Interrupted,
    /// Nothing is left that could bring packets.
    SourcesGone,
}

/// Something that is to be ready before the capture is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    /// The lane with this number.
    Lane(usize),
    /// An agent that awaits pods.
    Watch(AgentIndex),
}

/// What a part's agent said of its start.
type Armed = (Part, Result<(), String>);

/// Captures until something ends it.
///
/// # Errors
/// If nothing could be captured at all.
pub async fn carry_out(request: &Request, fleet: &mut Fleet, shared: &Shared) -> Result<Session, Failure> {
    let mut setup = tokio::select! {
        setup = Setup::make(request, fleet) => setup,
        () = shared.interrupt.requested() => return Err(super::interrupted()),
    };
    let awaits = request.awaited.is_some();
    if setup.lanes.is_empty() && !awaits {
        return Err(nothing(&setup.absent));
    }
    if awaits && setup.agents.is_empty() {
        return Err(nothing(&setup.unwatched));
    }
    let about = request.about(&setup.clocks);
    let opened = request.destination.open(&setup.sources, about, &shared.printer);
    let (sink, _wireshark) = opened.map_err(|error| Failure::unknown(error.to_string()))?;

    let writer = Writer::new(
        setup.sources.clone(),
        setup.lanes.clone(),
        sink,
        request.limits,
        now_ns(),
        Instant::now(),
    );
    let (sender, inbox) = mpsc::channel(WAITING);
    let (news, progress) = watch::channel(Progress::default());
    let (enough, mut is_enough) = watch::channel(None);
    let writing = thread::Builder::new()
        .name("writer".to_owned())
        .spawn({
            let handle = Handle::current();
            move || write(writer, inbox, &handle, &news, &enough)
        })
        .map_err(|error| Failure::unknown(format!("cannot start the writer: {error}")))?;

    let fleet = &*fleet;
    let board = Arc::new(Board::new(setup.sources.clone(), setup.owned_lanes()));
    let (stop, stopped) = watch::channel(false);
    let parts = setup.lanes.len() + if awaits { setup.agents.len() } else { 0 };
    let (armed, mut arming) = mpsc::channel(parts.max(1));
    let mut forwards = Vec::new();
    for (agent, lanes) in &setup.agents {
        let order = setup.order(request, lanes);
        let flow = fleet.flow(*agent, Task::Capture(order)).await;
        let forward = Forward {
            agent: *agent,
            board: Arc::clone(&board),
            sender: sender.clone(),
            armed: armed.clone(),
            stopped: stopped.clone(),
        };
        match flow {
            Ok(flow) => forwards.push(tokio::spawn(forward.run(flow))),
            Err(error) => forward.end(Err(error.to_string())).await,
        }
    }
    drop(armed);
    let mut all = Box::pin(join_all(forwards));

    let failed = tokio::select! {
        failed = wait_until_armed(&mut arming, parts) => failed,
        () = shared.interrupt.requested() => BTreeMap::new(),
    };
    drop(arming);
    setup.lose(&failed, fleet);
    let began = Instant::now();
    let phase = announce(request, &setup, shared);
    let roster = Roster::new(
        &setup.sources,
        setup.absent.iter().map(|(source, _)| source),
        request.awaited.clone(),
    );
    let watches = Watch::all(&request.namespaces, request.awaited.as_ref(), &roster);
    let has_nodes = setup
        .sources
        .iter()
        .any(|source| matches!(source.subject, Subject::Node(_)));
    let keeper = Keeper {
        request,
        fleet,
        roster,
        board: &board,
        sender,
        offsets: &setup.offsets,
        printer: &shared.printer,
        ends: request.args.wait && !request.args.follow && !has_nodes,
    };
    let mut are_all_done = false;
    let ended = tokio::select! {
        () = shared.interrupt.requested() => Ended::Interrupted,
        () = end_of(request.limits.duration) => Ended::Enough(Enough::Limit(Reached::Duration)),
        enough = until_enough(&mut is_enough) => Ended::Enough(enough),
        _ = &mut all => {
            are_all_done = true;
            Ended::SourcesGone
        }
        () = keeper.run(watches) => Ended::SourcesGone,
        () = live(phase.as_ref(), &board, progress) => Ended::SourcesGone,
    };
    let took = began.elapsed();
    // Nobody listens only if all flows have ended already.
    let _ = stop.send(true);
    if !are_all_done && timeout(DRAINING, all).await.is_err() {
        tracing::debug!("not all agents have ended in time");
    }
    drop(phase);
    let outcome = tokio::task::spawn_blocking(move || writing.join())
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(|| Failure::unknown("the writer of packets has crashed"))?;
    Ok(setup.end(&board, outcome, ended, took))
}

/// Who is captured where.
struct Setup {
    sources: Vec<Source>,
    lanes: Vec<Lane>,
    /// Place and interface of each lane.
    places: Vec<(u32, Option<String>)>,
    agents: Lanes,
    absent: Vec<(Source, String)>,
    notes: Vec<String>,
    /// A line for each node's clock, for the file.
    clocks: Vec<String>,
    /// Clocks, as they were compared with ours.
    offsets: BTreeMap<AgentIndex, Option<Offset>>,
    /// Nodes on which pods are to be awaited and cannot be, and why.
    unwatched: Vec<(Source, String)>,
}

impl Setup {
    async fn make(request: &Request, fleet: &mut Fleet) -> Self {
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
                setup.absent.push((source.clone(), why));
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
    fn owned_lanes(&self) -> Vec<(AgentIndex, Lane)> {
        let agent_of = |lane: usize| {
            let owner = self.agents.iter().find(|(_, lanes)| lanes.contains(&lane));
            owner.map_or_else(AgentIndex::default, |(agent, _)| *agent)
        };
        let lanes = self.lanes.iter().enumerate();
        lanes.map(|(index, lane)| (agent_of(index), lane.clone())).collect()
    }

    /// Puts together what became of all. Sources that never came are among the absent.
    fn end(self, board: &Board, mut outcome: Outcome, ended: Ended, took: Duration) -> Session {
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

    fn order(&self, request: &Request, lanes: &[usize]) -> CaptureOrder {
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
    fn lose(&mut self, failed: &BTreeMap<Part, String>, fleet: &Fleet) {
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

fn nothing(absent: &[(Source, String)]) -> Failure {
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

fn now_ns() -> u64 {
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// Brings one agent's pieces to the writer.
struct Forward {
    agent: AgentIndex,
    board: Arc<Board>,
    sender: mpsc::Sender<Incoming>,
    armed: mpsc::Sender<Armed>,
    stopped: watch::Receiver<bool>,
}

impl Forward {
    async fn run(mut self, mut flow: Flow) {
        let mut is_stopped = false;
        loop {
            let piece = tokio::select! {
                piece = flow.next() => piece,
                () = until_stopped(&mut self.stopped), if !is_stopped => {
                    is_stopped = true;
                    flow.stop().await;
                    continue;
                }
            };
            let Some(piece) = piece else { break };
            if let Err(why) = self.pass_on(piece).await {
                return self.end(Err(why)).await;
            }
        }
        let end = flow.end().await.map_err(|error| error.to_string());
        self.end(end).await;
    }

    /// An error means that the other side is no agent of ours.
    async fn pass_on(&self, piece: Piece) -> Result<(), String> {
        let incoming = match piece {
            Piece::Event(Event::Capturing { source, outcome }) => {
                let lane = self.lane(source)?;
                let told = match outcome {
                    Ok(interfaces) => {
                        for interface in interfaces {
                            self.send(Incoming::Interface(lane, interface)).await;
                        }
                        Ok(())
                    }
                    Err(why) => {
                        self.send(Incoming::Ended(lane, Err(safe(&why)))).await;
                        self.board.fail(lane, &safe(&why));
                        Err(safe(&why))
                    }
                };
                // Nobody waits for it any more once the capture has begun.
                let _ = self.armed.send((Part::Lane(lane), told)).await;
                return Ok(());
            }
            Piece::Event(Event::Awaiting { folders }) => {
                tracing::debug!(?folders, "an agent awaits pods");
                let _ = self.armed.send((Part::Watch(self.agent), Ok(()))).await;
                return Ok(());
            }
            Piece::Event(Event::Attached { source, attachment }) => {
                let lane = self.lane(source)?;
                let Some((source, words)) = self.board.join(lane, attachment) else {
                    return Ok(());
                };
                self.send(Incoming::Begins(lane, words.clone())).await;
                Incoming::Remark(source, words)
            }
            Piece::Event(Event::Released { source }) => Incoming::Ended(self.lane(source)?, Ok(())),
            Piece::Event(Event::InterfaceAppeared { source, interface }) => {
                Incoming::Interface(self.lane(source)?, interface)
            }
            Piece::Event(Event::Captured { source, counters }) => Incoming::Counters(self.lane(source)?, counters),
            Piece::Event(_) => return Ok(()),
            Piece::Data(bytes) => {
                let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
                Incoming::Batch(self.lane(batch.source())?, batch)
            }
        };
        self.send(incoming).await;
        Ok(())
    }

    /// Only lanes of its own.
    fn lane(&self, source: u32) -> Result<usize, String> {
        let lane = self.board.lane(self.agent, source);
        lane.ok_or_else(|| format!("its agent speaks of source {source}, which it was not given"))
    }

    async fn send(&self, incoming: Incoming) {
        // The writer ends only after all that sends to it.
        let _ = self.sender.send(incoming).await;
    }

    async fn end(self, end: Result<(), String>) {
        let _ = self.armed.try_send((Part::Watch(self.agent), end.clone()));
        for lane in self.board.lanes_of(self.agent) {
            let _ = self.armed.try_send((Part::Lane(lane), end.clone()));
            self.send(Incoming::Ended(lane, end.clone())).await;
        }
    }
}

/// Until every part's agent has said how its start went; gives those that failed.
async fn wait_until_armed(arming: &mut mpsc::Receiver<Armed>, parts: usize) -> BTreeMap<Part, String> {
    let mut told = BTreeMap::new();
    let all = async {
        while told.len() < parts {
            let Some((part, outcome)) = arming.recv().await else {
                break;
            };
            told.entry(part).or_insert(outcome);
        }
    };
    // Whoever has not spoken by then may still; the accounts will tell.
    let _ = timeout(ARMING, all).await;
    told.into_iter()
        .filter_map(|(part, outcome)| Some((part, outcome.err()?)))
        .collect()
}

/// Says that it runs, how it ends, and shows how far it is where nothing else is shown.
fn announce(request: &Request, setup: &Setup, shared: &Shared) -> Option<Phase> {
    let awaited = match &request.awaited {
        Some(wanted) => format!(
            ", and whatever comes of {} on {}",
            safe(&wanted.words()),
            super::counted(setup.agents.len(), "node")
        ),
        None => String::new(),
    };
    shared.printer.note(format!(
        "capturing {}{awaited} on {}, {}; Ctrl-C ends it",
        super::counted(setup.sources.len(), "source"),
        super::counted(setup.agents.len(), "agent"),
        request.limits.describe()
    ));
    if let Some(left_out) = &request.programs.left_out {
        shared.printer.note(left_out);
    }
    for (source, why) in &setup.absent {
        shared
            .printer
            .warn(safe(&format!("{} is not captured: {why}", source.title)));
    }
    let shows_packets = matches!(request.destination, super::Destination::Lines(_));
    (!shows_packets).then(|| shared.printer.phase("capturing"))
}

/// Resolves when the capture is over; a capture whose end nobody can tell any more is over too.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}

async fn end_of(duration: Duration) {
    if duration.is_zero() {
        std::future::pending::<()>().await;
    }
    sleep(duration).await;
}

async fn until_enough(enough: &mut watch::Receiver<Option<Enough>>) -> Enough {
    match enough.wait_for(Option::is_some).await.map(|enough| *enough) {
        Ok(Some(enough)) => enough,
        // The writer is gone: its result will say why.
        _ => Enough::Failed,
    }
}

/// Keeps the live line going; never ends.
async fn live(phase: Option<&Phase>, board: &Board, progress: watch::Receiver<Progress>) {
    loop {
        sleep(LIVE).await;
        if let Some(phase) = phase {
            phase.say(progress.borrow().words(&board.content().sources));
        }
    }
}

/// The writer's thread.
fn write(
    mut writer: Writer,
    mut inbox: mpsc::Receiver<Incoming>,
    handle: &Handle,
    news: &watch::Sender<Progress>,
    enough: &watch::Sender<Option<Enough>>,
) -> Outcome {
    loop {
        match handle.block_on(async { timeout(TICK, inbox.recv()).await }) {
            Ok(Some(incoming)) => {
                writer.take(incoming, Instant::now());
                while let Ok(incoming) = inbox.try_recv() {
                    writer.take(incoming, Instant::now());
                }
            }
            Ok(None) => break,
            Err(_) => {}
        }
        writer.write(Instant::now());
        // Nobody may be looking any more.
        let _ = news.send(writer.progress());
        if writer.enough().is_some() {
            let _ = enough.send(writer.enough());
        }
    }
    writer.finish(now_ns(), Instant::now())
}
