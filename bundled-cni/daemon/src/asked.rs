//! Passes that somebody asks for: `netcheck-cni-daemon reconcile` asks the daemon of its node to look at everything now, and hears what came of it.

use crate::keeper::Outcome;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};

/// Where it is asked for.
pub const PATH: &str = "/reconcile";
/// How long a pass may take, those before it included.
const WITHIN: Duration = Duration::from_mins(1);
/// Askers that may wait: a pass answers all of them.
const WAITING: usize = 16;

/// What a pass did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// Changes made, by kind.
    pub changed: BTreeMap<String, u64>,
    /// What failed, a line each.
    pub failed: Vec<String>,
}

impl Answer {
    /// Of a pass.
    pub fn of(outcome: &Outcome) -> Self {
        Self {
            changed: outcome.applied.made.clone(),
            failed: outcome.applied.failed.clone(),
        }
    }
}

/// The askers' end.
#[derive(Debug, Clone)]
pub struct Asking(mpsc::Sender<oneshot::Sender<Answer>>);

/// The daemon's end.
#[derive(Debug)]
pub struct Asked(mpsc::Receiver<oneshot::Sender<Answer>>);

/// Both ends.
pub fn channel() -> (Asking, Asked) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (Asking(sender), Asked(receiver))
}

impl Asking {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub async fn ask(&self) -> Result<Answer, String> {
        let (sender, answer) = oneshot::channel();
        self.0
            .try_send(sender)
            .map_err(|_| "too many ask at once, or the daemon ends".to_owned())?;
        match timeout(WITHIN, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err("the daemon ends".to_owned()),
            Err(_) => Err(format!("no pass ended within {} s", WITHIN.as_secs())),
        }
    }
}

impl Asked {
    /// Waits until somebody asks; all who do by then.
    pub async fn next(&mut self) -> Vec<oneshot::Sender<Answer>> {
        let Some(first) = self.0.recv().await else {
            // Nobody can ask any more.
            return std::future::pending().await;
        };
        let mut all = vec![first];
        while let Ok(another) = self.0.try_recv() {
            all.push(another);
        }
        all
    }
}

/// Asks the daemon that listens at an address, and gives its answer as it came: JSON.
///
/// # Errors
/// If none listens, it does not answer, or something could not be mended.
pub fn ask_at(address: SocketAddr) -> Result<String> {
    let patience = WITHIN + Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))
        .with_context(|| format!("no daemon listens on {address}"))?;
    stream.set_read_timeout(Some(patience)).context("cannot wait for it")?;
    write!(
        stream,
        "POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .with_context(|| format!("the daemon on {address} does not listen to what is asked"))?;
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .with_context(|| format!("the daemon on {address} does not answer"))?;
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        bail!("the daemon on {address} answers what is no HTTP: {text:?}");
    };
    ensure!(
        head.starts_with("HTTP/1.1 200 "),
        "the daemon on {address} says: {}",
        body.trim()
    );
    Ok(body.to_owned())
}
