//! When the agent and `join` end, and whom they refuse.

use crate::support::{
    needs_root, plain,
    plugin::{AGENT, Agent, Line, Plugin},
    wait_for,
};
use libtest_mimic::Trial;
use netcheck_wire::{Decoder, Frame, Kind, PROTOCOL, PluginHello};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, Stdio},
    time::Instant,
};

pub fn trials() -> Vec<Trial> {
    vec![
        plain("without_serve_join_refuses", without_serve_join_refuses),
        plain("another_session_is_refused", another_session_is_refused),
        plain("another_protocol_is_refused", another_protocol_is_refused),
        plain("what_is_no_hello_is_refused", what_is_no_hello_is_refused),
        plain("never_joined_it_ends", never_joined_it_ends),
        plain("left_alone_it_ends", left_alone_it_ends),
        plain("at_its_deadline_it_ends", at_its_deadline_it_ends),
        plain("terminated_it_ends_at_once", terminated_it_ends_at_once),
        plain(
            "garbage_costs_the_stream_not_the_session",
            garbage_costs_the_stream_not_the_session,
        ),
        plain("the_socket_is_its_users_alone", the_socket_is_its_users_alone),
        needs_root(
            "with_a_read_only_root_they_still_meet",
            with_a_read_only_root_they_still_meet,
        ),
        needs_root("as_process_one_it_reaps", as_process_one_it_reaps),
    ]
}

fn hello(protocol: u32, session: &str) -> Vec<u8> {
    let hello = PluginHello {
        protocol,
        version: "9.9\u{1b}[2J".to_owned(),
        session: session.to_owned(),
        received: 0,
    };
    frame(Kind::Hello, serde_json::to_vec(&hello).unwrap())
}

fn frame(kind: Kind, payload: Vec<u8>) -> Vec<u8> {
    Frame {
        kind,
        number: 0,
        acknowledged: 0,
        payload: payload.into(),
    }
    .encode()
    .unwrap()
    .into()
}

/// The refusal in all that a stream said until its end.
fn refusal(said: &[u8]) -> String {
    let mut decoder = Decoder::default();
    decoder.push(said);
    let frame = decoder.next_frame().unwrap().expect("nothing was said");
    assert_eq!(frame.kind, Kind::Refusal);
    assert_eq!((decoder.next_frame(), decoder.finish()), (Ok(None), Ok(())));
    String::from_utf8(frame.payload.into()).unwrap()
}

/// What the agent answers to a stream's first bytes, through `join`, until it closes.
fn answer(agent: &Agent, first: &[u8]) -> Vec<u8> {
    let mut join = agent.join();
    let mut stdin = join.stdin.take().unwrap();
    stdin.write_all(first).unwrap();
    let mut said = Vec::new();
    join.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    assert!(join.wait().unwrap().success());
    said
}

