//! Every behaviour once, on one real cluster.

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
        capture_wait::CASES,
    ]
    .concat();
    let spec = RigSpec {
        name: "e2e".into(),
        ..RigSpec::default()
    };
    runner::run([(runner::named(spec), cases)])
}
