//! Counting as the daemon keeps it, on a real kernel: `bpftool` and `ip` say what became of its passes. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod node;
#[allow(dead_code, reason = "shared with tests that need more of it")]
#[path = "../../../../ephemeral-image/node-state/tests/sandbox/mod.rs"]
mod sandbox;
#[allow(dead_code, reason = "shared with tests that need more of it")]
#[path = "../../../bpf/tests/kernel/shell.rs"]
mod shell;
mod trials;
mod vector;

use libtest_mimic::Arguments;
use netcheck_trials::{Need, trial};

const NEEDS: &[Need] = &[Need::Root, Need::Program("nft"), Need::Program("bpftool")];

fn main() {
    let arguments = Arguments::from_args();
    if rustix::process::geteuid().is_root() && !arguments.list {
        shell::leave_mounts();
    }
    let tests: [(&str, fn()); 8] = [
        ("maps_hold_what_the_vector_says", trials::maps_hold_what_the_vector_says),
        (
            "a_device_made_anew_is_counted_again",
            trials::a_device_made_anew_is_counted_again,
        ),
        (
            "pins_that_were_removed_come_back",
            trials::pins_that_were_removed_come_back,
        ),
        ("off_leaves_nothing", trials::off_leaves_nothing),
        (
            "without_a_bpf_filesystem_all_else_is_there",
            trials::without_a_bpf_filesystem_all_else_is_there,
        ),
        (
            "uplinks_count_while_a_peer_is_direct",
            trials::uplinks_count_while_a_peer_is_direct,
        ),
        ("events_are_read", trials::events_are_read),
        ("uninstall_removes_it_all", trials::uninstall_removes_it_all),
    ];
    let trials = tests.map(|(name, test)| trial(name, NEEDS, test)).into();
    libtest_mimic::run(&arguments, trials).exit();
}
