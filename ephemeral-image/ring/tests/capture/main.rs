//! The ring against the kernel's packets, in networks made for each test. tcpdump beside it is the judge of bytes, lengths and times;
//! `ip` is the judge of interfaces. Needs root.

#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod links;
mod loss;
mod same;
mod scope;
mod support;
mod tcpdump;

use libtest_mimic::Arguments;

fn main() {
    let mut arguments = Arguments::from_args();
    // One test has the kernel stamp packets early, which it then does in the whole machine.
    arguments.test_threads = Some(1);
    let trials = [same::trials(), scope::trials(), loss::trials(), links::trials()]
        .into_iter()
        .flatten()
        .collect();
    libtest_mimic::run(&arguments, trials).exit();
}
