//! A list of pods that keeps itself current by one watch.

use crate::cluster::{list, request::attempt};
use futures::TryStreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api,
    api::{ListParams, WatchEvent, WatchParams},
};
use std::{collections::BTreeSet, time::Duration};
use tokio::sync::mpsc;

/// The server ends a watch after this time; a new one follows.
const WATCH_SECONDS: u32 = 240;

/// Which pods.
#[derive(Debug, Clone)]
pub enum Which {
    /// All of them.
    All,
    /// Those with these labels.
    Labelled(String),
    /// The one with this name.
    Named(String),
}

/// What became of a pod.
#[derive(Debug)]
pub enum Seen {
    /// It is there, in this state.
    Is(Box<Pod>),
    /// It was there and is no more.
    Gone(Box<Pod>),
    /// A list is through, of pods with these UIDs (as the inventory has them): who was there before and is not among them went unseen.
    Listed(BTreeSet<String>),
    /// Pods could not be read just now, for this reason; it is tried again.
    Trouble(String),
}

/// Starts to observe, until the receiver is dropped.
pub fn pods(api: Api<Pod>, which: Which, limit: Duration) -> mpsc::Receiver<Seen> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut pause = Duration::from_millis(100);
        while !sender.is_closed() {
            let outcome = tokio::select! {
                outcome = list_then_watch(&api, &which, limit, &sender) => outcome,
                () = sender.closed() => return,
            };
            if let Err(why) = outcome {
                if sender.send(Seen::Trouble(why)).await.is_err() {
                    return;
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(2));
            }
        }
    });
    receiver
}

/// Returns when the watch ended in order, or with why it could not go on; both times a new list is due.
async fn list_then_watch(
    api: &Api<Pod>,
    which: &Which,
    limit: Duration,
    sender: &mpsc::Sender<Seen>,
) -> Result<(), String> {
    let (labels, fields) = match which {
        Which::All => (None, None),
        Which::Labelled(labels) => (Some(labels.clone()), None),
        Which::Named(name) => (None, Some(format!("metadata.name={name}"))),
    };
    let params = ListParams {
        label_selector: labels.clone(),
        field_selector: fields.clone(),
        ..ListParams::default()
    };
    let listed = attempt(limit, api.list(&params))
        .await
        .map_err(|problem| problem.into_failure("list pods").message)?;
    let version = listed.metadata.resource_version.unwrap_or_default();
    let uids = listed.items.iter().filter_map(list::convert::pod_uid).collect();
    for pod in listed.items {
        if sender.send(Seen::Is(Box::new(pod))).await.is_err() {
            return Ok(());
        }
    }
    if sender.send(Seen::Listed(uids)).await.is_err() {
        return Ok(());
    }
    let params = WatchParams {
        label_selector: labels,
        field_selector: fields,
        timeout: Some(WATCH_SECONDS),
        ..WatchParams::default()
    };
    let stream = attempt(limit, api.watch(&params, &version))
        .await
        .map_err(|problem| problem.into_failure("watch pods").message)?;
    let mut stream = std::pin::pin!(stream);
    while let Some(event) = stream.try_next().await.map_err(|error| error.to_string())? {
        let seen = match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => Seen::Is(Box::new(pod)),
            WatchEvent::Deleted(pod) => Seen::Gone(Box::new(pod)),
            WatchEvent::Bookmark(_) => continue,
            // Mostly "resource version too old": the next list starts afresh.
            WatchEvent::Error(status) => return Err(status.message),
        };
        if sender.send(seen).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}
