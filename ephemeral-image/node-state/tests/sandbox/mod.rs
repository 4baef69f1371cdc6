//! What the tests share: namespaces of their own.

use libtest_mimic::Trial;
use netcheck_node_state::Netns;
use netcheck_trials::Need;
pub use netcheck_trials::wait_for;
use std::{
    fs,
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A test that needs root.
pub fn trial(name: &str, test: fn()) -> Trial {
    netcheck_trials::trial(name, &[Need::Root], test)
}

/// A fresh network namespace, held by a process of its own that ends with it.
pub struct Sandbox(Child);

impl Sandbox {
    pub fn new() -> Self {
        let child = Command::new("unshare")
            .args(["--net", "sleep", "600"])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let sandbox = Self(child);
        let own = fs::metadata("/proc/self/ns/net").unwrap().ino();
        wait_for("a namespace of its own", || {
            fs::metadata(sandbox.path()).is_ok_and(|file| file.ino() != own)
        });
        wait_for("sleep", || {
            fs::read_to_string(format!("/proc/{}/comm", sandbox.pid())).is_ok_and(|name| name == "sleep\n")
        });
        sandbox
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn path(&self) -> PathBuf {
        format!("/proc/{}/ns/net", self.pid()).into()
    }

    pub fn netns(&self) -> Netns {
        Netns::open(&self.path()).unwrap()
    }

    /// A shell inside, its text from its standard input: a command's words have a limit.
    pub fn spawn(&self, command: &str) -> Shell {
        let mut shell = Command::new("nsenter")
            .arg(format!("--net={}", self.path().display()))
            .args(["sh", "-e"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(command.as_bytes()).unwrap();
        Shell(Some(shell))
    }

    pub fn run(&self, command: &str) -> String {
        let output = self.spawn(command).0.take().unwrap().wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }
}

/// A shell in a namespace, ended with its holder.
pub struct Shell(Option<Child>);

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(mut shell) = self.0.take() {
            shell.kill().unwrap();
            shell.wait().unwrap();
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}
