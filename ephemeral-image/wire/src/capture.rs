//! Capturing packets: what the plugin asks for, what the agent reports beside them, and how packets lie in data frames.
//!
//! Every source is a lane of its own: its packets come in the order of time, and each batch says until when the lane is complete, so that
//! lanes of many pods and nodes can be merged without waiting for the slowest forever.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// One instruction of a classic BPF program (linux/filter.h `struct sock_filter`): code, jump if true, jump if false, operand.
pub type Instruction = (u16, u8, u8, u32);

/// What to capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureOrder {
    /// From where.
    pub sources: Vec<CaptureSource>,
    /// Filters, for sockets bound to all interfaces of a namespace. None of them is empty.
    pub programs: Vec<Vec<Instruction>>,
    /// Bytes of a packet that are kept at most.
    pub snap_length: u32,
    /// What becomes of what is behind the headers.
    pub payload: PayloadRule,
    /// Memory of each source's ring, in bytes.
    pub ring_bytes: u32,
    /// Namespaces that appear later are captured too, once they are claimed; without it, the task ends when no source is left.
    #[serde(default)]
    pub awaiting: Option<crate::claim::Awaiting>,
}

/// Where to capture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureSource {
    /// Its number, chosen by the plugin, unique in the session.
    pub source: u32,
    /// Number of a located place.
    pub place: u32,
    /// Name of the one interface; `None` for all, those included that appear later.
    pub interface: Option<String>,
    /// Which of the order's filters, by its place in the list.
    pub program: usize,
}

/// What becomes of a packet's payload before it leaves the node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PayloadRule {
    /// It is kept.
    #[default]
    Keep,
    /// It is cut off.
    Cut,
    /// It is overwritten with zeros.
    Zero,
}

/// An interface that packets may come from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureInterface {
    /// Its index in its namespace, which records name it by.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `ARPHRD_*` of linux/if_arp.h: what its packets begin with.
    pub hardware_type: u16,
    /// Its hardware address, if it has one.
    pub address: Option<[u8; 6]>,
}

/// What became of a source's packets so far. All numbers only grow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaptureCounters {
    /// Packets that passed the filter in the kernel (packet(7), `tp_packets`).
    pub accepted: u64,
    /// Of these, packets for which the ring had no room (`tp_drops`).
    pub ring_drops: u64,
    /// Packets that were put into batches.
    pub sent: u64,
    /// Bytes of these, as kept.
    pub sent_bytes: u64,
    /// Packets that came out of the ring and could not be kept, being damaged or too large for a frame.
    pub unfit: u64,
    /// Why the source is captured no more although nobody stopped it: its namespace or interface is gone.
    pub ended: Option<String>,
}

/// One packet in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Index of its interface.
    pub interface: u32,
    /// When the kernel saw it, in nanoseconds of the node's real-time clock.
    pub at_ns: u64,
    /// Its length on the wire in bytes.
    pub original_length: u32,
    /// `PACKET_HOST` (0), `PACKET_BROADCAST`, `PACKET_MULTICAST`, `PACKET_OTHERHOST`, `PACKET_OUTGOING` (4) of linux/if_packet.h.
    pub packet_type: u8,
    /// What was kept of it, from its link header on.
    pub bytes: &'a [u8],
}

/// Bytes before a batch's records: source, complete until.
const BATCH_HEADER: usize = 4 + 8;
/// Bytes before a record's packet: interface, time, original length, kept length, packet type.
const RECORD_HEADER: usize = 4 + 8 + 4 + 4 + 1;

/// Why bytes are no batch: the sender is not an agent of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a batch of packets is damaged at byte {0}")]
pub struct BatchError(usize);

/// Writes batches. All numbers are big endian.
#[derive(Debug)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    source: u32,
    records: u32,
    /// Where the last packet's bytes begin.
    last: usize,
}

impl BatchWriter {
    /// Begins batches of a source.
    pub fn new(source: u32) -> Self {
        let mut writer = Self {
            bytes: Vec::new(),
            source,
            records: 0,
            last: 0,
        };
        writer.begin();
        writer
    }

    fn begin(&mut self) {
        self.bytes.extend_from_slice(&self.source.to_be_bytes());
        self.bytes.extend_from_slice(&0u64.to_be_bytes());
        self.records = 0;
    }

    /// The source is known only now: for the batch that is open and those that follow.
    pub fn assign(&mut self, source: u32) {
        self.source = source;
        assign(&mut self.bytes, source);
    }

