//! One probe under way.

use super::{dns, icmp, tcp};
use crate::{
    errno,
    tasks::{Place, Shared},
};
use netcheck_wire::probe::{Mark, Outcome, Probe, ProbeKind, ProbeResult};
use rustix::event::epoll::EventFlags;
use socket2::Socket;
use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

/// What a look at a probe's socket gave.
#[derive(Debug)]
pub enum Progress {
    /// Nothing yet.
    Waiting,
    /// The probe is over.
    Over(Outcome),
}

/// A probe just after it was sent: some are over at once, for want of a route or on loopback.
#[derive(Debug)]
pub struct Reached {
    /// The probe.
    pub flight: Flight,
    /// How it stands.
    pub progress: Progress,
}

/// A probe under way.
#[derive(Debug)]
pub struct Flight {
    id: u32,
    place: Arc<Place>,
    socket: Socket,
    kind: Kind,
    started: Instant,
    deadline: Instant,
    /// When to send once more, for what the network may lose without anybody's fault.
    repeat_at: Option<Instant>,
    missed_before: u64,
}

#[derive(Debug)]
enum Kind {
    Tcp(tcp::Handshake),
    Dns(dns::Question),
    Icmp(icmp::Echo),
}

impl Flight {
    /// Sends a probe from the calling thread's namespace, which is the place's. An error means it was not sent.
    pub fn launch(probe: Probe, place: &Arc<Place>, shared: &Shared, timeout: Duration) -> Result<Reached, String> {
        let missed_before = shared.watches.missed(&place.netns);
        let started = Instant::now();
        let (socket, kind, sent) = match probe.kind {
            ProbeKind::Tcp { to } => {
                let (socket, handshake, sent) =
                    tcp::open(to, |port| shared.watches.expect_syn_from(&place.netns, port))?;
                (socket, Kind::Tcp(handshake), sent)
            }
            ProbeKind::Dns { to, name, record } => {
                let (socket, question, sent) = dns::open(to, &name, record)?;
                (socket, Kind::Dns(question), sent)
            }
            ProbeKind::Icmp { to } => {
                let (socket, echo, sent) = icmp::open(to)?;
                (socket, Kind::Icmp(echo), sent)
            }
        };
        let repeat_at = matches!(kind, Kind::Dns(_)).then(|| started + timeout / 2);
        let deadline = started + timeout;
        let flight = Self {
            id: probe.id,
            place: place.clone(),
            socket,
            kind,
            started,
            deadline,
            repeat_at,
            missed_before,
        };
        let progress = match sent {
            Ok(()) => Progress::Waiting,
            Err(error) => Progress::Over(failed(&error)),
        };
        Ok(Reached { flight, progress })
    }

    /// Its socket.
    pub fn socket(&self) -> &Socket {
        &self.socket
    }

    /// What to wait for besides reading: a connection is there when it can be written to.
    pub fn extra_interest(&self) -> EventFlags {
        match self.kind {
            Kind::Tcp(_) => EventFlags::OUT,
            Kind::Dns(_) | Kind::Icmp(_) => EventFlags::empty(),
        }
    }

    /// When something is to be done although nothing happened.
    pub fn next_due(&self) -> Instant {
        self.repeat_at.unwrap_or(self.deadline).min(self.deadline)
    }

    /// Looks at the socket, which has something to tell.
    pub fn ready(&mut self) -> Progress {
        let outcome = match &self.kind {
            Kind::Tcp(_) => tcp::outcome(&self.socket),
            Kind::Dns(question) => question.outcome(&self.socket),
            Kind::Icmp(echo) => echo.outcome(&self.socket),
        };
        match outcome {
            Ok(Some(outcome)) => Progress::Over(outcome),
            Ok(None) => Progress::Waiting,
            Err(error) => Progress::Over(failed(&error)),
        }
    }

    /// Does what is due.
    pub fn due(&mut self, now: Instant) -> Progress {
        if now >= self.deadline {
            // The answer may have come in time and we be late: the agent is the one that had to wait for its share of the processor.
            return match self.ready() {
                Progress::Waiting => Progress::Over(Outcome::TimedOut),
                over @ Progress::Over(_) => over,
            };
        }
        if let (Some(at), Kind::Dns(question)) = (self.repeat_at, &self.kind)
            && now >= at
        {
            self.repeat_at = None;
            if let Err(error) = question.send(&self.socket) {
                return Progress::Over(failed(&error));
            }
        }
        Progress::Waiting
    }

    /// The result, with what the source's watch saw, and the socket if it has to be closed with care.
    pub fn land(self, outcome: Outcome, shared: &Shared) -> (ProbeResult, Option<Socket>) {
        let elapsed = self.started.elapsed();
        let netns = &self.place.netns;
        let mark = match &self.kind {
            Kind::Tcp(handshake) => {
                let learnt = handshake
                    .to_learn
                    .and_then(|endpoints| shared.watches.expected_isn(netns, endpoints));
                handshake.isn.or(learnt).map(|isn| Mark::Tcp { isn })
            }
            Kind::Dns(question) => Some(question.mark()),
            Kind::Icmp(echo) => Some(echo.mark()),
        };
        let source_saw = mark
            .as_ref()
            .and_then(|mark| shared.watches.look(netns, mark).ok())
            .unwrap_or_default();
        let result = ProbeResult {
            id: self.id,
            elapsed_us: u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX),
            mark,
            source_saw,
            source_missed: shared.watches.missed(netns).saturating_sub(self.missed_before),
            outcome,
        };
        let to_close =
            matches!((&self.kind, &result.outcome), (Kind::Tcp(_), Outcome::Connected)).then_some(self.socket);
        (result, to_close)
    }
}

/// An error of the kernel as an outcome. `ETIMEDOUT` is the kernel's own patience with a handshake.
fn failed(error: &io::Error) -> Outcome {
    match error.raw_os_error() {
        Some(libc::ETIMEDOUT) => Outcome::TimedOut,
        _ => Outcome::Failed {
            errno: errno::name(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::Netns;
    use netcheck_wire::probe::Record;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use std::net::{Ipv4Addr, TcpListener, UdpSocket};

    /// A probe on loopback whose deadline has passed when it is launched.
    fn late(kind: ProbeKind) -> Flight {
        let place = Arc::new(Place {
            netns: Netns::own().unwrap(),
        });
        let probe = Probe { id: 1, from: 1, kind };
        let reached = Flight::launch(probe, &place, &Shared::new().unwrap(), Duration::ZERO).unwrap();
        assert!(matches!(reached.progress, Progress::Waiting), "{:?}", reached.progress);
        reached.flight
    }

    #[test]
    fn an_answer_that_lies_there_at_the_deadline_counts() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let to = server.local_addr().unwrap();
        let mut flight = late(ProbeKind::Tcp { to });
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        let connected = poll(&mut [PollFd::new(flight.socket(), PollFlags::OUT)], Some(&patience));
        assert_eq!(connected, Ok(1));
        let progress = flight.due(Instant::now());
        assert!(matches!(progress, Progress::Over(Outcome::Connected)), "{progress:?}");
    }

    #[test]
    fn without_an_answer_the_deadline_ends_it() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut flight = late(ProbeKind::Dns {
            to: silent.local_addr().unwrap(),
            name: "web.shop.svc.cluster.local".to_owned(),
            record: Record::A,
        });
        let progress = flight.due(Instant::now());
        assert!(matches!(progress, Progress::Over(Outcome::TimedOut)), "{progress:?}");
    }
}
