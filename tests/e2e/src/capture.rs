//! `kubectl netcheck capture` while it runs.

use crate::lab::{Lab, Namespace};
use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

/// How long one may take until it captures.
const START: Duration = Duration::from_mins(1);
/// How long one may take to end after it was told to.
const END: Duration = Duration::from_mins(1);

/// A capture that has begun.
#[derive(Debug)]
pub struct Capture {
    child: Child,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
    stdout: Arc<Mutex<Vec<u8>>>,
}

/// A capture that has ended.
#[derive(Debug)]
pub struct Captured {
    /// How.
    pub status: ExitStatus,
    /// What it wrote.
    pub stdout: Vec<u8>,
    /// What it said.
    pub stderr: String,
}

impl Capture {
    /// Starts `capture -n NAMESPACE ARGUMENTS…` and waits until it says that it captures.
    pub fn start<A: AsRef<OsStr>>(
        lab: &Lab,
        namespace: &Namespace<'_>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Self> {
        let mut command = lab.netcheck(["capture", "-n", &namespace.name]);
        command.args(arguments);
        Self::of(command)
    }

    /// The same with a prepared command.
    pub fn of(command: Command) -> Result<Self> {
        let mut capture = Self::unready(command)?;
        capture.wait_until_said("Ctrl-C ends it")?;
        Ok(capture)
    }

    /// Starts one and does not wait.
    pub fn unready(mut command: Command) -> Result<Self> {
        // Its stdout may be spoken for.
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start a capture")?;
        let (stderr, stdout) = (Arc::<Mutex<String>>::default(), Arc::<Mutex<Vec<u8>>>::default());
        let lines = BufReader::new(child.stderr.take().context("stderr")?);
        let mut packets = child.stdout.take().context("stdout")?;
        let (words, bytes) = (stderr.clone(), stdout.clone());
        let readers = vec![
            std::thread::spawn(move || {
                for line in lines.lines().map_while(Result::ok) {
                    let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
                    words.push_str(&line);
                    words.push('\n');
                }
            }),
            std::thread::spawn(move || {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(read @ 1..) = packets.read(&mut buffer) {
                    let mut bytes = bytes.lock().unwrap_or_else(PoisonError::into_inner);
                    bytes.extend_from_slice(&buffer[..read]);
                }
            }),
        ];
        Ok(Self {
            child,
            stderr,
            readers,
            stdout,
        })
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        self.stderr.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What it has written to stdout so far.
    pub fn written(&self) -> String {
        let bytes = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until it says something.
    pub fn wait_until_said(&mut self, words: &str) -> Result<()> {
        let (child, stderr) = (&mut self.child, &self.stderr);
        netcheck_rig::wait_until(&format!("the capture says {words:?}"), START, || {
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            let said = stderr.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if said.contains(words) || ended.is_some() {
                Ok(())
            } else {
                Err(said)
            }
        })?;
        if !self.said().contains(words) {
            // What it said last may still be on its way.
            self.readers
                .drain(..)
                .try_for_each(JoinHandle::join)
                .ok()
                .context("a reader panicked")?;
        }
        ensure!(
            self.said().contains(words),
            "the capture ended before it said {words:?}: {}",
            self.said()
        );
        Ok(())
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Ctrl-C, and its end.
    pub fn interrupt(self) -> Result<Captured> {
        kill_process(self.pid(), Signal::INT).context("interrupt the capture")?;
        self.end()
    }

    /// Ctrl-C, and its end, which must be a clean one: 130 and nothing lost.
    pub fn stop(self) -> Result<Captured> {
        let captured = self.interrupt()?;
        captured.expect(130)?;
        for word in ["lost", "incomplete", "do not add up"] {
            ensure!(!captured.stderr.contains(word), "{word}: {}", captured.stderr);
        }
        Ok(captured)
    }

    /// Its end.
    pub fn end(mut self) -> Result<Captured> {
        let child = &mut self.child;
        let status = netcheck_rig::wait_until("the capture ends", END, || match child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err("it runs".into()),
            Err(error) => Err(error.to_string()),
        })
        .with_context(|| self.said())?;
        for reader in self.readers.drain(..) {
            ensure!(reader.join().is_ok(), "a reader of the capture's output panicked");
        }
        let stdout = std::mem::take(&mut *self.stdout.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Captured {
            status,
            stdout,
            stderr: self.said(),
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

impl Captured {
    /// Its exit code must be this one.
    pub fn expect(&self, code: i32) -> Result<()> {
        ensure!(self.status.code() == Some(code), "not exit code {code}: {}", self.all());
        Ok(())
    }

    /// The report that it printed.
    pub fn report(&self) -> Result<Value> {
        serde_json::from_slice(&self.stdout).with_context(|| self.all())
    }

    /// For messages.
    pub fn all(&self) -> String {
        format!(
            "{}\nstdout: {}\nstderr: {}",
            self.status,
            String::from_utf8_lossy(&self.stdout),
            self.stderr
        )
    }
}

/// A command of kubectl in bash: `script` has it as `run`. The rig's kubectl knows by its own name what it is to be.
pub fn in_bash(command: &Command, script: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.arg("-c")
        .arg(format!(
            "run() {{ (exec -a kubectl \"${{line[@]}}\"); }}; line=(\"$@\"); {script}"
        ))
        .arg("bash")
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bash.env(name, value),
            None => bash.env_remove(name),
        };
    }
    bash
}

/// A folder for the files of one test.
#[derive(Debug)]
pub struct Files(tempfile::TempDir);

impl Files {
    /// A new one.
    pub fn new() -> Result<Self> {
        Ok(Self(tempfile::tempdir().context("make a folder for captures")?))
    }

    /// A file in it, and its path as an argument.
    pub fn path(&self, name: &str) -> (PathBuf, String) {
        let path = self.0.path().join(name);
        let argument = path.display().to_string();
        (path, argument)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }
}
