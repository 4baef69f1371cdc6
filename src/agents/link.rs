//! One link to one agent: a single exec stream that carries every task of a run, survives a cut, and never passes partial data off as whole.
//!
//! [`Link::open`] starts a driver (`driver`) that owns the stream; this file is what the rest of the plugin sees of it. How streams
//! are made is behind [`Dial`], so that tests can cut them wherever they like.

mod book;
mod driver;
mod parts;
#[cfg(test)]
mod peer;
#[cfg(test)]
mod tests;

use crate::findings::{Absence, Obstacle};
use bytes::Bytes;
use netcheck_wire::{AgentHello, Event, Task, TaskId};
use std::{
    future::Future,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
};

/// Makes streams to one agent: the first, and one more after each cut.
pub trait Dial: Send + 'static {
    /// A stream to `netcheck-agent join`.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// Opens the next stream.
    fn dial(&mut self) -> impl Future<Output = Result<Self::Stream, DialError>> + Send;
}

/// Why no stream could be opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DialError {
    /// Another attempt may succeed.
    Retry(String),
    /// No attempt can succeed: the pod is gone.
    Never(String),
    /// No attempt can succeed: it is forbidden.
    Forbidden(String),
}

/// Why a link, or a task on it, has no result. Every variant means: nothing may be concluded from what did arrive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The agent does not serve this plugin.
    #[error("the agent refuses: {0}")]
    Refused(String),
    /// The two sides speak different versions of the protocol.
    #[error(
        "the agent (version {version}) speaks protocol {theirs}, this plugin {ours}: use the agent image that belongs to this plugin"
    )]
    Version {
        /// Version of the agent.
        version: String,
        /// Its protocol.
        theirs: u32,
        /// This plugin's protocol.
        ours: u32,
    },
    /// The agent may not be spoken to.
    #[error("{0}")]
    Forbidden(String),
    /// The stream was cut and could not be resumed in time.
    #[error("stream to the agent lost: {0}")]
    Lost(String),
    /// The agent reported a task done, but not everything it sent has arrived.
    #[error("stream incomplete: the agent sent {announced} results, {arrived} arrived")]
    Incomplete {
        /// What the agent says it sent.
        announced: u64,
        /// What arrived.
        arrived: u64,
    },
    /// The other side does not keep to the protocol.
    #[error("the agent does not keep to the protocol: {0}")]
    Protocol(String),
    /// The agent could not do the task.
    #[error("{0}")]
    Task(String),
    /// The task took longer than it was given.
    #[error("no result within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The link was closed before.
    #[error("the link to the agent is closed already")]
    Closed,
}

impl LinkError {
    /// What stands in the way.
    fn obstacle(&self) -> Obstacle {
        match self {
            // Either side may notice first; an agent refuses in words alone (`WIRE.md`: naming both versions).
            Self::Version { .. } => Obstacle::VersionMismatch,
            Self::Refused(words) if words.contains("speaks protocol") => Obstacle::VersionMismatch,
            Self::Forbidden(_) => Obstacle::Forbidden,
            Self::Refused(_) => Obstacle::NotStarted,
            Self::Task(_) => Obstacle::Untested,
            Self::Lost(_) | Self::Incomplete { .. } | Self::Protocol(_) | Self::Timeout(_) | Self::Closed => {
                Obstacle::StreamIncomplete
            }
        }
    }
}

impl From<LinkError> for Absence {
    fn from(error: LinkError) -> Self {
        error.obstacle().because(error.to_string())
    }
}

/// The times of a link. `WIRE.md` names the same numbers.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// How long an opened stream may take until the agent's hello.
    pub greeting: Duration,
    /// How long the first stream may be refused or fail: the container runs, but its agent may not listen yet.
    pub patience: Duration,
    /// A sign of life is sent at least this often.
    pub heartbeat: Duration,
    /// What was received is acknowledged after at most this time.
    pub acknowledge: Duration,
    /// A stream that brought nothing for this long is dead.
    pub silence: Duration,
    /// How long after a cut the session can be resumed: as long as the agent keeps it.
    pub resume: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            heartbeat: Duration::from_secs(10),
            acknowledge: Duration::from_secs(1),
            silence: Duration::from_secs(30),
            resume: Duration::from_secs(30),
        }
    }
}

/// What a task sends while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Something it found.
    Event(Event),
    /// Raw bytes.
    Data(Bytes),
}

/// Pieces that may wait for whoever takes them. Beyond that the link reads no further, and what the agent has kept for a new stream fills:
/// its tasks wait.
const PIECES_AHEAD: usize = 4;

/// A task whose pieces are taken while it runs. Dropping it stops the task.
#[derive(Debug)]
pub struct Flow {
    id: TaskId,
    commands: mpsc::Sender<Command>,
    pieces: mpsc::Receiver<Piece>,
    answer: oneshot::Receiver<Result<Vec<Event>, LinkError>>,
    fate: Arc<Fate>,
}

