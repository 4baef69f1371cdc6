//! Runs cases on real clusters, one after another: a fault on a node would show in any other case's matrix.

#![allow(clippy::print_stderr, reason = "a test runner prints")]

use crate::lab::Lab;
use libtest_mimic::{Arguments, Failed, Trial};
use netcheck_rig::RigSpec;
use netcheck_trials::{LIMIT, limited};
use std::{
    process::ExitCode,
    sync::{Arc, Mutex, MutexGuard, TryLockError},
};

/// Environment variable that names the rig, for a second run beside another.
const RIG: &str = "NETCHECK_E2E_RIG";

/// One behaviour: its name and the function that tries it.
pub type Case = (&'static str, fn(&Lab) -> anyhow::Result<()>);

/// The cluster that is up, or why it is not: it comes up when the first of its cases needs it, and the one before goes down then.
#[derive(Default)]
struct Current(Mutex<Slot>);

/// What cluster, and what came of it.
type Slot = Option<(RigSpec, Result<Lab, String>)>;

impl Current {
    /// A case that was given up may still hold it, and goes on doing so.
    fn lock(&self) -> Result<MutexGuard<'_, Slot>, String> {
        match self.0.try_lock() {
            Ok(current) => Ok(current),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err("a case before hangs on the cluster".to_owned()),
        }
    }

    fn down(&self) -> Result<(), String> {
        down(self.lock()?.take())
    }

    fn run(&self, spec: &RigSpec, case: fn(&Lab) -> anyhow::Result<()>) -> Result<(), Failed> {
        let mut current = self.lock()?;
        if current.as_ref().is_none_or(|(there, _)| there != spec) {
            down(current.take())?;
        }
        let (_, lab) =
            current.get_or_insert_with(|| (spec.clone(), Lab::up(spec).map_err(|error| format!("{error:#}"))));
        let lab = lab.as_ref().map_err(|error| format!("no cluster: {error}"))?;
        case(lab).map_err(|error| format!("{error:#}").into())
    }
}

fn down(current: Slot) -> Result<(), String> {
    let lab = current.and_then(|(_, lab)| lab.ok());
    lab.map_or(Ok(()), Lab::down)
        .map_err(|error| format!("the rig did not come down: {error:#}"))
}

/// The spec under the name that the environment wants.
#[must_use]
pub fn named(spec: RigSpec) -> RigSpec {
    let name = std::env::var(RIG).unwrap_or(spec.name);
    RigSpec { name, ..spec }
}

/// The whole test binary: clusters with their cases, in this order.
pub fn run(clusters: impl IntoIterator<Item = (RigSpec, Vec<Case>)>) -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let root = rustix::process::geteuid().is_root();
    let current = Arc::new(Current::default());
    let mut trials = Vec::new();
    for (spec, cases) in clusters {
        for (name, case) in cases {
            let (current, spec) = (current.clone(), spec.clone());
            let trial = Trial::test(name, move || limited(LIMIT, move || current.run(&spec, case)));
            trials.push(if root {
                trial
            } else {
                trial
                    .with_kind("skipped: needs root for the rig")
                    .with_ignored_flag(true)
            });
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = current.down() {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    conclusion.exit_code()
}
