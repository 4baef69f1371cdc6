//! `clock`: tells the node's time.

use super::{Gone, Reporter};
use netcheck_wire::Event;
use rustix::time::{ClockId, clock_gettime};

/// Runs the task.
pub fn run(reporter: &Reporter) -> Result<(), Gone> {
    reporter.event(Event::Time { at_ns: now_ns() })
}

/// The real-time clock, in nanoseconds since 1970; 0 before that.
fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
