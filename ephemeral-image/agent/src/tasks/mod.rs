//! The tasks of a session: each runs on a thread of its own and reports to the session's thread.

mod arrivals;
mod capture;
mod claims;
mod clock;
mod document;
mod folders;
mod locate;
mod look;
mod observe;
mod record;
mod room;
mod watching;

use crate::{probe, watch::Watches};
use claims::Claims;
pub use locate::Place;
use netcheck_wire::{Event, Payload, Task, TaskId};
use room::Room;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

/// Reports that may wait for the session's thread; a task that has more to say waits, and with it its probes.
const QUEUE: usize = 256;

/// What a task tells the session's thread.
#[derive(Debug)]
pub enum Report {
    /// It found something.
    Event(TaskId, Event),
    /// Raw bytes, as a data frame's payload.
    Data(TaskId, Payload),
    /// It is over.
    Done(TaskId, Result<(), String>),
}

/// What the tasks of a session share.
#[derive(Debug)]
pub struct Shared {
    /// Located places by the plugin's number.
    places: Mutex<BTreeMap<u32, Arc<Place>>>,
    /// The watch.
    pub watches: Arc<Watches>,
    /// What captures that run are told.
    pub claims: Claims,
}

impl Shared {
    /// No place yet, and nothing watched.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            places: Mutex::default(),
            watches: Watches::start()?,
            claims: Claims::new()?,
        })
    }

    /// A located place.
    pub fn place(&self, number: u32) -> Option<Arc<Place>> {
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&number)
            .cloned()
    }

    /// Does not hold a place any more: a namespace lives as long as somebody holds it.
    fn forget(&self, number: u32) {
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&number);
    }

    fn insert(&self, number: u32, place: Arc<Place>) {
        self.places
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, place);
    }
}

/// What a task says of a place that no [`Task::Locate`] found.
pub fn not_located(number: u32) -> String {
    format!("place {number} was not located")
}

/// The session's thread is gone: the task is to end.
#[derive(Debug)]
pub struct Gone;

/// A task's way to the session's thread.
#[derive(Debug, Clone)]
pub struct Reporter {
    id: TaskId,
    reports: SyncSender<Report>,
    room: Arc<Room>,
    bell: Arc<OwnedFd>,
    /// Readable for good once the task is to stop.
    stop: Arc<OwnedFd>,
}

impl Reporter {
    /// Reports an event; waits while the stream is slower than the task.
    pub fn event(&self, event: Event) -> Result<(), Gone> {
        self.report(Report::Event(self.id, event))
    }

    /// Reports raw bytes, at most what a frame holds less [`netcheck_wire::message::DATA_HEADER`]; waits while the stream is slower than the task.
    pub fn data(&self, bytes: &[u8]) -> Result<(), Gone> {
        let payload = Payload::data(self.id, bytes);
        self.room.take(payload.length())?;
        self.report(Report::Data(self.id, payload))
    }

    /// A descriptor that becomes, and stays, readable when the task is to stop.
    pub fn stop(&self) -> BorrowedFd<'_> {
        self.stop.as_fd()
    }

    /// Whether the task is to stop.
    pub fn is_stopped(&self) -> bool {
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut [PollFd::new(&*self.stop, PollFlags::IN)], Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Waits until the task is to stop.
    pub fn wait_for_stop(&self) {
        while poll(&mut [PollFd::new(&*self.stop, PollFlags::IN)], None) == Err(rustix::io::Errno::INTR) {}
    }

    /// Waits until then; whether the task is to stop.
    pub fn wait_until(&self, then: Instant) -> bool {
        loop {
            let left = then.saturating_duration_since(Instant::now());
            // More than any task waits is cut, and waited for again.
            let left = rustix::event::Timespec::try_from(left.min(Duration::from_hours(1))).unwrap_or_default();
            match poll(&mut [PollFd::new(&*self.stop, PollFlags::IN)], Some(&left)) {
                Ok(0) if Instant::now() >= then => return false,
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) | Err(_) => return true,
            }
        }
    }

    fn report(&self, report: Report) -> Result<(), Gone> {
        self.reports.send(report).map_err(|_| Gone)?;
        ring(&self.bell);
        Ok(())
    }
}

fn ring(bell: &OwnedFd) {
    // It fails only when the counter is full, and then the reader is awake.
    let _ = rustix::io::write(bell, &1u64.to_ne_bytes());
}

/// A task that was not yet told to be done.
#[derive(Debug)]
struct Running {
    stop: Option<Arc<OwnedFd>>,
    /// It never ends by itself.
    is_endless: bool,
}

