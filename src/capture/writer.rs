//! Puts what comes in into order, within the limits, into the sink, and counts. Does no waiting of its own.

use super::{
    account::{Account, Tally},
    limits::{Limits, Reached, size_words},
    merge::Merge,
    sink::{Ending, Packet, Sink, SinkError, SourceEnding},
    source::{Interface, Source},
};
use netcheck_wire::capture::{Batch, CaptureCounters, CaptureInterface};
use std::{collections::HashMap, time::Instant};

/// One ring on a node, and whose packets it brings.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Number of its source.
    pub source: usize,
    /// Added to its times, in nanoseconds.
    pub correction_ns: i64,
    /// What is known of its node's clock, for the file.
    pub remark: String,
}

/// Something that came from an agent, about the lane with this number.
#[derive(Debug)]
pub enum Incoming {
    /// An interface that packets may come from.
    Interface(usize, CaptureInterface),
    /// Packets.
    Batch(usize, Batch),
    /// What the agent counted.
    Counters(usize, CaptureCounters),
    /// Nothing more comes: whole, or why not.
    Ended(usize, Result<(), String>),
    /// One more source: the next number.
    Source(Box<Source>),
    /// One more lane, the next number, which is not waited for until it begins.
    Lane(Lane),
    /// That lane begins, and what is to be said of its beginning.
    Begins(usize, String),
    /// Something to be said of the source with this number in the end. It does not make its capture incomplete.
    Remark(usize, String),
}

/// How far a capture is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Packets that the output has.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Packets known to be lost.
    pub lost: u64,
    /// Packets of each source that the output has.
    pub of_sources: Vec<u64>,
}

/// Sources that a live line names; the busiest ones.
const NAMED: usize = 3;

impl Progress {
    /// As a line: `1234 packets, 1.2 MB, 0 lost (shop/web-1 800, shop/web-2 434)`.
    pub fn words(&self, sources: &[Source]) -> String {
        let mut busiest: Vec<(u64, &str)> = self
            .of_sources
            .iter()
            .zip(sources)
            .filter(|(packets, _)| **packets > 0)
            .map(|(packets, source)| (*packets, source.name.as_str()))
            .collect();
        busiest.sort_by_key(|(packets, name)| (std::cmp::Reverse(*packets), *name));
        let more = if busiest.len() > NAMED { ", …" } else { "" };
        let named: Vec<String> = busiest
            .iter()
            .take(NAMED)
            .map(|(packets, name)| format!("{name} {packets}"))
            .collect();
        let line = format!(
            "{} packets, {}, {} lost",
            self.packets,
            size_words(self.bytes),
            self.lost
        );
        if named.is_empty() || sources.len() < 2 {
            return line;
        }
        format!("{line} ({}{more})", named.join(", "))
    }
}

/// Why no more packets are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enough {
    /// A limit is reached.
    Limit(Reached),
    /// The reader has left.
    ReaderLeft,
    /// The output cannot be written.
    Failed,
}

/// What came of a capture.
#[derive(Debug)]
pub struct Outcome {
    /// What became of each source's packets.
    pub accounts: Vec<Account>,
    /// Packets that were written after a later one.
    pub out_of_order: u64,
    /// Why the output took no more, if it did not.
    pub failure: Option<SinkError>,
    /// What is to be said of each source, and is no loss.
    pub remarks: Vec<Vec<String>>,
}

/// The writer.
pub struct Writer {
    sources: Vec<Source>,
    remarks: Vec<Vec<String>>,
    lanes: Vec<Lane>,
    states: Vec<State>,
    merge: Merge,
    sink: Box<dyn Sink>,
    limits: Limits,
    /// The sink's numbers of interfaces, by lane and index in the namespace.
    interfaces: HashMap<(usize, u32), usize>,
    begun_ns: u64,
    packets: u64,
    bytes: u64,
    reached: Option<Reached>,
    failure: Option<SinkError>,
}

/// What is known of a lane.
#[derive(Debug, Default)]
struct State {
    tally: Tally,
    /// Packets and bytes given to the sink since it was last flushed.
    pending: (u64, u64),
    end: Option<Result<(), String>>,
    /// It was announced, and has not begun.
    is_to_come: bool,
}

