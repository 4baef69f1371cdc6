//! The filter against its oracles: tcpdump over the same packets, and the kernel's checker and sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod corpus;
mod expressions;
mod files;
mod kernel;
mod listening;
mod live;
mod random;
mod sys;
mod tcpdump;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let trials = [files::trials(), kernel::trials(), live::trials(), random::trials()]
        .into_iter()
        .flatten()
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
