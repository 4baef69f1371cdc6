//! The second stream of a session, which carries signs of life: where it ends, the session does. A terminal's own stream can't: its end
//! is not seen from inside, and what goes over it is the user's.

use super::{attached::Attachment, script::lifeline_command};
use crate::cluster::request::Problem;
use futures::future::BoxFuture;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachedProcess;
use std::{
    ops::ControlFlow::{self, Break, Continue},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, SimplexStream, WriteHalf},
    sync::oneshot,
    task::JoinHandle,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

/// How often a sign is given: several times before silence is taken for the end.
const EVERY: Duration = Duration::from_secs(3);
/// Pause before another stream, when one was cut.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How long a container may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// How long ending a session may take: the script waits a second between asking and insisting.
const END_WITHIN: Duration = Duration::from_secs(4);

/// Gives signs of life for as long as it lives.
#[derive(Debug)]
pub struct Lifeline {
    task: JoinHandle<()>,
    end: oneshot::Sender<()>,
}

impl Lifeline {
    /// Opens the first stream; later ones open themselves. `None`: there is no such container, or not yet.
    ///
    /// # Errors
    /// If the API server does not let it.
    pub async fn open(attachment: &Attachment, session: &str) -> Result<Option<Self>, Problem> {
        let (attachment, command) = (attachment.clone(), lifeline_command(session));
        let Some(first) = Stream::open(&attachment, &command).await? else {
            return Ok(None);
        };
        let (end, mut ends) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut stream = Some(first);
            loop {
                if let Some(stream) = stream.take()
                    && stream.give_signs(&mut ends).await.is_break()
                {
                    return;
                }
                tokio::select! {
                    _ = &mut ends => return,
                    () = sleep(AGAIN_AFTER) => {}
                }
                stream = Stream::open(&attachment, &command).await.ok().flatten();
            }
        });
        Ok(Some(Self { task, end }))
    }

    /// Ends the session now rather than by silence.
    pub async fn end(self) {
        let Self { mut task, end } = self;
        // Without a stream the script ends it by itself, later.
        let _ = end.send(());
        if timeout(END_WITHIN, &mut task).await.is_err() {
            task.abort();
        }
    }
}

/// One stream.
struct Stream {
    stdin: WriteHalf<SimplexStream>,
    status: BoxFuture<'static, Option<Status>>,
    /// Nothing more is read, but that it were gone would end the stream.
    _stdout: ReadHalf<SimplexStream>,
    _process: AttachedProcess,
}

impl Stream {
    /// `None` if nobody answers: an API server may open a stream before it knows whether there is a container behind it.
    async fn open(attachment: &Attachment, command: &[String]) -> Result<Option<Self>, Problem> {
        let mut process = attachment.execute(command).await?;
        let (Some(stdin), Some(mut stdout), Some(status)) = (process.stdin(), process.stdout(), process.take_status())
        else {
            return Ok(None);
        };
        let mut status = Box::pin(status);
        let mut word = [0; 5];
        let answered = tokio::select! {
            read = timeout(ANSWERS_WITHIN, stdout.read_exact(&mut word)) => matches!(read, Ok(Ok(_))),
            _ = &mut status => false,
        };
        Ok(answered.then_some(Self {
            stdin,
            status,
            _stdout: stdout,
            _process: process,
        }))
    }

    /// Breaks when the session was told to end, goes on when the stream ended.
    async fn give_signs(mut self, ends: &mut oneshot::Receiver<()>) -> ControlFlow<()> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = &mut self.status => return Continue(()),
                _ = &mut *ends => {
                    if self.stdin.write_all(b"end\n").await.is_ok() {
                        self.status.await;
                    }
                    return Break(());
                }
                _ = ticks.tick() => {
                    if self.stdin.write_all(b"alive\n").await.is_err() {
                        return Continue(());
                    }
                }
            }
        }
    }
}