impl Writer {
    /// Begins; `begun_ns` is now by the common clock.
    pub fn new(
        sources: Vec<Source>,
        lanes: Vec<Lane>,
        sink: Box<dyn Sink>,
        limits: Limits,
        begun_ns: u64,
        now: Instant,
    ) -> Self {
        let mut merge = Merge::default();
        for lane in &lanes {
            merge.open(lane.correction_ns, now);
        }
        Self {
            states: lanes.iter().map(|_| State::default()).collect(),
            remarks: vec![Vec::new(); sources.len()],
            sources,
            lanes,
            merge,
            sink,
            limits,
            interfaces: HashMap::new(),
            begun_ns,
            packets: 0,
            bytes: 0,
            reached: None,
            failure: None,
        }
    }

    /// Takes something in.
    pub fn take(&mut self, incoming: Incoming, now: Instant) {
        match incoming {
            Incoming::Interface(lane, told) => self.add_interface(lane, &told),
            Incoming::Batch(lane, batch) => {
                if let Some(state) = self.states.get_mut(lane) {
                    state.tally.arrived += u64::from(batch.records());
                }
                self.merge.push(lane, batch, now);
            }
            Incoming::Counters(lane, counters) => {
                if let Some(state) = self.states.get_mut(lane) {
                    state.tally.agent = counters;
                }
            }
            Incoming::Ended(lane, end) => {
                self.merge.close(lane);
                if let Some(state) = self.states.get_mut(lane) {
                    state.end.get_or_insert(end);
                }
            }
            Incoming::Source(source) => self.add_source(*source),
            Incoming::Lane(lane) => self.add_lane(lane, now),
            Incoming::Begins(lane, remark) => self.begin(lane, &remark, now),
            Incoming::Remark(source, remark) => {
                if let Some(remarks) = self.remarks.get_mut(source) {
                    remarks.push(remark);
                }
            }
        }
    }

    fn add_interface(&mut self, lane: usize, told: &CaptureInterface) {
        let Some(Lane { source, remark, .. }) = self.lanes.get(lane) else {
            return;
        };
        let number = self.interfaces.len();
        if self.interfaces.contains_key(&(lane, told.index)) {
            return;
        }
        self.interfaces.insert((lane, told.index), number);
        let Some(of) = self.sources.get(*source) else { return };
        let interface = Interface::new(of, *source, told, remark);
        if self.failure.is_none()
            && let Err(error) = self.sink.interface(&interface)
        {
            self.fail(error);
        }
    }

    /// Writes what may go out now.
    pub fn write(&mut self, now: Instant) {
        let Self {
            merge,
            sink,
            states,
            interfaces,
            limits,
            packets,
            bytes,
            reached,
            failure,
            ..
        } = self;
        let mut failed = None;
        merge.release(now, |lane, at_ns, record| {
            let Some(state) = states.get_mut(lane) else { return true };
            if failure.is_some() || failed.is_some() {
                state.tally.lost_at_output += 1;
                return true;
            }
            if reached.is_none() {
                *reached = limits.reached(*packets, *bytes);
            }
            if reached.is_some() {
                state.tally.beyond_limit += 1;
                return true;
            }
            // An agent names each interface before its packets; one that does not is not ours.
            let Some(&interface) = interfaces.get(&(lane, record.interface)) else {
                state.tally.lost_at_output += 1;
                return true;
            };
            let packet = Packet {
                interface,
                at_ns,
                original_length: record.original_length,
                packet_type: record.packet_type,
                bytes: record.bytes,
            };
            match sink.packet(&packet) {
                Ok(()) => {
                    state.pending.0 += 1;
                    state.pending.1 += record.bytes.len() as u64;
                    *packets += 1;
                    *bytes += record.bytes.len() as u64;
                }
                Err(error) => {
                    state.tally.lost_at_output += 1;
                    failed = Some(error);
                }
            }
            true
        });
        if let Some(error) = failed {
            self.fail(error);
        }
        if self.reached.is_none() {
            self.reached = self.limits.reached(self.packets, self.bytes);
        }
        self.flush();
    }

