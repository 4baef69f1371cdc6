//! When the agent ends itself: pure, told what happens and when.

use std::{
    fmt,
    time::{Duration, Instant},
};

/// Why the agent ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The plugin has everything.
    Complete,
    /// It was asked to by a signal.
    Terminated,
    /// Its time is up.
    Deadline,
    /// No plugin ever came.
    NeverConnected,
    /// The plugin was lost and did not come back.
    PluginLost,
}

impl Ending {
    /// Whether nothing was left undone that anybody waits for.
    pub fn is_complete(self) -> bool {
        matches!(self, Self::Complete | Self::Terminated)
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Complete => "ended: the plugin has everything",
            Self::Terminated => "ended: asked to by a signal",
            Self::Deadline => "ended: the deadline has come",
            Self::NeverConnected => "ended: no plugin ever connected",
            Self::PluginLost => "ended: the plugin was lost and did not come back",
        })
    }
}

/// The clock of one session.
#[derive(Debug)]
pub struct Life {
    deadline: Instant,
    idle: Duration,
    /// Since when there is no stream, how long that may last, and what it means then.
    alone: Option<(Instant, Duration, Ending)>,
}

impl Life {
    /// Begins now, without a stream.
    pub fn new(now: Instant, deadline: Duration, first_connect: Duration, idle: Duration) -> Self {
        Self {
            deadline: now + deadline,
            idle,
            alone: Some((now, first_connect, Ending::NeverConnected)),
        }
    }

    /// A stream was opened.
    pub fn found(&mut self) {
        self.alone = None;
    }

    /// The stream was lost.
    pub fn lost(&mut self, now: Instant) {
        self.alone.get_or_insert((now, self.idle, Ending::PluginLost));
    }

    /// The ending, if it has come.
    pub fn ending(&self, now: Instant) -> Option<Ending> {
        if now >= self.deadline {
            return Some(Ending::Deadline);
        }
        self.alone
            .filter(|(since, patience, _)| now.duration_since(*since) >= *patience)
            .map(|(_, _, ending)| ending)
    }

    /// When to ask again at the latest.
    pub fn next_due(&self) -> Instant {
        self.alone.map_or(self.deadline, |(since, patience, _)| {
            self.deadline.min(since + patience)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn life(now: Instant) -> Life {
        Life::new(now, 100 * SECOND, 60 * SECOND, 30 * SECOND)
    }

    #[test]
    fn it_waits_for_the_first_stream_and_no_longer() {
        let start = Instant::now();
        let life = life(start);
        assert_eq!(life.ending(start + 59 * SECOND), None);
        assert_eq!(life.next_due(), start + 60 * SECOND);
        assert_eq!(life.ending(start + 60 * SECOND), Some(Ending::NeverConnected));
    }

    #[test]
    fn a_lost_plugin_may_come_back_in_time() {
        let start = Instant::now();
        let mut life = life(start);
        life.found();
        life.lost(start + 10 * SECOND);
        life.lost(start + 20 * SECOND);
        assert_eq!(life.ending(start + 39 * SECOND), None);
        assert_eq!(life.ending(start + 40 * SECOND), Some(Ending::PluginLost));
        life.found();
        assert_eq!(life.ending(start + 99 * SECOND), None);
    }

    #[test]
    fn the_deadline_holds_whoever_is_there() {
        let start = Instant::now();
        let mut life = life(start);
        life.found();
        assert_eq!(
            (life.next_due(), life.ending(start + 100 * SECOND)),
            (start + 100 * SECOND, Some(Ending::Deadline))
        );
    }
}
