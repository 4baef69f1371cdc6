//! Programs of the agent's image, and what they print.

use crate::{children, tasks::Reporter};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Resource, Rlimit, setrlimit},
};
use std::{
    fs,
    io::{self, Read},
    os::{fd::AsFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Bytes of its complaints that are kept.
const COMPLAINT: usize = 4 << 10;
/// Where programs are; the container need not have a PATH.
const FOLDERS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Where a container's cgroup says how much memory it may use, in version 2 and in version 1.
const MEMORY: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// What a program may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that it may print.
    pub printed: usize,
    /// Bytes of memory that it may have; `None`: as many as there are.
    pub memory: Option<u64>,
    /// How long it may take.
    pub patience: Duration,
}

impl Limits {
    /// What a record's programs may use. Of memory it is half of what this container may: one that wants more is to fail by itself, before the
    /// kernel ends it, and the agent with it.
    pub fn usual() -> Self {
        let allowed = MEMORY
            .iter()
            .find_map(|file| fs::read_to_string(file).ok()?.trim().parse::<u64>().ok());
        Self {
            printed: 16 << 20,
            memory: allowed.map(|allowed| allowed / 2),
            patience: Duration::from_mins(1),
        }
    }
}

/// The program of this name, if it is here.
pub fn find(name: &str) -> Option<PathBuf> {
    let paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    paths.into_iter().find(|path| path.is_file())
}

/// What a program prints that reads nothing.
pub fn answer(program: &Path, arguments: &[&str], limits: Limits, reporter: &Reporter) -> Result<String, String> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null());
    run(command, &name, limits, reporter)
}

/// What a command prints, whose name it has in what is said of it. It is ended if it prints too much, takes too long, or the task is to stop.
pub fn run(mut command: Command, name: &str, limits: Limits, reporter: &Reporter) -> Result<String, String> {
    let failed = |what: &str, why: &dyn std::fmt::Display| format!("{name}: {what}: {why}");
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(bytes) = limits.memory {
        limit_memory(&mut command, bytes);
    }
    let mut child = children::spawn(&mut command).map_err(|error| failed("cannot run it", &error))?;
    let pipes = child.stdout.take().zip(child.stderr.take());
    let (mut printed, mut complained) = (Vec::new(), Vec::new());
    let outcome = match pipes {
        Some((stdout, stderr)) => listen(
            (stdout, &mut printed, limits.printed),
            (stderr, &mut complained, COMPLAINT),
            limits.patience,
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
        let bound = limits.memory.map_or_else(String::new, |bytes| {
            format!(" (it may use {} MiB of memory)", bytes >> 20)
        });
        return Err(failed(&status.to_string(), &format!("{}{bound}", complained.trim())));
    }
    String::from_utf8(printed).map_err(|error| failed("its answer is not UTF-8", &error.utf8_error()))
}

/// Bounds the memory that a program can ask for (`RLIMIT_DATA`, getrlimit(2)).
#[allow(unsafe_code, reason = "the limit is to hold from the program's first instruction on")]
fn limit_memory(command: &mut Command, bytes: u64) {
    let limit = Rlimit {
        current: Some(bytes),
        maximum: Some(bytes),
    };
    // SAFETY: between fork and exec there is but one system call, which allocates nothing and takes no lock.
    unsafe {
        command.pre_exec(move || setrlimit(Resource::Data, limit).map_err(io::Error::from));
    }
}

/// Reads both pipes to their ends; of the second no more than its limit is kept, of the first no more is allowed.
fn listen(
    (mut stdout, printed, most): (impl Read + AsFd, &mut Vec<u8>, usize),
    (mut stderr, complained, kept): (impl Read + AsFd, &mut Vec<u8>, usize),
    patience: Duration,
    reporter: &Reporter,
) -> Result<(), String> {
    let failed = |error: io::Error| format!("cannot read what it prints: {error}");
    let deadline = Instant::now() + patience;
    let (mut is_printing, mut is_complaining) = (true, true);
    let mut buffer = [0; 16 << 10];
    while is_printing || is_complaining {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(format!("given up: it takes longer than {} s", patience.as_secs()));
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

    const LIMITS: Limits = Limits {
        printed: 1 << 20,
        memory: None,
        patience: Duration::from_mins(1),
    };

    fn shell(script: &str, is_stopped: bool) -> Result<String, String> {
        answer(&find("sh").unwrap(), &["-c", script], LIMITS, &reporter(is_stopped))
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
        let missing = answer(Path::new("/no/such"), &[], LIMITS, &reporter(false)).unwrap_err();
        assert!(missing.starts_with("such: cannot run it: "), "{missing}");
    }
    #[test]
    fn a_program_that_wants_too_much_memory_fails_by_itself() {
        let wants = |memory| {
            let limits = Limits { memory, ..LIMITS };
            let words = ["if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
            answer(&find("dd").unwrap(), &words, limits, &reporter(false))
        };
        assert_eq!(wants(None), Ok(String::new()));
        let refused = wants(Some(32 << 20)).unwrap_err();
        assert!(
            refused.contains("memory exhausted") && refused.ends_with("(it may use 32 MiB of memory)"),
            "{refused}"
        );
    }
}
