//! The driver of a link: owns the stream, keeps it alive, and opens a new one when it is cut.

use super::{
    Command, Dial, DialError, Fate, LinkError, Piece, Timing, Until,
    book::{Book, Received, Taker},
};
use crate::output::safe;
use netcheck_wire::{
    AgentHello, Decoder, Frame, FromAgent, Kind, PROTOCOL, Payload, PluginHello, Session, SessionError, ToAgent,
    session::{Accepted, WINDOW},
};
use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split},
    sync::{mpsc, oneshot},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout_at},
};

/// Frames are turned into bytes ahead of the stream only up to this many bytes; the rest waits as messages.
const AHEAD: usize = 1 << 18;
/// The other side is told where we are after this many frames, after this many bytes, or after [`Timing::acknowledge`].
const FRAMES_PER_ACKNOWLEDGEMENT: u32 = 100;
const BYTES_PER_ACKNOWLEDGEMENT: usize = WINDOW / 8;
/// So many streams in a row that brought nothing new and did not live long mean that resuming leads nowhere.
const BARREN_STREAMS: u32 = 20;
/// A stream that lived this long was worth opening, whatever it carried.
const LONG_LIFE: Duration = Duration::from_secs(5);
/// How long the last word to the agent may take to get out. The result is known by then.
const FAREWELL: Duration = Duration::from_secs(2);

/// Runs a link until it is finished or cannot be resumed.
pub async fn drive<D: Dial>(
    dial: D,
    session_id: String,
    timing: Timing,
    inbox: mpsc::Receiver<Command>,
    greeted: oneshot::Sender<AgentHello>,
    fate: Arc<Fate>,
) {
    let mut driver = Driver {
        dial,
        session_id,
        timing,
        inbox,
        inbox_open: true,
        greeted: Some(greeted),
        session: Session::default(),
        book: Book::default(),
        outbox: VecDeque::new(),
        inward: VecDeque::new(),
        finish: None,
        complete: false,
    };
    let outcome = driver.run(&fate).await;
    let why = outcome.clone().err().unwrap_or(LinkError::Closed);
    // First the reason, then everybody who waits: whoever comes after finds it.
    let _ = fate.ended.set(why.clone());
    driver.inbox.close();
    driver.book.fail(&why);
    if let Some(reply) = driver.finish.take() {
        // The caller may have given up.
        let _ = reply.send(outcome);
    }
}

struct Driver<D> {
    dial: D,
    session_id: String,
    timing: Timing,
    inbox: mpsc::Receiver<Command>,
    /// The link has not been dropped.
    inbox_open: bool,
    greeted: Option<oneshot::Sender<AgentHello>>,
    session: Session,
    book: Book,
    /// Messages that are not numbered yet, for want of room in the window or in the stream.
    outbox: VecDeque<ToAgent>,
    /// Pieces on their way to whoever takes them. While there are any, nothing more is read.
    inward: VecDeque<(Taker, Piece)>,
    finish: Option<oneshot::Sender<Result<(), LinkError>>>,
    /// The agent's end arrived and its totals match.
    complete: bool,
}

/// Why a stream is no more, while the session may go on.
struct Cut(String);

/// What a stream's life ended with.
enum Ending {
    Cut(Cut),
    Fatal(LinkError),
}

impl From<LinkError> for Ending {
    fn from(error: LinkError) -> Self {
        Self::Fatal(error)
    }
}

/// A stream, its two directions apart so that neither waits for the other.
struct Stream<S> {
    reader: ReadHalf<S>,
    writer: WriteHalf<S>,
    decoder: Decoder,
    /// Bytes to write, from `written` on.
    out: Vec<u8>,
    written: usize,
}

impl<S> Stream<S> {
    fn queue(&mut self, frame: &[u8]) {
        if self.written > 0 {
            self.out.drain(..self.written);
            self.written = 0;
        }
        self.out.extend_from_slice(frame);
    }

    /// Queues a frame that the session does not keep.
    fn queue_unnumbered(&mut self, frame: &Frame) -> Result<(), LinkError> {
        let frame = frame.encode().map_err(|error| LinkError::Protocol(error.to_string()))?;
        self.queue(&frame);
        Ok(())
    }

