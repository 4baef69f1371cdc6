//! Every behaviour once, on one real cluster. Cases run one after another: a fault on a node would show in any other case's matrix.

#![allow(clippy::print_stderr, reason = "a test runner prints")]

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

use libtest_mimic::{Arguments, Failed, Trial};
use netcheck_e2e::lab::Lab;
use netcheck_rig::RigSpec;
use std::{
    process::ExitCode,
    sync::{Arc, OnceLock},
};

/// Environment variable that names the rig, for a second run beside another.
const RIG: &str = "NETCHECK_E2E_RIG";

/// One behaviour: its name and the function that tries it.
type Case = (&'static str, fn(&Lab) -> anyhow::Result<()>);

/// A cluster that comes up when the first case needs it.
#[derive(Default)]
struct Shared(OnceLock<Result<Lab, String>>);

impl Shared {
    fn lab(&self) -> Result<&Lab, Failed> {
        let spec = RigSpec {
            name: std::env::var(RIG).unwrap_or_else(|_| "e2e".into()),
            ..RigSpec::default()
        };
        let lab = self
            .0
            .get_or_init(|| Lab::up(&spec).map_err(|error| format!("{error:#}")));
        lab.as_ref().map_err(|error| format!("no cluster: {error}").into())
    }
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let root = rustix::process::geteuid().is_root();
    let shared = Arc::new(Shared::default());
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
    ]
    .concat();
    let trials = cases
        .into_iter()
        .map(|(name, case): Case| {
            let shared = shared.clone();
            let trial = Trial::test(name, move || {
                case(shared.lab()?).map_err(|error| format!("{error:#}").into())
            });
            if root {
                trial
            } else {
                trial
                    .with_kind("skipped: needs root for the rig")
                    .with_ignored_flag(true)
            }
        })
        .collect();
    let conclusion = libtest_mimic::run(&arguments, trials);
    let down = Arc::into_inner(shared)
        .and_then(|shared| shared.0.into_inner())
        .and_then(Result::ok)
        .map(Lab::down);
    if let Some(Err(error)) = down {
        eprintln!("the rig did not come down: {error:#}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
