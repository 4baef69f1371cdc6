//! What the node says of itself in the API: annotations, conditions, events (SPEC.md, section 9.4); written on change only.

use anyhow::{Context as _, Result};
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
use std::{collections::BTreeMap, time::Duration};
use tokio::time::timeout;

/// Who reports, in events.
const COMPONENT: &str = "netcheck-cni";
/// Events of cluster-wide objects are kept here, as the kubelet does it.
const EVENTS_NAMESPACE: &str = "default";
/// Most bytes of a condition's or event's message (`NoteLengthLimit` of the API's validation of events is the smaller one).
const MESSAGE: usize = 1000;

/// How long the API server may take for all that is said at once. Whoever says it has a node to keep meanwhile.
const SAID_WITHIN: Duration = Duration::from_secs(10);

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

    /// Goes on by other connections.
    pub fn use_client(&mut self, client: Client) {
        self.client = client;
    }

    /// Makes the Node carry these annotations, where `known`, its object as it was seen last, does not.
    pub async fn annotations(&self, known: &NodeObject, wanted: &BTreeMap<String, String>) -> Result<()> {
        let say = self.write_annotations(known, wanted);
        timeout(SAID_WITHIN, say)
            .await
            .with_context(|| self.unanswered("annotations"))?
    }

    /// Makes the Node's status carry these conditions; a condition that newly is `True`, or for another reason, is an event as well.
    pub async fn conditions(&mut self, wanted: &[Condition]) -> Result<()> {
        let unanswered = self.unanswered("conditions");
        timeout(SAID_WITHIN, self.write_conditions(wanted))
            .await
            .context(unanswered)?
    }

    fn unanswered(&self, what: &str) -> String {
        format!(
            "the API server does not answer for {} s to the {what} of Node {}",
            SAID_WITHIN.as_secs(),
            self.node
        )
    }

    async fn write_annotations(&self, known: &NodeObject, wanted: &BTreeMap<String, String>) -> Result<()> {
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

    async fn write_conditions(&mut self, wanted: &[Condition]) -> Result<()> {
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
    use tokio::net::TcpListener;

    /// Its connections are taken, and nothing comes back: so a server looks that lost its power, or one asked from an address that is gone.
    #[tokio::test]
    async fn a_server_that_never_answers_is_not_waited_for() {
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", silent.local_addr().unwrap());
        let config = kube::Config::new(url.parse().unwrap());
        let mut publisher = Publisher::new(Client::try_from(config).unwrap(), "n1");
        tokio::time::pause();
        let error = publisher.conditions(&[condition(true, "BpfOff")]).await.unwrap_err();
        assert!(format!("{error:#}").contains("does not answer"), "{error:#}");
        // What was not said is not taken for said.
        assert_eq!(publisher.published, None);
        let wanted = BTreeMap::from([("cni.netcheck.dev/mtu".to_owned(), "1500".to_owned())]);
        let error = publisher
            .annotations(&NodeObject::default(), &wanted)
            .await
            .unwrap_err();
        assert!(format!("{error:#}").contains("does not answer"), "{error:#}");
    }

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
