//! One attached stream: what is typed goes in, what comes out is shown, and how it ended is told apart.

use super::{
    keys::{DetachKeys, Typed},
    marks::{Marks, Said},
};
use crate::{
    cluster::request::{Problem, attempt},
    exit::Failure,
    output::{Interrupt, RawMode},
};
use futures::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{AttachParams, AttachedProcess, TerminalSize},
};
use rustix::termios::tcgetwinsize;
use std::{
    io::{self, Read as _},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, SimplexStream, WriteHalf},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

/// Bytes that the client library buffers in each direction.
const BUFFER: usize = 1 << 16;
/// How long the first of the keys that leave waits for the second.
const KEYS_WITHIN: Duration = Duration::from_millis(700);
/// How often the script is asked whether it is heard.
const ASK_EVERY: Duration = Duration::from_millis(300);
/// How long a command may take to begin, once somebody is there.
const BEGIN_WITHIN: Duration = Duration::from_secs(15);
/// How long what is left of a broken stream may take to be read.
const REST_WITHIN: Duration = Duration::from_millis(300);

/// A container to attach to.
#[derive(Debug, Clone)]
pub struct Attachment {
    /// API of its pod's namespace.
    pub pods: Api<Pod>,
    /// The pod.
    pub pod: String,
    /// The container in it.
    pub container: String,
    /// How long the API server may take to open a stream.
    pub limit: Duration,
}

impl Attachment {
    /// Attaches to the container's main process.
    ///
    /// # Errors
    /// If the API server opens no stream.
    pub async fn open(&self, io: Io) -> Result<AttachedProcess, Problem> {
        attempt(self.limit, self.pods.attach(&self.pod, &self.params(io))).await
    }

    /// Executes a command beside it, of which only stdin matters.
    pub(super) async fn execute(&self, command: &[String]) -> Result<AttachedProcess, Problem> {
        let io = Io {
            tty: false,
            stdin: true,
        };
        attempt(self.limit, self.pods.exec(&self.pod, command, &self.params(io))).await
    }

    fn params(&self, io: Io) -> AttachParams {
        AttachParams {
            container: Some(self.container.clone()),
            // Always: by a line on it a command starts.
            stdin: true,
            stdout: true,
            stderr: !io.tty,
            tty: io.tty,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: Some(BUFFER),
        }
    }
}

/// What of the user's is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Io {
    /// The terminal, raw.
    pub tty: bool,
    /// What is typed or piped.
    pub stdin: bool,
}

/// How a session is held.
#[derive(Debug, Clone)]
pub struct Manner {
    /// What is connected.
    pub io: Io,
    /// Its command waits to be started; otherwise it runs since an earlier session.
    pub fresh: bool,
    /// Of its marks.
    pub token: String,
}

/// How a session ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its command did, and this is the code; all output has arrived.
    Said(Said),
    /// Its command did, and this is the code; but output may be missing, as its beginning is. A runtime may pass on what is typed before
    /// it passes on output (containerd: `ContainerIO.Attach`).
    Missed(Said),
    /// Its container did, without a word: killed, or its pod deleted.
    Silent,
    /// The stream broke, and what became of the command is not known.
    Cut,
    /// The command never began.
    NotBegun,
    /// The user left by the keys for it.
    Detached,
    /// The user's terminal is gone, or wants the plugin to end.
    Interrupted,
    /// Nobody reads the output any more.
    ReaderLeft,
}

