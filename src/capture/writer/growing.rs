//! Sources that join a capture while it runs.

use super::{Lane, Source, State, Writer};
use std::time::Instant;

impl Writer {
    pub(super) fn add_source(&mut self, source: Source) {
        let told = self.sink.source(&source);
        self.sources.push(source);
        self.remarks.push(Vec::new());
        if let (None, Err(error)) = (&self.failure, told) {
            self.fail(error);
        }
    }

    pub(super) fn add_lane(&mut self, lane: Lane, now: Instant) {
        self.merge.announce(lane.correction_ns, now);
        self.lanes.push(lane);
        self.states.push(State {
            is_to_come: true,
            ..State::default()
        });
    }

    /// `remark` goes to the descriptions of its interfaces.
    pub(super) fn begin(&mut self, lane: usize, remark: &str, now: Instant) {
        self.merge.begin(lane, now);
        if let Some(state) = self.states.get_mut(lane) {
            state.is_to_come = false;
        }
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.remark = [remark, &lane.remark]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::capture::writer::{
        Enough, Incoming, Lane,
        tests::{Memory, NO_LIMITS, counters, end, packets, source, writer},
    };
    use netcheck_wire::capture::CaptureInterface;
    use std::time::Instant;

    #[test]
    fn a_source_that_joins_is_written_from_its_beginning_and_holds_nobody_up_before() {
        let (memory, now) = (Memory::default(), Instant::now());
        let mut writer = writer(&memory, NO_LIMITS, now);
        writer.take(Incoming::Source(Box::new(source("c"))), now);
        let lane = Lane {
            source: 2,
            correction_ns: -1000,
            remark: "clock".into(),
        };
        writer.take(Incoming::Lane(lane), now);
        // The two that run are not held up by one that is still to come.
        writer.take(Incoming::Batch(0, packets(&[10], 50)), now);
        writer.take(Incoming::Batch(1, packets(&[], 50)), now);
        writer.write(now);
        assert_eq!(
            memory.taken(),
            ["interface shop/a/eth0", "interface shop/b/eth0", "0 at 10"]
        );

        writer.take(Incoming::Begins(2, "captured from the start".into()), now);
        let interface = CaptureInterface {
            index: 7,
            name: "eth0".into(),
            hardware_type: 1,
            address: None,
        };
        writer.take(Incoming::Interface(2, interface), now);
        writer.take(Incoming::Batch(2, packets(&[1060], 1100)), now);
        writer.take(Incoming::Counters(2, counters(1, 1)), now);
        writer.take(Incoming::Ended(2, Ok(())), now);
        writer.take(Incoming::Remark(2, "pod shop/c was deleted".into()), now);
        end(&mut writer, now, [1, 0]);
        let outcome = writer.finish(2000, now);
        assert_eq!(
            memory.taken(),
            [
                "interface shop/c/eth0",
                "2 at 60",
                "end 1 \"\"",
                "end 0 \"\"",
                "end 1 \"pod shop/c was deleted\""
            ]
        );
        assert_eq!(outcome.accounts[2].unsettled, None, "a pod that goes is no loss");
        assert_eq!(outcome.remarks[2], ["pod shop/c was deleted"]);
    }

    #[test]
    fn a_source_that_never_came_has_nothing_to_account_for() {
        let (memory, now) = (Memory::default(), Instant::now());
        let mut writer = writer(&memory, NO_LIMITS, now);
        writer.take(Incoming::Source(Box::new(source("c"))), now);
        let lane = Lane {
            source: 2,
            correction_ns: 0,
            remark: String::new(),
        };
        writer.take(Incoming::Lane(lane), now);
        end(&mut writer, now, [0, 0]);
        assert_eq!(writer.enough(), None::<Enough>);
        assert_eq!(
            writer.finish(9, now).accounts[2],
            crate::capture::account::Account::default()
        );
    }
}
