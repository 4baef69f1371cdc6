//! Many lanes of packets become one in the order of time. Pure: the caller says what time it is.
//!
//! A lane says with each batch until when it is complete. A packet may go out once no lane can bring an earlier one. A lane that says
//! nothing for [`PATIENCE`] is not waited for until it speaks again, and what is held never exceeds [`HELD`]: order may suffer then, which is
//! counted, but neither packets nor memory do.

use netcheck_wire::capture::{Batch, Record};
use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::{Duration, Instant},
};

/// How long a silent lane holds up the others.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Bytes of batches that are held at most.
pub const HELD: usize = 32 << 20;

/// Lanes being merged. A lane is named by the number it was opened with.
#[derive(Debug, Default)]
pub struct Merge {
    lanes: Vec<Lane>,
    held: usize,
    /// Time of the latest packet that went out.
    last_ns: u64,
    out_of_order: u64,
}

#[derive(Debug)]
struct Lane {
    batches: VecDeque<Batch>,
    /// Batches since the lane last said until when it is complete: they may have to be put in order first.
    loose: Vec<Batch>,
    /// Complete until this time, in nanoseconds of the common clock.
    until_ns: u64,
    /// Added to the lane's times to get the common clock's.
    correction_ns: i64,
    heard: Instant,
    open: bool,
}

impl Merge {
    /// Opens the next lane, whose clock is corrected by so many nanoseconds; gives its number, counted from 0.
    pub fn open(&mut self, correction_ns: i64, now: Instant) -> usize {
        self.lanes.push(Lane {
            batches: VecDeque::new(),
            loose: Vec::new(),
            until_ns: 0,
            correction_ns,
            heard: now,
            open: true,
        });
        self.lanes.len() - 1
    }

    /// Adds a lane that is not waited for before it begins.
    pub fn announce(&mut self, correction_ns: i64, now: Instant) -> usize {
        let lane = self.open(correction_ns, now);
        self.close(lane);
        lane
    }

    /// An announced lane begins.
    pub fn begin(&mut self, lane: usize, now: Instant) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            (lane.open, lane.heard) = (true, now);
        }
    }

    /// A lane from which nothing more comes.
    pub fn close(&mut self, lane: usize) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.open = false;
            self.held = self.held.saturating_add_signed(lane.settle());
        }
    }

    /// Takes a batch in.
    pub fn push(&mut self, lane: usize, batch: Batch, now: Instant) {
        let Some(lane) = self.lanes.get_mut(lane) else { return };
        lane.heard = now;
        let until_ns = batch.until_ns();
        if batch.records() > 0 {
            self.held += batch.size();
            lane.loose.push(batch);
        }
        if until_ns > 0 {
            lane.until_ns = lane.until_ns.max(lane.correct(until_ns));
            self.held = self.held.saturating_add_signed(lane.settle());
        }
    }

    /// Gives out, in the order of time, every packet that may go: its lane, its time by the common clock, and itself. Stops early when
    /// `take` says so by `false`.
    pub fn release(&mut self, now: Instant, mut take: impl FnMut(usize, u64, Record<'_>) -> bool) {
        let safe = self
            .lanes
            .iter()
            .filter(|lane| lane.open && now.duration_since(lane.heard) < PATIENCE)
            .map(|lane| lane.until_ns)
            .min()
            .unwrap_or(u64::MAX);
        if self.held > HELD {
            let settled: isize = self.lanes.iter_mut().map(Lane::settle).sum();
            self.held = self.held.saturating_add_signed(settled);
        }
        let mut heads: BinaryHeap<Reverse<(u64, usize)>> = self
            .lanes
            .iter()
            .enumerate()
            .filter_map(|(index, lane)| Some(Reverse((lane.head()?, index))))
            .collect();
        while let Some(Reverse((at_ns, index))) = heads.pop() {
            // A packet at the very time until which a lane is complete may still have an equal: order among equals is nobody's.
            if at_ns > safe && self.held <= HELD {
                break;
            }
            let lane = &mut self.lanes[index];
            let Some(batch) = lane.batches.front_mut() else {
                continue;
            };
            let Some(record) = batch.peek() else { continue };
            self.out_of_order += u64::from(at_ns < self.last_ns);
            self.last_ns = self.last_ns.max(at_ns);
            let go_on = take(index, at_ns, record);
            batch.advance();
            if batch.records() == 0 {
                self.held -= batch.size();
                lane.batches.pop_front();
            }
            if let Some(head) = lane.head() {
                heads.push(Reverse((head, index)));
            }
            if !go_on {
                break;
            }
        }
    }

    /// Packets that went out after a later one.
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Packets that are held.
    pub fn held(&self) -> u64 {
        let batches = self
            .lanes
            .iter()
            .flat_map(|lane| lane.batches.iter().chain(&lane.loose));
        batches.map(|batch| u64::from(batch.records())).sum()
    }
}

impl Lane {
    /// Puts loose batches in order, behind the others; by how many bytes what is held grows.
    fn settle(&mut self) -> isize {
        let loose = std::mem::take(&mut self.loose);
        let size = |batches: &[Batch]| batches.iter().map(Batch::size).sum::<usize>().cast_signed();
        let before = size(&loose);
        let settled = Batch::in_order(loose);
        let after = size(&settled);
        self.batches.extend(settled);
        after - before
    }

