//! `probe`: sends probes from inside namespaces, many at once, and tells how each ended for the socket that sent it.

mod dns;
mod flight;
mod icmp;
mod tcp;

use crate::tasks::{Reporter, Shared, not_located};
use flight::{Flight, Progress, Reached};
use netcheck_node_state::within;
use netcheck_wire::{
    Event,
    probe::{Outcome, Probe, ProbeResult},
};
use rustix::event::{Timespec, epoll};
use socket2::Socket;
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::Shutdown,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

pub use icmp::cannot_ping_here;
pub use tcp::Endpoints;

/// Most probes under way at once, whatever the plugin asks: each takes a descriptor.
const MAX_PARALLEL: usize = 1024;
/// Longest wait for an answer.
const MAX_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a connection that was closed on our side waits for the other's close, so that what the server still sends meets a socket and not
/// a reset.
const LINGER: Duration = Duration::from_secs(1);
/// Events taken from the kernel at once.
const BATCH: usize = 128;
/// The epoll datum of the task's stop descriptor; flights are numbered from 0.
const STOP: u64 = u64::MAX;

/// How much at once, and how long.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    timeout: Duration,
    parallel: usize,
}

impl Limits {
    /// What the plugin asks for, within what can be given.
    pub fn new(timeout_ms: u32, parallel: u32) -> Self {
        Self {
            timeout: Duration::from_millis(timeout_ms.into()).min(MAX_TIMEOUT),
            parallel: (parallel as usize).clamp(1, MAX_PARALLEL),
        }
    }
}

/// Runs the task.
pub fn run(probes: Vec<Probe>, limits: Limits, shared: &Arc<Shared>, reporter: &Reporter) -> Result<(), String> {
    let mut engine =
        Engine::new(limits, shared, reporter).map_err(|error| format!("cannot wait for sockets: {error}"))?;
    engine.watch_sources(&probes);
    let outcome = engine.run(probes.into());
    let lingering = std::mem::take(&mut engine.lingering);
    if !lingering.is_empty() {
        // Not waited for: nothing of it is reported. Without a thread they are closed at once, which is only less polite.
        let _ = thread::Builder::new()
            .name("linger".to_owned())
            .spawn(move || linger(lingering));
    }
    outcome.map_err(|error| format!("cannot wait for sockets: {error}"))
}

/// The probes of one task under way.
struct Engine<'a> {
    limits: Limits,
    shared: &'a Arc<Shared>,
    reporter: &'a Reporter,
    epoll: OwnedFd,
    next: u64,
    flights: BTreeMap<u64, Flight>,
    /// Closed on our side, waiting for the other's close.
    lingering: VecDeque<(Instant, Socket)>,
    /// Keeps the sources watched.
    watching: Vec<crate::watch::Watching>,
}

/// The session is gone, or the task was stopped.
struct Over;

