//! What a container runs so that a session in it starts when somebody is there and ends when nobody is. Pure.
//!
//! Any image that has a POSIX shell will do. A runtime ends nothing by itself when a terminal's user is gone (CRI: with a terminal,
//! `stdinOnce` closes nothing), and the first process of a container can't be killed from inside: so the command is a child of a script.

use std::time::Duration;

/// A session without a sign of life ends after this time, and before twice this time.
pub const SILENCE: Duration = Duration::from_secs(15);

const KEEPER: &str = include_str!("keeper.sh");
const LIFELINE: &str = include_str!("lifeline.sh");

/// One session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Unique in its pod; names its folder under `/dev/shm`, which a pod's containers share.
    pub name: String,
    /// In its marks, so that no other output is taken for one.
    pub token: String,
    /// Stays for this time when its user leaves; without it, it ends then.
    pub keep: Option<Duration>,
    /// The command gets what is typed or piped.
    pub stdin: bool,
    /// The command; empty for a shell.
    pub command: Vec<String>,
}

/// What the container runs.
pub fn command(session: &Session) -> Vec<String> {
    let seconds = |time: Option<Duration>| time.map_or(0, |time| time.as_secs().max(1)).to_string();
    let silence = session.keep.is_none().then_some(SILENCE);
    let stdin = if session.stdin { "yes" } else { "no" };
    let fixed = [
        "sh",
        "-c",
        &bare(KEEPER),
        "netcheck",
        &session.name,
        &session.token,
        &seconds(silence),
        &seconds(session.keep),
        stdin,
    ];
    fixed
        .into_iter()
        .map(str::to_owned)
        .chain(session.command.iter().cloned())
        .collect()
}

/// Reads a session back from what a container runs; `None` if it runs none of ours. Its command is nobody's business.
pub fn read_back(command: &[String]) -> Option<Session> {
    let [shell, flag, _, "netcheck", name, token, _, keep, stdin, ..] =
        &command.iter().map(String::as_str).collect::<Vec<_>>()[..]
    else {
        return None;
    };
    let keep: u64 = keep.parse().ok()?;
    ([*shell, *flag] == ["sh", "-c"]).then(|| Session {
        name: (*name).to_owned(),
        token: (*token).to_owned(),
        keep: (keep > 0).then(|| Duration::from_secs(keep)),
        stdin: *stdin == "yes",
        command: Vec::new(),
    })
}

/// What is executed beside it to carry signs of life.
pub(super) fn lifeline_command(name: &str) -> Vec<String> {
    ["sh", "-c", &bare(LIFELINE), &format!("/dev/shm/{name}")]
        .map(str::to_owned)
        .to_vec()
}

/// Without its comments.
fn bare(script: &str) -> String {
    let lines = script.lines().filter(|line| !line.trim_start().starts_with('#'));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::Write as _,
        process::{Child, Command, Stdio},
    };

    fn session(name: &str, command: &[&str]) -> Session {
        Session {
            name: format!("netcheck-test-{name}-{}", std::process::id()),
            token: "t0".to_owned(),
            keep: None,
            stdin: true,
            command: command.iter().map(|&word| word.to_owned()).collect(),
        }
    }

    fn start(words: &[String]) -> Child {
        Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// What is said up to and with this.
    fn until(stream: &mut impl std::io::Read, last: &str) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(last.as_bytes()) {
            let mut byte = [0];
            match stream.read(&mut byte) {
                Ok(1) => seen.push(byte[0]),
                _ => break,
            }
        }
        String::from_utf8(seen).unwrap()
    }

    fn end(session: &Session) {
        let mut lifeline = start(&lifeline_command(&session.name));
        lifeline.stdin.take().unwrap().write_all(b"alive\nend\n").unwrap();
        assert!(lifeline.wait().is_ok());
    }

    #[test]
    fn a_session_is_read_back_from_what_its_container_runs() {
        let kept = Session {
            keep: Some(Duration::from_hours(1)),
            ..session("kept", &[])
        };
        assert_eq!(read_back(&command(&kept)), Some(kept));
        assert_eq!(
            read_back(&["sh".to_owned(), "-c".to_owned(), "sleep 1".to_owned()]),
            None
        );
    }

    #[test]
    fn a_command_starts_when_somebody_is_there_and_its_code_is_said() {
        let session = session("code", &["sh", "-c", "cat; echo err >&2; exit 7"]);
        let mut child = start(&command(&session));
        // An empty line is only answered.
        child.stdin.as_mut().unwrap().write_all(b"\n\n").unwrap();
        let here = "\u{1b}]netcheck;t0;0;here\u{7}";
        until(child.stdout.as_mut().unwrap(), &format!("{here}{here}"));
        until(child.stderr.as_mut().unwrap(), &format!("{here}{here}"));
        child.stdin.take().unwrap().write_all(b"go\nhello").unwrap();
        let out = until(child.stdout.as_mut().unwrap(), "ended\u{7}");
        let err = until(child.stderr.as_mut().unwrap(), "ended\u{7}");
        assert_eq!(
            out,
            "\u{1b}]netcheck;t0;0;started\u{7}hello\u{1b}]netcheck;t0;7;ended\u{7}"
        );
        assert!(err.ends_with("err\n\u{1b}]netcheck;t0;7;ended\u{7}"), "{err:?}");
        assert_eq!(child.try_wait().unwrap(), None, "it waits until that was read");
        end(&session);
        assert_eq!(child.wait().unwrap().code(), Some(7));
    }

    #[test]
    fn a_command_that_is_not_there_is_told_from_one_that_fails() {
        let session = session("missing", &["no-such-command"]);
        let mut child = start(&command(&session));
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        let out = until(child.stdout.as_mut().unwrap(), "missing\u{7}");
        assert_eq!(out, "\u{1b}]netcheck;t0;127;missing\u{7}");
        end(&session);
        assert_eq!(child.wait().unwrap().code(), Some(127));
    }

    #[test]
    fn nothing_starts_where_nobody_comes() {
        let mut child = start(&command(&session("nobody", &["echo", "hello"])));
        drop(child.stdin.take());
        let out = until(child.stdout.as_mut().unwrap(), "stopped\u{7}");
        assert!(!out.contains("hello"), "{out}");
        assert_eq!(child.wait().unwrap().code(), Some(129));
    }

    /// One that would go on for a minute, and heeds no hangup.
    #[test]
    fn the_lifeline_ends_a_session_when_it_is_told_to() {
        let session = session("lifeline", &["sh", "-c", "trap '' HUP; echo up; sleep 60"]);
        let mut child = start(&command(&session));
        child.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
        until(child.stdout.as_mut().unwrap(), "up\n");
        end(&session);
        let code = child.wait().unwrap().code();
        assert!([Some(128 + 9), Some(129)].contains(&code), "{code:?}");
    }
}
