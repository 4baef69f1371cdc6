//! Streams to agents: `netcheck-agent join`, executed in the agent's container over a WebSocket.

use super::{
    link::{Dial, DialError},
    manifest::join_command,
};
use crate::cluster::request::{Problem, attempt};
use futures::future::BoxFuture;
use k8s_openapi::{api::core::v1::Pod, apimachinery::pkg::apis::meta::v1::Status};
use kube::{
    Api,
    api::{AttachParams, AttachedProcess},
};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, ReadHalf, SimplexStream, WriteHalf};

/// Bytes the client library buffers per direction; its own default of 1 KiB costs a wake-up for nearly every frame.
const BUFFER: usize = 1 << 18;

/// Opens streams to one agent.
pub struct ExecDial {
    /// API of the pod's namespace.
    pub pods: Api<Pod>,
    /// The pod.
    pub pod: String,
    /// The agent's container in it.
    pub container: String,
    /// The session the agent serves.
    pub session: String,
    /// How long the API server may take to open a stream.
    pub limit: Duration,
}

impl Dial for ExecDial {
    type Stream = ExecStream;

    async fn dial(&mut self) -> Result<ExecStream, DialError> {
        let params = AttachParams {
            container: Some(self.container.clone()),
            stdin: true,
            stdout: true,
            stderr: false,
            tty: false,
            max_stdin_buf_size: Some(BUFFER),
            max_stdout_buf_size: Some(BUFFER),
            max_stderr_buf_size: None,
        };
        let opened = attempt(
            self.limit,
            self.pods.exec(&self.pod, join_command(&self.session), &params),
        )
        .await;
        let process = opened.map_err(|problem| dial_error(&problem))?;
        ExecStream::new(process).ok_or_else(|| DialError::Never("the client library opened no pipes".to_owned()))
    }
}

fn dial_error(problem: &Problem) -> DialError {
    if let Problem::Late(limit) = problem {
        return DialError::Retry(format!("the API server opened no stream within {} s", limit.as_secs()));
    }
    match (problem.code(), problem) {
        (Some(403), _) => DialError::Forbidden(
            "exec into the agent is forbidden (needs get and create on pods/exec; kubectl netcheck rbac prints the role)"
                .to_owned(),
        ),
        (Some(404), _) => DialError::Never("the agent's pod is gone".to_owned()),
        // Retried all the same: an authenticator that cannot be asked right now answers like this too.
        (Some(401), _) => DialError::Retry("the API server does not accept the credentials (any more)".to_owned()),
        (Some(code), _) => DialError::Retry(format!("the API server refused to open a stream with HTTP {code}")),
        (None, Problem::Api(error)) => DialError::Retry(format!("no stream: {error}")),
        (None, Problem::Late(_)) => DialError::Retry("no stream in time".to_owned()),
    }
}

/// Both pipes of an executed process as one stream.
pub struct ExecStream {
    reader: ReadHalf<SimplexStream>,
    writer: WriteHalf<SimplexStream>,
    /// Resolves with what the process ended with, or with `None` when the connection broke. `None` here once it did.
    status: Option<BoxFuture<'static, Option<Status>>>,
    failure: Option<String>,
    /// Ends the connection when dropped.
    _process: AttachedProcess,
}

impl ExecStream {
    fn new(mut process: AttachedProcess) -> Option<Self> {
        let (reader, writer) = (process.stdout()?, process.stdin()?);
        let status = Box::pin(process.take_status()?);
        Some(Self {
            reader,
            writer,
            status: Some(status),
            failure: None,
            _process: process,
        })
    }

    /// Looks whether the process or the connection has ended. On a broken connection the client library leaves its pipe open,
    /// so the pipe alone would not tell.
    fn poll_status(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(status) = &mut self.status else {
            return Poll::Pending;
        };
        let Poll::Ready(status) = status.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.status = None;
        match status {
            None => Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection broke",
            ))),
            Some(status) => {
                if status.status.as_deref() == Some("Failure") {
                    self.failure = status.message;
                }
                Poll::Pending
            }
        }
    }
}

impl AsyncRead for ExecStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.reader).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => {
                // The end; the status came before it and says whether the process could run at all.
                if let Poll::Ready(Err(error)) = self.poll_status(cx) {
                    return Poll::Ready(Err(error));
                }
                Poll::Ready(match self.failure.take() {
                    Some(why) => Err(io::Error::other(why)),
                    None => Ok(()),
                })
            }
            Poll::Pending => self.poll_status(cx),
            Poll::Ready(read) => Poll::Ready(read),
        }
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_attempt_can_mend_is_told_from_what_one_may() {
        let answered = |code| {
            let status = kube::core::Status {
                code,
                ..kube::core::Status::default()
            };
            dial_error(&Problem::Api(kube::Error::Api(Box::new(status))))
        };
        assert!(matches!(answered(403), DialError::Forbidden(_)));
        assert!(matches!(answered(404), DialError::Never(_)));
        assert!(matches!(answered(401), DialError::Retry(_)));
        assert!(matches!(answered(500), DialError::Retry(_)));
    }
}
