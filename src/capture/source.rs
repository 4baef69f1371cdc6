//! What is captured: pods and nodes, and the interfaces that turn up in them. Plain data.

use crate::{
    cluster::inventory::{Inventory, Subject},
    output::safe,
};
use netcheck_pcap::Link;
use netcheck_wire::capture::CaptureInterface;

/// A pod or node whose packets are captured.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// The API's object.
    pub subject: Subject,
    /// `shop/web-1`, or a node's name: the first part of its interfaces' names.
    pub name: String,
    /// `pod shop/web-1` or `node n1`.
    pub title: String,
    /// The node it is on.
    pub node: Option<String>,
    /// It is a node, or a pod in its node's network namespace.
    pub is_node_network: bool,
}

impl Source {
    /// A subject of the inventory; `None` if it is not in it.
    pub fn of(inventory: &Inventory, subject: &Subject) -> Option<Self> {
        let (name, kind, node, is_node_network) = match subject {
            Subject::Pod(uid) => {
                let pod = inventory.pods.iter().find(|pod| pod.uid == *uid)?;
                let name = format!("{}/{}", pod.namespace, pod.name);
                (name, "pod", pod.node.clone(), pod.host_network)
            }
            Subject::Node(name) => (name.clone(), "node", Some(name.clone()), true),
        };
        Some(Self {
            subject: subject.clone(),
            title: format!("{kind} {name}"),
            name,
            node,
            is_node_network,
        })
    }

    /// The name of a file for it alone, without an ending: `shop_web-1`, `node_n1`. Names of the API hold no `/` and no `_`.
    pub fn file_stem(&self) -> String {
        match self.subject {
            Subject::Pod(_) => self.name.replace('/', "_"),
            Subject::Node(_) => format!("node_{}", self.name),
        }
    }
}

/// An interface of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Number of its source in the capture.
    pub source: usize,
    /// `shop/web-1/eth0`: unique in the capture.
    pub name: String,
    /// Where it is, in words.
    pub description: String,
    /// What its packets begin with.
    pub link: Link,
    /// Its hardware address.
    pub address: Option<[u8; 6]>,
    /// What is known of its node's clock.
    pub remark: String,
}

impl Interface {
    /// An interface as the agent describes it.
    pub fn new(source: &Source, number: usize, told: &CaptureInterface, remark: &str) -> Self {
        let place = match (&source.subject, &source.node) {
            (Subject::Pod(_), Some(node)) => format!("{} on node {node}", source.title),
            _ => source.title.clone(),
        };
        Self {
            source: number,
            // The kernel takes nearly any byte in an interface's name.
            name: safe(&format!("{}/{}", source.name, told.name)),
            description: safe(&format!("{} of {place}", told.name)),
            link: link_of(told.hardware_type),
            address: told.address.filter(|address| *address != [0; 6]),
            remark: remark.to_owned(),
        }
    }
}

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK` (linux/if_arp.h) have Ethernet headers; whatever else passes the filter begins with IP.
fn link_of(hardware_type: u16) -> Link {
    match hardware_type {
        1 | 772 => Link::Ethernet,
        _ => Link::RawIp,
    }
}