fn without_serve_join_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(AGENT)
        .args(["join", "--session", "lost", "--socket"])
        .arg(folder.path().join("none"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let reason = refusal(&output.stdout);
    assert!(
        reason.starts_with("the agent of session lost does not answer: ") && reason.contains("No such file"),
        "{reason}"
    );
}

fn another_session_is_refused() {
    let mut agent = Agent::start();
    assert_eq!(
        refusal(&answer(&agent, &hello(PROTOCOL, "\u{1b}other"))),
        "this agent serves another session, not other"
    );
    // It still serves its own.
    let mut plugin = Plugin::joining(&agent);
    plugin.finish_with(&mut agent);
}

fn another_protocol_is_refused() {
    let agent = Agent::start();
    let expected = format!(
        "the agent (version {}) speaks protocol {PROTOCOL}, the plugin (version 9.9[2J) 99",
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(refusal(&answer(&agent, &hello(99, "test"))), expected);
}

fn what_is_no_hello_is_refused() {
    let agent = Agent::start();
    for first in [
        frame(Kind::Heartbeat, vec![]),
        frame(Kind::Hello, b"{}".to_vec()),
        frame(Kind::Hello, vec![0xff]),
    ] {
        assert_eq!(
            refusal(&answer(&agent, &first)),
            "the stream does not begin with a hello of the plugin"
        );
    }
    assert!(answer(&agent, &[0xff; 64]).is_empty());
}

fn never_joined_it_ends() {
    let mut agent = Agent::start_by(&[], &["--deadline", "60", "--first-connect", "1"]);
    let (status, words) = agent.wait();
    assert_eq!(
        (status.code(), words.as_str()),
        (Some(3), "netcheck-agent: ended: no plugin ever connected\n")
    );
    assert!(!agent.socket().exists());
}

fn left_alone_it_ends() {
    let mut agent = Agent::start_by(&[], &["--deadline", "60", "--idle", "1"]);
    let mut plugin = Plugin::joining(&agent);
    plugin.connect();
    plugin.hang_up();
    let lost = Instant::now();
    let (status, words) = agent.wait();
    assert_eq!(
        (status.code(), words.as_str()),
        (
            Some(3),
            "netcheck-agent: ended: the plugin was lost and did not come back\n"
        )
    );
    assert!(
        (900..5000).contains(&lost.elapsed().as_millis()),
        "{:?}",
        lost.elapsed()
    );
}

fn at_its_deadline_it_ends() {
    let mut agent = Agent::start_by(&[], &["--deadline", "1"]);
    let mut plugin = Plugin::joining(&agent);
    plugin.connect();
    let (status, words) = agent.wait();
    assert_eq!(
        (status.code(), words.as_str()),
        (Some(3), "netcheck-agent: ended: the deadline has come\n")
    );
}

fn terminated_it_ends_at_once() {
    let mut agent = Agent::start();
    let pid = rustix::process::Pid::from_raw(agent.pid().try_into().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let (status, words) = agent.wait();
    assert_eq!(
        (status.code(), words.as_str()),
        (Some(0), "netcheck-agent: ended: asked to by a signal\n")
    );
}

fn garbage_costs_the_stream_not_the_session() {
    let mut agent = Agent::start();
    for garbage in [
        vec![0xff; 100],
        frame(Kind::Hello, vec![]),
        frame(Kind::Refusal, vec![]),
        vec![0, 0, 0, 17, 1, 2, 3, 4],
    ] {
        let mut stream = UnixStream::connect(agent.socket()).unwrap();
        stream.write_all(&hello(PROTOCOL, "test")).unwrap();
        stream.write_all(&garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = Vec::new();
        // The stream is closed by the agent, perhaps with our bytes unread.
        let _ = stream.read_to_end(&mut said);
        let mut decoder = Decoder::default();
        decoder.push(&said);
        assert_eq!(decoder.next_frame().unwrap().unwrap().kind, Kind::Hello);
    }
    let mut plugin = Plugin::joining(&agent);
    plugin.finish_with(&mut agent);
}

fn the_socket_is_its_users_alone() {
    use std::os::unix::fs::MetadataExt;
    let agent = Agent::start();
    assert_eq!(std::fs::metadata(agent.socket()).unwrap().mode() & 0o777, 0o600);
}

fn with_a_read_only_root_they_still_meet() {
    // As in a container: the root is read-only, /dev/shm is the one place that is not.
    let script = format!(
        "mount --bind / /mnt && mount -o remount,bind,ro /mnt && mount --bind /proc /mnt/proc && mount -t tmpfs none /mnt/dev/shm
         chroot /mnt {AGENT} serve --session ro --deadline 20 &
         exec chroot /mnt {AGENT} join --session ro"
    );
    let mut child = Command::new("unshare")
        .args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", &script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut line = Some(Line::Join(child, stdin, stdout));
    let mut plugin = Plugin::new("ro", move || Ok(line.take().expect("the stream broke")));
    plugin.finish();
}

fn as_process_one_it_reaps() {
    // The shell's child outlives it and is inherited by process 1, which is the agent.
    let mut agent = Agent::start_by(
        &["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
        &["--deadline", "60"],
    );
    let children = format!("/proc/{0}/task/{0}/children", agent.pid());
    let inner = std::fs::read_to_string(children).unwrap().trim().to_owned();
    let orphan = Command::new("nsenter")
        .args(["--pid", "--target", &inner, "sh", "-c", "sleep 0.05 & echo"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(orphan.success());
    let of_agent = format!("/proc/{inner}/task/{inner}/children");
    wait_for("the orphan to be reaped", || {
        std::fs::read_to_string(&of_agent).unwrap().is_empty()
    });
    let mut plugin = Plugin::joining(&agent);
    plugin.finish_with(&mut agent);
}
