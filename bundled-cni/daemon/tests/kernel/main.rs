//! The daemon's passes and the plugin on a real kernel, in namespaces, without an API server: `ip`, `bridge`, `nft`, `ping` and `tcpdump`
//! say what became of them. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]
#![allow(missing_docs, reason = "a test's parts are for the test")]

mod cluster;
mod collect;
mod falsify;
mod forward;
mod golden;
mod held;
mod interrupted;
mod node;
mod operations;
#[allow(dead_code, reason = "shared with tests that need more of it")]
#[path = "../../../../ephemeral-image/node-state/tests/sandbox/mod.rs"]
mod sandbox;
#[allow(dead_code, reason = "shared with tests that need more of it")]
#[path = "../../../bpf/tests/kernel/shell.rs"]
mod shell;
mod talk;
mod traffic;
mod vector;

use libtest_mimic::Arguments;
use netcheck_trials::Need;

const NEEDS: &[Need] = &[
    Need::Root,
    Need::Program("nft"),
    Need::Program("ip"),
    Need::Program("bridge"),
];
const NEEDS_OF_TRAFFIC: &[Need] = &[
    Need::Root,
    Need::Program("nft"),
    Need::Program("ip"),
    Need::Program("bridge"),
    Need::Program("ping"),
    Need::Program("tcpdump"),
];
const NEEDS_OF_FORWARD: &[Need] = &[
    Need::Root,
    Need::Program("nft"),
    Need::Program("ip"),
    Need::Program("bridge"),
    Need::Program("iptables-nft"),
    Need::Program("ping"),
];

fn main() {
    let arguments = Arguments::from_args();
    if rustix::process::geteuid().is_root() && !arguments.list {
        shell::leave_mounts();
    }
    let mut trials = golden::trials(NEEDS);
    trials.extend(falsify::trials(NEEDS));
    trials.extend(interrupted::trials(NEEDS));
    trials.extend(traffic::trials(NEEDS_OF_TRAFFIC));
    trials.extend(collect::trials(NEEDS));
    trials.extend(operations::trials(NEEDS));
    trials.extend(forward::trials(NEEDS_OF_FORWARD));
    libtest_mimic::run(&arguments, trials).exit();
}
