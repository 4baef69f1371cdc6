//! Every behaviour once, on one real cluster.

#[path = "cases/capture_access.rs"]
mod capture_access;
#[path = "cases/capture_clock.rs"]
mod capture_clock;
#[path = "cases/capture_endings.rs"]
mod capture_endings;
#[path = "cases/capture_exact.rs"]
mod capture_exact;
#[path = "cases/capture_filters.rs"]
mod capture_filters;
#[path = "cases/capture_input.rs"]
mod capture_input;
#[path = "cases/capture_limits.rs"]
mod capture_limits;
#[path = "cases/capture_losses.rs"]
mod capture_losses;
#[path = "cases/capture_output.rs"]
mod capture_output;
#[path = "cases/capture_targets.rs"]
mod capture_targets;
#[path = "cases/capture_wait.rs"]
mod capture_wait;
#[path = "cases/credentials.rs"]
mod credentials;
#[path = "cases/death.rs"]
mod death;
#[path = "cases/faults.rs"]
mod faults;
#[path = "cases/healthy.rs"]
mod healthy;
#[path = "cases/images.rs"]
mod images;
#[path = "cases/input.rs"]
mod input;
#[path = "cases/permissions.rs"]
mod permissions;
#[path = "cases/versions.rs"]
mod versions;
#[path = "cases/ways.rs"]
mod ways;
#[path = "cases/witness.rs"]
mod witness;

use netcheck_e2e::runner::{self, Case};
use netcheck_rig::RigSpec;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        healthy::CASES,
        faults::CASES,
        ways::CASES,
        permissions::CASES,
        versions::CASES,
        witness::CASES,
        images::CASES,
        credentials::CASES,
        death::CASES,
        input::CASES,
        capture_access::CASES,
        capture_clock::CASES,
        capture_endings::CASES,
        capture_exact::CASES,
        capture_filters::CASES,
        capture_input::CASES,
        capture_limits::CASES,
        capture_losses::CASES,
        capture_output::CASES,
        capture_targets::CASES,
        capture_wait::CASES,
    ]
    .concat();
    let spec = RigSpec {
        name: "e2e".into(),
        ..RigSpec::default()
    };
    runner::run([(runner::named(spec), cases)])
}
