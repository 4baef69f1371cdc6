//! A small agent for tests: it speaks the wire in memory, and its streams can be cut after any number of bytes.

use super::{Dial, DialError};
use netcheck_wire::{
    AgentHello, Decoder, Event, FromAgent, Kind, PROTOCOL, Payload, PluginHello, Session, Task, TaskId, ToAgent,
    Totals,
    probe::{PlaceFacts, Placed},
    session::Accepted,
};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf},
    task::JoinHandle,
};

/// How the agent misbehaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Manners {
    Good,
    /// Announces one event more than it sends.
    Miscounts,
    /// Announces other totals than it sent.
    WrongTotals,
    /// Speaks a protocol of its own.
    OtherProtocol,
    /// Says nothing at all after its hello.
    Silent,
    /// Refuses.
    Refuses,
}

#[derive(Default)]
struct State {
    session: Session,
    open_watches: Vec<(TaskId, u64)>,
    totals: Totals,
    finishing: bool,
    ended: bool,
    /// The plugin confirmed the end.
    pub released: bool,
}

/// The agent, and the way to it: its [`Dial::dial`] gives streams that end after the planned number of bytes.
pub struct Peer {
    state: Arc<Mutex<State>>,
    manners: Manners,
    /// Bytes that each stream may carry in each direction; when used up, streams are not limited.
    plan: Vec<(usize, usize)>,
    /// No stream after the planned ones.
    gone_after_plan: bool,
    dialled: Arc<Mutex<usize>>,
    serving: Option<JoinHandle<()>>,
}

impl Peer {
    pub fn new(manners: Manners) -> Self {
        Self {
            state: Arc::default(),
            manners,
            plan: Vec::new(),
            gone_after_plan: false,
            dialled: Arc::default(),
            serving: None,
        }
    }

    /// Streams are cut after so many bytes (to the agent, from the agent), one entry per stream.
    pub fn cutting(mut self, plan: Vec<(usize, usize)>) -> Self {
        self.plan = plan;
        self
    }

    pub fn then_gone(mut self) -> Self {
        self.gone_after_plan = true;
        self
    }

    /// Counts the streams that were opened.
    pub fn dialled(&self) -> Arc<Mutex<usize>> {
        Arc::clone(&self.dialled)
    }

    /// Whether the plugin told the agent that it has everything.
    pub fn released(&self) -> impl Fn() -> bool + use<> {
        let state = Arc::clone(&self.state);
        move || state.lock().unwrap().released
    }
}

impl Dial for Peer {
    type Stream = Chopped;

    async fn dial(&mut self) -> Result<Chopped, DialError> {
        let number = {
            let mut dialled = self.dialled.lock().unwrap();
            *dialled += 1;
            *dialled - 1
        };
        let limits = self.plan.get(number).copied();
        if limits.is_none() && self.gone_after_plan {
            return Err(DialError::Retry("connection refused".to_owned()));
        }
        if let Some(old) = self.serving.take() {
            old.abort();
        }
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        self.serving = Some(tokio::spawn(serve(theirs, Arc::clone(&self.state), self.manners)));
        let (write_left, read_left) = limits.unwrap_or((usize::MAX, usize::MAX));
        Ok(Chopped {
            inner: ours,
            read_left,
            write_left,
        })
    }
}

async fn serve(mut stream: DuplexStream, state: Arc<Mutex<State>>, manners: Manners) {
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4096];
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else {
            return;
        };
        decoder.push(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let bytes = answer(&mut state.lock().unwrap(), &frame, manners);
            if stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    }
}

