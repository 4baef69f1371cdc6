//! What makes the passes turn: watches, kernel events, time; and what is said of each.

use crate::{
    arguments::Arguments,
    asked::{self, Answer},
    cluster::Cluster,
    connection::Connection,
    counting, events,
    keeper::{Keeper, Outcome},
    metrics::{Kind, Metrics, Reason},
    monitor::Ears,
    operations,
    publish::Statement,
    serve::{self, Health},
};
use anyhow::{Context as _, Result};
use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, oneshot, watch},
    time::{sleep, timeout},
};

/// Events that come together are dealt with together.
const GATHER: Duration = Duration::from_millis(50);
/// How long the API server may take to list the Nodes once more: nobody keeps the node's network meanwhile.
const LISTED_WITHIN: Duration = Duration::from_secs(10);
/// The kubelet is told that we hang after this many periods without a turn.
const PERIODS_TO_LIVE: u32 = 4;

/// Runs until a signal ends it.
pub async fn run(arguments: Arguments) -> Result<()> {
    let plugin = fs::read(&arguments.plugin).with_context(|| {
        format!(
            "cannot read the plugin's binary {}; --plugin names it",
            arguments.plugin.display()
        )
    })?;
    let listener = serve::listen(arguments.listen).await?;
    let node = arguments.node.clone();
    let cluster = Arc::new(Cluster::default());
    let statements = watch::Sender::new(Statement::default());
    let connection = Connection::open(&cluster, &node, &statements).await?;
    let metrics = Arc::new(Metrics::new(counting::root(&arguments.places)));
    let health = Arc::new(Health::new(Duration::from_mins(2)));
    let (asking, mut asked) = asked::channel();
    tokio::spawn(serve::serve(listener, health.clone(), metrics.clone(), asking));

    let kernel = listen_to_kernel()?;
    events::read(counting::root(&arguments.places), metrics.clone()).context("cannot start a thread")?;
    operations::listen(&arguments.places.state, metrics.clone()).context("cannot start a thread")?;
    let mut daemon = Daemon {
        keeper: Keeper::new(arguments, plugin),
        statements,
        node,
        connection,
        cluster,
        metrics,
        health,
    };
    let mut terminated = signal(SignalKind::terminate()).context("cannot take signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot take signals")?;
    tracing::info!(node = daemon.node, version = env!("CARGO_PKG_VERSION"), "started");
    let mut askers: Vec<oneshot::Sender<Answer>> = Vec::new();
    loop {
        let (again_after, answer) = daemon.turn().await;
        for asker in std::mem::take(&mut askers) {
            // Who does not wait any more is not told.
            drop(asker.send(answer.clone()));
        }
        tokio::select! {
            // Everything stays as it is: the next of us finds it.
            _ = terminated.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            () = daemon.cluster.changed() => sleep(GATHER).await,
            () = kernel.notified() => sleep(GATHER).await,
            asking = asked.next() => {
                askers = asking;
                daemon.keeper.look_at_all();
            }
            () = sleep(again_after) => {}
        }
    }
}

/// A thread that waits for the kernel's events, each of which rings the bell.
fn listen_to_kernel() -> Result<Arc<Notify>> {
    let mut ears = Ears::open().context("cannot listen to the kernel's events")?;
    let bell = Arc::new(Notify::new());
    let rung = bell.clone();
    let listen = move || {
        loop {
            match ears.wait() {
                Ok(()) => rung.notify_one(),
                Err(error) => {
                    // The period remains.
                    tracing::warn!(%error, "cannot listen to the kernel's events any more");
                    return;
                }
            }
        }
    };
    thread::Builder::new()
        .name("kernel-events".to_owned())
        .spawn(listen)
        .context("cannot start a thread")?;
    Ok(bell)
}

struct Daemon {
    node: String,
    connection: Connection,
    cluster: Arc<Cluster>,
    keeper: Keeper,
    /// What is to be said of the node; saying it takes as long as the API server takes, and nobody waits for that.
    statements: watch::Sender<Statement>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Daemon {
    /// One pass and what is said of it; when to look again at the latest, and what was done.
    async fn turn(&mut self) -> (Duration, Answer) {
        let mut outcome = self.pass(false);
        if self.keeper.has_lost_address() {
            self.connect_anew().await;
        }
        if outcome.list_again {
            let list = self.cluster.list_nodes_again(&self.connection.client);
            match timeout(LISTED_WITHIN, list).await {
                Ok(Ok(())) => outcome = self.pass(true),
                Ok(Err(error)) => tracing::warn!(%error, "cannot list the Nodes again; nothing is removed"),
                Err(_) => tracing::warn!("the API server does not list the Nodes again; nothing is removed"),
            }
        }
        let answer = Answer::of(&outcome);
        self.statements.send_replace(Statement {
            annotations: outcome.annotations,
            conditions: outcome.conditions,
        });
        let again_after = outcome.again_after;
        self.health.turned(
            again_after * PERIODS_TO_LIVE + Duration::from_mins(1),
            outcome.not_ready,
        );
        (again_after, answer)
    }

    /// Connections that were made from an address that is gone are dead, and the news of the node's other address would come by them.
    async fn connect_anew(&mut self) {
        tracing::info!("an address of this node is gone: connecting to the API server anew");
        match Connection::open(&self.cluster, &self.node, &self.statements).await {
            Ok(connection) => self.connection = connection,
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    fn pass(&mut self, was_asked_again: bool) -> Outcome {
        let view = self.cluster.view();
        let started = Instant::now();
        let keeper = &mut self.keeper;
        let outcome = tokio::task::block_in_place(|| keeper.pass(&view, was_asked_again));
        self.metrics.pass_duration.observe(started.elapsed().as_secs_f64());
        self.count(&outcome);
        outcome
    }

    fn count(&self, outcome: &Outcome) {
        let metrics = &self.metrics;
        for (kind, count) in &outcome.applied.made {
            metrics
                .changes
                .get_or_create(&Kind { kind: kind.clone() })
                .inc_by(*count);
        }
        for (kind, count) in &outcome.applied.not_made {
            metrics
                .failed_changes
                .get_or_create(&Kind { kind: kind.clone() })
                .inc_by(*count);
        }
        metrics
            .endpoints
            .set(outcome.counts.endpoints.try_into().unwrap_or(i64::MAX));
        metrics.peers.set(outcome.counts.peers.try_into().unwrap_or(i64::MAX));
        metrics
            .refused_nodes
            .set(outcome.counts.refused.try_into().unwrap_or(i64::MAX));
        metrics.degraded.clear();
        for reason in &outcome.degraded {
            let reason = Reason {
                reason: reason.to_string(),
            };
            metrics.degraded.get_or_create(&reason).set(1);
        }
    }
}