    fn correct(&self, at_ns: u64) -> u64 {
        at_ns.saturating_add_signed(self.correction_ns)
    }

    fn head(&self) -> Option<u64> {
        let record = self.batches.front()?.peek()?;
        Some(self.correct(record.at_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_wire::capture::BatchWriter;
    use proptest::prelude::*;

    fn batch(times: &[u64], until_ns: u64) -> Batch {
        let mut writer = BatchWriter::new(0);
        for &at_ns in times {
            let record = Record {
                interface: 1,
                at_ns,
                original_length: 4,
                packet_type: 0,
                bytes: &[0; 4],
            };
            writer.push(&record, &[]);
        }
        Batch::parse(writer.take(until_ns)).unwrap()
    }

    fn released(merge: &mut Merge, now: Instant) -> Vec<(usize, u64)> {
        let mut out = Vec::new();
        merge.release(now, |lane, at_ns, _| {
            out.push((lane, at_ns));
            true
        });
        out
    }

    #[test]
    fn a_packet_waits_for_every_lane_to_be_complete() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        let (a, b) = (merge.open(0, now), merge.open(0, now));
        merge.push(a, batch(&[10, 30], 40), now);
        assert_eq!(released(&mut merge, now), []);
        merge.push(b, batch(&[20], 25), now);
        assert_eq!(released(&mut merge, now), [(a, 10), (b, 20)]);
        merge.push(b, batch(&[], 50), now);
        assert_eq!(released(&mut merge, now), [(a, 30)]);
        assert_eq!((merge.held(), merge.out_of_order()), (0, 0));
    }

    #[test]
    fn a_silent_lane_is_waited_for_only_so_long_and_a_closed_one_not_at_all() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        let (a, b) = (merge.open(0, now), merge.open(0, now));
        merge.push(a, batch(&[10], 40), now);
        let later = now + PATIENCE;
        merge.push(a, batch(&[50], 60), later);
        assert_eq!(released(&mut merge, later), [(a, 10), (a, 50)]);
        // What the silent one then brings goes out at once, and is counted.
        merge.push(b, batch(&[20], 70), later);
        merge.push(a, batch(&[], 70), later);
        assert_eq!(released(&mut merge, later), [(b, 20)]);
        assert_eq!(merge.out_of_order(), 1);
        merge.close(b);
        merge.push(a, batch(&[80], 90), later);
        assert_eq!(released(&mut merge, later), [(a, 80)]);
    }

    #[test]
    fn what_processors_mixed_up_is_put_in_order() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        let a = merge.open(0, now);
        merge.push(a, batch(&[10, 30, 20], 0), now);
        assert_eq!(released(&mut merge, now), []);
        merge.push(a, batch(&[25, 40], 35), now);
        assert_eq!(released(&mut merge, now), [(a, 10), (a, 20), (a, 25), (a, 30)]);
        merge.close(a);
        assert_eq!(released(&mut merge, now), [(a, 40)]);
        assert_eq!(merge.out_of_order(), 0);
    }

    #[test]
    fn clocks_are_corrected() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        let (a, b) = (merge.open(0, now), merge.open(-1000, now));
        merge.push(a, batch(&[10, 30], 100), now);
        merge.push(b, batch(&[1020], 1100), now);
        assert_eq!(released(&mut merge, now), [(a, 10), (b, 20), (a, 30)]);
    }

    #[test]
    fn memory_is_bounded_whatever_a_lane_does() {
        let (mut merge, now) = (Merge::default(), Instant::now());
        let (a, _stuck) = (merge.open(0, now), merge.open(0, now));
        let times: Vec<u64> = (1..=10_000).collect();
        let mut pushed = 0;
        while pushed < HELD * 2 {
            let batch = batch(&times, 10_000);
            pushed += batch.size();
            merge.push(a, batch, now);
            released(&mut merge, now);
            assert!(merge.held <= HELD);
        }
    }

    proptest! {
        #[test]
        fn every_packet_goes_out_once_and_in_order(
            lanes in proptest::collection::vec(proptest::collection::vec(0u64..1000, 0..40), 1..5)
        ) {
            let (mut merge, now) = (Merge::default(), Instant::now());
            let numbers: Vec<usize> = lanes.iter().map(|_| merge.open(0, now)).collect();
            let mut expected: Vec<u64> = lanes.iter().flatten().copied().collect();
            expected.sort_unstable();
            let mut out = Vec::new();
            for (number, mut times) in numbers.iter().zip(lanes) {
                times.sort_unstable();
                for chunk in times.chunks(7) {
                    merge.push(*number, batch(chunk, *chunk.last().unwrap()), now);
                    out.extend(released(&mut merge, now));
                }
            }
            for number in numbers {
                merge.close(number);
            }
            out.extend(released(&mut merge, now));
            let times: Vec<u64> = out.iter().map(|(_, at_ns)| *at_ns).collect();
            prop_assert_eq!(times, expected);
        }
    }
}
