//! What makes the passes turn: watches, kernel events, time; and what is said of each.

use crate::{
    arguments::Arguments,
    cluster::Cluster,
    counting, events,
    keeper::{Keeper, Outcome},
    metrics::{Kind, Metrics, Reason},
    monitor::Ears,
    operations,
    publish::Publisher,
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
    sync::Notify,
    time::sleep,
};

/// Events that come together are dealt with together.
const GATHER: Duration = Duration::from_millis(50);
/// After how long what the API server has not taken is said again.
const SAY_AGAIN: Duration = Duration::from_secs(1);
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
    let client = kube::Client::try_default()
        .await
        .context("cannot tell where the API server is; the service account's token, or KUBECONFIG, is needed")?;
    let node = arguments.node.clone();
    let metrics = Arc::new(Metrics::new(counting::root(&arguments.places)));
    let health = Arc::new(Health::new(Duration::from_mins(2)));
    tokio::spawn(serve::serve(listener, health.clone(), metrics.clone()));

    let cluster = Arc::new(Cluster::default());
    tokio::spawn({
        let (cluster, client, node) = (cluster.clone(), client.clone(), node.clone());
        async move { cluster.watch(&client, &node).await }
    });
    let kernel = listen_to_kernel()?;
    events::read(counting::root(&arguments.places), metrics.clone()).context("cannot start a thread")?;
    operations::listen(&arguments.places.state, metrics.clone()).context("cannot start a thread")?;
    let mut daemon = Daemon {
        keeper: Keeper::new(arguments, plugin),
        publisher: Publisher::new(client.clone(), &node),
        node,
        client,
        cluster,
        metrics,
        health,
    };
    let mut terminated = signal(SignalKind::terminate()).context("cannot take signals")?;
    let mut interrupted = signal(SignalKind::interrupt()).context("cannot take signals")?;
    tracing::info!(node = daemon.node, version = env!("CARGO_PKG_VERSION"), "started");
    loop {
        let again_after = daemon.turn().await;
        tokio::select! {
            // Everything stays as it is: the next of us finds it.
            _ = terminated.recv() => return Ok(()),
            _ = interrupted.recv() => return Ok(()),
            () = daemon.cluster.changed() => sleep(GATHER).await,
            () = kernel.notified() => sleep(GATHER).await,
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
    client: kube::Client,
    cluster: Arc<Cluster>,
    keeper: Keeper,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

impl Daemon {
    /// One pass and what is said of it; when to look again at the latest.
    async fn turn(&mut self) -> Duration {
        let mut outcome = self.pass(false);
        if outcome.list_again {
            match self.cluster.list_nodes_again(&self.client).await {
                Ok(()) => outcome = self.pass(true),
                Err(error) => tracing::warn!(%error, "cannot list the Nodes again; nothing is removed"),
            }
        }
        let is_told = self.publish(&outcome).await;
        let again_after = if is_told {
            outcome.again_after
        } else {
            outcome.again_after.min(SAY_AGAIN)
        };
        self.health.turned(
            again_after * PERIODS_TO_LIVE + Duration::from_mins(1),
            outcome.not_ready,
        );
        again_after
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

    /// Says of the node what is to be said; whether the API server has taken it.
    async fn publish(&mut self, outcome: &Outcome) -> bool {
        let view = self.cluster.view();
        let own = view.nodes.as_ref().and_then(|nodes| nodes.get(&self.node));
        let mut is_told = true;
        if let Some(own) = own
            && let Err(error) = self.publisher.annotations(own, &outcome.annotations).await
        {
            tracing::warn!("{error:#}");
            is_told = false;
        }
        if !outcome.conditions.is_empty()
            && let Err(error) = self.publisher.conditions(&outcome.conditions).await
        {
            tracing::warn!("{error:#}");
            is_told = false;
        }
        is_told
    }
}
