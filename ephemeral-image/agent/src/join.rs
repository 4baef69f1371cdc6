//! `join`: relays standard input and output to the session, byte for byte, until either side closes.

use crate::{INCOMPLETE, arguments::Join, rendezvous};
use netcheck_wire::{Frame, Kind};
use rustix::pipe::fcntl_setpipe_size;
use std::{
    fs::File,
    io::{self, Read, Write},
    net::Shutdown,
    os::{fd::AsFd as _, unix::net::UnixStream},
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

/// How long `serve` may take to come up: the container counts as running before its process has bound the socket.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes moved at once: where processors are scarce, each time it gets one counts.
const PIECE: usize = 256 << 10;
/// Bytes that may wait in standard output, if it is a pipe: the most that a user without privileges gets (`pipe-max-size` of proc(5)).
const PIPE: usize = 1 << 20;

/// Runs `join`.
pub fn run(options: &Join) -> ExitCode {
    match connect(options) {
        Ok(stream) => relay(&stream),
        Err(error) => {
            refuse(&format!("{error:#}"));
            ExitCode::from(INCOMPLETE)
        }
    }
}

fn connect(options: &Join) -> anyhow::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match rendezvous::connect(&options.session, options.socket.as_deref()) {
            Err(_) if Instant::now() < deadline => thread::sleep(Duration::from_millis(20)),
            outcome => return outcome,
        }
    }
}

/// Says on the stream why there will be no session.
fn refuse(reason: &str) {
    let frame = Frame {
        kind: Kind::Refusal,
        number: 0,
        acknowledged: 0,
        payload: reason.as_bytes().to_vec().into(),
    };
    if let Ok(bytes) = frame.encode() {
        let mut stdout = io::stdout();
        // If nobody reads, nobody is to be told; the exit code still says it.
        let _ = stdout.write_all(&bytes).and_then(|()| stdout.flush());
    }
}

fn relay(stream: &UnixStream) -> ExitCode {
    let (Ok(to_session), Ok(mut from_session)) = (stream.try_clone(), stream.try_clone()) else {
        refuse("join cannot duplicate its socket");
        return ExitCode::from(INCOMPLETE);
    };
    // Not waited for: it may be stuck in a read of standard input, and ends with the process.
    thread::spawn(move || {
        let mut to_session = to_session;
        pump(&mut io::stdin().lock(), &mut to_session);
        // The plugin is gone: `serve` sees it, closes, and the other direction ends.
        let _ = to_session.shutdown(Shutdown::Write);
    });
    // Not by way of `io::stdout`, which would look for lines in it.
    let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned() else {
        return ExitCode::from(INCOMPLETE);
    };
    // It works with any size, and if it is no pipe.
    let _ = fcntl_setpipe_size(&stdout, PIPE);
    // Written piece by piece: when this returns, all that came is out.
    pump(&mut from_session, &mut File::from(stdout));
    ExitCode::SUCCESS
}

/// Moves bytes until either end closes or fails, which for a relay is the same.
fn pump(from: &mut impl Read, to: &mut impl Write) {
    let mut piece = vec![0; PIECE];
    loop {
        match from.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => {
                if to.write_all(&piece[..length]).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
