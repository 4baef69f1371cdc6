//! Waiting for a condition with a deadline, remembering why it did not hold.

use crate::{Error, Result};
use std::{
    thread,
    time::{Duration, Instant},
};

/// How often conditions are looked at.
const INTERVAL: Duration = Duration::from_millis(100);

/// Polls until `condition` gives `Ok`; its last `Err` (a sentence of what was seen) goes into the timeout's message.
///
/// # Errors
/// [`Error::Timeout`] when the deadline passes first.
pub fn wait_until<T>(
    what: &str,
    deadline: Duration,
    mut condition: impl FnMut() -> std::result::Result<T, String>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        match condition() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= deadline => {
                return Err(Error::Timeout {
                    what: what.into(),
                    after: deadline,
                    last,
                });
            }
            Err(_) => thread::sleep(INTERVAL),
        }
    }
}