    fn pending(&self) -> &[u8] {
        &self.out[self.written..]
    }
}

impl<D: Dial> Driver<D> {
    async fn run(&mut self, fate: &Fate) -> Result<(), LinkError> {
        let mut barren = 0;
        let mut first = true;
        let mut resume_until = Instant::now() + self.timing.patience;
        loop {
            let mut stream = self.connect(resume_until).await?;
            if !std::mem::take(&mut first) {
                fate.resumed.fetch_add(1, Ordering::Relaxed);
            }
            let (born, received) = (Instant::now(), self.session.received());
            match self.pump(&mut stream).await {
                Ok(()) => return Ok(()),
                Err(_) if self.complete => return Ok(()),
                Err(Ending::Fatal(error)) => return Err(error),
                Err(Ending::Cut(Cut(why))) => {
                    tracing::debug!(session = self.session_id, why, "stream cut");
                    let fruitful = self.session.received() > received || born.elapsed() >= LONG_LIFE;
                    barren = if fruitful { 0 } else { barren + 1 };
                    if barren >= BARREN_STREAMS {
                        return Err(LinkError::Lost(why));
                    }
                    resume_until = Instant::now() + self.timing.resume;
                }
            }
        }
    }

    /// Opens and greets a stream, trying again until `until`.
    async fn connect(&mut self, until: Instant) -> Result<Stream<D::Stream>, LinkError> {
        let mut pause = Duration::from_millis(50);
        loop {
            let last = match self.attempt(until).await {
                Ok(stream) => return Ok(stream),
                Err(Ending::Cut(Cut(why))) => LinkError::Lost(why),
                // Right after its start the agent may not listen yet; later a refusal is its last word.
                Err(Ending::Fatal(error @ LinkError::Refused(_))) if self.greeted.is_some() => error,
                Err(Ending::Fatal(error)) => return Err(error),
            };
            if Instant::now() + pause >= until || self.is_abandoned() {
                return Err(last);
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    /// Whether nobody is left who could want anything of this link.
    fn is_abandoned(&self) -> bool {
        self.greeted.as_ref().is_some_and(oneshot::Sender::is_closed)
    }

    async fn attempt(&mut self, until: Instant) -> Result<Stream<D::Stream>, Ending> {
        let late = |what: &str| Ending::Cut(Cut(format!("{what} in time")));
        // The first stream may take its time to be opened by a busy kubelet; patience is for refusals.
        let dial_until = until.max(Instant::now() + self.timing.greeting);
        let stream = match timeout_at(dial_until, self.dial.dial()).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(DialError::Retry(why))) => return Err(Ending::Cut(Cut(why))),
            Ok(Err(DialError::Never(why))) => return Err(LinkError::Lost(why).into()),
            Ok(Err(DialError::Forbidden(why))) => return Err(LinkError::Forbidden(why).into()),
            Err(_) => return Err(late("no stream could be opened")),
        };
        let (reader, writer) = split(stream);
        let mut stream = Stream {
            reader,
            writer,
            decoder: Decoder::default(),
            out: Vec::new(),
            written: 0,
        };
        let greet_until = Instant::now() + self.timing.greeting;
        match timeout_at(greet_until, self.greet(&mut stream)).await {
            Ok(greeted) => greeted.map(|()| stream),
            Err(_) => Err(late("the agent did not answer the greeting")),
        }
    }

    /// Exchanges hellos and queues what the agent has not received.
    async fn greet(&mut self, stream: &mut Stream<D::Stream>) -> Result<(), Ending> {
        let hello = PluginHello {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            session: self.session_id.clone(),
            received: self.session.received(),
        };
        let hello = serde_json::to_vec(&hello).map_err(|error| LinkError::Protocol(error.to_string()))?;
        stream.queue_unnumbered(&self.session.unnumbered(Kind::Hello, hello))?;
        let bytes = std::mem::take(&mut stream.out);
        stream.writer.write_all(&bytes).await.map_err(cut)?;
        stream.writer.flush().await.map_err(cut)?;
        let frame = loop {
            if let Some(frame) = stream.decoder.next_frame().map_err(cut)? {
                break frame;
            }
            read_into(stream).await?;
        };
        match frame.kind {
            Kind::Hello => {}
            Kind::Refusal => return Err(refusal(&frame)),
            other => {
                return Err(Ending::Cut(Cut(format!(
                    "a {other:?} frame came where a hello was due"
                ))));
            }
        }
        let hello: AgentHello = serde_json::from_slice(&frame.payload)
            .map_err(|error| LinkError::Protocol(format!("its hello is unreadable: {error}")))?;
        if hello.protocol != PROTOCOL {
            let (version, theirs) = (safe(&hello.version), hello.protocol);
            return Err(LinkError::Version {
                version,
                theirs,
                ours: PROTOCOL,
            }
            .into());
        }
        self.session.accept(&frame).map_err(|error| fatal(&error))?;
        for frame in self.session.resume(hello.received).map_err(|error| fatal(&error))? {
            stream.queue(&frame);
        }
        if let Some(greeted) = self.greeted.take() {
            // The caller may have given up; then the next look at the inbox says so.
            let _ = greeted.send(hello);
        }
        Ok(())
    }

    /// Moves frames both ways until the session is over or the stream is.
    async fn pump(&mut self, stream: &mut Stream<D::Stream>) -> Result<(), Ending> {
        let (mut heard, mut spoke) = (Instant::now(), Instant::now());
        let (mut unacknowledged, mut unacknowledged_bytes) = (0, 0);
        let mut farewell: Option<Instant> = None;
        let step = (self.timing.acknowledge.min(self.timing.silence) / 2).max(Duration::from_millis(1));
        let mut tick = interval(step);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // What came with the last read, also together with the hello.
            while self.inward.is_empty()
                && let Some(frame) = stream.decoder.next_frame().map_err(cut)?
            {
                unacknowledged += u32::from(frame.kind.is_numbered());
                unacknowledged_bytes += frame.payload.len();
                self.take(&frame)?;
            }
            while stream.pending().len() < AHEAD && self.session.has_room() {
                let Some(message) = self.outbox.pop_front() else { break };
                let payload = Payload::message(&message).map_err(|error| LinkError::Protocol(error.to_string()))?;
                let frame = self.session.send(payload).map_err(|error| fatal(&error))?;
                stream.queue(&frame);
                (spoke, unacknowledged, unacknowledged_bytes) = (Instant::now(), 0, 0);
            }
            if self.complete {
                let until = *farewell.get_or_insert_with(|| Instant::now() + FAREWELL);
                if self.session.is_acknowledged() || Instant::now() >= until {
                    return Ok(());
                }
            }
            let now = Instant::now();
            let quiet = now - spoke;
            if unacknowledged >= FRAMES_PER_ACKNOWLEDGEMENT
                || unacknowledged_bytes >= BYTES_PER_ACKNOWLEDGEMENT
                || (unacknowledged > 0 && quiet >= self.timing.acknowledge)
                || quiet >= self.timing.heartbeat
            {
                stream.queue_unnumbered(&self.session.unnumbered(Kind::Heartbeat, Vec::new()))?;
                (spoke, unacknowledged, unacknowledged_bytes) = (now, 0, 0);
            }
            if !self.inward.is_empty() {
                // Not the other side is silent: we do not listen.
                heard = now;
            }
            if now - heard >= self.timing.silence {
                return Err(Ending::Cut(Cut(format!(
                    "nothing came for {} s",
                    self.timing.silence.as_secs()
                ))));
            }
            tokio::select! {
                () = hand_over(&mut self.inward), if !self.inward.is_empty() => {}
                read = stream.reader.read_buf(stream.decoder.room()), if self.inward.is_empty() => {
                    if read.map_err(cut)? == 0 {
                        stream.decoder.finish().map_err(cut)?;
                        return Err(Ending::Cut(Cut("the stream ended".to_owned())));
                    }
                    heard = Instant::now();
                }
                wrote = stream.writer.write(&stream.out[stream.written..]), if stream.written < stream.out.len() => {
                    stream.written += wrote.map_err(cut)?;
                    stream.writer.flush().await.map_err(cut)?;
                }
                command = self.inbox.recv(), if self.inbox_open => self.obey(command),
                _ = tick.tick() => {}
            }
        }
    }

