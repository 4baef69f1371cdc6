//! Nodes that come and go while the rig runs.

use super::{Rig, bring_up::pod_networks, state::lock};
use crate::{
    Node, Progress, Result, images,
    network::{self, Table},
    pki::Authority,
};

impl Rig {
    /// Adds a node and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn add_node(&mut self, progress: &dyn Progress) -> Result<Node> {
        let _lock = lock(&self.layout, progress)?;
        let number = self.state.next_node;
        let node = self.node_of(number);
        node.configure(&Authority::open(&self.layout.pki())?)?;
        self.state.nodes.push(number);
        self.state.next_node = number.saturating_add(1);
        // Written before the node is there: a crash in between must not hide it from the next `up` or `down`.
        self.state.built = false;
        self.state.write(&self.layout)?;
        self.build_node(&node)?;
        self.state.built = true;
        self.state.write(&self.layout)?;
        self.start_nodes(
            std::slice::from_ref(&node),
            &images::build(&self.state.binaries)?,
            progress,
        )?;
        self.join_pods(progress)?;
        self.wait_for_nodes(progress)?;
        Ok(node)
    }

    /// Removes a node: its object, its processes, its files, the others' routes to its pods.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn remove_node(&mut self, name: &str) -> Result<()> {
        let _lock = lock(&self.layout, &crate::Silent)?;
        let node = self.node(name)?;
        let networks = pod_networks(&self.kubectl.json(&["get", "node", name])?);
        self.kubectl(["delete", "node", name])?;
        node.remove()?;
        self.state.nodes.retain(|number| *number != node.number);
        self.state.write(&self.layout)?;
        network::remove_routes(&self.hub(), Table::OwnTraffic, &networks)?;
        self.nodes()
            .iter()
            .try_for_each(|left| network::remove_routes(&left.sandbox, Table::Main, &networks))
    }
}
