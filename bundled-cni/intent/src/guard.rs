//! When nothing may be removed, or nothing changed at all (SPEC.md, section 9.2).

use std::collections::BTreeSet;

/// What a look at the inputs allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Everything.
    Proceed,
    /// The first complete list has not come yet: nothing is changed.
    NoCompleteList,
    /// The own Node object is missing: nothing is changed.
    OwnNodeMissing,
    /// So many peers are gone at once that the list must be asked for again before anything is removed.
    ListAgain {
        /// Those that are gone.
        gone: BTreeSet<String>,
        /// How many there were.
        of: usize,
    },
}

/// Judges a list of Nodes: `before` are the peers of the last pass, `now` those that the list leads to.
///
/// `was_asked_again`: whether the list is one that was asked for because of [`Verdict::ListAgain`]; it is then believed.
pub fn judge(
    is_complete: bool,
    has_own: bool,
    before: &BTreeSet<String>,
    now: &BTreeSet<String>,
    was_asked_again: bool,
) -> Verdict {
    if !is_complete {
        return Verdict::NoCompleteList;
    }
    if !has_own {
        return Verdict::OwnNodeMissing;
    }
    let gone: BTreeSet<String> = before.difference(now).cloned().collect();
    // More than three, and more than a fifth.
    if gone.len() > 3 && gone.len() * 5 > before.len() && !was_asked_again {
        let of = before.len();
        return Verdict::ListAgain { gone, of };
    }
    Verdict::Proceed
}

#[cfg(test)]
mod tests {
    use super::{Verdict, judge};
    use std::collections::BTreeSet;

    fn peers(range: std::ops::Range<usize>) -> BTreeSet<String> {
        range.map(|number| format!("n{number}")).collect()
    }

    #[test]
    fn many_that_vanish_at_once_are_asked_for_again() {
        let asks = |before: usize, now: std::ops::Range<usize>| {
            matches!(
                judge(true, true, &peers(0..before), &peers(now), false),
                Verdict::ListAgain { .. }
            )
        };
        assert!(!asks(3, 0..0), "three are few");
        assert!(asks(4, 0..0));
        assert!(!asks(20, 0..16), "just 20 %");
        assert!(asks(19, 0..15));
        assert!(!asks(5000, 0..5000));
        assert!(!asks(0, 0..5000));
        assert!(asks(10, 4..100), "those that came do not make up for those that went");
        let verdict = judge(true, true, &peers(0..10), &peers(0..0), true);
        assert_eq!(verdict, Verdict::Proceed, "a second list is believed");
    }

    #[test]
    fn without_a_list_or_the_own_node_nothing_is_changed() {
        let none = BTreeSet::new();
        assert_eq!(judge(false, true, &none, &none, true), Verdict::NoCompleteList);
        assert_eq!(judge(true, false, &none, &none, true), Verdict::OwnNodeMissing);
    }
}
