//! What the node says of itself in the API: annotations, conditions, events (SPEC.md, section 9.4); written on change only.

use crate::cluster::Cluster;
use anyhow::{Context as _, Result, bail};
use k8s_openapi::{
    api::core::v1::{Event, EventSource, Node, NodeCondition, ObjectReference},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, Time},
    jiff::Timestamp,
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use netcheck_cni_intent::{NodeObject, publish::Condition};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};

/// Who reports, in events.
const COMPONENT: &str = "netcheck-cni";
/// Events of cluster-wide objects are kept here, as the kubelet does it.
const EVENTS_NAMESPACE: &str = "default";
/// Most bytes of a condition's or event's message (`NoteLengthLimit` of the API's validation of events is the smaller one).
const MESSAGE: usize = 1000;

/// How long the API server may take for one statement.
const LIMIT: Duration = Duration::from_secs(10);
/// After how long what it has not taken is said again.
const SAY_AGAIN: Duration = Duration::from_secs(1);

/// What is to be said of the node.
#[derive(Debug, Clone, Default)]
pub struct Statement {
    /// What its object is to carry.
    pub annotations: BTreeMap<String, String>,
    /// Its conditions.
    pub conditions: Vec<Condition>,
}

/// Writes about one node.
pub struct Publisher {
    client: Client,
    node: String,
    /// What the last successful write said.
    published: Option<Vec<Condition>>,
}

impl Publisher {
    /// Nothing is published yet.
    pub fn new(client: Client, node: &str) -> Self {
        Self {
            client,
            node: node.to_owned(),
            published: None,
        }
    }

    /// Says the newest statement, whenever there is one, and again what the API server did not take; until nobody states anything any more.
    pub async fn follow(mut self, mut statements: watch::Receiver<Statement>, cluster: Arc<Cluster>) {
        loop {
            let statement = statements.borrow_and_update().clone();
            let said = timeout(LIMIT, self.say(&statement, &cluster));
            let said = said.await.unwrap_or_else(|_| slow());
            let news = if let Err(error) = said {
                tracing::warn!("{error:#}");
                tokio::select! {
                    news = statements.changed() => news,
                    () = sleep(SAY_AGAIN) => Ok(()),
                }
            } else {
                statements.changed().await
            };
            if news.is_err() {
                return;
            }
        }
    }

    async fn say(&mut self, statement: &Statement, cluster: &Cluster) -> Result<()> {
        let view = cluster.view();
        let own = view.nodes.as_ref().and_then(|nodes| nodes.get(&self.node));
        let annotated = match own {
            Some(own) => self.annotations(own, &statement.annotations).await,
            None => Ok(()),
        };
        // One that is refused does not keep the other back.
        if !statement.conditions.is_empty() {
            self.conditions(&statement.conditions).await?;
        }
        annotated
    }

    /// Makes the Node carry these annotations, where `known`, its object as it was seen last, does not.
    async fn annotations(&self, known: &NodeObject, wanted: &BTreeMap<String, String>) -> Result<()> {
        let missing: BTreeMap<_, _> = wanted
            .iter()
            .filter(|(key, value)| known.annotations.get(*key) != Some(value))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let patch = json!({ "metadata": { "annotations": missing } });
        self.api()
            .patch_metadata(&self.node, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .with_context(|| format!("cannot annotate Node {}", self.node))?;
        Ok(())
    }

    /// Makes the Node's status carry these conditions; a condition that newly is `True`, or for another reason, is an event as well.
    async fn conditions(&mut self, wanted: &[Condition]) -> Result<()> {
        if self.published.as_deref() == Some(wanted) {
            return Ok(());
        }
        let node = self
            .api()
            .get(&self.node)
            .await
            .with_context(|| format!("cannot read Node {}", self.node))?;
        let there = node
            .status
            .as_ref()
            .and_then(|status| status.conditions.clone())
            .unwrap_or_default();
        let now = Time(Timestamp::now());
        let changed: Vec<_> = wanted
            .iter()
            .filter_map(|condition| changed(condition, &there, &now))
            .collect();
        if !changed.is_empty() {
            let patch = json!({ "status": { "conditions": changed } });
            self.api()
                .patch_status(&self.node, &PatchParams::default(), &Patch::Strategic(patch))
                .await
                .with_context(|| format!("cannot write the conditions of Node {}", self.node))?;
        }
        for condition in wanted.iter().filter(|condition| is_news(condition, &there)) {
            // The condition says it as well; an event is for those who look at events.
            if let Err(error) = self.event(condition, &node).await {
                tracing::warn!(%error, "cannot write an event");
            }
        }
        self.published = Some(wanted.to_vec());
        Ok(())
    }

    fn api(&self) -> Api<Node> {
        Api::all(self.client.clone())
    }

    async fn event(&self, condition: &Condition, node: &Node) -> Result<()> {
        let event = Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}.", self.node)),
                namespace: Some(EVENTS_NAMESPACE.to_owned()),
                ..ObjectMeta::default()
            },
            involved_object: ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(self.node.clone()),
                uid: node.metadata.uid.clone(),
                ..ObjectReference::default()
            },
            type_: Some("Warning".to_owned()),
            reason: Some(condition.reason.chars().take(128).collect()),
            message: Some(shortened(&condition.message)),
            action: Some("Reconcile".to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            reporting_component: Some(COMPONENT.to_owned()),
            reporting_instance: Some(self.node.clone()),
            source: Some(EventSource {
                component: Some(COMPONENT.to_owned()),
                host: Some(self.node.clone()),
            }),
            ..Event::default()
        };
        let events = Api::<Event>::namespaced(self.client.clone(), EVENTS_NAMESPACE);
        events.create(&PostParams::default(), &event).await?;
        Ok(())
    }
}

