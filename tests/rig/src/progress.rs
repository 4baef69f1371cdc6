//! Telling whoever waits what is being done.

use std::{io::Write, time::Instant};

/// Receives one line per step.
pub trait Progress: Sync {
    /// A step begins, or something worth knowing happened.
    fn step(&self, text: &str);
}

/// Says nothing.
pub struct Silent;

impl Progress for Silent {
    fn step(&self, _text: &str) {}
}

/// Writes lines to stderr, each with the seconds since the start.
pub struct Stderr(Instant);

impl Stderr {
    /// Starts the clock.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }
}

impl Progress for Stderr {
    fn step(&self, text: &str) {
        // A closed stderr must not stop a cluster from coming up.
        let _ = writeln!(std::io::stderr(), "[{:5.1}s] {text}", self.0.elapsed().as_secs_f32());
    }
}