/// The tasks of a session.
#[derive(Debug)]
pub struct Tasks {
    shared: Arc<Shared>,
    running: BTreeMap<TaskId, Running>,
    /// Tasks that could not be started, still to be told.
    refused: Vec<(TaskId, String)>,
    sender: SyncSender<Report>,
    reports: Receiver<Report>,
    /// For raw bytes among the reports.
    room: Arc<Room>,
    bell: Arc<OwnedFd>,
}

impl Tasks {
    /// No task yet.
    pub fn new() -> io::Result<Self> {
        let (sender, reports) = sync_channel(QUEUE);
        Ok(Self {
            shared: Arc::new(Shared::new()?),
            running: BTreeMap::new(),
            refused: Vec::new(),
            sender,
            reports,
            room: Arc::default(),
            bell: Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?),
        })
    }

    /// Starts a task. A number that is in use is not started again, and the task that has it goes on.
    pub fn start(&mut self, id: TaskId, task: Task) {
        if self.running.contains_key(&id) {
            return;
        }
        let stop = match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
            Ok(stop) => Arc::new(stop),
            Err(errno) => return self.refuse(id, format!("cannot start the task: {errno}")),
        };
        let reporter = Reporter {
            id,
            reports: self.sender.clone(),
            room: self.room.clone(),
            bell: self.bell.clone(),
            stop: stop.clone(),
        };
        let shared = self.shared.clone();
        let is_endless = matches!(task, Task::Watch { .. } | Task::Capture(_));
        let work = move || {
            let outcome = run(task, &shared, &reporter);
            // If the session is gone, nobody is to be told.
            let _ = reporter.report(Report::Done(id, outcome));
        };
        self.running.insert(
            id,
            Running {
                stop: Some(stop),
                is_endless,
            },
        );
        if let Err(error) = thread::Builder::new().name(format!("task-{id}")).spawn(work) {
            self.refuse(id, format!("cannot start the task: {error}"));
        }
    }

    /// Closes a task that cannot be started.
    pub fn refuse(&mut self, id: TaskId, why: String) {
        self.running.entry(id).or_insert(Running {
            stop: None,
            is_endless: false,
        });
        self.refused.push((id, why));
    }

    /// Ends a task early.
    pub fn stop(&self, id: TaskId) {
        if let Some(stop) = self.running.get(&id).and_then(|running| running.stop.as_ref()) {
            ring(stop);
        }
    }

    /// Ends what would never end by itself: watches and captures. What else runs goes on.
    pub fn finish(&self) {
        for running in self.running.values().filter(|running| running.is_endless) {
            running.stop.iter().for_each(|stop| ring(stop));
        }
    }

    /// The next report, if there is one.
    pub fn next_report(&mut self) -> Option<Report> {
        let refused = self.refused.pop().map(|(id, why)| Report::Done(id, Err(why)));
        let report = refused.or_else(|| self.reports.try_recv().ok())?;
        match &report {
            Report::Done(id, _) => drop(self.running.remove(id)),
            Report::Data(_, payload) => self.room.give_back(payload.length()),
            Report::Event(..) => {}
        }
        Some(report)
    }

    /// Whether no task runs and none has anything left to report.
    pub fn are_done(&self) -> bool {
        self.running.is_empty()
    }

    /// A descriptor that becomes readable when there are reports; to be emptied by [`Tasks::hush`].
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Makes the bell readable, for reports that could not be taken yet.
    pub fn ring(&self) {
        ring(&self.bell);
    }

    /// Empties the bell.
    pub fn hush(&self) {
        let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.room.close();
    }
}

fn run(task: Task, shared: &Arc<Shared>, reporter: &Reporter) -> Result<(), String> {
    let outcome = match task {
        Task::Locate { places } => locate::run(&places, shared, reporter),
        Task::Watch { places } => watching::run(&places, shared, reporter),
        Task::Look { queries } => look::run(queries, shared, reporter),
        Task::Capture(order) => capture::run(&order, shared, reporter),
        Task::Claim(claim) => return shared.claims.claim(claim),
        Task::Release { source } => {
            shared.claims.release(source);
            Ok(())
        }
        Task::Clock => clock::run(reporter),
        Task::Record(order) => return record::run(&order, shared, reporter),
        Task::Observe(order) => return observe::run(&order, shared, reporter),
        Task::Probe {
            probes,
            timeout_ms,
            parallel,
        } => {
            let limits = probe::Limits::new(timeout_ms, parallel);
            return probe::run(probes, limits, shared, reporter);
        }
    };
    // Without a session there is nobody to hear of it.
    outcome.or(Ok(()))
}
