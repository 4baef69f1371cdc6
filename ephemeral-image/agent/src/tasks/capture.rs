//! `capture`: packets of many places, each through a ring of its own on a thread of its own, until stopped.
//!
//! A ring is the only queue in which packets may get lost, and the kernel counts those. Everything behind it waits: when the stream is slower
//! than the packets, the reporter stands still, the ring fills, and what does not fit is in `ring_drops`.

use super::{Gone, Place, Reporter, Shared, arrivals::Arrivals, not_located};
use netcheck_decode::{Link, headers_length};
use netcheck_node_state::{Interface, Netns, interfaces, within};
use netcheck_ring::{Event as RingEvent, Instruction, Options, Packet, Ring, RingError};
use netcheck_wire::{
    Event,
    capture::{
        BatchWriter, CaptureCounters, CaptureInterface, CaptureOrder, CaptureSource, PayloadRule, Record, assign,
    },
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// How long the kernel may keep packets that do not fill a block.
const BLOCK_TIMEOUT: Duration = Duration::from_millis(50);
/// How often a quiet source says until when it is complete, and how soon one that is to stop hears of it.
const TICK: Duration = Duration::from_millis(100);
/// How often counters are told.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Bytes after which a batch is sent. Four of them fill the session's window.
const BATCH: usize = 256 << 10;
/// Batches that are stashed at most; what comes then stays in the ring, as long as that has room.
const MOST_STASHED: usize = 4;
/// Most bytes of a packet that are kept, whatever is asked for: several must fit a frame.
const MAX_SNAP_LENGTH: u32 = 256 << 10;

/// The order's filters, as the kernel takes them.
pub struct Programs(Vec<Vec<Instruction>>);

impl Programs {
    fn of(order: &CaptureOrder) -> Self {
        let instruction = |&(code, jt, jf, k): &_| Instruction { code, jt, jf, k };
        let programs = order.programs.iter();
        Self(
            programs
                .map(|program| program.iter().map(instruction).collect())
                .collect(),
        )
    }

    /// One of them. Without a filter everything would be taken, which was not asked for.
    pub fn get(&self, number: usize) -> Result<&[Instruction], String> {
        let program = self.0.get(number).filter(|program| !program.is_empty());
        program
            .map(Vec::as_slice)
            .ok_or_else(|| format!("the order has no filter {number}"))
    }
}

/// Runs the task.
pub fn run(order: &CaptureOrder, shared: &Shared, reporter: &Reporter) -> Result<(), Gone> {
    let programs = Programs::of(order);
    let mut lanes = Vec::new();
    // All rings are open before the first packet is reported: what is counted begins at one moment, as nearly as can be.
    for source in &order.sources {
        match Lane::open(order, &programs, source, shared) {
            Ok(lane) => {
                reporter.event(lane.begins())?;
                lanes.push(lane);
            }
            Err(why) => reporter.event(Event::Capturing {
                source: source.source,
                outcome: Err(why),
            })?,
        }
    }
    let arrivals = match &order.awaiting {
        Some(awaiting) => Some(Arrivals::begin(order, &programs, awaiting, shared, reporter)?),
        None => None,
    };
    thread::scope(|scope| {
        let mut running = Vec::new();
        let mut start = |lane: Lane| running.push(scope.spawn(move || lane.run(shared, reporter)));
        lanes.into_iter().for_each(&mut start);
        let awaited = arrivals.map_or(Ok(()), |arrivals| arrivals.run(start));
        // A lane that panicked has told no final count, which the plugin sees.
        let ended = running.into_iter().try_for_each(|lane| lane.join().unwrap_or(Ok(())));
        awaited.and(ended)
    })
}

/// A ring in the calling thread's network namespace.
pub fn open_ring(
    order: &CaptureOrder,
    program: &[Instruction],
    interface: Option<u32>,
    ring_bytes: u32,
) -> Result<Ring, String> {
    let ring = Ring::open(&Options {
        interface,
        program,
        snap_length: order.snap_length.clamp(1, MAX_SNAP_LENGTH),
        ring_bytes: ring_bytes as usize,
        block_timeout: BLOCK_TIMEOUT,
        promiscuous: false,
    });
    ring.map_err(|error: RingError| error.to_string())
}

/// One source being captured.
pub struct Lane {
    source: u32,
    /// Where, if the session knows it by a number.
    number: Option<u32>,
    place: Arc<Place>,
    ring: Ring,
    snap_length: u32,
    payload: PayloadRule,
    known: Vec<(u32, Interface)>,
    /// Names of the only interfaces that are wanted, where the ring hears them all; empty for all.
    only: Vec<String>,
    /// Those of the known ones that are not wanted.
    unwanted: Vec<u32>,
    /// Packets of these: as good as if the filter had rejected them.
    foreign: u64,
    /// Batches that came before anybody asked for them.
    stash: Vec<Vec<u8>>,
    writer: BatchWriter,
    counters: CaptureCounters,
}

impl Lane {
    fn open(
        order: &CaptureOrder,
        programs: &Programs,
        source: &CaptureSource,
        shared: &Shared,
    ) -> Result<Self, String> {
        let place = shared.place(source.place).ok_or_else(|| not_located(source.place))?;
        let program = programs.get(source.program)?;
        let (ring, known) = within(&place.netns, || {
            // Interfaces are listed after the ring is open, so that none is missed between the two.
            let interface = source.interface.as_deref().map(index_of).transpose()?;
            let ring = open_ring(order, program, interface, order.ring_bytes)?;
            let mut known = interfaces().map_err(|error| error.to_string())?;
            known.retain(|index, _| interface.is_none_or(|only| *index == only));
            Ok::<_, String>((ring, known))
        })
        .map_err(|error| error.to_string())??;
        let lane = Self::new(order, source.source, place, ring, known, &[]);
        Ok(Self {
            number: Some(source.place),
            ..lane
        })
    }

    /// A lane of a ring that hears all interfaces, of which only some may be wanted.
    pub fn new(
        order: &CaptureOrder,
        source: u32,
        place: Arc<Place>,
        ring: Ring,
        known: BTreeMap<u32, Interface>,
        only: &[String],
    ) -> Self {
        let mut lane = Self {
            source,
            number: None,
            place,
            ring,
            snap_length: order.snap_length.clamp(1, MAX_SNAP_LENGTH),
            payload: order.payload,
            known: Vec::new(),
            only: only.to_vec(),
            unwanted: Vec::new(),
            foreign: 0,
            stash: Vec::new(),
            writer: BatchWriter::new(source),
            counters: CaptureCounters::default(),
        };
        for (index, interface) in known {
            learn(&lane.only, &mut lane.known, &mut lane.unwanted, index, interface);
        }
        lane
    }

    /// What is told of its beginning.
    pub fn begins(&self) -> Event {
        let wanted = self.known.iter().filter(|(index, _)| !self.unwanted.contains(index));
        Event::Capturing {
            source: self.source,
            outcome: Ok(wanted.map(|(index, interface)| told(*index, interface)).collect()),
        }
    }

    /// Until it is stopped or let go, or its interface is gone, and the ring is empty.
    fn run(mut self, shared: &Shared, reporter: &Reporter) -> Result<(), Gone> {
        for batch in std::mem::take(&mut self.stash) {
            reporter.data(&batch)?;
        }
        let mut counted = Instant::now();
        let mut is_stopping = false;
        loop {
            if !is_stopping && (reporter.is_stopped() || shared.claims.is_released(self.source)) {
                is_stopping = true;
                self.stop();
            }
            match self.take(TICK, Some(reporter))? {
                Step::GoOn | Step::Quiet => {}
                Step::Gone => {
                    is_stopping = true;
                    self.counters
                        .ended
                        .get_or_insert_with(|| "its interface is gone".to_owned());
                    self.stop();
                }
                Step::End => break,
            }
            self.flush(reporter)?;
            if counted.elapsed() >= COUNT_EVERY {
                counted = Instant::now();
                self.count(reporter)?;
            }
        }
        self.flush(reporter)?;
        self.count(reporter)?;
        if !shared.claims.is_released(self.source) {
            return Ok(());
        }
        if let Some(number) = self.number {
            shared.forget(number);
        }
        reporter.event(Event::Released { source: self.source })
    }

    fn stop(&mut self) {
        if let Err(error) = self.ring.stop() {
            self.counters.ended.get_or_insert_with(|| error.to_string());
        }
    }

    /// Takes out of the ring what is there, and keeps it in the agent: a ring that nobody reads is full after a few packets that come one by one,
    /// for each of them gets a block to itself when the block timeout is over.
    pub fn hold(&mut self) {
        while self.stash.len() < MOST_STASHED && matches!(self.take(Duration::ZERO, None), Ok(Step::GoOn)) {}
    }

    /// It becomes the lane of this source, with what it holds and with the interfaces that are there by now.
    pub fn assign(&mut self, source: u32) {
        self.source = source;
        self.writer.assign(source);
        for batch in &mut self.stash {
            assign(batch, source);
        }
        let there = within(&self.place.netns, interfaces).ok().and_then(Result::ok);
        // Some network plugins rename an interface once it is in: which one is wanted shows with its first packet.
        for (index, interface) in there.into_iter().flatten().filter(|_| self.only.is_empty()) {
            if !self.known.iter().any(|(known, _)| *known == index) {
                self.known.push((index, interface));
            }
        }
    }

    /// Where it captures.
    pub fn netns(&self) -> &Netns {
        &self.place.netns
    }

    /// Takes a block out of the ring, or waits so long for one. Without a reporter, what comes of it is stashed.
    fn take(&mut self, at_most: Duration, reporter: Option<&Reporter>) -> Result<Step, Gone> {
        let block = match self.ring.next(at_most) {
            Ok(RingEvent::Packets(block)) => block,
            Ok(RingEvent::Quiet | RingEvent::InterfaceDown) => return Ok(Step::Quiet),
            Ok(RingEvent::InterfaceGone) => return Ok(Step::Gone),
            Ok(RingEvent::End) => return Ok(Step::End),
            Err(error) => {
                self.counters.ended.get_or_insert_with(|| error.to_string());
                return Ok(Step::End);
            }
        };
        let mut packets = block.packets();
        for packet in packets.by_ref() {
            let is_known = self.known.iter().any(|(index, _)| *index == packet.interface);
            if !is_known {
                let interface = look_up(&self.place.netns, &packet);
                let appeared = Event::InterfaceAppeared {
                    source: self.source,
                    interface: told(packet.interface, &interface),
                };
                if learn(
                    &self.only,
                    &mut self.known,
                    &mut self.unwanted,
                    packet.interface,
                    interface,
                ) && let Some(reporter) = reporter
                {
                    reporter.event(appeared)?;
                }
            }
            if self.unwanted.contains(&packet.interface) {
                self.foreign += 1;
                continue;
            }
            keep(
                &mut self.writer,
                &mut self.counters,
                &packet,
                self.snap_length,
                self.payload,
            );
            if self.writer.len() >= BATCH {
                // What follows in this block may be as old as its last packet so far.
                let batch = self.writer.take(0);
                match reporter {
                    Some(reporter) => reporter.data(&batch)?,
                    None => self.stash.push(batch),
                }
            }
        }
        // Only a damaged block has packets left that cannot be read.
        self.counters.unfit += u64::from(packets.left());
        Ok(Step::GoOn)
    }

    /// Sends what is there, and until when it is complete.
    fn flush(&mut self, reporter: &Reporter) -> Result<(), Gone> {
        let until = self.ring.watermark().at_ns;
        reporter.data(&self.writer.take(until))
    }

    fn count(&mut self, reporter: &Reporter) -> Result<(), Gone> {
        match self.ring.statistics() {
            Ok(statistics) => {
                self.counters.accepted = statistics.accepted.saturating_sub(self.foreign);
                self.counters.ring_drops = statistics.dropped;
            }
            Err(error) => {
                self.counters.ended.get_or_insert_with(|| error.to_string());
            }
        }
        reporter.event(Event::Captured {
            source: self.source,
            counters: self.counters.clone(),
        })
    }
}

/// Takes note of an interface; whether it is wanted.
fn learn(
    only: &[String],
    known: &mut Vec<(u32, Interface)>,
    unwanted: &mut Vec<u32>,
    index: u32,
    interface: Interface,
) -> bool {
    let is_wanted = only.is_empty() || only.contains(&interface.name);
    if !is_wanted {
        unwanted.push(index);
    }
    known.push((index, interface));
    is_wanted
}

/// What a look into the ring came to.
enum Step {
    GoOn,
    Quiet,
    Gone,
    End,
}

fn keep(
    writer: &mut BatchWriter,
    counters: &mut CaptureCounters,
    packet: &Packet<'_>,
    snap_length: u32,
    payload: PayloadRule,
) {
    let frame = packet.on_wire(snap_length);
    let [bytes, more @ ..] = frame.parts();
    let kept = writer.push(
        &Record {
            interface: packet.interface,
            at_ns: packet.at_ns,
            original_length: frame.original_length,
            packet_type: packet.packet_type,
            bytes,
        },
        &more,
    );
    let mut length = kept.len();
    if payload != PayloadRule::Keep {
        let headers = headers_length(link_of(packet.hardware_type), kept);
        match payload {
            PayloadRule::Zero => kept[headers..].fill(0),
            PayloadRule::Cut | PayloadRule::Keep => {
                length = headers;
                writer.cut_last(headers);
            }
        }
    }
    counters.sent += 1;
    counters.sent_bytes += length as u64;
}

/// Without a link header, packets begin with IP; the filter lets no other kind in.
fn link_of(hardware_type: u16) -> Link {
    match hardware_type {
        libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => Link::Ethernet,
        _ => Link::RawIp,
    }
}

fn index_of(name: &str) -> Result<u32, String> {
    let all = interfaces().map_err(|error| error.to_string())?;
    let found = all.iter().find(|(_, interface)| interface.name == name);
    found.map(|(index, _)| *index).ok_or_else(|| {
        let names: Vec<_> = all.values().map(|interface| interface.name.as_str()).collect();
        format!("there is no interface {name}; there are: {}", names.join(", "))
    })
}

/// An interface that came after the others were listed. It may be gone again: its number then stands for its name.
fn look_up(netns: &Netns, packet: &Packet<'_>) -> Interface {
    let found = within(netns, interfaces).ok().and_then(Result::ok);
    found
        .and_then(|mut found| found.remove(&packet.interface))
        .unwrap_or_else(|| Interface {
            name: format!("#{}", packet.interface),
            hardware_type: packet.hardware_type,
            address: Vec::new(),
        })
}

/// As the plugin is told of it.
pub fn told(index: u32, interface: &Interface) -> CaptureInterface {
    CaptureInterface {
        index,
        name: interface.name.clone(),
        hardware_type: interface.hardware_type,
        address: interface.address.as_slice().try_into().ok(),
    }
}