    /// Adds a packet, the latest so far, whose bytes may lie in parts; gives its bytes as written, to be changed in place or cut by
    /// [`BatchWriter::cut_last`]. It must be shorter than 4 GiB.
    pub fn push(&mut self, record: &Record<'_>, more: &[&[u8]]) -> &mut [u8] {
        self.bytes.extend_from_slice(&record.interface.to_be_bytes());
        self.bytes.extend_from_slice(&record.at_ns.to_be_bytes());
        self.bytes.extend_from_slice(&record.original_length.to_be_bytes());
        let kept_at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.push(record.packet_type);
        self.last = self.bytes.len();
        self.bytes.extend_from_slice(record.bytes);
        for part in more {
            self.bytes.extend_from_slice(part);
        }
        let kept = (self.bytes.len() - self.last) as u32;
        self.bytes[kept_at..kept_at + 4].copy_from_slice(&kept.to_be_bytes());
        self.records += 1;
        &mut self.bytes[self.last..]
    }

    /// Keeps only so many bytes of the last packet.
    pub fn cut_last(&mut self, length: usize) {
        let end = self.last + length;
        if self.records == 0 || end >= self.bytes.len() {
            return;
        }
        self.bytes.truncate(end);
        let kept_at = self.last - 5;
        self.bytes[kept_at..kept_at + 4].copy_from_slice(&(length as u32).to_be_bytes());
    }

    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no packet.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Closes the batch and begins the next. `until_ns`: no packet of the source before this time is still to come.
    pub fn take(&mut self, until_ns: u64) -> Vec<u8> {
        self.bytes[4..BATCH_HEADER].copy_from_slice(&until_ns.to_be_bytes());
        // The next one is most likely as long.
        let next = Vec::with_capacity(self.bytes.len() + self.bytes.len() / 8);
        let batch = std::mem::replace(&mut self.bytes, next);
        self.begin();
        batch
    }
}

/// Makes a batch that was taken one of another source.
pub fn assign(batch: &mut [u8], source: u32) {
    if let Some(place) = batch.first_chunk_mut() {
        *place = source.to_be_bytes();
    }
}

/// A batch as it came, checked to its end, to be read record by record.
#[derive(Debug, Clone)]
pub struct Batch {
    bytes: Bytes,
    at: usize,
    records: u32,
    /// Times of the first and the last record.
    span_ns: (u64, u64),
    is_sorted: bool,
}

impl Batch {
    /// Checks the bytes of a data frame.
    pub fn parse(bytes: impl Into<Bytes>) -> Result<Self, BatchError> {
        let mut batch = Self {
            bytes: bytes.into(),
            at: BATCH_HEADER,
            records: 0,
            span_ns: (0, 0),
            is_sorted: true,
        };
        if batch.bytes.len() < BATCH_HEADER {
            return Err(BatchError(0));
        }
        let (mut at, mut records) = (batch.at, 0);
        let (mut first_ns, mut last_ns, mut is_sorted) = (0, 0, true);
        while at < batch.bytes.len() {
            let (record, next) = batch.record_at(at).ok_or(BatchError(at))?;
            if records == 0 {
                first_ns = record.at_ns;
            }
            is_sorted &= record.at_ns >= last_ns;
            last_ns = record.at_ns;
            (at, records) = (next, records + 1);
        }
        batch.records = records;
        (batch.span_ns, batch.is_sorted) = ((first_ns, last_ns), is_sorted);
        Ok(batch)
    }

    /// Batches of one source as one, its records in the order of time: processors that put packets into a ring at one moment read the clock
    /// each for itself. Batches that are in order already are given back as they are.
    pub fn in_order(batches: Vec<Self>) -> Vec<Self> {
        let follows = |pair: &[Self]| pair[0].span_ns.1 <= pair[1].span_ns.0 || pair[1].records == 0;
        if batches.iter().all(|batch| batch.is_sorted) && batches.windows(2).all(follows) {
            return batches;
        }
        let mut records: Vec<Record<'_>> = batches.iter().flat_map(Self::iter).collect();
        // Stable: what bears one time stays as it came.
        records.sort_by_key(|record| record.at_ns);
        let mut writer = BatchWriter::new(batches.first().map_or(0, Self::source));
        for record in &records {
            writer.push(record, &[]);
        }
        let until = batches.iter().map(Self::until_ns).max().unwrap_or(0);
        // What was just written is whole.
        Self::parse(writer.take(until)).map_or_else(|_| Vec::new(), |batch| vec![batch])
    }

