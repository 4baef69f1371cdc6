//! What the tests share: a small plugin, a small network, and a way to wait.

pub mod plugin;
pub mod world;

use libtest_mimic::{Failed, Trial};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until something holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A test that needs nothing special.
pub fn plain(name: &str, test: fn()) -> Trial {
    Trial::test(name, move || {
        test();
        Ok(())
    })
}

/// A test that needs root: without it, it shows as ignored with the reason, and fails where CI must not miss it.
pub fn needs_root(name: &str, test: fn()) -> Trial {
    if rustix::process::geteuid().is_root() {
        return plain(name, test);
    }
    let trial = Trial::test(format!("{name} (needs root)"), || {
        Err(Failed::from("needs root, and CI is set"))
    });
    trial.with_ignored_flag(std::env::var_os("CI").is_none())
}
