//! What the plugin tells of its calls (SPEC.md, section 9.6): it lives too short to be asked.

use crate::metrics::{Metrics, Operation, OperationFailure};
use netcheck_cni::report::{Report, SOCKET};
use std::{
    fs, io,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

/// How often it is looked whether the socket is still the one that plugins find.
const LOOK: Duration = Duration::from_secs(1);
/// Longer than any report.
const LONGEST: usize = 256;

/// Listens in a state directory.
#[derive(Debug)]
pub struct Listener {
    path: PathBuf,
    /// The socket, and the inode by which another one is known.
    socket: Option<(UnixDatagram, u64)>,
}

impl Listener {
    /// Nothing is bound yet.
    pub fn within(state: &Path) -> Self {
        Self {
            path: state.join(SOCKET),
            socket: None,
        }
    }

    /// Waits for a report, a second at most. What is none is passed over.
    pub fn take(&mut self) -> Option<Report> {
        let mut bytes = [0; LONGEST];
        let received = self.socket().and_then(|socket| socket.recv(&mut bytes));
        match received {
            Ok(length) => Report::parse(&bytes[..length]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
                ) =>
            {
                None
            }
            Err(error) => {
                // The state directory is not there yet, or not any more.
                tracing::debug!(%error, path = %self.path.display(), "cannot listen to the plugin");
                thread::sleep(LOOK);
                None
            }
        }
    }

    fn socket(&mut self) -> io::Result<&UnixDatagram> {
        let there = fs::symlink_metadata(&self.path).ok().map(|file| file.ino());
        let bound = match self.socket.take() {
            Some(bound) if Some(bound.1) == there => bound,
            _ => self.bind()?,
        };
        Ok(&self.socket.insert(bound).0)
    }

    /// In the place of what a daemon before left.
    fn bind(&self) -> io::Result<(UnixDatagram, u64)> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let socket = UnixDatagram::bind(&self.path)?;
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o600))?;
        socket.set_read_timeout(Some(LOOK))?;
        Ok((socket, fs::symlink_metadata(&self.path)?.ino()))
    }
}

/// Counts a call.
pub fn note(report: &Report, metrics: &Metrics) {
    let verb = report.verb.text().to_owned();
    let operation = Operation { verb: verb.clone() };
    metrics
        .operation_duration
        .get_or_create(&operation)
        .observe(report.duration.as_secs_f64());
    if report.code != 0 {
        let failure = OperationFailure {
            verb,
            code: report.code,
        };
        metrics.operation_failures.get_or_create(&failure).inc();
    }
}

/// Listens for as long as the process lives.
pub fn listen(state: &Path, metrics: Arc<Metrics>) -> io::Result<()> {
    let mut listener = Listener::within(state);
    let listen = move || {
        loop {
            if let Some(report) = listener.take() {
                note(&report, &metrics);
            }
        }
    };
    thread::Builder::new()
        .name("operations".to_owned())
        .spawn(listen)
        .map(drop)
}
