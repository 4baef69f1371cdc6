//! The command line, which only the plugin writes.

use anyhow::{Context as _, Result, bail, ensure};
use lexopt::{
    Arg::{Long, Short, Value},
    Parser, ValueExt as _,
};
use std::{path::PathBuf, time::Duration};

/// What `help` prints.
pub const HELP: &str = "\
netcheck-agent: the part of kubectl-netcheck that runs inside a cluster

netcheck-agent serve --session ID --deadline SECS [--idle SECS] [--first-connect SECS] [--socket PATH]
    holds the session until the plugin has everything, the deadline, or the plugin is lost for --idle seconds
netcheck-agent join --session ID [--socket PATH]
    relays standard input and output to the session
netcheck-agent version
";

/// Longest session id; ids become part of a file's name.
const MAX_SESSION: usize = 64;

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Hold a session.
    Serve(Serve),
    /// Relay a stream to it.
    Join(Join),
}

/// Options of `serve`.
#[derive(Debug, PartialEq, Eq)]
pub struct Serve {
    /// The only session that is served.
    pub session: String,
    /// When to end whatever happens, counted from the start.
    pub deadline: Duration,
    /// How long to wait for a plugin that was lost.
    pub idle: Duration,
    /// How long to wait for the plugin's first stream.
    pub first_connect: Duration,
    /// Where to listen instead of the usual places.
    pub socket: Option<PathBuf>,
}

/// Options of `join`.
#[derive(Debug, PartialEq, Eq)]
pub struct Join {
    /// The session.
    pub session: String,
    /// Where `serve` listens instead of the usual places.
    pub socket: Option<PathBuf>,
}

/// Reads the command line.
pub fn parse(mut parser: Parser) -> Result<Command> {
    let mut verb = None;
    let (mut session, mut socket, mut deadline) = (None, None, None);
    let (mut idle, mut first_connect) = (30, 60);
    while let Some(argument) = parser.next()? {
        match argument {
            Long("session") => session = Some(session_id(parser.value()?.string()?)?),
            Long("socket") => socket = Some(PathBuf::from(parser.value()?)),
            Long("deadline") => deadline = Some(parser.value()?.parse::<u64>().context("--deadline")?),
            Long("idle") => idle = parser.value()?.parse().context("--idle")?,
            Long("first-connect") => first_connect = parser.value()?.parse().context("--first-connect")?,
            Long("help") | Short('h') => return Ok(Command::Help),
            Value(value) if verb.is_none() => verb = Some(value.string()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let session = || session.context("--session is missing");
    Ok(match verb.as_deref() {
        Some("serve") => Command::Serve(Serve {
            session: session()?,
            deadline: Duration::from_secs(deadline.context("--deadline is missing")?),
            idle: Duration::from_secs(idle),
            first_connect: Duration::from_secs(first_connect),
            socket,
        }),
        Some("join") => Command::Join(Join {
            session: session()?,
            socket,
        }),
        Some("version") => Command::Version,
        Some("help") => Command::Help,
        Some(other) => bail!("unknown command {other:?}"),
        None => bail!("a command is missing"),
    })
}

fn session_id(id: String) -> Result<String> {
    let is_plain = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    ensure!(
        is_plain && (1..=MAX_SESSION).contains(&id.len()),
        "--session takes 1 to {MAX_SESSION} of A-Z a-z 0-9 - _"
    );
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command> {
        parse(Parser::from_args(line.split_whitespace()))
    }

    #[test]
    fn serve_has_documented_defaults() {
        let expected = Serve {
            session: "a-1".to_owned(),
            deadline: Duration::from_mins(5),
            idle: Duration::from_secs(30),
            first_connect: Duration::from_mins(1),
            socket: None,
        };
        assert_eq!(
            parsed("serve --session a-1 --deadline=300").unwrap(),
            Command::Serve(expected)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, message) in [
            ("", "a command is missing"),
            ("fly", "unknown command \"fly\""),
            ("serve --session x", "--deadline is missing"),
            ("join", "--session is missing"),
            ("join --session ../x", "--session takes 1 to 64 of A-Z a-z 0-9 - _"),
            ("join --session x --loud", "invalid option '--loud'"),
        ] {
            assert_eq!(parsed(line).unwrap_err().to_string(), message, "{line}");
        }
    }
}
