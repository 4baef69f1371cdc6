//! The pod network of a cluster: what must be on its nodes, as far as that is known.

use super::{
    bundled::Bundled,
    calico::{self, Calico},
    cilium::{self, Cilium},
    evidence::Looked,
    flannel::{self, Flannel},
    found::Found,
    generic::Concern,
    kindnet::{self, Kindnet},
    objects::Objects,
};
use netcheck_wire::message::RecordOrder;

/// A kind of pod network whose intent is known.
pub trait Network: Sync {
    /// Its name, for people.
    fn name(&self) -> &'static str;

    /// What must be read of a node besides what is always read.
    fn order(&self) -> RecordOrder;

    /// Whether its routes to other nodes' pods are in the main table, and a rule that leads past them is somebody else's.
    fn is_routed_by_main(&self) -> bool {
        false
    }

    /// Whether pods have addresses of their nodes' `podCIDRs` for sure.
    fn uses_node_ranges(&self) -> bool {
        true
    }

    /// Generic checks that it makes itself, more precisely.
    fn covers(&self) -> &'static [Concern] {
        &[]
    }

    /// What differs on a node, and what of it could not be looked at.
    fn differences(&self, objects: &Objects, node: &str, looked: &Looked) -> Differences;
}

/// What differs on a node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    /// In the order in which they were found.
    pub found: Vec<Found>,
    /// What was not checked, and why.
    pub unchecked: Vec<Unchecked>,
}

impl Differences {
    /// Adds others, whose roots are among themselves.
    pub fn append(&mut self, mut more: Self) {
        let before = self.found.len();
        for one in &mut more.found {
            one.follows = one.follows.map(|root| root + before);
        }
        self.found.append(&mut more.found);
        self.unchecked.append(&mut more.unchecked);
    }
}

/// Something that was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unchecked {
    /// What.
    pub group: super::group::Group,
    /// Why.
    pub why: String,
}

/// The network of a cluster; `None`: none that is known.
pub fn of(objects: &Objects) -> Option<Box<dyn Network>> {
    // A ConfigMap outlives its network: with another's agents at work it is what is left of it.
    let others_work = || kindnet::is_at_work(objects) || cilium::is_at_work(objects) || calico::is_at_work(objects);
    if objects.bundled.is_some() {
        Some(Box::new(Bundled))
    } else if objects.flannel.is_some() && (flannel::has_agent(objects) || !others_work()) {
        Some(Box::new(Flannel))
    } else if kindnet::is_at_work(objects) {
        Some(Box::new(Kindnet))
    } else if cilium::is_at_work(objects) {
        Some(Box::new(Cilium))
    } else if calico::is_at_work(objects) {
        Some(Box::new(Calico))
    } else {
        None
    }
}
