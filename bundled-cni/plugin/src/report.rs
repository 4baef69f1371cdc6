//! Tells the daemon how long a call took and how it ended (SPEC.md 9.6). One datagram that waits for nobody: where no daemon listens it
//! is lost, and nothing else is.

use crate::request::Verb;
use std::{os::unix::net::UnixDatagram, path::Path, time::Duration};

/// The daemon's socket in the state directory. Only root may write to it.
pub const SOCKET: &str = "operations.sock";

/// One call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// What was asked for.
    pub verb: Verb,
    /// 0, or the code of the error.
    pub code: u32,
    /// How long it took, in whole microseconds.
    pub duration: Duration,
}

impl Report {
    /// Sends it, if somebody listens.
    pub fn send(&self, state: &Path) {
        let Self { verb, code, duration } = self;
        let text = format!("{} {code} {}", verb.text(), duration.as_micros());
        let send = || {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.send_to(text.as_bytes(), state.join(SOCKET))
        };
        // A daemon that is not there, or is slow, is no reason to keep a pod waiting.
        drop(send());
    }

    /// Reads what [`Report::send`] sent; `None` if it is nothing of the kind.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(bytes).ok()?.split(' ');
        let verb = words.next()?;
        let report = Self {
            verb: Verb::ALL.into_iter().find(|known| known.text() == verb)?,
            code: words.next()?.parse().ok()?,
            duration: Duration::from_micros(words.next()?.parse().ok()?),
        };
        words.next().is_none().then_some(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_sent_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let report = Report {
            verb: Verb::Del,
            code: 102,
            duration: Duration::from_micros(12_345),
        };
        // Nobody is there.
        report.send(folder.path());
        let socket = UnixDatagram::bind(folder.path().join(SOCKET)).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        report.send(folder.path());
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        assert_eq!(Report::parse(&bytes[..length]), Some(report));
        for wrong in ["", "ADD", "ADD 0", "ADD 0 1 ", "ADD x 1", "add 0 1", "ADD 0 -1"] {
            assert_eq!(Report::parse(wrong.as_bytes()), None, "{wrong}");
        }
        // One who does not read: it neither waits nor fails.
        for _ in 0..10_000 {
            report.send(folder.path());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            Report::parse(&bytes);
        }
    }
}
