//! `serve`: holds one session, does its tasks, and ends itself.
//!
//! One thread owns the session and waits for everything at once: streams, signals, tasks' reports, time. [`life`] decides when to
//! end, [`stream`] moves bytes, [`conversation`] speaks the protocol; this file connects them.

mod conversation;
mod life;
mod stream;

use crate::{arguments::Serve, children, rendezvous, sys};
use anyhow::{Context as _, Result};
use conversation::{Conversation, Verdict};
pub use life::Ending;
use life::Life;
use netcheck_wire::{Frame, Kind};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Resource, getrlimit, setrlimit},
};
use std::{
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixListener,
    },
    time::{Duration, Instant},
};
use stream::Stream;

/// Streams that may wait for their hello at once; the oldest goes.
const MAX_VISITORS: usize = 8;
/// How long a stream may take to say hello, or to read why it is refused.
const VISIT: Duration = Duration::from_secs(5);
/// A stream without a frame for this long is given up; the other side sends one at least every [`conversation::HEARTBEAT`].
const SILENCE: Duration = Duration::from_secs(30);

/// A stream that has not said hello, or was refused.
struct Visitor {
    stream: Stream,
    since: Instant,
    is_refused: bool,
}

/// Runs `serve` until its end.
pub fn run(options: &Serve) -> Result<Ending> {
    // Before any thread starts: they inherit what is blocked.
    let signals =
        sys::signals(&[libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGCHLD]).context("cannot take signals")?;
    raise_descriptor_limit();
    let meeting = rendezvous::bind(&options.session, options.socket.as_deref())?;
    let now = Instant::now();
    let mut server = Server {
        conversation: Conversation::new(&options.session)?,
        life: Life::new(now, options.deadline, options.first_connect, options.idle),
        stream: None,
        visitors: Vec::new(),
    };
    loop {
        let now = Instant::now();
        if let Some(ending) = server.turn(now) {
            return Ok(ending);
        }
        server.wait(&meeting.listener, &signals, now)?;
        if reap_and_heed(&signals)? {
            return Ok(Ending::Terminated);
        }
        server.welcome(&meeting.listener);
    }
}

/// Every probe under way takes a descriptor.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // What cannot be raised bounds how many probes are under way; those beyond it say that they were not sent.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Takes pending signals: collects children that ended; whether to terminate.
fn reap_and_heed(signals: &OwnedFd) -> Result<bool> {
    let mut terminate = false;
    while let Some(number) = sys::next_signal(signals).context("cannot read signals")? {
        if number == libc::SIGCHLD as u32 {
            // Process 1 inherits every orphan of its container; one signal may stand for several.
            children::reap_orphans();
        } else {
            terminate = true;
        }
    }
    Ok(terminate)
}

struct Server {
    conversation: Conversation,
    life: Life,
    /// The stream that has said hello.
    stream: Option<Stream>,
    visitors: Vec<Visitor>,
}

impl Server {
    /// Does all that can be done without waiting; the ending, if it has come.
    fn turn(&mut self, now: Instant) -> Option<Ending> {
        self.receive_visitors(now);
        if let Some(ending) = self.receive(now) {
            return Some(ending);
        }
        self.conversation.pump(self.stream.as_mut(), now);
        let broke = self.stream.as_mut().is_some_and(|stream| stream.flush().is_err());
        let is_silent = self
            .stream
            .as_ref()
            .is_some_and(|stream| now.duration_since(stream.heard) > SILENCE);
        if broke || is_silent {
            self.lose(now);
        }
        self.life.ending(now)
    }

    /// Reads the session's stream.
    fn receive(&mut self, now: Instant) -> Option<Ending> {
        let stream = self.stream.as_mut()?;
        let is_open = stream.read(now);
        loop {
            match stream.next_frame() {
                Ok(Some(frame)) => match self.conversation.receive(&frame, now) {
                    Verdict::GoOn => {}
                    Verdict::Finished => return Some(Ending::Complete),
                    Verdict::Broken => {
                        self.lose(now);
                        return None;
                    }
                },
                Ok(None) if is_open => return None,
                Ok(None) | Err(_) => {
                    self.lose(now);
                    return None;
                }
            }
        }
    }

    fn lose(&mut self, now: Instant) {
        self.stream = None;
        self.life.lost(now);
    }

    /// Reads streams that have yet to say hello; the first that does so rightly becomes the session's.
    fn receive_visitors(&mut self, now: Instant) {
        let mut kept = Vec::new();
        for mut visitor in std::mem::take(&mut self.visitors) {
            let is_open = visitor.stream.read(now);
            if !visitor.is_refused {
                match visitor.stream.next_frame() {
                    Ok(Some(hello)) => match self.conversation.greet(&hello, &mut visitor.stream, now) {
                        Ok(()) => {
                            // The one before it is dropped: its plugin has come back by another way.
                            // If writing fails, reading will say so.
                            let _ = visitor.stream.flush();
                            self.stream = Some(visitor.stream);
                            self.life.found();
                            continue;
                        }
                        Err(reason) => {
                            visitor.stream.push_unnumbered(&Frame {
                                kind: Kind::Refusal,
                                number: 0,
                                acknowledged: 0,
                                payload: reason.into_bytes().into(),
                            });
                            visitor.is_refused = true;
                        }
                    },
                    Ok(None) => {}
                    Err(_) => continue,
                }
            }
            let is_sent = visitor.stream.flush().is_ok_and(|left| left == 0);
            let is_told = visitor.is_refused && is_sent;
            if is_open && !is_told && now.duration_since(visitor.since) < VISIT {
                kept.push(visitor);
            }
        }
        self.visitors = kept;
    }

    /// Accepts new streams.
    fn welcome(&mut self, listener: &UnixListener) {
        while let Ok((socket, _)) = listener.accept() {
            let now = Instant::now();
            if rendezvous::is_ours(&socket)
                && let Ok(stream) = Stream::new(socket, now)
            {
                if self.visitors.len() >= MAX_VISITORS {
                    self.visitors.remove(0);
                }
                self.visitors.push(Visitor {
                    stream,
                    since: now,
                    is_refused: false,
                });
            }
        }
    }

    /// Waits until something can be done.
    fn wait(&self, listener: &UnixListener, signals: &OwnedFd, now: Instant) -> Result<()> {
        let mut fds = vec![
            PollFd::new(listener, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        if self.conversation.has_room_on(self.stream.as_ref()) {
            fds.push(PollFd::from_borrowed_fd(self.conversation.bell(), PollFlags::IN));
        }
        let streams = self.visitors.iter().map(|visitor| &visitor.stream).chain(&self.stream);
        fds.extend(streams.map(|stream| PollFd::from_borrowed_fd(stream.as_fd(), stream.interest())));
        let mut due = self.life.next_due();
        if let Some(stream) = &self.stream {
            due = due.min(stream.heard + SILENCE).min(self.conversation.next_due(stream));
        }
        due = self
            .visitors
            .iter()
            .map(|visitor| visitor.since + VISIT)
            .fold(due, Instant::min);
        // Rounded up, or the last part of a millisecond would be spent in circles.
        let patience = due.saturating_duration_since(now) + Duration::from_millis(1);
        let patience = Timespec::try_from(patience).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 });
        match poll(&mut fds, Some(&patience)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno).context("cannot wait for streams"),
        }
    }
}
