//! What the tests share: a small plugin, a small network, and a way to wait.

pub mod plugin;
pub mod world;

use libtest_mimic::Trial;
use netcheck_trials::{Need, trial};
pub use netcheck_trials::{PATIENCE, wait_for};

/// A test that needs nothing special.
pub fn plain(name: &str, test: fn()) -> Trial {
    trial(name, &[], test)
}

/// A test that makes network namespaces or enters them.
pub fn needs_root(name: &str, test: fn()) -> Trial {
    trial(name, &[Need::Root], test)
}
