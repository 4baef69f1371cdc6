//! Programs of the agent's image, and what they print.

use crate::{children, tasks::Reporter};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, Read},
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Bytes that a program may print.
pub const MOST: usize = 16 << 20;
/// How long it may take.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of its complaints that are kept.
const COMPLAINT: usize = 4 << 10;
/// Where programs are; the container need not have a PATH.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// The program of this name, if it is here.
pub fn find(name: &str) -> Option<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| path.is_file())
}

/// What a program prints, at most `most` bytes. It is ended if it prints more, takes too long, or the task is to stop.
pub fn answer(program: &Path, arguments: &[&str], most: usize, reporter: &Reporter) -> Result<String, String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("{name}: {what}: {why}");
    let mut command = Command::new(program);
    command.args(arguments).env_clear();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = children::spawn(&mut command).map_err(|error| failed("cannot run it", &error))?;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (mut printed, mut complained) = (Vec::new(), Vec::new());
    let outcome = match pipes {
        Some((stdout, stderr)) => listen(
            (stdout, &mut printed, most),
            (stderr, &mut complained, COMPLAINT),
            reporter,
        ),
        None => Ok(()),
    };
    if outcome.is_err() {
        // It may have ended by itself by now.
        let _ = child.kill();
    }
    let status = children::wait(child).map_err(|error| failed("cannot tell its end", &error))?;
    outcome.map_err(|why| format!("{name}: {why}"))?;
    if !status.success() {
        let complained = String::from_utf8_lossy(&complained);
        return Err(failed(&status.to_string(), &complained.trim()));
    }
    String::from_utf8(printed).map_err(|error| failed("its answer is not UTF-8", &error.utf8_error()))
}

/// Reads both pipes to their ends; of the second no more than its limit is kept, of the first no more is allowed.
fn listen(
    (mut stdout, printed, most): (impl Read + AsFd, &mut Vec<u8>, usize),
    (mut stderr, complained, kept): (impl Read + AsFd, &mut Vec<u8>, usize),
    reporter: &Reporter,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot read what it prints: {error}");
    let deadline = Instant::now() + PATIENCE;
    let (mut is_printing, mut is_complaining) = (true, true);
    let mut buffer = [0; 16 << 10];
    while is_printing || is_complaining {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("given up: it takes longer than {} s", PATIENCE.as_secs()));
        }
        // What has ended would be ready for ever: in its place the stop is asked twice.
        let stop = reporter.stop();
        let fds = [
            stop,
            if is_printing { stdout.as_fd() } else { stop },
            if is_complaining { stderr.as_fd() } else { stop },
        ];
        let mut fds = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        let timeout = Timespec::try_from(left).map_err(|error| error.to_string())?;
        match poll(&mut fds, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(|errno| failed(errno.into()))?,
        };
        let [stop, first, second] = fds.map(|fd| !fd.revents().is_empty());
        if stop {
            return Err("given up: the task was stopped".to_owned());
        }
        if is_printing && first {
            let length = stdout.read(&mut buffer).map_err(failed)?;
            is_printing = length > 0;
            printed.extend_from_slice(&buffer[..length]);
            if printed.len() > most {
                return Err(format!("its answer has more than {} MiB", most >> 20));
            }
        }
        if is_complaining && second {
            let length = stderr.read(&mut buffer).map_err(failed)?;
            is_complaining = length > 0;
            let kept = length.min(kept - complained.len());
            complained.extend_from_slice(&buffer[..kept]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{EventfdFlags, eventfd};
    use std::sync::{Arc, mpsc::sync_channel};

    /// A task's way, on which nothing is reported; the task is to stop at once or never.
    fn reporter(is_stopped: bool) -> Reporter {
        let bell = || Arc::new(eventfd(u32::from(is_stopped), EventfdFlags::CLOEXEC).unwrap());
        Reporter {
            id: 1,
            reports: sync_channel(1).0,
            room: Arc::default(),
            bell: bell(),
            stop: bell(),
        }
    }

    fn shell(script: &str, is_stopped: bool) -> Result<String, String> {
        answer(&find("sh").unwrap(), &["-c", script], 1 << 20, &reporter(is_stopped))
    }

    #[test]
    fn what_a_program_prints_is_its_answer() {
        // More than a pipe holds, on both ways at once, and the one ends before the other.
        let script = "exec 3>&1; (head -c 300000 /dev/zero | tr '\\0' e >&2); exec 2>&-; head -c 300000 /dev/zero | tr '\\0' o >&3";
        assert_eq!(shell(script, false), Ok("o".repeat(300_000)));
        assert_eq!(shell("true", false), Ok(String::new()));
        assert_eq!(find("no-such-program"), None);
    }

    #[test]
    fn why_there_is_no_answer_is_told() {
        assert_eq!(
            shell("echo half; echo 'it is locked' >&2; exit 3", false),
            Err("sh: exit status: 3: it is locked".to_owned())
        );
        assert_eq!(
            shell("exec cat /dev/zero", false),
            Err("sh: its answer has more than 1 MiB".to_owned())
        );
        assert!(shell("printf '\\377'", false).unwrap_err().contains("not UTF-8"));
        assert!(shell("kill -9 $$", false).unwrap_err().contains("signal: 9"));
        assert_eq!(
            shell("exec sleep 600", true),
            Err("sh: given up: the task was stopped".to_owned())
        );
        let missing = answer(Path::new("/no/such"), &[], 1, &reporter(false)).unwrap_err();
        assert!(missing.starts_with("such: cannot run it: "), "{missing}");
    }
}