    fn flush(&mut self) {
        if self.failure.is_some() || self.states.iter().all(|state| state.pending.0 == 0) {
            return;
        }
        match self.sink.flush() {
            Ok(()) => {
                for state in &mut self.states {
                    let (packets, bytes) = std::mem::take(&mut state.pending);
                    state.tally.written += packets;
                    state.tally.written_bytes += bytes;
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// What came since the last flush is not there.
    fn fail(&mut self, error: SinkError) {
        for state in &mut self.states {
            let (packets, bytes) = std::mem::take(&mut state.pending);
            state.tally.lost_at_output += packets;
            self.packets = self.packets.saturating_sub(packets);
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        self.failure.get_or_insert(error);
    }

    /// Why no more packets are wanted; `None` while they are.
    pub fn enough(&self) -> Option<Enough> {
        match (&self.failure, self.reached) {
            (Some(SinkError::ReaderLeft), _) => Some(Enough::ReaderLeft),
            (Some(SinkError::Write(_)), _) => Some(Enough::Failed),
            (None, Some(reached)) => Some(Enough::Limit(reached)),
            (None, None) => None,
        }
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let lost = self.states.iter().map(|state| {
            let tally = &state.tally;
            tally.agent.ring_drops + tally.agent.unfit + tally.lost_at_output
        });
        let mut of_sources = vec![0; self.sources.len()];
        for (lane, state) in self.lanes.iter().zip(&self.states) {
            if let Some(packets) = of_sources.get_mut(lane.source) {
                *packets += state.tally.written;
            }
        }
        Progress {
            of_sources,
            packets: self.packets,
            bytes: self.bytes,
            lost: lost.sum(),
        }
    }

    /// Writes what is left, and the end. `ended_ns` is now by the common clock.
    pub fn finish(mut self, ended_ns: u64, now: Instant) -> Outcome {
        for lane in 0..self.lanes.len() {
            self.merge.close(lane);
        }
        self.write(now);
        let accounts: Vec<Account> = (0..self.sources.len()).map(|source| self.account(source)).collect();
        let ending = Ending {
            sources: accounts
                .iter()
                .zip(&self.remarks)
                .map(|(account, remarks)| SourceEnding {
                    account: account.clone(),
                    span_ns: (self.begun_ns, ended_ns),
                    remark: remark(account, remarks),
                })
                .collect(),
        };
        if self.failure.is_none()
            && let Err(error) = self.sink.finish(&ending)
        {
            self.fail(error);
        }
        Outcome {
            accounts,
            out_of_order: self.merge.out_of_order(),
            failure: self.failure,
            remarks: self.remarks,
        }
    }

    fn account(&self, source: usize) -> Account {
        let lanes = self
            .lanes
            .iter()
            .zip(&self.states)
            // Of what never began there is nothing to account for.
            .filter(|(lane, state)| lane.source == source && !state.is_to_come);
        let accounts: Vec<Account> = lanes
            .map(|(_, state)| {
                let end = match (&state.end, &state.tally.agent.ended) {
                    (None, _) => Err("its agent did not say that it has ended"),
                    (Some(Err(why)), _) | (Some(Ok(())), Some(why)) => Err(why.as_str()),
                    (Some(Ok(())), None) => Ok(()),
                };
                state.tally.account(end)
            })
            .collect();
        Account::total(&accounts)
    }
}

/// What a file says at the end of a source's capture.
fn remark(account: &Account, remarks: &[String]) -> String {
    let mut parts = remarks.to_vec();
    if let Some(why) = &account.unsettled {
        parts.push(format!("incomplete: {why}"));
    }
    let losses = account.losses();
    if !losses.is_empty() {
        parts.push(format!("lost {}", losses.join(", ")));
    }
    if account.beyond_limit > 0 {
        parts.push(format!("{} packets came after the limit", account.beyond_limit));
    }
    parts.join("; ")
}

mod growing;
#[cfg(test)]
mod tests;
