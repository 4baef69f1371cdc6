//! Nodes that come and go, boot, and move while the rig runs.

use super::{PATIENCE, Rig, bring_up::pod_networks, state::lock};
use crate::{
    Node, Part, Progress, Result, cgroups,
    error::Context,
    images,
    network::{self, Table},
    pki::Authority,
    wait_until,
};
use std::fs;

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

    /// Boots a node as a power cut would: all its processes, namespaces and mounts end at once, its disk stays (`/etc/cni`, `/opt/cni`,
    /// what containerd and kubelet keep under `/var/lib`); then it starts as it started first. Waits until the API says that it is Ready
    /// with this boot.
    ///
    /// # Errors
    /// When it does not end, or does not come up.
    pub fn reboot_node(&self, name: &str, progress: &dyn Progress) -> Result<()> {
        let _lock = lock(&self.layout, progress)?;
        let node = self.node(name)?;
        node.sandbox.stop()?;
        cgroups::remove(&node.cgroup())?;
        self.build_node(&node)?;
        let boot_id = node.run(["cat", "/proc/sys/kernel/random/boot_id"])?;
        self.start_nodes(
            std::slice::from_ref(&node),
            &images::build(&self.state.binaries)?,
            progress,
        )?;
        wait_until(&format!("{name} to tell of its boot"), PATIENCE, || {
            let object = self
                .kubectl
                .json(&["get", "node", name])
                .map_err(|error| error.to_string())?;
            let told = &object["status"]["nodeInfo"]["bootID"];
            if *told == boot_id.trim() {
                Ok(())
            } else {
                Err(format!("it says {told}; see {}", node.log(Part::Kubelet).display()))
            }
        })?;
        self.join_pods(progress)?;
        self.wait_for_nodes(progress)
    }

    /// Gives a node other addresses on the underlay, or its first ones again, as an administrator would: the certificate that kubelet
    /// serves with, the link's addresses, then kubelet and kube-proxy anew. Waits until the API says so.
    ///
    /// # Errors
    /// When it does not come up with them.
    pub fn readdress_node(&mut self, name: &str, progress: &dyn Progress) -> Result<()> {
        let _lock = lock(&self.layout, progress)?;
        let before = self.node(name)?;
        match self.state.moved.iter().position(|number| *number == before.number) {
            Some(at) => drop(self.state.moved.remove(at)),
            None => self.state.moved.push(before.number),
        }
        self.state.write(&self.layout)?;
        let node = self.node(name)?;
        node.configure(&Authority::open(&self.layout.pki())?)?;
        for part in [Part::Kubelet, Part::KubeProxy] {
            node.stop_part(part)?;
        }
        network::readdress_node(&node, before.endpoint, self.state.addresses)?;
        for part in [Part::Kubelet, Part::KubeProxy] {
            node.start_part(part)?;
        }
        let hosts = self.hosts();
        for node in self.nodes() {
            node.sandbox
                .on_files(|| fs::write("/etc/hosts", &hosts).context(format!("write /etc/hosts of {}", node.name)))?;
        }
        let wanted: Vec<_> = node.addresses().iter().map(ToString::to_string).collect();
        wait_until(&format!("{name} to tell its addresses"), PATIENCE, || {
            let line = "jsonpath={.status.addresses[?(@.type=='InternalIP')].address}";
            let told = self
                .kubectl(["get", "node", name, "-o", line])
                .map_err(|error| error.to_string())?;
            if told.split_whitespace().eq(wanted.iter().map(String::as_str)) {
                Ok(())
            } else {
                Err(format!("{told}; see {}", node.log(Part::Kubelet).display()))
            }
        })?;
        self.join_pods(progress)?;
        self.wait_for_nodes(progress)
    }
}