    fn obey(&mut self, command: Option<Command>) {
        match command {
            Some(Command::Run { task, until, reply }) if self.finish.is_none() => {
                let (_, message) = self.book.begin(task, until, reply, None);
                self.outbox.push_back(message);
            }
            Some(Command::Flow {
                task,
                pieces,
                reply,
                begun,
            }) if self.finish.is_none() => {
                let (id, message) = self.book.begin(task, Until::Stopped, reply, Some(pieces));
                self.outbox.push_back(message);
                // Who gave up drops the pieces' other end too, which stops the task.
                let _ = begun.send(id);
            }
            Some(Command::Stop { id }) => self.outbox.extend(self.book.stop(id)),
            Some(Command::Run { reply, .. } | Command::Flow { reply, .. }) => {
                // The caller may have given up.
                let _ = reply.send(Err(LinkError::Closed));
            }
            Some(Command::Finish { reply }) => {
                self.finish = Some(reply);
                self.outbox.extend(self.book.finish());
            }
            // The link was dropped: nothing more will be asked, so let the agent go.
            None => {
                self.inbox_open = false;
                self.outbox.extend(self.book.finish());
            }
        }
    }

    /// Acts upon a frame.
    fn take(&mut self, frame: &Frame) -> Result<(), Ending> {
        match self.session.accept(frame) {
            Ok(Accepted::New) => {}
            Ok(Accepted::Duplicate) => return Ok(()),
            // What is missing is still kept on the other side: a new stream brings it.
            Err(error @ SessionError::Gap { .. }) => return Err(Ending::Cut(Cut(error.to_string()))),
            Err(error) => return Err(fatal(&error)),
        }
        match frame.kind {
            Kind::Heartbeat => {}
            Kind::Data => {
                let received = self.book.receive_data(&frame.payload)?;
                self.act_upon(received);
            }
            Kind::Message => {
                let message: FromAgent = serde_json::from_slice(&frame.payload)
                    .map_err(|error| LinkError::Protocol(format!("a message is unreadable: {error}")))?;
                let received = self.book.receive(message)?;
                self.act_upon(received);
            }
            Kind::Refusal => return Err(refusal(frame)),
            Kind::Hello => return Err(LinkError::Protocol("a second hello on one stream".to_owned()).into()),
        }
        Ok(())
    }