/// Connects the user until something ends it. The terminal is as before afterwards, whatever happens.
///
/// # Errors
/// If there is no terminal to be had, or output cannot be written.
pub async fn attach(mut process: AttachedProcess, manner: &Manner, interrupt: &Interrupt) -> Result<End, Failure> {
    let broken = || Failure::unknown("the client library opened no pipes");
    let stdin = process.stdin().ok_or_else(broken)?;
    let mut out = Output::new(process.stdout().ok_or_else(broken)?, manner, Target::Out);
    let mut err = process.stderr().map(|stream| Output::new(stream, manner, Target::Err));
    let mut status = std::pin::pin!(process.take_status().ok_or_else(broken)?);
    let mut sizes = process.terminal_size();
    let cannot = |error: io::Error| Failure::unknown(format!("cannot use the terminal: {error}"));
    let mut resized = signal(SignalKind::window_change()).map_err(cannot)?;
    let _raw = if manner.io.tty {
        Some(RawMode::enter().map_err(cannot)?)
    } else {
        None
    };
    if let Some(sizes) = &mut sizes {
        if !manner.fresh {
            // Another size makes whatever runs there draw itself anew: a prompt, or a whole screen.
            send_size(sizes, 1).await;
        }
        send_size(sizes, 0).await;
    }
    let (tell, heard) = oneshot::channel();
    let mut tell = Some(tell);
    let first = manner.fresh.then_some(heard);
    let mut typing = Typing(tokio::spawn(forward(stdin, manner.io, first)));
    let begin_by = Instant::now() + BEGIN_WITHIN;
    let mut server_ended = false;
    loop {
        if out.is_complete() && err.as_ref().is_none_or(Output::is_complete) {
            return Ok(ended([Some(&out), err.as_ref()]));
        }
        if server_ended && out.is_over() && err.as_ref().is_none_or(Output::is_over) {
            return Ok(End::Silent);
        }
        // Only waiting here: what is dropped because something else came first has done nothing yet.
        let shown = tokio::select! {
            read = out.read() => (Target::Out, read),
            (target, read) = read_of(&mut err) => (target, read),
            ended = &mut status, if !server_ended => {
                if ended.is_some() {
                    server_ended = true;
                    continue;
                }
                return rest_of_broken(&mut out, &mut err).await;
            }
            left = &mut typing.0 => {
                return Ok(if left.is_ok_and(|left| left == Left::ByKeys) { End::Detached } else { End::Interrupted });
            }
            _ = resized.recv(), if sizes.is_some() => {
                if let Some(sizes) = &mut sizes {
                    send_size(sizes, 0).await;
                }
                continue;
            }
            () = interrupt.requested() => return Ok(End::Interrupted),
            () = sleep_until(begin_by), if !out.marks.has_begun() => return Ok(End::NotBegun),
        };
        if out.marks.has_heard()
            && err.as_ref().is_none_or(|err| err.marks.has_heard())
            && let Some(tell) = tell.take()
        {
            // Whoever does not wait for it has gone.
            let _ = tell.send(());
        }
        let written = tokio::select! {
            written = write(shown.0, &shown.1) => written?,
            () = interrupt.requested() => return Ok(End::Interrupted),
        };
        if written == Written::ReaderLeft {
            return Ok(End::ReaderLeft);
        }
    }
}

/// What streams that are complete say together.
fn ended(outputs: [Option<&Output>; 2]) -> End {
    let marks: Vec<&Marks> = outputs.into_iter().flatten().map(|output| &output.marks).collect();
    match marks.first().and_then(|marks| marks.last()).cloned() {
        Some(said) if marks.iter().all(|marks| marks.is_whole()) => End::Said(said),
        Some(said) => End::Missed(said),
        None => End::Silent,
    }
}

/// The library leaves the pipes of a broken stream open: what is in them may be all that was missing.
async fn rest_of_broken(out: &mut Output, err: &mut Option<Output>) -> Result<End, Failure> {
    for output in [Some(&mut *out), err.as_mut()].into_iter().flatten() {
        while !output.is_over()
            && let Ok(rest) = timeout(REST_WITHIN, output.read()).await
        {
            write(output.target, &rest).await?;
        }
        if !output.is_complete() {
            return Ok(End::Cut);
        }
    }
    Ok(ended([Some(out), err.as_ref()]))
}

/// Ends with the session, however that ends.
struct Typing(JoinHandle<Left>);

impl Drop for Typing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How the user left.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    ByKeys,
    /// The terminal gives nothing any more.
    WithTheTerminal,
}

/// Sends what starts the command, if that is to be started, and then what is typed. `heard` comes once all that is said there arrives here.
async fn forward(mut stdin: WriteHalf<SimplexStream>, io: Io, heard: Option<oneshot::Receiver<()>>) -> Left {
    let started = match heard {
        Some(heard) => start(&mut stdin, heard).await,
        None => Ok(()),
    };
    if started.is_err() || !io.stdin {
        return keep_open(stdin).await;
    }
    let mut typed = read_stdin();
    let mut keys = DetachKeys::default();
    loop {
        let bytes = tokio::select! {
            piece = typed.recv() => match piece {
                Some(piece) if io.tty => {
                    let Typed { bytes, detaches } = keys.scan(&piece);
                    if detaches {
                        return Left::ByKeys;
                    }
                    bytes
                }
                Some(piece) => piece,
                None if io.tty => return Left::WithTheTerminal,
                None => {
                    // The end of what was piped is the end of the command's input, not of the session.
                    let _ = stdin.shutdown().await;
                    return keep_open(stdin).await;
                }
            },
            () = sleep(KEYS_WITHIN), if keys.holds() => keys.let_go(),
        };
        if stdin.write_all(&bytes).await.is_err() {
            return keep_open(stdin).await;
        }
    }
}

