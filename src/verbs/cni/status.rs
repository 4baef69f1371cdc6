//! `cni status`: how each node stands, once or until all have settled.

use super::{
    follow,
    names::NAME,
    report::{CniStatus, State},
    rows::{self, Sources},
    scene::get,
};
use crate::{
    cluster::{Cluster, list::list},
    exit::{Exit, Failure},
    flags::duration,
    output::{Format, Printer, document, lines},
    verbs::{Shared, cni::manifest::daemon_selector},
};
use clap::Args;
use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{ConfigMap, Node, Pod},
};
use kube::Api;
use std::time::Duration;

/// Arguments of `cni status`.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Exit code: 0 if every node is ready and has applied the current configuration, 1 if one is degraded or refused, 3 if one is not there yet.

Examples:
  # Each node, and what is wrong with it
  kubectl netcheck cni status

  # After a change of the ConfigMap: until every node has applied it
  kubectl netcheck cni status --wait --timeout 2m")]
pub struct StatusArgs {
    /// Follow the nodes until each is ready and has applied the configuration, or stays as it is
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration::parse)]
    timeout: Duration,
}

/// Looks, or waits, and prints.
///
/// # Errors
/// If it is not installed, or cannot be looked at.
pub async fn run(args: StatusArgs, shared: Shared) -> Result<Exit, Failure> {
    let cluster = Cluster::connect(&shared.flags).await?;
    let status = if args.wait {
        follow::until_settled(&cluster, args.timeout, &shared).await?
    } else {
        tokio::select! {
            status = look(&cluster) => status?,
            () = shared.interrupt.requested() => return Ok(Exit::Interrupted),
        }
    };
    status.print(shared.flags.output.format, &shared.printer)?;
    Ok(status.exit())
}

impl CniStatus {
    /// As asked for, with what the table does not say on stderr.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub fn print(&self, format: Format, printer: &Printer) -> Result<(), Failure> {
        let text = match document(format, self)? {
            Some(text) => text,
            None if format == Format::Name => lines(self.items.iter().map(|node| format!("node/{}", node.node))),
            None => self.table(format == Format::Wide).render_on(printer),
        };
        printer.data(&text)?;
        self.tell(printer);
        Ok(())
    }

    /// What every reader should know: a count, what is out of scope, what is not enforced, where findings are explained.
    pub fn tell(&self, printer: &Printer) {
        let mut parts = vec![format!(
            "{} of {} nodes ready with configuration {}",
            self.count(State::Ready),
            self.items.len(),
            self.config.hash
        )];
        for (state, word) in [
            (State::Pending, "pending"),
            (State::Degraded, "degraded"),
            (State::Refused, "refused"),
        ] {
            match self.count(state) {
                0 => {}
                count => parts.push(format!("{count} {word}")),
            }
        }
        if !self.out_of_scope.is_empty() {
            parts.push(format!(
                "out of scope (not Linux, or virtual): {}",
                self.out_of_scope.join(", ")
            ));
        }
        printer.note(parts.join(", "));
        printer.note("NetworkPolicies are not enforced by netcheck-cni");
        let mut ids: Vec<&str> = self
            .items
            .iter()
            .flat_map(|node| &node.findings)
            .map(|finding| finding.id.as_str())
            .collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids {
            printer.note(format!("kubectl netcheck explain {id}"));
        }
    }
}

/// Reads once and puts it together.
///
/// # Errors
/// If it is not installed, or cannot be looked at.
pub async fn look(cluster: &Cluster) -> Result<CniStatus, Failure> {
    let client = &cluster.client;
    let (node_api, pod_api): (Api<Node>, Api<Pod>) = (Api::all(client.clone()), Api::namespaced(client.clone(), NAME));
    let selector = daemon_selector();
    let (nodes, pods, daemon, config) = tokio::join!(
        list(cluster, &node_api, None),
        list(cluster, &pod_api, Some(&selector)),
        get::<DaemonSet>(cluster, Api::namespaced(client.clone(), NAME), NAME),
        get::<ConfigMap>(cluster, Api::namespaced(client.clone(), NAME), NAME),
    );
    let daemon = daemon.map_err(|problem| problem.into_failure(&format!("look up DaemonSet {NAME}/{NAME}")))?;
    let Some(daemon) = daemon else {
        return Err(Failure::usage(format!(
            "netcheck-cni is not installed: there is no DaemonSet {NAME}/{NAME}"
        ))
        .hint("kubectl netcheck cni install"));
    };
    let config = config.map_err(|problem| problem.into_failure(&format!("look up ConfigMap {NAME}/{NAME}")))?;
    let Some(config) = config else {
        return Err(Failure::unknown(format!(
            "there is no ConfigMap {NAME}/{NAME}, so no node can be told what to do"
        ))
        .hint("kubectl netcheck cni install makes it anew"));
    };
    Ok(rows::status(&Sources {
        nodes: nodes.map_err(|problem| problem.into_failure("list nodes"))?,
        pods: pods.map_err(|problem| problem.into_failure(&format!("list pods in namespace {NAME}")))?,
        daemon,
        config: config.data.unwrap_or_default(),
    }))
}
