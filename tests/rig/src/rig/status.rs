//! What runs of a rig.

use super::Rig;
use crate::{Part, control_plane};
use serde::Serialize;
use std::{net::IpAddr, path::PathBuf};

/// What runs of a rig.
#[derive(Debug, Clone, Serialize)]
pub struct RigStatus {
    /// The rig's directory.
    pub directory: PathBuf,
    /// Control plane parts and whether each runs.
    pub control_plane: Vec<(String, bool)>,
    /// Nodes, their addresses and whether each part of them runs.
    pub nodes: Vec<NodeStatus>,
}

/// What runs of a node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its parts and whether each runs.
    pub parts: Vec<(String, bool)>,
}

impl RigStatus {
    /// Whether every part of everything runs.
    pub fn is_whole(&self) -> bool {
        self.control_plane.iter().all(|part| part.1)
            && self.nodes.iter().all(|node| node.parts.iter().all(|part| part.1))
    }
}

impl Rig {
    /// What runs of it.
    pub fn status(&self) -> RigStatus {
        let hub = self.hub();
        RigStatus {
            directory: self.layout.directory().to_owned(),
            control_plane: control_plane::PARTS
                .map(|part| (part.to_owned(), hub.daemon(part).is_some()))
                .to_vec(),
            nodes: self
                .nodes()
                .iter()
                .map(|node| NodeStatus {
                    name: node.name.clone(),
                    addresses: node.addresses(),
                    parts: Part::ALL
                        .map(|part| (part.name().to_owned(), node.part_runs(part)))
                        .to_vec(),
                })
                .collect(),
        }
    }
}
