//! Reading what a network namespace holds.

mod links;

pub(crate) use links::LinkAnswer;
