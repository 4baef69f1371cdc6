//! A real terminal (a pty) with a command in it, as a user has it: what is shown is read, keys are typed, the window changes its size.

use anyhow::{Context, Result, bail, ensure};
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcgetattr, tcsetwinsize},
};
use std::{
    fs::File,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::sleep,
    time::{Duration, Instant},
};

/// How often what is awaited is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Written when a command has ended, to know that all before it was read.
pub const LAST: &str = "<the end>";

/// A terminal and the command in it. The command is killed when this is dropped.
#[derive(Debug)]
pub struct Terminal {
    keys: File,
    /// The terminal itself stays open here, so that its settings can be read when the command has gone.
    tty: OwnedFd,
    child: Child,
    shown: Arc<Mutex<Vec<u8>>>,
    /// What was awaited was found before here.
    read_to: usize,
}

impl Terminal {
    /// Runs `program` with the arguments and the environment of a command in a new terminal of this size, as its session's leader.
    pub fn run(program: &Path, command: &Command, rows: u16, columns: u16) -> Result<Self> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).context("open a pty")?;
        grantpt(&master).context("grant the pty")?;
        unlockpt(&master).context("unlock the pty")?;
        let name = ptsname(&master, Vec::new()).context("name the pty")?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let tty = rustix::fs::open(&name, flags, Mode::empty()).context("open the terminal")?;
        set_size(&tty, rows, columns)?;
        let keys = File::from(master);
        let mut screen = keys.try_clone().context("share the pty")?;
        let end = || tty.try_clone().map(Stdio::from).context("share the terminal");
        // Not a child of a new session by hand: that would take unsafe code.
        let mut inside = Command::new("setsid");
        inside.arg("--ctty").arg(program).args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside.env("TERM", "xterm").stdin(end()?).stdout(end()?).stderr(end()?);
        let child = inside.spawn().context("start setsid")?;
        let shown = Arc::new(Mutex::new(Vec::new()));
        let sink = shown.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 1 << 14];
            while let Ok(read @ 1..) = screen.read(&mut buffer) {
                sink.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(&buffer[..read]);
            }
        });
        Ok(Self {
            keys,
            tty,
            child,
            shown,
            read_to: 0,
        })
    }

    /// Types.
    pub fn type_keys(&mut self, keys: &str) -> Result<()> {
        self.keys.write_all(keys.as_bytes()).context("type")
    }

    /// Types a line, and waits until something is shown besides the line itself.
    pub fn enter(&mut self, line: &str, expected: &str, deadline: Duration) -> Result<String> {
        self.type_keys(&format!("{line}\r"))?;
        self.wait_for(expected, deadline)
    }

    /// Waits until this is shown, behind what was awaited before; all that was shown up to there.
    pub fn wait_for(&mut self, text: &str, deadline: Duration) -> Result<String> {
        let until = Instant::now() + deadline;
        loop {
            let shown = self.lock().get(self.read_to..).unwrap_or_default().to_vec();
            if let Some(at) = find(&shown, text.as_bytes()) {
                self.read_to += at + text.len();
                return Ok(String::from_utf8_lossy(&shown[..at + text.len()]).into_owned());
            }
            if Instant::now() >= until {
                bail!(
                    "{text:?} is not shown within {deadline:?}, but: {:?}",
                    String::from_utf8_lossy(&shown)
                );
            }
            sleep(LOOK_EVERY);
        }
    }

    /// All that was shown so far.
    pub fn screen(&self) -> String {
        String::from_utf8_lossy(&self.lock()).into_owned()
    }

    /// Changes the size; the kernel tells the command.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<()> {
        set_size(&self.keys, rows, columns)
    }

    /// The terminal's settings, all of them, as `stty -g` would tell.
    pub fn settings(&self) -> Result<String> {
        Ok(format!(
            "{:?}",
            tcgetattr(&self.tty).context("read the terminal's settings")?
        ))
    }

    /// The command's process.
    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(self.id(), signal).context("signal the command")
    }

    /// Waits for the command's end, and until all that it wrote is read.
    pub fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let until = Instant::now() + deadline;
        let status = loop {
            if let Some(status) = self.child.try_wait().context("wait for the command")? {
                break status;
            }
            ensure!(
                Instant::now() < until,
                "it has not ended within {deadline:?}; shown: {:?}",
                self.screen()
            );
            sleep(LOOK_EVERY);
        };
        // What is written now comes behind it.
        rustix::io::write(&self.tty, LAST.as_bytes()).context("write to the terminal")?;
        while find(&self.lock(), LAST.as_bytes()).is_none() && Instant::now() < until {
            sleep(LOOK_EVERY);
        }
        Ok(status)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn set_size(terminal: impl std::os::fd::AsFd, rows: u16, columns: u16) -> Result<()> {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).context("set the terminal's size")
}

fn find(stack: &[u8], needle: &[u8]) -> Option<usize> {
    stack.windows(needle.len()).position(|window| window == needle)
}
