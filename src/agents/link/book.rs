//! Bookkeeping of a link, without I/O: which tasks run, what came of each, and whether the totals match in the end.

use super::{LinkError, Piece, Until};
use crate::output::safe;
use bytes::Bytes;
use netcheck_wire::{Event, FromAgent, Task, TaskId, ToAgent, Totals, message::DATA_HEADER};
use std::collections::BTreeMap;
use tokio::sync::{mpsc, oneshot};

/// More results of one task than any run can ask for: an agent that sends them is not ours.
const MOST_EVENTS: usize = 1 << 18;

type Reply = oneshot::Sender<Result<Vec<Event>, LinkError>>;
/// Where a task's pieces go.
pub type Taker = mpsc::Sender<Piece>;

/// One task that the agent has not reported done.
struct Running {
    events: Vec<Event>,
    /// Events that arrived, also those that were handed over already.
    arrived: u64,
    until: Until,
    /// `None` once the caller has been answered.
    reply: Option<Reply>,
    /// Whoever takes what the task sends while it runs; without one, events are kept for the reply.
    taker: Option<Taker>,
    /// The agent was told to stop it.
    stopping: bool,
}

/// The tasks of one session.
#[derive(Default)]
pub struct Book {
    running: BTreeMap<TaskId, Running>,
    last_id: TaskId,
    totals: Totals,
}

impl Book {
    /// Enters a new task; the result is to be sent to the agent.
    pub fn begin(&mut self, task: Task, until: Until, reply: Reply, taker: Option<Taker>) -> (TaskId, ToAgent) {
        self.last_id += 1;
        let mut running = Running {
            events: Vec::new(),
            arrived: 0,
            until,
            reply: Some(reply),
            taker,
            stopping: false,
        };
        running.answer_if_reached();
        self.running.insert(self.last_id, running);
        (self.last_id, ToAgent::Task { id: self.last_id, task })
    }

    /// What has to be sent so that the agent ends a task early; nothing if it is done or was told already.
    pub fn stop(&mut self, id: TaskId) -> Option<ToAgent> {
        let running = self.running.get_mut(&id).filter(|running| !running.stopping)?;
        running.stopping = true;
        Some(ToAgent::Stop { id })
    }

    /// What has to be sent so that the agent comes to its end: open-ended tasks do not stop by themselves.
    pub fn finish(&mut self) -> Vec<ToAgent> {
        let open = self
            .running
            .iter_mut()
            .filter(|(_, running)| running.until != Until::Done && !running.stopping);
        let mut messages: Vec<_> = open
            .map(|(&id, running)| {
                running.stopping = true;
                ToAgent::Stop { id }
            })
            .collect();
        messages.push(ToAgent::Finish);
        messages
    }

    /// Enters a message of the agent. `Ok(Received::End)` says that the session is complete and its totals match.
    pub fn receive(&mut self, message: FromAgent) -> Result<Received, LinkError> {
        match message {
            FromAgent::Event { id, event } => {
                self.totals.events += 1;
                let running = self.running.get_mut(&id).ok_or_else(|| unknown(id))?;
                running.arrived += 1;
                if running.is_abandoned() {
                    running.reply = None;
                    running.taker = None;
                    running.events.clear();
                    return Ok(self.stop(id).map_or(Received::Nothing, Received::Answer));
                }
                if let Some(taker) = &running.taker {
                    return Ok(Received::Piece(taker.clone(), Piece::Event(event)));
                }
                if running.reply.is_some() {
                    if running.events.len() >= MOST_EVENTS {
                        return Err(LinkError::Protocol(format!(
                            "task {id} has more than {MOST_EVENTS} results"
                        )));
                    }
                    running.events.push(event);
                    running.answer_if_reached();
                }
                Ok(Received::Nothing)
            }
            FromAgent::Done { id, events, error } => {
                self.totals.tasks += 1;
                let running = self.running.remove(&id).ok_or_else(|| unknown(id))?;
                let arrived = running.arrived;
                if let Some(reply) = running.reply {
                    let outcome = match error {
                        Some(why) => Err(LinkError::Task(safe(&why))),
                        None if events != arrived => Err(LinkError::Incomplete {
                            announced: events,
                            arrived,
                        }),
                        None => match running.until {
                            Until::Events(due) if (arrived as usize) < due => Err(LinkError::Incomplete {
                                announced: due as u64,
                                arrived,
                            }),
                            _ => Ok(running.events),
                        },
                    };
                    // The caller may have given up: then nobody needs the outcome.
                    let _ = reply.send(outcome);
                }
                Ok(Received::Nothing)
            }
            FromAgent::End { totals } => {
                if !self.running.is_empty() {
                    let ids: Vec<_> = self.running.keys().collect();
                    return Err(LinkError::Protocol(format!("it ended before tasks {ids:?} were done")));
                }
                if totals != self.totals {
                    return Err(LinkError::Incomplete {
                        announced: totals.events,
                        arrived: self.totals.events,
                    });
                }
                Ok(Received::End)
            }
        }
    }

    /// Enters a data frame.
    pub fn receive_data(&mut self, payload: &Bytes) -> Result<Received, LinkError> {
        let Some((id, bytes)) = payload.split_first_chunk::<DATA_HEADER>() else {
            return Err(LinkError::Protocol("a data frame without a task number".to_owned()));
        };
        let id = TaskId::from_be_bytes(*id);
        let running = self.running.get_mut(&id).ok_or_else(|| unknown(id))?;
        running.arrived += 1;
        self.totals.data_frames += 1;
        self.totals.data_bytes += bytes.len() as u64;
        if running.is_abandoned() {
            running.taker = None;
            return Ok(self.stop(id).map_or(Received::Nothing, Received::Answer));
        }
        Ok(match &running.taker {
            Some(taker) => Received::Piece(taker.clone(), Piece::Data(payload.slice(DATA_HEADER..))),
            None => Received::Nothing,
        })
    }

    /// Tells everybody who still waits why there will be no result.
    pub fn fail(&mut self, why: &LinkError) {
        for running in std::mem::take(&mut self.running).into_values() {
            if let Some(reply) = running.reply {
                // The caller may have given up.
                let _ = reply.send(Err(why.clone()));
            }
        }
    }
}

impl Running {
    /// Whether nobody waits for its outcome, or takes its pieces, any more.
    fn is_abandoned(&self) -> bool {
        self.reply.as_ref().is_some_and(oneshot::Sender::is_closed)
            || self.taker.as_ref().is_some_and(mpsc::Sender::is_closed)
    }

    fn answer_if_reached(&mut self) {
        if let Until::Events(due) = self.until
            && self.events.len() >= due
            && let Some(reply) = self.reply.take()
        {
            // The caller may have given up.
            let _ = reply.send(Ok(std::mem::take(&mut self.events)));
        }
    }
}

/// What a message asks of the driver.
#[derive(Debug)]
pub enum Received {
    /// Nothing.
    Nothing,
    /// Send this.
    Answer(ToAgent),
    /// Hand this over.
    Piece(Taker, Piece),
    /// The session is complete.
    End,
}

fn unknown(id: TaskId) -> LinkError {
    LinkError::Protocol(format!("it reports on task {id}, which does not run"))
}