/// Asks until an answer is heard, and has the command begin: any output would be lost until then.
async fn start(stdin: &mut WriteHalf<SimplexStream>, mut heard: oneshot::Receiver<()>) -> io::Result<()> {
    loop {
        stdin.write_all(b"\n").await?;
        if timeout(ASK_EVERY, &mut heard).await.is_ok() {
            return stdin.write_all(b"go\n").await;
        }
    }
}

/// That the stream broke, its status tells.
async fn keep_open(stdin: WriteHalf<SimplexStream>) -> Left {
    std::future::pending::<()>().await;
    drop(stdin);
    Left::WithTheTerminal
}

/// Reads stdin in a thread of its own, which the end of the program does not wait for.
fn read_stdin() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(8);
    std::thread::spawn(move || {
        let mut buffer = [0; 1 << 14];
        let mut stdin = io::stdin().lock();
        loop {
            match stdin.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return,
                Ok(read) => {
                    if sender.blocking_send(buffer[..read].to_vec()).is_err() {
                        return;
                    }
                }
            }
        }
    });
    receiver
}

async fn send_size(sizes: &mut futures::channel::mpsc::Sender<TerminalSize>, less: u16) {
    // A terminal without a size is no reason to end anything.
    if let Ok(size) = tcgetwinsize(io::stdin())
        && size.ws_col > less
    {
        let size = TerminalSize {
            width: size.ws_col - less,
            height: size.ws_row,
        };
        let _ = sizes.send(size).await;
    }
}

/// Where output goes.
#[derive(Debug, Clone, Copy)]
enum Target {
    Out,
    Err,
}

/// One stream of output.
struct Output {
    stream: ReadHalf<SimplexStream>,
    marks: Marks,
    target: Target,
    closed: bool,
    buffer: Vec<u8>,
}

impl Output {
    fn new(stream: ReadHalf<SimplexStream>, manner: &Manner, target: Target) -> Self {
        Self {
            stream,
            marks: Marks::new(&manner.token, manner.fresh),
            target,
            closed: false,
            buffer: vec![0; BUFFER],
        }
    }

    /// The last mark has come, and so all before it.
    fn is_complete(&self) -> bool {
        self.marks.last().is_some()
    }

    /// Nothing more will come of it.
    fn is_over(&self) -> bool {
        self.closed || self.is_complete()
    }

    /// The next piece to show. Never resolves once there is none.
    async fn read(&mut self) -> Vec<u8> {
        if self.is_over() {
            return std::future::pending().await;
        }
        let read = self.stream.read(&mut self.buffer).await.unwrap_or(0);
        if read > 0 {
            return self.marks.scan(&self.buffer[..read]);
        }
        self.closed = true;
        self.marks.rest()
    }
}

async fn read_of(output: &mut Option<Output>) -> (Target, Vec<u8>) {
    match output {
        Some(output) => (output.target, output.read().await),
        None => std::future::pending().await,
    }
}

/// What became of a piece of output.
#[derive(Debug, PartialEq, Eq)]
enum Written {
    Whole,
    ReaderLeft,
}

async fn write(target: Target, bytes: &[u8]) -> Result<Written, Failure> {
    let written = match target {
        _ if bytes.is_empty() => Ok(()),
        Target::Out => write_to(tokio::io::stdout(), bytes).await,
        Target::Err => write_to(tokio::io::stderr(), bytes).await,
    };
    match written {
        Ok(()) => Ok(Written::Whole),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::ReaderLeft),
        Err(error) => Err(Failure::unknown(format!("cannot write the session's output: {error}"))),
    }
}

async fn write_to(mut stream: impl tokio::io::AsyncWrite + Unpin, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}
