//! The agent as the plugin meets it: real processes, a real network, streams that break.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod support;

mod arrivals;
mod lifetime;
mod observing;
mod probing;
mod recording;
mod resuming;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = [
        probing::trials(),
        resuming::trials(),
        lifetime::trials(),
        arrivals::trials(),
        recording::trials(),
        observing::trials(),
    ]
    .into_iter()
    .flatten()
    .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
