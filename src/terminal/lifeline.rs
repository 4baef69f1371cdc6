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
    io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, SimplexStream, WriteHalf},
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

/// Gives signs of life for as long as it lives. That it is dropped ends nothing at once.
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

    /// Breaks when there is nobody any more to give signs of, goes on when the stream ended.
    async fn give_signs(self, ends: &mut oneshot::Receiver<()>) -> ControlFlow<()> {
        signs(self.stdin, self.status, ends).await
    }
}

/// Only one that was told to end ends its session: one that is dropped leaves it to itself, as a session that is kept must be.
async fn signs(
    mut stdin: impl AsyncWrite + Unpin,
    mut status: BoxFuture<'static, Option<Status>>,
    ends: &mut oneshot::Receiver<()>,
) -> ControlFlow<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut status => return Continue(()),
            told = &mut *ends => {
                if told.is_ok() && stdin.write_all(b"end\n").await.is_ok() {
                    status.await;
                }
                return Break(());
            }
            _ = ticks.tick() => {
                if stdin.write_all(b"alive\n").await.is_err() {
                    return Continue(());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is written by signs whose end comes by this.
    async fn written(end: impl FnOnce(oneshot::Sender<()>)) -> String {
        let (stdin, mut container) = tokio::io::duplex(64);
        let (sender, mut ends) = oneshot::channel();
        let status = Box::pin(async {
            sleep(EVERY / 2).await;
            None
        });
        let signs = tokio::spawn(async move { signs(stdin, status, &mut ends).await });
        let mut first = [0; 6];
        container.read_exact(&mut first).await.unwrap();
        end(sender);
        let mut rest = String::new();
        container.read_to_string(&mut rest).await.unwrap();
        assert!(signs.await.unwrap().is_break());
        String::from_utf8_lossy(&first).into_owned() + &rest
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_is_ended_by_a_word_and_not_by_nobodys_listening() {
        assert_eq!(written(drop).await, "alive\n");
        let told = written(|sender| sender.send(()).unwrap()).await;
        assert!(told.starts_with("alive\n") && told.ends_with("end\n"), "{told}");
    }
}
