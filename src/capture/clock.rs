//! How far a node's clock is from ours, from questions about the time and when they were asked and answered. Pure (RFC 5905 section 8, reduced
//! to one direction's best sample).

use std::fmt;

/// One question about the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Our clock when it was asked, in nanoseconds since 1970.
    pub asked_ns: u64,
    /// The node's clock when it answered.
    pub theirs_ns: u64,
    /// Our clock when the answer came.
    pub answered_ns: u64,
}

/// A node's clock against ours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Offset {
    /// How far it is ahead, in nanoseconds.
    pub ahead_ns: i64,
    /// By how much that may be wrong: half of the quickest answer's way.
    pub error_ns: u64,
}

impl Offset {
    /// From the sample that was answered quickest; `None` without any.
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let best = samples
            .iter()
            .min_by_key(|sample| sample.answered_ns.saturating_sub(sample.asked_ns))?;
        let way = best.answered_ns.saturating_sub(best.asked_ns);
        let middle = best.asked_ns + way / 2;
        Some(Self {
            ahead_ns: i64::try_from(i128::from(best.theirs_ns) - i128::from(middle)).unwrap_or(0),
            error_ns: way / 2,
        })
    }

    /// Whether it is far enough from ours to be told from no offset at all.
    pub fn is_certain(self) -> bool {
        self.ahead_ns.unsigned_abs() > self.error_ns
    }

    /// What is to be added to its times: nothing where it may well be ours, so that times stay what the node's own logs say.
    pub fn correction_ns(self) -> i64 {
        if self.is_certain() { -self.ahead_ns } else { 0 }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        let off = milliseconds(self.ahead_ns.unsigned_abs());
        let error = milliseconds(self.error_ns);
        match (self.is_certain(), self.ahead_ns >= 0) {
            (false, _) => write!(f, "clock within {error:.1} ms of ours; times are the node's own"),
            (true, true) => write!(
                f,
                "clock {off:.1} ms ahead of ours (+-{error:.1} ms); times are corrected"
            ),
            (true, false) => write!(
                f,
                "clock {off:.1} ms behind ours (+-{error:.1} ms); times are corrected"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(asked_ns: u64, theirs_ns: u64, answered_ns: u64) -> Sample {
        Sample {
            asked_ns,
            theirs_ns,
            answered_ns,
        }
    }

    #[test]
    fn the_quickest_answer_counts() {
        let offset = Offset::of(&[
            sample(0, 9_000_000, 40_000_000),
            sample(100_000_000, 152_000_000, 104_000_000),
            sample(200_000_000, 290_000_000, 220_000_000),
        ]);
        let offset = offset.unwrap();
        assert_eq!((offset.ahead_ns, offset.error_ns), (50_000_000, 2_000_000));
        assert_eq!(offset.correction_ns(), -50_000_000);
        assert_eq!(
            offset.to_string(),
            "clock 50.0 ms ahead of ours (+-2.0 ms); times are corrected"
        );
    }

    #[test]
    fn a_clock_that_may_be_ours_is_left_alone() {
        let offset = Offset::of(&[sample(100, 1_500_000, 4_000_100)]).unwrap();
        assert!(!offset.is_certain());
        assert_eq!(offset.correction_ns(), 0);
        assert_eq!(Offset::of(&[]), None);
    }
}
