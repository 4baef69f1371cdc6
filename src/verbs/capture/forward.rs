//! One agent's flow: its pieces go to the writer, and what it says of its captures to those who wait for it.

use super::board::Board;
use crate::{
    agents::{AgentIndex, Flow, Piece},
    capture::writer::Incoming,
    output::safe,
};
use netcheck_wire::{Event, capture::Batch};
use std::sync::Arc;
use tokio::sync::{mpsc, watch};

/// Something that is to be ready before the capture is announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The lane with this number.
    Lane(usize),
    /// An agent that awaits pods.
    Watch(AgentIndex),
}

/// What a part's agent said of its start.
pub type Armed = (Part, Result<(), String>);

/// Brings one agent's pieces to the writer.
pub struct Forward {
    /// The agent.
    pub agent: AgentIndex,
    /// Whose lanes are whose.
    pub board: Arc<Board>,
    /// To the writer.
    pub sender: mpsc::Sender<Incoming>,
    /// To whoever waits for the start.
    pub armed: mpsc::Sender<Armed>,
    /// Set once the capture is over.
    pub stopped: watch::Receiver<bool>,
}

impl Forward {
    /// Until the flow has ended.
    pub async fn run(mut self, mut flow: Flow) {
        let mut is_stopped = false;
        loop {
            let piece = tokio::select! {
                piece = flow.next() => piece,
                () = until_stopped(&mut self.stopped), if !is_stopped => {
                    is_stopped = true;
                    flow.stop().await;
                    continue;
                }
            };
            let Some(piece) = piece else { break };
            if let Err(why) = self.pass_on(piece).await {
                return self.end(Err(why)).await;
            }
        }
        let end = flow.end().await.map_err(|error| error.to_string());
        self.end(end).await;
    }

    /// An error means that the other side is no agent of ours.
    async fn pass_on(&self, piece: Piece) -> Result<(), String> {
        let incoming = match piece {
            Piece::Event(Event::Capturing { source, outcome }) => {
                let lane = self.lane(source)?;
                let told = match outcome {
                    Ok(interfaces) => {
                        for interface in interfaces {
                            self.send(Incoming::Interface(lane, interface)).await;
                        }
                        Ok(())
                    }
                    Err(why) => {
                        self.send(Incoming::Ended(lane, Err(safe(&why)))).await;
                        self.board.fail(lane, &safe(&why));
                        Err(safe(&why))
                    }
                };
                // Nobody waits for it any more once the capture has begun.
                let _ = self.armed.send((Part::Lane(lane), told)).await;
                return Ok(());
            }
            Piece::Event(Event::Awaiting { folders }) => {
                tracing::debug!(?folders, "an agent awaits pods");
                let _ = self.armed.send((Part::Watch(self.agent), Ok(()))).await;
                return Ok(());
            }
            Piece::Event(Event::Attached { source, attachment }) => {
                let lane = self.lane(source)?;
                let Some((source, words)) = self.board.join(lane, attachment) else {
                    return Ok(());
                };
                self.send(Incoming::Begins(lane, words.clone())).await;
                Incoming::Remark(source, words)
            }
            Piece::Event(Event::Released { source }) => Incoming::Ended(self.lane(source)?, Ok(())),
            Piece::Event(Event::InterfaceAppeared { source, interface }) => {
                Incoming::Interface(self.lane(source)?, interface)
            }
            Piece::Event(Event::Captured { source, counters }) => Incoming::Counters(self.lane(source)?, counters),
            Piece::Event(_) => return Ok(()),
            Piece::Data(bytes) => {
                let batch = Batch::parse(bytes).map_err(|error| error.to_string())?;
                Incoming::Batch(self.lane(batch.source())?, batch)
            }
        };
        self.send(incoming).await;
        Ok(())
    }

    /// Only lanes of its own.
    fn lane(&self, source: u32) -> Result<usize, String> {
        let lane = self.board.lane(self.agent, source);
        lane.ok_or_else(|| format!("its agent speaks of source {source}, which it was not given"))
    }

    async fn send(&self, incoming: Incoming) {
        // The writer ends only after all that sends to it.
        let _ = self.sender.send(incoming).await;
    }

    /// Nothing more comes of any of its lanes.
    pub async fn end(self, end: Result<(), String>) {
        let _ = self.armed.try_send((Part::Watch(self.agent), end.clone()));
        for lane in self.board.lanes_of(self.agent) {
            let _ = self.armed.try_send((Part::Lane(lane), end.clone()));
            self.send(Incoming::Ended(lane, end.clone())).await;
        }
    }
}

/// Resolves when the capture is over; a capture whose end nobody can tell any more is over too.
async fn until_stopped(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stopped| *stopped).await);
}
