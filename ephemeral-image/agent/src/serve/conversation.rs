//! What the agent says and hears: the session's protocol between a stream and the tasks, without any waiting of its own.

use super::stream::Stream;
use crate::{
    capabilities,
    tasks::{Report, Tasks},
};
use anyhow::{Context as _, Result};
use netcheck_wire::{
    Accepted, AgentHello, Frame, FromAgent, Kind, PROTOCOL, Payload, PluginHello, Session, SessionError, TaskId,
    ToAgent, Totals, message::DATA_HEADER,
};
use std::{
    collections::BTreeMap,
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

/// A frame is sent at least this often.
pub const HEARTBEAT: Duration = Duration::from_secs(10);
/// What was received is acknowledged at the latest after this long …
const ACKNOWLEDGE_AFTER: Duration = Duration::from_secs(1);
/// … or this many frames.
const ACKNOWLEDGE_EVERY: u64 = 100;
/// Bytes in a stream's queue beyond which no more reports are taken: the stream is slower than the tasks.
const QUEUE: usize = 1 << 20;
/// Most characters of a task's error: it may quote the plugin, and must fit a frame whatever happens.
const MAX_ERROR: usize = 1024;

/// What a received frame means for the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    GoOn,
    /// The plugin has everything.
    Finished,
    /// The stream cannot be trusted any more; the next one resumes.
    Broken,
}

/// The session as this side knows it.
pub struct Conversation {
    id: String,
    session: Session,
    tasks: Tasks,
    /// Events and data frames sent, by task that is not done.
    sent: BTreeMap<TaskId, u64>,
    /// Why an event could not be sent, by task that is not done: the task fails then, for it told less than it found.
    unsent: BTreeMap<TaskId, String>,
    totals: Totals,
    is_finishing: bool,
    is_ended: bool,
    /// Highest number that was acknowledged to the plugin, and since when more is owed.
    acknowledged: u64,
    owed_since: Option<Instant>,
}

impl Conversation {
    /// A session that nobody has joined yet.
    pub fn new(id: &str) -> Result<Self> {
        Ok(Self {
            id: id.to_owned(),
            session: Session::default(),
            tasks: Tasks::new().context("cannot prepare for tasks")?,
            sent: BTreeMap::new(),
            unsent: BTreeMap::new(),
            totals: Totals::default(),
            is_finishing: false,
            is_ended: false,
            acknowledged: 0,
            owed_since: None,
        })
    }

    /// Answers the first frame of a stream: on success the stream holds our hello and what the plugin has missed, else the error is the
    /// reason to refuse it.
    pub fn greet(&mut self, frame: &Frame, stream: &mut Stream, now: Instant) -> Result<(), String> {
        let hello = (frame.kind == Kind::Hello).then(|| serde_json::from_slice::<PluginHello>(&frame.payload));
        let Some(Ok(hello)) = hello else {
            return Err("the stream does not begin with a hello of the plugin".to_owned());
        };
        if hello.protocol != PROTOCOL {
            let ours = env!("CARGO_PKG_VERSION");
            return Err(format!(
                "the agent (version {ours}) speaks protocol {PROTOCOL}, the plugin (version {}) {}",
                printable(&hello.version),
                hello.protocol
            ));
        }
        if hello.session != self.id {
            return Err(format!(
                "this agent serves another session, not {}",
                printable(&hello.session)
            ));
        }
        let missed = self.session.resume(hello.received).map_err(|error| error.to_string())?;
        let answer = serde_json::to_vec(&self.hello()).map_err(|error| error.to_string())?;
        stream.push_unnumbered(&self.session.unnumbered(Kind::Hello, answer));
        for frame in missed {
            stream.push(frame);
        }
        stream.spoke = now;
        self.acknowledged = self.session.received();
        self.owed_since = None;
        Ok(())
    }

