//! The agent that netcheck runs on nodes and in pods.
//!
//! `serve` is the container's process: it holds one session, does its tasks and ends itself. `join` is what the plugin execs: it relays
//! one stream to `serve`, so that a session outlives a stream. `WIRE.md` in the parent folder is the specification.

mod arguments;
mod capabilities;
mod children;
mod errno;
mod join;
mod probe;
mod rendezvous;
mod serve;
mod sys;
mod tasks;
mod watch;

use arguments::Command;
use std::{
    io::{self, Write},
    process::ExitCode,
};

/// Exit code of a usage error, as in the plugin.
const USAGE: u8 = 2;
/// Exit code where the session could not be completed, as in the plugin.
const INCOMPLETE: u8 = 3;

fn main() -> ExitCode {
    let command = match arguments::parse(lexopt::Parser::from_env()) {
        Ok(command) => command,
        Err(error) => {
            say(&format!("{error}; see: netcheck-agent help"));
            return ExitCode::from(USAGE);
        }
    };
    match command {
        Command::Help => print(arguments::HELP),
        Command::Version => print(&format!(
            "netcheck-agent {} protocol {}\n",
            env!("CARGO_PKG_VERSION"),
            netcheck_wire::PROTOCOL
        )),
        Command::Serve(options) => match serve::run(&options) {
            Ok(ending) => {
                say(&ending.to_string());
                ExitCode::from(if ending.is_complete() { 0 } else { INCOMPLETE })
            }
            Err(error) => {
                say(&format!("{error:#}"));
                ExitCode::FAILURE
            }
        },
        Command::Join(options) => join::run(&options),
    }
}

/// One line for the container's log.
fn say(line: &str) {
    // Nobody may be reading: a log line is not worth failing for.
    let _ = writeln!(io::stderr(), "netcheck-agent: {line}");
}

fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
