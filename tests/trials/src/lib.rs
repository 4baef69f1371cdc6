//! What the tests with a main of their own share: what a test needs, how long it may take, and how to wait for something.

use libtest_mimic::{Failed, Trial};
use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_mins(1);
/// How long a test may take: far more than any of them needs. One that hangs then fails by name, instead of keeping all others waiting.
pub const LIMIT: Duration = Duration::from_mins(8);

/// What a test needs of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// To be root.
    Root,
    /// A program in the PATH.
    Program(&'static str),
}

impl Need {
    /// What is missing, if it is.
    fn lacking(self) -> Option<String> {
        match self {
            Self::Root => (!rustix::process::geteuid().is_root()).then(|| "needs root".to_owned()),
            Self::Program(name) => (!is_in_path(name)).then(|| format!("needs {name}")),
        }
    }
}

/// What a test function gives back: nothing, or that it failed.
pub trait Verdict {
    /// For the harness.
    fn into_result(self) -> Result<(), Failed>;
}

impl Verdict for () {
    fn into_result(self) -> Result<(), Failed> {
        Ok(())
    }
}

impl Verdict for Result<(), Failed> {
    fn into_result(self) -> Result<(), Failed> {
        self
    }
}

/// A test. Without what it needs, it shows as ignored with the reason, and fails where CI must not miss it.
pub fn trial<V: Verdict + 'static>(name: &str, needs: &[Need], test: impl FnOnce() -> V + Send + 'static) -> Trial {
    match needs.iter().find_map(|need| need.lacking()) {
        None => Trial::test(name, || limited(LIMIT, || test().into_result())),
        Some(reason) => {
            let fail = format!("{reason}, and CI is set");
            Trial::test(format!("{name} ({reason})"), || Err(Failed::from(fail)))
                .with_ignored_flag(env::var_os("CI").is_none())
        }
    }
}

/// Runs a test on a thread of its own and gives it up when its time is over: the thread stays behind until the process ends.
pub fn limited(limit: Duration, test: impl FnOnce() -> Result<(), Failed> + Send + 'static) -> Result<(), Failed> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        // Nobody receives what comes too late.
        let _ = sender.send(catch_unwind(AssertUnwindSafe(test)));
    });
    match receiver.recv_timeout(limit) {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(RecvTimeoutError::Timeout) => Err(format!("given up: it has not ended after {} s", limit.as_secs()).into()),
        Err(RecvTimeoutError::Disconnected) => Err("its thread ended without a word".into()),
    }
}

/// Waits until something holds.
///
/// # Panics
/// If it does not within [`PATIENCE`].
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// Whether a program can be called by its name.
#[must_use]
pub fn is_in_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_that_hangs_fails_by_its_limit() {
        let (never, wait) = channel::<()>();
        let result = limited(Duration::from_millis(20), move || wait.recv().map_err(Failed::from));
        assert!(format!("{result:?}").contains("given up"), "{result:?}");
        drop(never);
    }

    #[test]
    fn a_result_and_a_panic_pass_through() {
        assert!(limited(LIMIT, || Ok(())).is_ok());
        let panic = catch_unwind(|| limited(LIMIT, || panic!("as it was"))).unwrap_err();
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"as it was"));
    }

    #[test]
    fn programs_are_looked_for_in_the_path() {
        assert!(is_in_path("sh") && !is_in_path("no-such-program"));
    }
}