    /// Records that were not taken yet.
    fn iter(&self) -> impl Iterator<Item = Record<'_>> {
        let mut at = self.at;
        std::iter::from_fn(move || {
            let (record, next) = self.record_at(at)?;
            at = next;
            Some(record)
        })
    }

    /// The source it comes from.
    pub fn source(&self) -> u32 {
        self.bytes.first_chunk().map_or(0, |source| u32::from_be_bytes(*source))
    }

    /// No packet of the source before this time comes after this batch, in nanoseconds of the node's clock.
    pub fn until_ns(&self) -> u64 {
        let until = self.bytes.get(4..).and_then(<[u8]>::first_chunk);
        until.map_or(0, |until| u64::from_be_bytes(*until))
    }

    /// Records that were not taken yet.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Its size in memory in bytes.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The next record, left in place.
    pub fn peek(&self) -> Option<Record<'_>> {
        self.record_at(self.at).map(|(record, _)| record)
    }

    /// Steps over the next record.
    pub fn advance(&mut self) {
        if let Some((_, next)) = self.record_at(self.at) {
            self.at = next;
            self.records = self.records.saturating_sub(1);
        }
    }

    fn record_at(&self, at: usize) -> Option<(Record<'_>, usize)> {
        let header = self.bytes.get(at..at.checked_add(RECORD_HEADER)?)?;
        let (interface, rest) = header.split_first_chunk::<4>()?;
        let (at_ns, rest) = rest.split_first_chunk::<8>()?;
        let (original_length, rest) = rest.split_first_chunk::<4>()?;
        let (kept, rest) = rest.split_first_chunk::<4>()?;
        let start = at + RECORD_HEADER;
        let end = start.checked_add(u32::from_be_bytes(*kept) as usize)?;
        let record = Record {
            interface: u32::from_be_bytes(*interface),
            at_ns: u64::from_be_bytes(*at_ns),
            original_length: u32::from_be_bytes(*original_length),
            packet_type: *rest.first()?,
            bytes: self.bytes.get(start..end)?,
        };
        Some((record, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(at_ns: u64, bytes: &[u8]) -> Record<'_> {
        Record {
            interface: 7,
            at_ns,
            original_length: 1500,
            packet_type: 4,
            bytes,
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = BatchWriter::new(3);
        assert!(writer.is_empty());
        writer.push(&record(10, b"o"), &[b"n", b"e"]);
        writer.push(&record(11, b""), &[]);
        let mut batch = Batch::parse(writer.take(12)).unwrap();
        assert_eq!((batch.source(), batch.until_ns(), batch.records()), (3, 12, 2));
        assert_eq!(batch.peek(), Some(record(10, b"one")));
        batch.advance();
        assert_eq!(batch.peek(), Some(record(11, b"")));
        batch.advance();
        assert_eq!((batch.peek(), batch.records()), (None, 0));
        let empty = Batch::parse(writer.take(13)).unwrap();
        assert_eq!((empty.source(), empty.until_ns(), empty.records()), (3, 13, 0));
    }

    #[test]
    fn payload_can_be_overwritten_in_place() {
        let mut writer = BatchWriter::new(0);
        writer.push(&record(1, b"headpay"), &[])[4..].fill(0);
        let batch = Batch::parse(writer.take(2)).unwrap();
        assert_eq!(batch.peek().unwrap().bytes, b"head\0\0\0");
    }

    #[test]
    fn batches_out_of_order_become_one_in_order() {
        let batch = |times: &[u64], until_ns| {
            let mut writer = BatchWriter::new(5);
            for &at_ns in times {
                writer.push(&record(at_ns, &at_ns.to_be_bytes()), &[]);
            }
            Batch::parse(writer.take(until_ns)).unwrap()
        };
        let times = |batches: &[Batch]| -> Vec<u64> {
            batches
                .iter()
                .flat_map(|batch| batch.iter().map(|record| record.at_ns).collect::<Vec<_>>())
                .collect()
        };
        let kept = Batch::in_order(vec![batch(&[1, 2], 0), batch(&[2, 3], 0), batch(&[], 9)]);
        assert_eq!((kept.len(), times(&kept)), (3, vec![1, 2, 2, 3]));
        for mixed in [vec![batch(&[2, 1, 3], 4)], vec![batch(&[2, 3], 0), batch(&[1], 4)]] {
            let sorted = Batch::in_order(mixed);
            assert_eq!((sorted.len(), times(&sorted)), (1, vec![1, 2, 3]));
            assert_eq!(
                (sorted[0].source(), sorted[0].until_ns(), sorted[0].records()),
                (5, 4, 3)
            );
            assert_eq!(sorted[0].peek().unwrap().bytes, 1u64.to_be_bytes());
        }
    }

    #[test]
    fn payload_can_be_cut() {
        let mut writer = BatchWriter::new(0);
        writer.cut_last(0);
        for length in [4, 7, 9] {
            writer.push(&record(1, b"headpay"), &[]);
            writer.cut_last(length);
        }
        let mut batch = Batch::parse(writer.take(2)).unwrap();
        for kept in [&b"head"[..], b"headpay", b"headpay"] {
            assert_eq!(batch.peek().unwrap().bytes, kept);
            batch.advance();
        }
    }

    #[test]
    fn a_batch_cut_anywhere_inside_a_record_is_refused() {
        let mut writer = BatchWriter::new(1);
        writer.push(&record(1, b"packet"), &[]);
        let whole = writer.take(2);
        for length in (0..whole.len()).filter(|&length| length != BATCH_HEADER) {
            assert!(Batch::parse(whole[..length].to_vec()).is_err(), "{length} bytes");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(mut batch) = Batch::parse(bytes) {
                let mut records = batch.records();
                while batch.peek().is_some() {
                    batch.advance();
                    records -= 1;
                }
                prop_assert_eq!(records, 0);
            }
        }
    }
}
