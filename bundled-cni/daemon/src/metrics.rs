//! What is counted, in the names that SPEC.md, section 9.6, gives.

use crate::counted::Counted;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use std::{fmt, path::PathBuf};

/// All metrics of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Attachments that are alive.
    pub endpoints: Gauge,
    /// Accepted peers.
    pub peers: Gauge,
    /// Nodes that are refused.
    pub refused_nodes: Gauge,
    /// Changes made, by kind of object.
    pub changes: Family<Kind, Counter>,
    /// Changes that failed, by kind of object.
    pub failed_changes: Family<Kind, Counter>,
    /// How long a pass takes, in seconds.
    pub pass_duration: Histogram,
    /// One for each reason for which the node is degraded now.
    pub degraded: Family<Reason, Gauge>,
    /// Sampled flow events that were read, by the reason of `nc_reason`.
    pub events: Family<Reason, Counter>,
    /// How long the plugin's calls take, in seconds.
    pub operation_duration: Family<Operation, Histogram, fn() -> Histogram>,
    /// The plugin's calls that did not succeed.
    pub operation_failures: Family<OperationFailure, Counter>,
}

/// What a runtime asks the plugin for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    /// `ADD`, `DEL` …
    pub verb: String,
}

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationFailure {
    /// `ADD`, `DEL` …
    pub verb: String,
    /// By SPEC.md, section 8.2.
    pub code: u32,
}

/// The kind of a changed object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// `link`, `address`, `route`, `foreign route`, `neighbour`, `fdb`, `sysctl`, `nft`, `bpf`, `file`.
    pub kind: String,
}

/// Why something is degraded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// As in the Node's condition.
    pub reason: String,
}

/// Names and values, for what is not of one type.
pub type Labels = Vec<(&'static str, String)>;

fn durations() -> Histogram {
    // From 1 ms to 8 s.
    Histogram::new(exponential_buckets(0.001, 2.0, 14))
}

impl Metrics {
    /// Nothing is counted yet. `bpf` is the folder of the pinned maps.
    pub fn new(bpf: PathBuf) -> Self {
        let mut registry = Registry::with_prefix("netcheck_cni");
        let endpoints = Gauge::default();
        registry.register("endpoints", "Pods' interfaces that are wired", endpoints.clone());
        let peers = Gauge::default();
        registry.register("peers", "Nodes that this one has a way to", peers.clone());
        let refused_nodes = Gauge::default();
        registry.register(
            "refused_nodes",
            "Nodes that are not programmed, for a reason",
            refused_nodes.clone(),
        );
        let changes = Family::default();
        registry.register(
            "changes",
            "Changes made to bring the node to what it must be",
            changes.clone(),
        );
        let failed_changes = Family::default();
        registry.register(
            "failed_changes",
            "Changes that failed and are tried again",
            failed_changes.clone(),
        );
        let pass_duration = durations();
        registry.register_with_unit(
            "pass_duration",
            "Duration of a pass",
            Unit::Seconds,
            pass_duration.clone(),
        );
        let degraded = Family::default();
        registry.register(
            "degraded",
            "1 for each reason for which the node is degraded",
            degraded.clone(),
        );
        let events = Family::default();
        registry.register(
            "events",
            "Sampled flow events that were read, by what the programs found",
            events.clone(),
        );
        let operation_duration = Family::new_with_constructor(durations as fn() -> Histogram);
        registry.register_with_unit(
            "operation_duration",
            "Duration of the plugin's calls",
            Unit::Seconds,
            operation_duration.clone(),
        );
        let operation_failures = Family::default();
        registry.register(
            "operation_failures",
            "Calls of the plugin that did not succeed, by the code of their error",
            operation_failures.clone(),
        );
        registry.register_collector(Box::new(Counted::under(bpf)));
        Self {
            registry,
            endpoints,
            peers,
            refused_nodes,
            changes,
            failed_changes,
            pass_duration,
            degraded,
            events,
            operation_duration,
            operation_failures,
        }
    }

    /// All of it, as OpenMetrics text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