impl Flow {
    /// The next piece, in the order in which the agent sent them; `None` when there are no more, and [`Flow::end`] says why.
    pub async fn next(&mut self) -> Option<Piece> {
        self.pieces.recv().await
    }

    /// Asks the agent to end the task. What it still has to send is to be taken all the same.
    pub async fn stop(&self) {
        // A link that is gone has ended the task already.
        let _ = self.commands.send(Command::Stop { id: self.id }).await;
    }

    /// How the task ended: an error unless every piece of it has arrived.
    pub async fn end(self) -> Result<(), LinkError> {
        let answer = self.answer.await.unwrap_or_else(|_| Err(self.fate.why()));
        answer.map(drop)
    }
}

/// What the driver is asked to do.
#[derive(Debug)]
enum Command {
    Run {
        task: Task,
        until: Until,
        reply: oneshot::Sender<Result<Vec<Event>, LinkError>>,
    },
    Flow {
        task: Task,
        pieces: mpsc::Sender<Piece>,
        reply: oneshot::Sender<Result<Vec<Event>, LinkError>>,
        begun: oneshot::Sender<TaskId>,
    },
    Stop {
        id: TaskId,
    },
    Finish {
        reply: oneshot::Sender<Result<(), LinkError>>,
    },
}

/// When a task's caller gets its events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// When the agent says it is done.
    Done,
    /// After this many events; the task itself goes on.
    Events(usize),
    /// When the agent says it is done, which it is only if it is stopped.
    Stopped,
}

/// What became of a link, written by its driver.
#[derive(Debug, Default)]
struct Fate {
    /// Why the link is no more: the driver's last act.
    ended: OnceLock<LinkError>,
    /// How often another stream went on where the last one was cut.
    resumed: AtomicU32,
}

/// A link to an agent.
#[derive(Debug)]
pub struct Link {
    commands: mpsc::Sender<Command>,
    fate: Arc<Fate>,
    greeting: AgentHello,
}

impl Link {
    /// Opens the first stream and greets the agent.
    pub async fn open(dial: impl Dial, session: String, timing: Timing) -> Result<Self, LinkError> {
        let (commands, inbox) = mpsc::channel(64);
        let (greeted, greeting) = oneshot::channel();
        let fate = Arc::<Fate>::default();
        tokio::spawn(driver::drive(dial, session, timing, inbox, greeted, Arc::clone(&fate)));
        match greeting.await {
            Ok(greeting) => Ok(Self {
                commands,
                fate,
                greeting,
            }),
            Err(_) => Err(fate.why()),
        }
    }

    /// How the agent introduced itself.
    pub fn greeting(&self) -> &AgentHello {
        &self.greeting
    }

    /// How often the stream was cut, and another went on where it ended.
    pub fn resumed(&self) -> u32 {
        self.fate.resumed.load(Ordering::Relaxed)
    }

    /// Runs a task to its end, and hands over everything it found. Dropping the future stops the task.
    pub async fn run(&self, task: Task) -> Result<Vec<Event>, LinkError> {
        let mut events = Vec::new();
        for part in parts::parts(task) {
            events.extend(self.run_part(part).await?);
        }
        Ok(events)
    }

    async fn run_part(&self, task: Task) -> Result<Vec<Event>, LinkError> {
        let until = match &task {
            Task::Watch { places } => Until::Events(places.len()),
            _ => Until::Done,
        };
        let (reply, answer) = oneshot::channel();
        let command = Command::Run { task, until, reply };
        if self.commands.send(command).await.is_err() {
            return Err(self.fate.why());
        }
        answer.await.unwrap_or_else(|_| Err(self.fate.why()))
    }

    /// Starts a task that goes on until it is stopped, and whose pieces are taken one by one.
    pub async fn flow(&self, task: Task) -> Result<Flow, LinkError> {
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let (reply, answer) = oneshot::channel();
        let (begun, beginning) = oneshot::channel();
        let command = Command::Flow {
            task,
            pieces: sender,
            reply,
            begun,
        };
        if self.commands.send(command).await.is_err() {
            return Err(self.fate.why());
        }
        let Ok(id) = beginning.await else {
            return Err(self.fate.why());
        };
        Ok(Flow {
            id,
            commands: self.commands.clone(),
            pieces,
            answer,
            fate: Arc::clone(&self.fate),
        })
    }

    /// Stops what runs, compares the totals of the whole session, and lets the agent go.
    pub async fn finish(&self) -> Result<(), LinkError> {
        let (reply, answer) = oneshot::channel();
        if self.commands.send(Command::Finish { reply }).await.is_err() {
            return Err(self.fate.why());
        }
        answer.await.unwrap_or_else(|_| Err(self.fate.why()))
    }
}

impl Fate {
    /// What ended a link whose driver is gone.
    fn why(&self) -> LinkError {
        self.ended.get().cloned().unwrap_or(LinkError::Closed)
    }
}