fn slow() -> Result<()> {
    bail!("the API server does not answer within {} s", LIMIT.as_secs())
}

/// The condition as it is to be written, if it is not there like that; its time of transition moves with its status only.
fn changed(wanted: &Condition, there: &[NodeCondition], now: &Time) -> Option<NodeCondition> {
    let before = there.iter().find(|condition| condition.type_ == wanted.kind);
    let status = status(wanted);
    let message = shortened(&wanted.message);
    let is_same = before.is_some_and(|before| {
        before.status == status
            && before.reason.as_deref() == Some(&wanted.reason)
            && before.message.as_deref() == Some(&message)
    });
    let since = before.filter(|before| before.status == status);
    (!is_same).then(|| NodeCondition {
        type_: wanted.kind.to_owned(),
        status: status.to_owned(),
        reason: Some(wanted.reason.clone()),
        message: Some(message),
        last_heartbeat_time: Some(now.clone()),
        last_transition_time: since
            .and_then(|before| before.last_transition_time.clone())
            .or_else(|| Some(now.clone())),
    })
}

fn status(condition: &Condition) -> &'static str {
    if condition.status { "True" } else { "False" }
}

/// Whether it is `True` now and was not, or for another reason.
fn is_news(wanted: &Condition, there: &[NodeCondition]) -> bool {
    let was_so = |before: &NodeCondition| {
        before.type_ == wanted.kind && before.status == "True" && before.reason.as_deref() == Some(&wanted.reason)
    };
    wanted.status && !there.iter().any(was_so)
}

fn shortened(message: &str) -> String {
    if message.len() <= MESSAGE {
        return message.to_owned();
    }
    let mut end = MESSAGE - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::{Request, Response};
    use kube::client::Body;
    use std::{
        convert::Infallible,
        future,
        sync::atomic::{AtomicBool, Ordering::SeqCst},
    };
    use tokio::sync::mpsc;

    fn condition(status: bool, reason: &str) -> Condition {
        Condition {
            kind: "cni.netcheck.dev/Degraded",
            status,
            reason: reason.to_owned(),
            message: "why".to_owned(),
        }
    }

    fn time(text: &str) -> Time {
        Time(text.parse().unwrap())
    }

    /// An API server that does not answer its first request, and what it was asked: method, path and body.
    fn hanging_once() -> (Client, mpsc::UnboundedReceiver<String>) {
        let (asked, requests) = mpsc::unbounded_channel();
        let is_first = Arc::new(AtomicBool::new(true));
        let service = tower::service_fn(move |request: Request<Body>| {
            let (asked, is_first) = (asked.clone(), is_first.swap(false, SeqCst));
            async move {
                let what = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect_bytes().await.unwrap();
                asked
                    .send(format!("{what} {}", String::from_utf8_lossy(&body)))
                    .unwrap();
                if is_first {
                    future::pending::<()>().await;
                }
                let node = r#"{"apiVersion":"v1","kind":"Node","metadata":{"name":"n1"}}"#;
                Ok::<_, Infallible>(Response::new(Body::from(node.as_bytes().to_vec())))
            }
        });
        (Client::new(service, "default"), requests)
    }

    #[tokio::test(start_paused = true)]
    async fn an_api_server_that_hangs_hears_the_newest_afterwards() {
        let (client, mut requests) = hanging_once();
        let (statements, heard) = watch::channel(Statement::default());
        let following = tokio::spawn(Publisher::new(client, "n1").follow(heard, Arc::default()));
        for reason in ["Older", "Newer"] {
            statements.send_replace(Statement {
                conditions: vec![condition(false, reason)],
                ..Statement::default()
            });
            let asked = requests.recv().await.unwrap();
            assert!(asked.starts_with("GET /api/v1/nodes/n1 "), "{asked}");
        }
        let told = requests.recv().await.unwrap();
        assert!(told.starts_with("PATCH /api/v1/nodes/n1/status "), "{told}");
        assert!(told.contains("Newer") && !told.contains("Older"), "{told}");
        drop(statements);
        following.await.unwrap();
        assert_eq!(requests.recv().await, None, "nothing is said twice");
    }

    #[test]
    fn the_time_of_transition_moves_with_the_status_alone() {
        let (first, second) = (time("2026-01-01T00:00:00Z"), time("2026-01-02T00:00:00Z"));
        let written = changed(&condition(false, "AsExpected"), &[], &first).unwrap();
        assert_eq!(written.last_transition_time.as_ref(), Some(&first));
        let there = [written];
        assert!(changed(&condition(false, "AsExpected"), &there, &second).is_none());
        let other = changed(&condition(false, "Other"), &there, &second).unwrap();
        assert_eq!(other.last_transition_time.as_ref(), Some(&first));
        let flipped = changed(&condition(true, "BpfOff"), &there, &second).unwrap();
        assert_eq!(flipped.last_transition_time.as_ref(), Some(&second));
    }

    #[test]
    fn only_new_trouble_is_an_event() {
        let now = time("2026-01-01T00:00:00Z");
        let there = [changed(&condition(true, "BpfOff"), &[], &now).unwrap()];
        assert!(!is_news(&condition(true, "BpfOff"), &there));
        assert!(is_news(&condition(true, "BpfOff,NameTaken"), &there));
        assert!(!is_news(&condition(false, "AsExpected"), &there));
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        let cut = shortened(&"ä".repeat(MESSAGE));
        assert!(cut.len() <= MESSAGE && cut.ends_with("ä…"), "{}", cut.len());
    }
}
