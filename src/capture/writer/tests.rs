//! The writer with a sink that remembers, and may refuse.

use super::*;
use crate::cluster::inventory::Subject;
use netcheck_wire::capture::{BatchWriter, Record};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

#[derive(Clone, Default)]
pub(super) struct Memory {
    lines: Arc<Mutex<Vec<String>>>,
    /// Packets until it fails.
    room: Option<usize>,
    reader_leaves: bool,
}

impl Memory {
    /// What was noted since this was last asked.
    pub(super) fn taken(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    fn note(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }
}

impl Sink for Memory {
    fn interface(&mut self, interface: &Interface) -> Result<(), SinkError> {
        self.note(format!("interface {}", interface.name));
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), SinkError> {
        if let Some(room) = &mut self.room {
            let Some(left) = room.checked_sub(1) else {
                return Err(if self.reader_leaves {
                    SinkError::ReaderLeft
                } else {
                    SinkError::Write("disk full".into())
                });
            };
            *room = left;
        }
        self.note(format!("{} at {}", packet.interface, packet.at_ns));
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn finish(&mut self, ending: &Ending) -> Result<(), SinkError> {
        for source in &ending.sources {
            self.note(format!("end {} {:?}", source.account.written, source.remark));
        }
        Ok(())
    }
}

pub(super) const NO_LIMITS: Limits = Limits {
    duration: Duration::ZERO,
    count: 0,
    bytes: 0,
};

pub(super) fn source(name: &str) -> Source {
    Source {
        subject: Subject::Pod(name.into()),
        name: format!("shop/{name}"),
        title: format!("pod shop/{name}"),
        node: Some("n1".into()),
        is_node_network: false,
    }
}

pub(super) fn writer(sink: &Memory, limits: Limits, now: Instant) -> Writer {
    let lane = |source| Lane {
        source,
        correction_ns: 0,
        remark: String::new(),
    };
    let sources = vec![source("a"), source("b")];
    let mut writer = Writer::new(sources, vec![lane(0), lane(1)], Box::new(sink.clone()), limits, 1, now);
    for lane in 0..2 {
        let interface = CaptureInterface {
            index: 7,
            name: "eth0".into(),
            hardware_type: 1,
            address: None,
        };
        writer.take(Incoming::Interface(lane, interface), now);
    }
    writer
}

pub(super) fn packets(times: &[u64], until_ns: u64) -> Batch {
    let mut writer = BatchWriter::new(0);
    for &at_ns in times {
        let record = Record {
            interface: 7,
            at_ns,
            original_length: 10,
            packet_type: 0,
            bytes: &[0; 10],
        };
        writer.push(&record, &[]);
    }
    Batch::parse(writer.take(until_ns)).unwrap()
}

pub(super) fn counters(accepted: u64, sent: u64) -> CaptureCounters {
    CaptureCounters {
        accepted,
        ring_drops: accepted - sent,
        sent,
        ..CaptureCounters::default()
    }
}

pub(super) fn end(writer: &mut Writer, now: Instant, sent: [u64; 2]) {
    for (lane, sent) in sent.into_iter().enumerate() {
        writer.take(Incoming::Counters(lane, counters(sent, sent)), now);
        writer.take(Incoming::Ended(lane, Ok(())), now);
    }
}

#[test]
fn lanes_are_merged_and_every_packet_is_accounted_for() {
    let (sink, now) = (Memory::default(), Instant::now());
    let mut writer = writer(&sink, NO_LIMITS, now);
    writer.take(Incoming::Batch(0, packets(&[10, 30], 40)), now);
    writer.take(Incoming::Batch(1, packets(&[20], 40)), now);
    writer.write(now);
    writer.take(Incoming::Counters(0, counters(5, 2)), now);
    writer.take(Incoming::Ended(0, Ok(())), now);
    writer.take(Incoming::Counters(1, counters(1, 1)), now);
    writer.take(Incoming::Ended(1, Ok(())), now);
    assert_eq!(writer.progress().lost, 3);
    let outcome = writer.finish(99, now);
    assert!(outcome.failure.is_none());
    assert_eq!(outcome.accounts[0].lost_in_ring, 3);
    assert!(outcome.accounts.iter().all(|account| account.unsettled.is_none()));
    assert_eq!(
        *sink.lines.lock().unwrap(),
        [
            "interface shop/a/eth0",
            "interface shop/b/eth0",
            "0 at 10",
            "1 at 20",
            "0 at 30",
            "end 2 \"lost 3 in the node's kernel (ring full)\"",
            "end 1 \"\"",
        ]
    );
}

#[test]
fn a_count_is_kept_to_the_packet() {
    let (sink, now) = (Memory::default(), Instant::now());
    let limits = Limits { count: 2, ..NO_LIMITS };
    let mut writer = writer(&sink, limits, now);
    writer.take(Incoming::Batch(0, packets(&[10, 30, 50], 60)), now);
    writer.take(Incoming::Batch(1, packets(&[20], 60)), now);
    writer.write(now);
    assert_eq!(writer.enough(), Some(Enough::Limit(Reached::Count)));
    end(&mut writer, now, [3, 1]);
    let outcome = writer.finish(99, now);
    let total = Account::total(&outcome.accounts);
    assert_eq!((total.written, total.beyond_limit, total.lost()), (2, 2, 0));
    assert_eq!(total.unsettled, None);
}

#[test]
fn what_a_full_disk_does_not_take_is_lost_and_what_it_has_stays() {
    let now = Instant::now();
    let sink = Memory {
        room: Some(3),
        ..Memory::default()
    };
    let mut writer = writer(&sink, NO_LIMITS, now);
    writer.take(Incoming::Batch(0, packets(&[10, 20], 25)), now);
    writer.take(Incoming::Batch(1, packets(&[], 25)), now);
    writer.write(now);
    writer.take(Incoming::Batch(0, packets(&[30, 40], 50)), now);
    writer.take(Incoming::Batch(1, packets(&[35], 50)), now);
    writer.write(now);
    assert_eq!(writer.enough(), Some(Enough::Failed));
    end(&mut writer, now, [4, 1]);
    let outcome = writer.finish(99, now);
    let total = Account::total(&outcome.accounts);
    // Three were taken, and of these the third not flushed yet.
    assert_eq!((total.written, total.lost_at_output), (2, 3));
    assert_eq!(total.unsettled, None);
    assert!(matches!(outcome.failure, Some(SinkError::Write(_))));
}

#[test]
fn a_reader_that_leaves_is_told_apart() {
    let now = Instant::now();
    let sink = Memory {
        room: Some(0),
        reader_leaves: true,
        ..Memory::default()
    };
    let mut writer = writer(&sink, NO_LIMITS, now);
    writer.take(Incoming::Batch(0, packets(&[10], 25)), now);
    writer.take(Incoming::Batch(1, packets(&[], 25)), now);
    writer.write(now);
    assert_eq!(writer.enough(), Some(Enough::ReaderLeft));
}

#[test]
fn an_agent_that_vanished_makes_its_source_incomplete_in_the_file_too() {
    let (sink, now) = (Memory::default(), Instant::now());
    let mut writer = writer(&sink, NO_LIMITS, now);
    writer.take(Incoming::Batch(0, packets(&[10], 25)), now);
    writer.take(Incoming::Ended(0, Err("stream lost".into())), now);
    let outcome = writer.finish(99, now);
    assert_eq!(outcome.accounts[0].unsettled.as_deref(), Some("stream lost"));
    assert!(outcome.accounts[1].unsettled.is_some(), "the other never ended");
    let lines = sink.lines.lock().unwrap();
    assert!(
        lines.contains(&"end 1 \"incomplete: stream lost\"".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn a_packet_of_an_interface_that_was_never_named_is_counted() {
    let (sink, now) = (Memory::default(), Instant::now());
    let lane = Lane {
        source: 0,
        correction_ns: 0,
        remark: String::new(),
    };
    let mut writer = Writer::new(vec![source("a")], vec![lane], Box::new(sink), NO_LIMITS, 1, now);
    writer.take(Incoming::Batch(0, packets(&[10], 25)), now);
    writer.take(Incoming::Counters(0, counters(1, 1)), now);
    writer.take(Incoming::Ended(0, Ok(())), now);
    let outcome = writer.finish(99, now);
    assert_eq!(outcome.accounts[0].lost_at_output, 1);
}