    fn act_upon(&mut self, received: Received) {
        match received {
            Received::Nothing => {}
            Received::Answer(message) => self.outbox.push_back(message),
            Received::Piece(taker, piece) => self.inward.push_back((taker, piece)),
            Received::End => {
                self.complete = true;
                self.outbox.push_back(ToAgent::EndReceived);
            }
        }
    }
}

/// Hands the first piece over as soon as there is room for it. Dropping the future loses nothing.
async fn hand_over(inward: &mut VecDeque<(Taker, Piece)>) {
    let Some((taker, _)) = inward.front() else { return };
    let room = taker.clone().reserve_owned().await;
    if let Some((_, piece)) = inward.pop_front()
        && let Ok(room) = room
    {
        room.send(piece);
    }
}

/// Reads once; the end of the stream is a cut.
async fn read_into<S: AsyncRead>(stream: &mut Stream<S>) -> Result<(), Ending> {
    let count = stream.reader.read_buf(stream.decoder.room()).await.map_err(cut)?;
    if count == 0 {
        return Err(Ending::Cut(Cut("the stream ended before the agent's hello".to_owned())));
    }
    Ok(())
}

fn cut<E: std::error::Error>(error: E) -> Ending {
    Ending::Cut(Cut(why(&error)))
}

/// What went wrong, fit to be shown: the other side may have had its hand in it.
fn why(error: &impl std::error::Error) -> String {
    safe(&error.to_string())
}

fn fatal(error: &SessionError) -> Ending {
    Ending::Fatal(LinkError::Lost(why(error)))
}

fn refusal(frame: &Frame) -> Ending {
    Ending::Fatal(LinkError::Refused(safe(&String::from_utf8_lossy(&frame.payload))))
}
