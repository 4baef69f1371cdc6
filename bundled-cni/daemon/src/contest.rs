//! Routes in the place of ours that come back: ours is put there each time, but less and less often, so that two who do not give way
//! do not keep a node busy (SPEC.md, section 5.9).

use netcheck_cni_intent::{
    Finding,
    diff::{Cause, Delta, Diff},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

/// So many times a place is taken back at once.
const AT_ONCE: u32 = 4;
/// The longest pause between two times.
const LONGEST: Duration = Duration::from_mins(1);
/// After so long without a stranger a place counts as never contested.
const FORGOTTEN: Duration = Duration::from_mins(2);

/// The places that somebody else wrote to.
#[derive(Debug, Default)]
pub struct Contests(BTreeMap<String, Contest>);

#[derive(Debug)]
struct Contest {
    /// How often it was taken back.
    times: u32,
    /// When last.
    last: Instant,
    /// What was there.
    finding: Finding,
}

impl Contest {
    /// How long to wait after the last time: 1, 2, 4 … seconds.
    fn pause(&self) -> Duration {
        match self.times.checked_sub(AT_ONCE) {
            Some(more) => Duration::from_secs(1 << more.min(16)).min(LONGEST),
            None => Duration::ZERO,
        }
    }
}

impl Contests {
    /// Leaves out of a difference what it is too early for, and adds what is to be told; how long until the next is due, if one is left.
    pub fn judge(&mut self, difference: &mut Diff, now: Instant) -> Option<Duration> {
        self.0.retain(|_, contest| now.duration_since(contest.last) < FORGOTTEN);
        let mut waiting = BTreeSet::new();
        let mut due = None;
        let strangers = difference.deltas.iter().filter(|delta| delta.cause == Cause::Foreign);
        let by_place: BTreeMap<String, &Delta> = strangers.map(|delta| (delta.object.clone(), delta)).collect();
        for (place, delta) in by_place {
            let finding = contested(delta);
            let contest = self.0.entry(place.clone()).or_insert_with(|| Contest {
                times: 0,
                last: now,
                finding: finding.clone(),
            });
            contest.finding = finding;
            let left = contest.pause().saturating_sub(now.duration_since(contest.last));
            if left.is_zero() {
                contest.times += 1;
                contest.last = now;
            } else {
                due = due.into_iter().chain([left]).min();
                waiting.insert(place);
            }
        }
        difference
            .deltas
            .retain(|delta| delta.cause != Cause::Foreign || !waiting.contains(&delta.object));
        let told = self.0.values().filter(|contest| contest.times >= AT_ONCE);
        difference.findings.extend(told.map(|contest| contest.finding.clone()));
        due
    }
}

fn contested(delta: &Delta) -> Finding {
    Finding::RouteContested {
        ours: delta.expected.clone().unwrap_or_default(),
        foreign: delta.actual.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_cni_intent::diff::{Kind, Mend};

    fn difference(place: &str) -> Diff {
        let delta = |cause| Delta {
            kind: Kind::Route,
            object: place.to_owned(),
            expected: Some("ours".to_owned()),
            actual: Some("theirs".to_owned()),
            cause,
            mend: Mend::DeleteNft("any"),
        };
        Diff {
            deltas: vec![delta(Cause::Foreign), delta(Cause::Differs), delta(Cause::Foreign)],
            findings: vec![],
        }
    }

    #[test]
    fn a_place_is_taken_back_at_once_and_then_ever_more_rarely() {
        let mut contests = Contests::default();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..14 {
            let mut first = difference("a");
            let due = contests.judge(&mut first, now);
            pauses.push(due.unwrap_or_default().as_secs());
            if let Some(due) = due {
                assert_eq!(first.deltas.len(), 1, "only what is no stranger's is left");
                assert_eq!(first.findings.len(), 1);
                now += due;
                assert_eq!(contests.judge(&mut difference("a"), now), None);
            }
        }
        assert_eq!(pauses, [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60, 60]);
        // Another place has nothing to do with it; what is contested is told all the same.
        let mut other = difference("b");
        assert_eq!(contests.judge(&mut other, now), None);
        assert_eq!((other.deltas.len(), other.findings.len()), (3, 1));
        // Where nobody came for long, all begins anew.
        let mut later = difference("a");
        assert_eq!(contests.judge(&mut later, now + FORGOTTEN), None);
        assert_eq!((later.deltas.len(), later.findings.len()), (3, 0));
    }
}
