//! What the tests share.
#![allow(dead_code, reason = "each test uses a part of it")]

pub mod cluster;
pub mod golden;

use netcheck_cni_intent::{Actual, Desired, Diff, diff, simulate};

/// Applies all deltas in their order; each must be possible.
pub fn apply(actual: &mut Actual, diff: &Diff) {
    for delta in &diff.deltas {
        if let Err(refused) = simulate::apply(actual, &delta.mend) {
            panic!("{delta}: {refused}\nin the order\n{}", lines(&diff.deltas));
        }
    }
}

/// Applies the difference, and proves that a second look finds none.
pub fn settle(desired: &Desired, actual: &mut Actual) -> Diff {
    let first = diff(desired, actual);
    apply(actual, &first);
    let second = diff(desired, actual);
    assert!(
        second.is_settled(),
        "left over:\n{}\nafter\n{}",
        lines(&second.deltas),
        lines(&first.deltas)
    );
    first
}

/// Each on a line of its own.
pub fn lines<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
