//! `--fix`: asks the bundled network's daemons to put their nodes right. Nothing of others' is touched: the daemons never do.

use super::{Request, look::Look};
use crate::{
    agents::Fleet,
    cluster::{
        list::list,
        request::{self, attempt},
    },
    exit::Failure,
    output::Printer,
    verify::{
        judge::Judgement,
        report::{Fix, NodeFix},
    },
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, api::AttachParams};
use netcheck_cni_intent::names::NAMESPACE;
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};
use tokio::{io::AsyncReadExt as _, time::timeout};

/// Label of the daemon's pods.
const DAEMONS: &str = "app.kubernetes.io/component=daemon";
/// The daemon's container, and what is run in it.
const CONTAINER: &str = "daemon";
const COMMAND: [&str; 2] = ["/netcheck-cni-daemon", "reconcile"];
/// How long a daemon may take: it answers within 60 s, or says why not.
const WITHIN: Duration = Duration::from_secs(80);
/// More than a daemon ever says.
const MOST: u64 = 1 << 20;

/// What a daemon answers.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    changed: BTreeMap<String, u64>,
    #[serde(default)]
    failed: Vec<String>,
}

/// Asks the daemons of all nodes on which something was found, and looks again.
///
/// # Errors
/// If the daemons' pods cannot be listed, or the API server does not answer any more.
pub async fn fix(
    request: &Request,
    fleet: &mut Fleet,
    before: &Judgement,
    printer: &Printer,
) -> Result<(Look, Fix), Failure> {
    let found = before
        .nodes
        .iter()
        .filter(|(_, differences)| !differences.found.is_empty());
    let nodes: Vec<&String> = found.map(|(node, _)| node).collect();
    let phase = printer.phase("asking daemons to reconcile");
    let daemons = daemons(request).await?;
    let asked = nodes.iter().map(|node| async {
        let outcome = match daemons.get(*node) {
            Some(pod) => ask(request, pod).await,
            None => Err("no daemon runs there: kubectl -n netcheck-cni get pods -o wide".to_owned()),
        };
        NodeFix::new(node, outcome.map(|answer| (answer.changed, answer.failed)))
    });
    let fixes = join_all(asked).await;
    let heard = fixes.iter().filter(|fix| fix.why.is_none()).count();
    phase.finish(format!("{heard} of {} answered", fixes.len()));
    let after = request.look_twice(fleet).await?;
    let fix = Fix::new(fixes, before, &after.judgement);
    Ok((after, fix))
}

/// Names of the daemons' running pods, by node.
async fn daemons(request: &Request) -> Result<BTreeMap<String, String>, Failure> {
    let api: Api<Pod> = Api::namespaced(request.cluster.client.clone(), NAMESPACE);
    let pods = list(&request.cluster, &api, Some(DAEMONS)).await;
    let pods = pods.map_err(|problem| problem.into_failure("list pods in namespace netcheck-cni"))?;
    let of_node = |pod: Pod| {
        let is_running = pod.status?.phase.as_deref() == Some("Running");
        let is_leaving = pod.metadata.deletion_timestamp.is_some();
        let node = pod.spec?.node_name.filter(|_| is_running && !is_leaving)?;
        Some((node, pod.metadata.name?))
    };
    Ok(pods.into_iter().filter_map(of_node).collect())
}

async fn ask(request: &Request, pod: &str) -> Result<Answer, String> {
    let api: Api<Pod> = Api::namespaced(request.cluster.client.clone(), NAMESPACE);
    let params = AttachParams {
        container: Some(CONTAINER.to_owned()),
        stdin: false,
        stdout: true,
        stderr: true,
        ..AttachParams::default()
    };
    let limit = request::limit(request.cluster.request_timeout);
    let mut process = attempt(limit, api.exec(pod, COMMAND, &params))
        .await
        .map_err(|problem| {
            problem
                .into_failure(&format!("run {COMMAND:?} in pod netcheck-cni/{pod}"))
                .message
        })?;
    let (Some(stdout), Some(stderr), Some(status)) = (process.stdout(), process.stderr(), process.take_status()) else {
        return Err("the client library opened no pipes".to_owned());
    };
    let (mut said, mut complained) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (stdout.take(MOST), stderr.take(MOST));
    let ended = timeout(WITHIN, async {
        let (out, err) = tokio::join!(stdout.read_to_string(&mut said), stderr.read_to_string(&mut complained));
        out.and(err).map_err(|error| error.to_string())?;
        Ok::<_, String>(status.await)
    });
    let status = match ended.await {
        Ok(ended) => ended?,
        Err(_) => {
            return Err(format!(
                "pod netcheck-cni/{pod} did not answer within {} s",
                WITHIN.as_secs()
            ));
        }
    };
    // Without a status the connection broke, and what was said may be cut.
    let is_success = status.is_some_and(|status| status.status.as_deref() == Some("Success"));
    if !is_success {
        let first = complained.lines().last().unwrap_or("it gave no reason");
        return Err(format!("pod netcheck-cni/{pod}: {}", first.trim()));
    }
    serde_json::from_str(&said).map_err(|error| format!("pod netcheck-cni/{pod} answers what cannot be read: {error}"))
}
