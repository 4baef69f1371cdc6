//! Candidates that only the cluster knows. TAB must never hang: whatever is not there in time is not offered.

use std::{env, ffi::OsStr, future::Future, time::Duration};

use clap_complete::CompletionCandidate;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{
    Api, Resource,
    api::{ListParams, ObjectList, PartialObjectMeta},
};
use serde::de::DeserializeOwned;

use crate::{
    cluster::Cluster,
    flags::{ConnectFlags, KubectlFlags},
};

/// Longer than this nobody waits for TAB.
const PATIENCE: Duration = Duration::from_millis(1500);
/// More candidates than this help nobody.
const LIMIT: u32 = 500;

/// Namespaces, for `-n`.
pub(super) fn namespaces(typed: &OsStr) -> Vec<CompletionCandidate> {
    fitting(
        typed,
        ask(async |cluster| names(Api::<Namespace>::all(cluster.client)).await),
    )
}

/// Nodes.
pub(super) fn nodes(typed: &OsStr) -> Vec<CompletionCandidate> {
    fitting(
        typed,
        ask(async |cluster| names(Api::<Node>::all(cluster.client)).await),
    )
}

/// Pods of the namespace, nodes, and prefixes of types, for targets.
pub(super) fn targets(typed: &OsStr) -> Vec<CompletionCandidate> {
    if typed.to_string_lossy().starts_with("node/") {
        let nodes = ask(async |cluster| names(Api::<Node>::all(cluster.client)).await);
        return fitting(typed, nodes.into_iter().map(|name| format!("node/{name}")).collect());
    }
    let pods = ask(async |cluster| names(Api::<Pod>::namespaced(cluster.client, &cluster.namespace)).await);
    fitting(typed, pods)
}

fn fitting(typed: &OsStr, names: Vec<String>) -> Vec<CompletionCandidate> {
    let typed = typed.to_string_lossy();
    names
        .into_iter()
        .filter(|name| name.starts_with(typed.as_ref()))
        .map(CompletionCandidate::new)
        .collect()
}

async fn names<K>(api: Api<K>) -> kube::Result<Vec<String>>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Resource,
{
    let list: ObjectList<PartialObjectMeta<K>> = api.list_metadata(&ListParams::default().limit(LIMIT)).await?;
    Ok(list
        .items
        .into_iter()
        .filter_map(|object| object.metadata.name)
        .collect())
}

/// Asks the cluster that the rest of the line names; nothing if that fails or takes too long.
fn ask<A>(question: impl FnOnce(Cluster) -> A) -> Vec<String>
where
    A: Future<Output = kube::Result<Vec<String>>>,
{
    // An already installed provider is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let words: Vec<String> = env::args().collect();
    let flags = KubectlFlags {
        connect: connect_flags(&words),
        ..KubectlFlags::default()
    };
    let asked = async {
        let cluster = Cluster::connect(&flags).await.ok()?;
        question(cluster).await.ok()
    };
    // A time limit needs the runtime's clock, so it is made inside.
    let answer = runtime.block_on(async { tokio::time::timeout(PATIENCE, asked).await });
    answer.ok().flatten().unwrap_or_default()
}

/// Those flags of an unfinished line that say which cluster and namespace are meant.
fn connect_flags(words: &[String]) -> ConnectFlags {
    let value = |flags: &[&str]| {
        words
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, word)| match word.split_once('=') {
                Some((flag, value)) if flags.contains(&flag) => Some(value.to_owned()),
                None if flags.contains(&word.as_str()) => {
                    words.get(index + 1).filter(|value| !value.is_empty()).cloned()
                }
                _ => None,
            })
    };
    ConnectFlags {
        namespace: value(&["-n", "--namespace"]),
        context: value(&["--context"]),
        kubeconfig: value(&["--kubeconfig"]).map(Into::into),
        cluster: value(&["--cluster"]),
        user: value(&["--user"]),
        server: value(&["-s", "--server"]),
        ..ConnectFlags::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unfinished_line_says_where_to_ask() {
        let line = [
            "x",
            "__complete",
            "--",
            "matrix",
            "--context=lab",
            "-n",
            "shop",
            "--kubeconfig",
            "",
        ];
        let flags = connect_flags(&line.map(str::to_owned));
        assert_eq!(
            (flags.context.as_deref(), flags.namespace.as_deref()),
            (Some("lab"), Some("shop"))
        );
        assert_eq!(flags.kubeconfig, None);
    }
}
