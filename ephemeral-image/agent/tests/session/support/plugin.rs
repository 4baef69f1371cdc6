//! A plugin for tests: it speaks the wire to a real `serve`, through a real `join` or a stream that is cut on purpose.

use super::{PATIENCE, wait_for};
use netcheck_wire::{
    Accepted, AgentHello, Decoder, Event, Frame, FromAgent, Kind, PROTOCOL, Payload, PluginHello, Session, Task,
    TaskId, ToAgent, Totals,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::net::UnixStream,
    },
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};
use tempfile::TempDir;

/// The agent's binary.
pub const AGENT: &str = env!("CARGO_BIN_EXE_netcheck-agent");

/// A running `serve`, ended with this value.
pub struct Agent {
    child: Child,
    pub session: String,
    folder: TempDir,
}

impl Agent {
    /// Starts it with usual limits.
    pub fn start() -> Self {
        Self::start_by(&[], &["--deadline", "120"])
    }

    /// Starts it by another program (`nsenter …`), with options of `serve`.
    pub fn start_by(prefix: &[&str], options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let words: Vec<&str> = prefix.iter().copied().chain([AGENT]).collect();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(["serve", "--session", "test"])
            .args(options);
        // Another user may have to reach it.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let socket = folder.path().join("agent.sock");
        command
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let agent = Self {
            child: command.spawn().unwrap(),
            session: "test".to_owned(),
            folder,
        };
        wait_for("the agent's socket", || UnixStream::connect(&socket).is_ok());
        agent
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for its end; its exit status and its last words.
    pub fn wait(&mut self) -> (ExitStatus, String) {
        let mut status = None;
        wait_for("the agent's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        let mut words = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        (status.unwrap(), words)
    }

    /// `VmRSS` in kilobytes.
    pub fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// `join` as the plugin execs it.
    pub fn join(&self) -> Child {
        let mut command = Command::new(AGENT);
        command
            .args(["join", "--session", &self.session, "--socket"])
            .arg(self.socket());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.child.kill().unwrap();
            self.child.wait().unwrap();
        }
    }
}

/// How the plugin reaches the agent.
pub enum Line {
    /// By `join`.
    Join(Child, ChildStdin, ChildStdout),
    /// By the socket, cut when so many bytes went either way.
    Cut(UnixStream, usize),
}

impl Line {
    fn reader(&self) -> BorrowedFd<'_> {
        match self {
            Self::Join(_, _, stdout) => stdout.as_fd(),
            Self::Cut(socket, _) => socket.as_fd(),
        }
    }

    /// Reads what has come; 0 at the end.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Join(_, _, stdout) => stdout.read(buffer),
            Self::Cut(socket, left) => {
                let length = buffer.len().min(*left);
                let read = socket.read(&mut buffer[..length])?;
                *left -= read;
                Ok(read)
            }
        }
    }

    /// Whether all of it was written before the cut.
    fn write(&mut self, bytes: &[u8]) -> bool {
        match self {
            Self::Join(_, stdin, _) => stdin.write_all(bytes).and_then(|()| stdin.flush()).is_ok(),
            Self::Cut(socket, left) => {
                let length = bytes.len().min(*left);
                *left -= length;
                socket.write_all(&bytes[..length]).is_ok() && length == bytes.len()
            }
        }
    }

    fn close(self) {
        if let Self::Join(mut child, stdin, stdout) = self {
            drop((stdin, stdout));
            child.wait().unwrap();
        }
    }
}

/// The plugin.
pub struct Plugin {
    session: Session,
    name: String,
    decoder: Decoder,
    line: Option<Line>,
    connect: Box<dyn FnMut() -> io::Result<Line>>,
    pub hello: Option<AgentHello>,
    pub messages: Vec<FromAgent>,
    /// Data frames, each with its task.
    pub data: Vec<(TaskId, Vec<u8>)>,
    pub connects: usize,
    next_task: TaskId,
    /// Bytes that came, with the place of each frame's end.
    pub bytes_in: usize,
    pub frame_ends: Vec<usize>,
}

