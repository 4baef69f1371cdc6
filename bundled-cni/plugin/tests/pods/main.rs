//! The plugin as a runtime sees it: real namespaces, a real kernel; `ip`, `ping`, `readlink` and cnitool say what became of it. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]
#![allow(missing_docs, reason = "a test's parts are for the test")]

mod answer;
mod attach;
mod check;
mod cnitool;
mod crash;
mod golden;
mod many;
mod obstacles;
mod refuse;
mod remove;
#[path = "../../../../ephemeral-image/node-state/tests/sandbox/mod.rs"]
mod sandbox;
mod world;

use libtest_mimic::Arguments;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = answer::trials();
    trials.extend(attach::trials());
    trials.extend(check::trials());
    trials.extend(cnitool::trials());
    trials.extend(crash::trials());
    trials.extend(golden::trials());
    trials.extend(many::trials());
    trials.extend(obstacles::trials());
    trials.extend(refuse::trials());
    trials.extend(remove::trials());
    libtest_mimic::run(&arguments, trials).exit();
}