    fn hello(&self) -> AgentHello {
        AgentHello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            received: self.session.received(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            capabilities: capabilities::effective().unwrap_or(0),
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    /// Acts upon a frame.
    pub fn receive(&mut self, frame: &Frame, now: Instant) -> Verdict {
        match self.session.accept(frame) {
            Ok(Accepted::New) => {}
            Ok(Accepted::Duplicate) => return Verdict::GoOn,
            Err(
                SessionError::Gap { .. }
                | SessionError::AcknowledgesUnsent { .. }
                | SessionError::Forgotten { .. }
                | SessionError::Frame(_),
            ) => {
                return Verdict::Broken;
            }
        }
        if frame.kind.is_numbered() {
            self.owed_since.get_or_insert(now);
        }
        match frame.kind {
            Kind::Message => self.heed(&frame.payload),
            // The plugin has no data to send, in this version.
            Kind::Data | Kind::Heartbeat => Verdict::GoOn,
            Kind::Hello | Kind::Refusal => Verdict::Broken,
        }
    }

    fn heed(&mut self, payload: &[u8]) -> Verdict {
        match serde_json::from_slice(payload) {
            // Nothing follows the end, not even a refusal.
            Ok(ToAgent::Task { .. }) if self.is_ended => {}
            Ok(ToAgent::Task { id, .. }) if self.is_finishing => {
                self.tasks.refuse(id, "the session is finishing".to_owned());
            }
            Ok(ToAgent::Task { id, task }) => self.tasks.start(id, task),
            Ok(ToAgent::Stop { id }) => self.tasks.stop(id),
            Ok(ToAgent::Finish) => {
                self.is_finishing = true;
                self.tasks.finish();
            }
            Ok(ToAgent::EndReceived) => return Verdict::Finished,
            Err(error) => {
                // A task that only a newer version knows is answered, so that nobody waits for it; anything else is ignored.
                if let Some(id) = unknown_task(payload) {
                    self.tasks
                        .refuse(id, format!("this agent does not know the task: {error}"));
                }
            }
        }
        Verdict::GoOn
    }

    /// Moves reports into the session and the stream, as far as there is room, and adds what the clock asks for.
    pub fn pump(&mut self, mut stream: Option<&mut Stream>, now: Instant) {
        self.tasks.hush();
        loop {
            if !self.has_room_on(stream.as_deref()) {
                // There may be more: to be looked for when there is room again.
                self.tasks.ring();
                break;
            }
            match self.tasks.next_report() {
                Some(report) => self.tell(report, stream.as_deref_mut(), now),
                None if self.is_finishing && !self.is_ended && self.tasks.are_done() => {
                    self.is_ended = true;
                    self.close(&FromAgent::End { totals: self.totals }, stream.as_deref_mut(), now);
                }
                None => break,
            }
        }
        if let Some(stream) = stream {
            let owes = self.session.received() - self.acknowledged >= ACKNOWLEDGE_EVERY
                || self
                    .owed_since
                    .is_some_and(|since| now.duration_since(since) >= ACKNOWLEDGE_AFTER);
            if owes || now.duration_since(stream.spoke) >= HEARTBEAT {
                stream.push_unnumbered(&self.session.unnumbered(Kind::Heartbeat, Vec::new()));
                self.has_spoken(stream, now);
            }
        }
    }

    /// Sends what a task reports. Only what was sent is counted.
    fn tell(&mut self, report: Report, stream: Option<&mut Stream>, now: Instant) {
        match report {
            Report::Event(id, event) => match self.send(&FromAgent::Event { id, event }, stream, now) {
                Ok(()) => {
                    *self.sent.entry(id).or_default() += 1;
                    self.totals.events += 1;
                }
                Err(why) => {
                    self.unsent.entry(id).or_insert(why);
                }
            },
            Report::Data(id, payload) => {
                let bytes = payload.length() - DATA_HEADER;
                match self.send_frame(payload, stream, now) {
                    Ok(()) => {
                        *self.sent.entry(id).or_default() += 1;
                        self.totals.data_frames += 1;
                        self.totals.data_bytes += bytes as u64;
                    }
                    Err(why) => {
                        self.unsent.entry(id).or_insert(why);
                    }
                }
            }
            Report::Done(id, outcome) => {
                self.totals.tasks += 1;
                let error = outcome.err().or(self.unsent.remove(&id));
                let done = FromAgent::Done {
                    id,
                    events: self.sent.remove(&id).unwrap_or(0),
                    error: error.map(|why| why.chars().take(MAX_ERROR).collect()),
                };
                self.close(&done, stream, now);
            }
        }
    }

    /// Sends the end of a task or of the session: numbers and a bounded text, which always fit.
    fn close(&mut self, message: &FromAgent, stream: Option<&mut Stream>, now: Instant) {
        let sent = self.send(message, stream, now);
        debug_assert_eq!(sent, Ok(()));
    }

    /// Sends a message, unless it is too large for a frame.
    fn send(&mut self, message: &FromAgent, stream: Option<&mut Stream>, now: Instant) -> Result<(), String> {
        let payload = Payload::message(message).map_err(|error| cannot_send(&error))?;
        self.send_frame(payload, stream, now)
    }

    fn send_frame(&mut self, payload: Payload, stream: Option<&mut Stream>, now: Instant) -> Result<(), String> {
        let frame = self.session.send(payload).map_err(|error| cannot_send(&error))?;
        if let Some(stream) = stream {
            stream.push(frame);
            self.has_spoken(stream, now);
        }
        Ok(())
    }

    /// Every frame carries the acknowledgement.
    fn has_spoken(&mut self, stream: &mut Stream, now: Instant) {
        stream.spoke = now;
        self.acknowledged = self.session.received();
        self.owed_since = None;
    }

    /// When something is to be sent although nothing happens.
    pub fn next_due(&self, stream: &Stream) -> Instant {
        let heartbeat = stream.spoke + HEARTBEAT;
        self.owed_since
            .map_or(heartbeat, |since| heartbeat.min(since + ACKNOWLEDGE_AFTER))
    }

    /// Whether reports can be taken: if not, they wait, and their bell is not to be listened to.
    pub fn has_room_on(&self, stream: Option<&Stream>) -> bool {
        self.session.has_room() && stream.is_none_or(|stream| stream.queued() < QUEUE)
    }

    /// Becomes readable when there are reports.
    pub fn bell(&self) -> BorrowedFd<'_> {
        self.tasks.bell()
    }
}

fn cannot_send(error: &dyn std::fmt::Display) -> String {
    format!("cannot send what was found: {error}")
}

/// The number of a task in a message that this version cannot read.
fn unknown_task(payload: &[u8]) -> Option<TaskId> {
    let message: serde_json::Value = serde_json::from_slice(payload).ok()?;
    let is_task = message.get("type")?.as_str()? == "task";
    message.get("id")?.as_u64().filter(|_| is_task)?.try_into().ok()
}

/// Text of the other side as part of a line: short, and without anything a terminal would act upon.
fn printable(text: &str) -> String {
    text.chars().filter(char::is_ascii_graphic).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_wire::{Decoder, Event, frame::MAX_PAYLOAD, probe::Placed};

    /// Everything that was sent.
    fn told(conversation: &mut Conversation) -> Vec<FromAgent> {
        let mut decoder = Decoder::default();
        decoder.push(&conversation.session.resume(0).unwrap().concat());
        std::iter::from_fn(|| decoder.next_frame().unwrap())
            .map(|frame| serde_json::from_slice(&frame.payload).unwrap())
            .collect()
    }

    fn watching(why: String) -> Event {
        Event::Watching(Placed {
            place: 1,
            outcome: Err(why),
        })
    }

    #[test]
    fn an_event_too_large_for_a_frame_fails_its_task() {
        let mut conversation = Conversation::new("s").unwrap();
        let events = [watching("x".repeat(MAX_PAYLOAD)), watching("small".to_owned())];
        let reports = events.into_iter().map(|event| Report::Event(7, event));
        for report in reports.chain([Report::Done(7, Ok(()))]) {
            conversation.tell(report, None, Instant::now());
        }
        let told = told(&mut conversation);
        let [
            FromAgent::Event { id: 7, .. },
            FromAgent::Done {
                id: 7,
                events: 1,
                error,
            },
        ] = &told[..]
        else {
            panic!("{told:?}");
        };
        let error = error.as_deref().unwrap();
        assert!(error.starts_with("cannot send what was found: "), "{error}");
        assert_eq!(conversation.totals.events, 1);
    }

    #[test]
    fn an_error_of_any_length_is_told() {
        let mut conversation = Conversation::new("s").unwrap();
        let why = "\u{1}".repeat(MAX_PAYLOAD);
        conversation.tell(Report::Done(7, Err(why)), None, Instant::now());
        let told = told(&mut conversation);
        let [FromAgent::Done { error: Some(error), .. }] = &told[..] else {
            panic!("{told:?}");
        };
        assert_eq!(error.len(), MAX_ERROR);
    }

    #[test]
    fn a_task_of_a_newer_version_is_answered() {
        assert_eq!(
            unknown_task(br#"{"type":"task","id":7,"task":{"type":"fly"}}"#),
            Some(7)
        );
        for other in [
            &b"{"[..],
            br#"{"type":"dance","id":7}"#,
            br#"{"type":"task"}"#,
            br#"{"type":"task","id":-1}"#,
        ] {
            assert_eq!(unknown_task(other), None);
        }
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(printable("1.0\u{1b}[31m\n"), "1.0[31m");
    }
}