impl Plugin {
    /// By `join`.
    pub fn joining(agent: &Agent) -> Self {
        let (session, socket) = (agent.session.clone(), agent.socket());
        Self::new(&session.clone(), move || {
            let mut command = Command::new(AGENT);
            command.args(["join", "--session", &session, "--socket"]).arg(&socket);
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let (stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
            Ok(Line::Join(child, stdin, stdout))
        })
    }

    /// By streams that are cut after so many bytes each, the last of them as often as need be.
    pub fn cut(agent: &Agent, mut cuts: Vec<usize>) -> Self {
        let socket = agent.socket();
        cuts.reverse();
        Self::new(&agent.session, move || {
            let left = if cuts.len() > 1 { cuts.pop().unwrap() } else { cuts[0] };
            Ok(Line::Cut(UnixStream::connect(&socket)?, left))
        })
    }

    pub fn new(session: &str, connect: impl FnMut() -> io::Result<Line> + 'static) -> Self {
        Self {
            session: Session::default(),
            name: session.to_owned(),
            decoder: Decoder::default(),
            line: None,
            connect: Box::new(connect),
            hello: None,
            messages: Vec::new(),
            data: Vec::new(),
            connects: 0,
            next_task: 1,
            bytes_in: 0,
            frame_ends: Vec::new(),
        }
    }

    /// The `join` in use.
    pub fn join_pid(&self) -> Option<u32> {
        match &self.line {
            Some(Line::Join(child, ..)) => Some(child.id()),
            _ => None,
        }
    }

    /// Opens a stream if there is none: hello, then what the agent has not got.
    pub fn connect(&mut self) {
        while self.line.is_none() {
            self.connects += 1;
            assert!(self.connects < 5000, "no progress");
            if let Some(refusal) = self.try_connect() {
                panic!("refused: {refusal}");
            }
        }
    }

    /// Opens a stream, which may break again at once; the reason if there is no agent or it refuses.
    fn try_connect(&mut self) -> Option<String> {
        self.decoder = Decoder::default();
        match (self.connect)() {
            Ok(line) => self.line = Some(line),
            Err(error) => return Some(error.to_string()),
        }
        let hello = PluginHello {
            protocol: PROTOCOL,
            version: "test".to_owned(),
            session: self.name.clone(),
            received: self.session.received(),
        };
        let frame = self
            .session
            .unnumbered(Kind::Hello, serde_json::to_vec(&hello).unwrap());
        self.write(&frame.encode().unwrap());
        let answer = self.next_frame(Instant::now() + PATIENCE)?;
        if answer.kind == Kind::Refusal {
            self.hang_up();
            return Some(String::from_utf8(answer.payload.into()).unwrap());
        }
        assert_eq!(answer.kind, Kind::Hello);
        let hello: AgentHello = serde_json::from_slice(&answer.payload).unwrap();
        self.session.accept(&answer).unwrap();
        for frame in self.session.resume(hello.received).unwrap() {
            self.write(&frame);
        }
        self.hello = Some(hello);
        None
    }

    fn write(&mut self, frame: &[u8]) {
        if self.line.as_mut().is_some_and(|line| !line.write(frame)) {
            self.hang_up();
        }
    }

    /// Closes the stream without a word.
    pub fn hang_up(&mut self) {
        if let Some(line) = self.line.take() {
            line.close();
        }
    }

    /// The next frame on the stream; `None` if the stream ended, and is then closed.
    fn next_frame(&mut self, deadline: Instant) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            let line = self.line.as_mut()?;
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "waited in vain for a frame; so far: {:?}",
                self.messages
            );
            let left = Timespec::try_from(left).unwrap();
            poll(
                &mut [PollFd::from_borrowed_fd(line.reader(), PollFlags::IN)],
                Some(&left),
            )
            .unwrap();
            let mut buffer = [0; 4096];
            match line.read(&mut buffer) {
                Ok(length) if length > 0 => {
                    self.bytes_in += length;
                    self.decoder.push(&buffer[..length]);
                }
                _ => {
                    self.hang_up();
                    return None;
                }
            }
        }
    }

    /// Sends a message, and sends it again on the next stream if this one breaks.
    pub fn send(&mut self, message: &ToAgent) {
        let frame = self.session.send(Payload::message(message).unwrap()).unwrap();
        if self.line.is_some() {
            self.write(&frame);
        }
        self.connect();
    }

    /// Takes in one frame, on as many streams as that takes.
    pub fn receive(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.connect();
            let Some(frame) = self.next_frame(deadline) else {
                continue;
            };
            self.frame_ends.push(self.bytes_in);
            match self.session.accept(&frame).unwrap() {
                Accepted::New => {
                    match frame.kind {
                        Kind::Message => self.messages.push(serde_json::from_slice(&frame.payload).unwrap()),
                        Kind::Data => {
                            let (id, bytes) = frame.payload.split_first_chunk().unwrap();
                            self.data.push((TaskId::from_be_bytes(*id), bytes.to_vec()));
                        }
                        other => {
                            assert_ne!(other, Kind::Refusal);
                            continue;
                        }
                    }
                    let heartbeat = self.session.unnumbered(Kind::Heartbeat, Vec::new());
                    self.write(&heartbeat.encode().unwrap());
                    return;
                }
                Accepted::Duplicate => assert_ne!(frame.kind, Kind::Refusal),
            }
        }
    }

    /// Starts a task.
    pub fn start(&mut self, task: Task) -> TaskId {
        let id = self.next_task;
        self.next_task += 1;
        self.send(&ToAgent::Task { id, task });
        id
    }

    /// Waits until a task is done; its events.
    pub fn done(&mut self, id: TaskId) -> Vec<Event> {
        loop {
            let done = self.messages.iter().find_map(|message| match message {
                FromAgent::Done { id: of, events, error } if *of == id => Some((*events, error.clone())),
                _ => None,
            });
            if let Some((count, error)) = done {
                assert_eq!(error, None);
                let events = self.events(id);
                let data = self.data.iter().filter(|(of, _)| *of == id).count();
                assert_eq!((events.len() + data) as u64, count);
                return events;
            }
            self.receive();
        }
    }

    /// The events of a task so far.
    pub fn events(&self, id: TaskId) -> Vec<Event> {
        let of_task = |message: &FromAgent| match message {
            FromAgent::Event { id: of, event } if *of == id => Some(event.clone()),
            _ => None,
        };
        self.messages.iter().filter_map(of_task).collect()
    }

    /// Does a task and waits for its end.
    pub fn task(&mut self, task: Task) -> Vec<Event> {
        let id = self.start(task);
        self.done(id)
    }

    /// Waits until a task has told so many events.
    pub fn wait_for_events(&mut self, id: TaskId, count: usize) -> Vec<Event> {
        while self.events(id).len() < count {
            self.receive();
        }
        self.events(id)
    }

    /// Ends the session: the agent's totals must be what was counted here.
    pub fn finish(&mut self) -> Totals {
        self.send(&ToAgent::Finish);
        let totals = loop {
            if let Some(FromAgent::End { totals }) = self.messages.last() {
                break *totals;
            }
            self.receive();
        };
        let count = |is: fn(&FromAgent) -> bool| self.messages.iter().filter(|message| is(message)).count() as u64;
        let counted = Totals {
            tasks: count(|message| matches!(message, FromAgent::Done { .. })),
            events: count(|message| matches!(message, FromAgent::Event { .. })),
            data_frames: self.data.len() as u64,
            data_bytes: self.data.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
        };
        assert_eq!(totals, counted);
        self.send(&ToAgent::EndReceived);
        totals
    }

    /// Ends the session and sees the agent end.
    pub fn finish_with(&mut self, agent: &mut Agent) {
        self.finish();
        // The last message may have been cut off: it is sent again until the agent is gone.
        let deadline = Instant::now() + PATIENCE;
        while !agent.has_ended() {
            assert!(Instant::now() < deadline, "the agent did not end");
            if let Some(line) = &mut self.line {
                let soon = Timespec {
                    tv_sec: 0,
                    tv_nsec: 5_000_000,
                };
                let mut fds = [PollFd::from_borrowed_fd(line.reader(), PollFlags::IN)];
                let ready = poll(&mut fds, Some(&soon)).unwrap() > 0;
                if ready && !matches!(line.read(&mut [0; 4096]), Ok(length) if length > 0) {
                    self.hang_up();
                }
                continue;
            }
            // A closed stream is how its end begins: it is given the time to end before it is called again.
            let soon = Instant::now() + Duration::from_millis(300);
            while !agent.has_ended() && Instant::now() < soon {
                thread::sleep(Duration::from_millis(2));
            }
            if !agent.has_ended() {
                // Refused means that it is gone by now.
                drop(self.try_connect());
            }
        }
        self.hang_up();
        let (status, words) = agent.wait();
        assert!(status.success(), "{status}: {words}");
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.hang_up();
    }
}
