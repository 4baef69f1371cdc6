//! A capture while it runs: agents' flows in, one writer out, and what ends it.

use super::{
    Request,
    board::{Board, Joined},
    forward::{Armed, Forward, Part},
    keeper::{Keeper, Watch},
    roster::Roster,
    setup::{Setup, nothing, now_ns},
};
use crate::{
    agents::Fleet,
    capture::{
        limits::Reached,
        source::Source,
        writer::{Enough, Incoming, Outcome, Progress, Writer},
    },
    cluster::inventory::Subject,
    exit::Failure,
    output::{Phase, safe},
    verbs::Shared,
};
use futures::future::join_all;
use netcheck_wire::Task;
use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    time::{sleep, timeout},
};

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