fn answer(state: &mut State, frame: &netcheck_wire::Frame, manners: Manners) -> Vec<u8> {
    let mut bytes = Vec::new();
    if frame.kind == Kind::Hello {
        if manners == Manners::Refuses {
            return state
                .session
                .unnumbered(Kind::Refusal, b"busy".to_vec())
                .encode()
                .unwrap()
                .into();
        }
        let hello: PluginHello = serde_json::from_slice(&frame.payload).unwrap();
        let ours = AgentHello {
            protocol: if manners == Manners::OtherProtocol {
                PROTOCOL + 1
            } else {
                PROTOCOL
            },
            version: "test".to_owned(),
            received: state.session.received(),
            kernel: String::new(),
            capabilities: 0,
            uid: 0,
        };
        let resend = state.session.resume(hello.received).unwrap();
        let hello = state
            .session
            .unnumbered(Kind::Hello, serde_json::to_vec(&ours).unwrap());
        for frame in std::iter::once(hello.encode().unwrap()).chain(resend) {
            bytes.extend(frame);
        }
        return bytes;
    }
    if state.session.accept(frame) != Ok(Accepted::New) || manners == Manners::Silent {
        return bytes;
    }
    if frame.kind == Kind::Message {
        for message in act(state, serde_json::from_slice(&frame.payload).unwrap(), manners) {
            bytes.extend(state.session.send(Payload::message(&message).unwrap()).unwrap());
        }
        let acknowledgement = state.session.unnumbered(Kind::Heartbeat, Vec::new());
        bytes.extend(acknowledgement.encode().unwrap());
    }
    bytes
}

fn act(state: &mut State, message: ToAgent, manners: Manners) -> Vec<FromAgent> {
    let mut out = Vec::new();
    match message {
        ToAgent::Task {
            id,
            task: Task::Locate { places },
        } => {
            let events = places.len() as u64;
            out.extend(places.into_iter().map(|place| {
                let facts = PlaceFacts {
                    inode: u64::from(place.id) * 10,
                    ..PlaceFacts::default()
                };
                let event = Event::Located(Placed {
                    place: place.id,
                    outcome: Ok(facts),
                });
                FromAgent::Event { id, event }
            }));
            let events = events + u64::from(manners == Manners::Miscounts);
            out.push(FromAgent::Done {
                id,
                events,
                error: None,
            });
        }
        ToAgent::Task {
            id,
            task: Task::Watch { places },
        } => {
            state.open_watches.push((id, places.len() as u64));
            out.extend(places.into_iter().map(|place| FromAgent::Event {
                id,
                event: Event::Watching(Placed { place, outcome: Ok(()) }),
            }));
        }
        ToAgent::Task { id, .. } => {
            out.push(FromAgent::Done {
                id,
                events: 0,
                error: Some("cannot do that".to_owned()),
            });
        }
        ToAgent::Stop { id } => {
            state.open_watches.retain(|(watch, events)| {
                if *watch == id {
                    out.push(FromAgent::Done {
                        id,
                        events: *events,
                        error: None,
                    });
                }
                *watch != id
            });
        }
        ToAgent::Finish => state.finishing = true,
        ToAgent::EndReceived => state.released = true,
    }
    for message in &out {
        match message {
            FromAgent::Event { .. } => state.totals.events += 1,
            FromAgent::Done { .. } => state.totals.tasks += 1,
            FromAgent::End { .. } => {}
        }
    }
    if state.finishing && !state.ended && state.open_watches.is_empty() {
        state.ended = true;
        let mut totals = state.totals;
        totals.events += u64::from(manners == Manners::WrongTotals);
        out.push(FromAgent::End { totals });
    }
    out
}

/// A stream that breaks off after a number of bytes in either direction.
pub struct Chopped {
    inner: DuplexStream,
    read_left: usize,
    write_left: usize,
}

impl AsyncRead for Chopped {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.read_left == 0 {
            return Poll::Ready(Ok(()));
        }
        let mut limited = buf.take(self.read_left);
        let outcome = Pin::new(&mut self.inner).poll_read(cx, &mut limited);
        let count = limited.filled().len();
        // `take` shares the memory of `buf`, so what was read into it is there already.
        let filled = limited.filled().to_vec();
        buf.put_slice(&filled);
        self.read_left -= count;
        outcome
    }
}

impl AsyncWrite for Chopped {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.write_left == 0 {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(self.write_left);
        let outcome = Pin::new(&mut self.inner).poll_write(cx, &bytes[..count]);
        if let Poll::Ready(Ok(count)) = outcome {
            self.write_left -= count;
        }
        outcome
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
