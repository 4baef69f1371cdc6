//! A program named `wireshark` that is none: there is no Wireshark on a machine without a desktop.

use crate::capture::Files;
use anyhow::{Context, Result};
use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command};

/// Keeps its arguments, and what it is given once it is told to read. Until then it is the slowest of readers.
#[derive(Debug)]
pub struct StandIn(Files);

impl StandIn {
    /// Writes the program.
    pub fn new() -> Result<Self> {
        let files = Files::new()?;
        let (program, _) = files.path("wireshark");
        let folder = files.folder().display();
        let script = format!(
            "#!/bin/sh\necho \"$@\" > {folder}/arguments\nwhile [ ! -e {folder}/go-on ]; do sleep 0.1; done\nexec cat > {folder}/seen.pcapng\n"
        );
        fs::write(&program, script).context("write a program")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).context("make a program of it")?;
        Ok(Self(files))
    }

    /// The command, which will find it as `wireshark`.
    #[must_use]
    pub fn on_path_of(&self, mut command: Command) -> Command {
        let path = command.get_envs().find(|(name, _)| *name == "PATH");
        let path = path.and_then(|(_, value)| value).unwrap_or_default().to_string_lossy();
        let path = format!("{}:{path}", self.0.folder().display());
        command.env("PATH", path);
        command
    }

    /// Tells it to read.
    pub fn go_on(&self) -> Result<()> {
        fs::write(self.0.path("go-on").0, "").context("tell the reader to go on")
    }

    /// What it was given.
    pub fn seen(&self) -> PathBuf {
        self.0.path("seen.pcapng").0
    }

    /// How it was called.
    pub fn arguments(&self) -> Result<String> {
        fs::read_to_string(self.0.path("arguments").0).context("read the arguments")
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        // It waits for this file; without it, it would wait for ever.
        let _told = self.go_on();
    }
}
