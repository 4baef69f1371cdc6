//! A child of the plugin that outlives it: if the plugin dies without a word (kill -9, a closed terminal, a panic), it puts right what
//! was left; if the plugin has done that itself, it is sent away.
//!
//! It is this same binary with a hidden verb. What it must know comes as one line of JSON on its stdin (never on its command line,
//! which everybody on the machine can read); the pipe then stays open for as long as the plugin lives.

use serde::{Serialize, de::DeserializeOwned};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
};

/// The plugin's end of the pipe.
#[derive(Debug)]
pub struct Survivor {
    child: Child,
    /// Its end is the plugin's.
    _stdin: ChildStdin,
}

impl Survivor {
    /// Starts one, before there is anything to put right. `stdout` is all that it gets besides its orders.
    ///
    /// # Errors
    /// If no process can be started, or it does not take its orders.
    pub fn start(verb: &str, orders: &impl Serialize, stdout: Stdio) -> io::Result<Self> {
        let orders = serde_json::to_string(orders)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn()?;
        let Some(mut stdin) = child.stdin.take() else {
            return Err(io::Error::other("the child process has no stdin"));
        };
        let told = writeln!(stdin, "{orders}");
        let survivor = Self { child, _stdin: stdin };
        match told {
            Ok(()) => Ok(survivor),
            Err(error) => {
                survivor.dismiss();
                Err(error)
            }
        }
    }

    /// Nothing is left to put right: it is gone when this returns.
    pub fn dismiss(mut self) {
        // One that has gone already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// In the child: waits for the plugin's end, and returns what there is to do then. `None` if nobody said.
pub fn outlive<O: DeserializeOwned>() -> Option<O> {
    // A session of its own: neither Ctrl-C nor the end of the terminal reaches it, and changing a terminal's settings does not stop it. It
    // fails only for a leader of a process group, which a child started by the plugin is not.
    let _ = rustix::process::setsid();
    let mut plugin = BufReader::new(io::stdin());
    let mut orders = String::new();
    plugin.read_line(&mut orders).ok()?;
    let orders = serde_json::from_str(&orders).ok()?;
    // Nothing more is said: this ends with the pipe.
    let _ = plugin.read_to_end(&mut Vec::new());
    Some(orders)
}