impl<'a> Engine<'a> {
    fn new(limits: Limits, shared: &'a Arc<Shared>, reporter: &'a Reporter) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            reporter.stop(),
            epoll::EventData::new_u64(STOP),
            epoll::EventFlags::IN,
        )?;
        Ok(Self {
            limits,
            shared,
            reporter,
            epoll,
            next: 0,
            flights: BTreeMap::new(),
            lingering: VecDeque::new(),
            watching: Vec::new(),
        })
    }

    /// Watches every source while probing. Where that is not allowed, the place's facts have said so.
    fn watch_sources(&mut self, probes: &[Probe]) {
        let mut sources: Vec<u32> = probes.iter().map(|probe| probe.from).collect();
        sources.sort_unstable();
        sources.dedup();
        let places = sources.into_iter().filter_map(|number| self.shared.place(number));
        self.watching = places
            .filter_map(|place| self.shared.watches.watch(&place.netns).ok())
            .collect();
    }

    fn run(&mut self, mut waiting: VecDeque<Probe>) -> io::Result<()> {
        while !(waiting.is_empty() && self.flights.is_empty()) {
            let room = self.limits.parallel - self.flights.len();
            let batch = waiting.drain(..room.min(waiting.len())).collect();
            if self.launch(batch).is_err() || self.advance()? || self.expire().is_err() {
                break;
            }
        }
        Ok(())
    }

    /// Sends probes, those of one source together: a thread enters its namespace once.
    fn launch(&mut self, batch: Vec<Probe>) -> Result<(), Over> {
        let mut by_source: BTreeMap<u32, Vec<Probe>> = BTreeMap::new();
        for probe in batch {
            by_source.entry(probe.from).or_default().push(probe);
        }
        for (source, probes) in by_source {
            let Some(place) = self.shared.place(source) else {
                for probe in probes {
                    self.tell_not_sent(probe.id, not_located(source))?;
                }
                continue;
            };
            let (shared, timeout) = (self.shared, self.limits.timeout);
            let numbers: Vec<u32> = probes.iter().map(|probe| probe.id).collect();
            let launched = within(&place.netns, || {
                probes
                    .into_iter()
                    .map(|probe| Flight::launch(probe, &place, shared, timeout))
                    .collect::<Vec<_>>()
            });
            match launched {
                Ok(launched) => {
                    for (number, reached) in numbers.into_iter().zip(launched) {
                        self.take(number, reached)?;
                    }
                }
                Err(error) => {
                    for number in numbers {
                        self.tell_not_sent(number, error.to_string())?;
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, number: u32, launched: Result<Reached, String>) -> Result<(), Over> {
        match launched {
            Err(why) => self.tell_not_sent(number, why),
            Ok(Reached {
                flight,
                progress: Progress::Over(outcome),
            }) => self.land(flight, outcome),
            Ok(Reached {
                flight,
                progress: Progress::Waiting,
            }) => {
                let interest = epoll::EventFlags::IN | flight.extra_interest();
                match epoll::add(
                    &self.epoll,
                    flight.socket(),
                    epoll::EventData::new_u64(self.next),
                    interest,
                ) {
                    Ok(()) => {
                        self.flights.insert(self.next, flight);
                        self.next += 1;
                        Ok(())
                    }
                    Err(errno) => self.tell_not_sent(number, format!("cannot wait for its socket: {errno}")),
                }
            }
        }
    }

    /// Waits for what happens next; whether the task is to stop.
    fn advance(&mut self) -> io::Result<bool> {
        if self.flights.is_empty() {
            return Ok(self.reporter.is_stopped());
        }
        let now = Instant::now();
        let next_due = self.flights.values().map(Flight::next_due).min();
        let patience = next_due.map_or(LINGER, |due| due.saturating_duration_since(now));
        // Rounded up, or the last part of a millisecond would be spent in circles.
        let timeout = timespec(patience + Duration::from_millis(1));
        let mut events = Vec::with_capacity(BATCH);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        for event in events {
            let number = event.data.u64();
            if number == STOP {
                return Ok(true);
            }
            let Some(flight) = self.flights.get_mut(&number) else {
                continue;
            };
            if let Progress::Over(outcome) = flight.ready()
                && let Some(flight) = self.flights.remove(&number)
                && self.land(flight, outcome).is_err()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Ends what has waited long enough, and repeats what is to be repeated.
    fn expire(&mut self) -> Result<(), Over> {
        let now = Instant::now();
        let due: Vec<u64> = self
            .flights
            .iter()
            .filter(|(_, flight)| flight.next_due() <= now)
            .map(|(&number, _)| number)
            .collect();
        for number in due {
            if let Some(flight) = self.flights.get_mut(&number)
                && let Progress::Over(outcome) = flight.due(now)
                && let Some(flight) = self.flights.remove(&number)
            {
                self.land(flight, outcome)?;
            }
        }
        while self
            .lingering
            .front()
            .is_some_and(|(until, socket)| *until <= now || has_ended(socket))
        {
            self.lingering.pop_front();
        }
        Ok(())
    }

    /// Tells how a probe ended and closes its socket.
    fn land(&mut self, flight: Flight, outcome: Outcome) -> Result<(), Over> {
        let (result, to_close) = flight.land(outcome, self.shared);
        if let Some(socket) = to_close
            && socket.shutdown(Shutdown::Write).is_ok()
        {
            // No longer of interest here; it is looked at when its time has come.
            let _ = epoll::delete(&self.epoll, socket.as_fd());
            self.lingering.push_back((Instant::now() + LINGER, socket));
        }
        self.reporter.event(Event::Probed(result)).map_err(|_| Over)
    }

    fn tell_not_sent(&self, id: u32, why: String) -> Result<(), Over> {
        let result = ProbeResult {
            id,
            outcome: Outcome::NotSent { why },
            elapsed_us: 0,
            mark: None,
            source_saw: Vec::new(),
            source_missed: 0,
        };
        self.reporter.event(Event::Probed(result)).map_err(|_| Over)
    }
}

fn linger(sockets: VecDeque<(Instant, Socket)>) {
    for (until, socket) in sockets {
        while !has_ended(&socket) && Instant::now() < until {
            let left = until.saturating_duration_since(Instant::now());
            let interest = rustix::event::PollFlags::IN;
            if rustix::event::poll(
                &mut [rustix::event::PollFd::new(&socket, interest)],
                Some(&timespec(left)),
            )
            .is_err()
            {
                break;
            }
        }
    }
}

/// Reads what the server says unasked (a socket closed with unread data resets the connection); whether the server has closed too.
fn has_ended(socket: &Socket) -> bool {
    let mut buffer = [0u8; 4096];
    // Not more at one time: a server may talk faster than it is read.
    for _ in 0..16 {
        match rustix::io::read(socket, &mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => return true,
        }
    }
    false
}

/// Bytes nobody can foresee.
fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

fn timespec(duration: Duration) -> Timespec {
    Timespec::try_from(duration).unwrap_or(Timespec { tv_sec: 1, tv_nsec: 0 })
}
