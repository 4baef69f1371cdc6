//! Nodes for tests: one healthy node each, as evidence; tests change it.

use super::{
    evidence::Evidence,
    judge::judge,
    objects::{Objects, PodObject},
};
use netcheck_node_state::{
    NetState,
    record::{Entry, NodeRecord, Space},
};
use std::collections::BTreeMap;

/// The node that is looked at.
const NODE: &str = "n1";

/// A sample that can be changed.
pub struct Sample(pub Evidence);

impl Sample {
    /// Reads one.
    pub fn of(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap())
    }

    pub fn objects(&mut self) -> &mut Objects {
        &mut self.0.objects
    }

    pub fn record(&mut self) -> &mut NodeRecord {
        &mut self.0.nodes.get_mut(NODE).unwrap().as_mut().unwrap().record
    }

    pub fn net(&mut self) -> &mut NetState {
        &mut self.record().node.net
    }

    /// The namespace of a pod.
    pub fn pod(&mut self, number: u32) -> &mut Space {
        self.record().pods.get_mut(&number).unwrap().as_mut().unwrap()
    }

    pub fn folder(&mut self, path: &str) -> &mut BTreeMap<String, Entry> {
        self.record().folders.get_mut(path).unwrap().as_mut().unwrap()
    }

    /// Puts a file there, changed so many seconds ago.
    pub fn put(&mut self, folder: &str, name: &str, text: &str, age_seconds: u64) {
        let entry = Entry {
            length: text.len() as u64,
            mode: 0o644,
            age_seconds,
            is_link: false,
            text: Some(Ok(text.to_owned())),
        };
        self.folder(folder).insert(name.to_owned(), entry);
    }

    /// Has an agent of a network run on the node.
    pub fn agent(&mut self, name: &str) {
        let agent = PodObject {
            namespace: "kube-system".to_owned(),
            name: name.to_owned(),
            uid: "agent".to_owned(),
            node: NODE.to_owned(),
            host_network: true,
            running: true,
            ..PodObject::default()
        };
        self.objects().pods.push(agent);
    }

    pub fn sysctl(&mut self, key: &str, value: &str) {
        self.record().node.sysctls.insert(key.to_owned(), value.to_owned());
    }

    /// Keeps only those routes of the node that do not go there.
    pub fn without_route(&mut self, to: &str) {
        let to = to.parse().unwrap();
        let before = self.net().routes.len();
        self.net().routes.retain(|route| route.destination != to);
        assert!(self.net().routes.len() < before, "{to}");
    }

    /// The network's name.
    pub fn network(&self) -> Option<&'static str> {
        judge(&self.0).network
    }

    /// Ids of root causes on the node.
    pub fn roots(&self) -> Vec<&'static str> {
        let judgement = judge(&self.0);
        let found = &judgement.nodes[NODE].found;
        found
            .iter()
            .filter(|one| one.follows.is_none())
            .map(|one| one.id)
            .collect()
    }
}

/// What of a healthy node is found after a change.
pub fn roots(healthy: &str, change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
    let mut sample = Sample::of(healthy);
    change(&mut sample);
    sample.roots()
}
