//! `netcheck-cni-daemon`: one on each node. It watches Nodes, the ConfigMap and the node's own pods, compares what the node holds with
//! what follows from them, and mends what differs: on every event, and once in a period. It may die at any time: all of its state is in
//! the API, the kernel and the plugin's files, and traffic needs no process of ours.

#![cfg_attr(
    test,
    allow(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at what it did not expect")
)]

mod actual;
mod apply;
mod arguments;
mod attachments;
mod cluster;
mod conflist;
mod host;
mod install;
mod keeper;
mod local;
mod metrics;
mod monitor;
mod nft;
mod publish;
mod serve;
mod state_json;
mod sysctl_before;

use anyhow::{Context as _, Result};
use arguments::Arguments;
use clap::Parser as _;
use cluster::Cluster;
use keeper::{Keeper, Outcome};
use metrics::{Kind, Metrics, Reason};
use monitor::{Monitor, Urgency};
use publish::Publisher;
use serve::Health;
use std::{
    fs,
    process::ExitCode,
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
/// How long what is hardly of interest may wait.
const SOON: Duration = Duration::from_secs(1);
/// The kubelet is told that we hang after this many periods without a turn.
const PERIODS_TO_LIVE: u32 = 4;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,kube=warn".into()),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    match runtime
        .context("cannot start")
        .and_then(|runtime| runtime.block_on(run(arguments)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let plugin = fs::read(&arguments.plugin)
        .with_context(|| format!("cannot read the plugin's binary {}; --plugin names it", arguments.plugin.display()))?;
    let listener = serve::listen(arguments.listen).await?;
    let client = kube::Client::try_default()
        .await
        .context("cannot tell where the API server is; the service account's token, or KUBECONFIG, is needed")?;
    let node = arguments.node.clone();
    let metrics = Arc::new(Metrics::default());
    let health = Arc::new(Health::new(Duration::from_mins(2)));
    tokio::spawn(serve::serve(listener, health.clone(), metrics.clone()));

    let cluster = Arc::new(Cluster::default());
    tokio::spawn({
        let (cluster, client, node) = (cluster.clone(), client.clone(), node.clone());
        async move { cluster.watch(&client, &node).await }
    });
    let (now, soon) = listen_to_kernel()?;
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
            () = now.notified() => sleep(GATHER).await,
            () = soon.notified() => sleep(SOON).await,
            () = sleep(again_after) => {}
        }
    }
}

/// A thread that waits for the kernel's events, each kind of which rings its bell.
fn listen_to_kernel() -> Result<(Arc<Notify>, Arc<Notify>)> {
    let monitor = Monitor::open().context("cannot listen to the kernel's events")?;
    let bells = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (now, soon) = bells.clone();
    let listen = move || {
        loop {
            match monitor.wait() {
                Ok(Urgency::Now) => now.notify_one(),
                Ok(Urgency::Soon) => soon.notify_one(),
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
    Ok(bells)
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
        let again_after = if is_told { outcome.again_after } else { outcome.again_after.min(SOON) };
        self.health.turned(again_after * PERIODS_TO_LIVE + Duration::from_mins(1), outcome.not_ready);
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
            metrics.changes.get_or_create(&Kind { kind: kind.clone() }).inc_by(*count);
        }
        for (kind, count) in &outcome.applied.not_made {
            metrics.failed_changes.get_or_create(&Kind { kind: kind.clone() }).inc_by(*count);
        }
        metrics.endpoints.set(outcome.counts.endpoints as i64);
        metrics.peers.set(outcome.counts.peers as i64);
        metrics.refused_nodes.set(outcome.counts.refused as i64);
        metrics.degraded.clear();
        for reason in &outcome.degraded {
            let reason = Reason { reason: reason.to_string() };
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
