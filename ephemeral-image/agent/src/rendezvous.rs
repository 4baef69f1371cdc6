//! Where `serve` and `join` meet: a unix socket in a folder of the container, open to its own user alone.

use crate::sys;
use anyhow::{Result, bail};
use std::{
    fs::{self, DirBuilder},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
};

/// The paths to try, in order. The root may be read-only: `/dev/shm` is writable in every container.
fn candidates(session: &str, explicit: Option<&Path>) -> Vec<PathBuf> {
    match explicit {
        Some(path) => vec![path.to_owned()],
        None => vec![
            PathBuf::from("/run/netcheck/agent.sock"),
            format!("/tmp/netcheck-{session}.sock").into(),
            format!("/dev/shm/netcheck-{session}.sock").into(),
        ],
    }
}

/// A bound socket, whose file goes when this does.
#[derive(Debug)]
pub struct Meeting {
    /// The socket, non-blocking.
    pub listener: UnixListener,
    path: PathBuf,
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // The container ends with us, its files too.
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds the first path that can be had.
pub fn bind(session: &str, explicit: Option<&Path>) -> Result<Meeting> {
    let mut refusals = Vec::new();
    for path in candidates(session, explicit) {
        match bind_at(&path) {
            Ok(listener) => return Ok(Meeting { listener, path }),
            Err(error) => refusals.push(format!("{}: {error}", path.display())),
        }
    }
    bail!("no place for a socket: {}", refusals.join("; "))
}

fn bind_at(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent()
        && !folder.exists()
    {
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    let left_behind = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if left_behind && UnixStream::connect(path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Connects to `serve`; refuses a socket that another user planted.
pub fn connect(session: &str, explicit: Option<&Path>) -> Result<UnixStream> {
    let mut refusals = Vec::new();
    for path in candidates(session, explicit) {
        match UnixStream::connect(&path) {
            Ok(stream) if is_ours(&stream) => return Ok(stream),
            Ok(_) => refusals.push(format!("{}: belongs to another user", path.display())),
            Err(error) => refusals.push(format!("{}: {error}", path.display())),
        }
    }
    bail!(
        "the agent of session {session} does not answer: {}",
        refusals.join("; ")
    )
}

/// Whether the process at the other end runs as our user.
pub fn is_ours(stream: &UnixStream) -> bool {
    sys::peer_uid(stream).is_ok_and(|uid| uid == rustix::process::geteuid().as_raw())
}
