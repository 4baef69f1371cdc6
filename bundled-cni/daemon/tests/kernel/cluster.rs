//! The three nodes of the worked example on one switch, each kept by its daemon, with pods that the plugin added.

use crate::{
    node::Node,
    sandbox::Sandbox,
    vector::{self, words},
};
use netcheck_cni_daemon::cluster::View;
use serde_json::{Value, json};
use std::{collections::BTreeMap, net::IpAddr};

pub struct Cluster {
    pub view: View,
    pub nodes: BTreeMap<String, Node>,
    pub pods: Vec<Pod>,
    /// Holds the bridges that the uplinks are on, and routes between them.
    switch: Sandbox,
}

/// Where a pod is.
#[derive(Clone)]
pub struct Pod {
    pub node: String,
    pub key: String,
    pub ips: Vec<IpAddr>,
}

/// Which of the example's families a cluster has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Families {
    Ipv4,
    Dual,
}

impl Cluster {
    /// All nodes settled, a pod on each and another one on n1.
    pub fn new(families: Families) -> Self {
        Self::of(&example(families))
    }

    /// With `auto` and IPv4, n3 behind a router.
    pub fn with_n3_elsewhere() -> Self {
        let mut vector = example(Families::Ipv4);
        vector["input"]["config"]["backend"] = json!("auto");
        let n3 = &mut vector["input"]["nodes"][2];
        n3["internalIPs"] = json!(["198.51.100.13"]);
        n3["local"]["ipv4"]["address"] = json!("198.51.100.13/24");
        Self::of(&vector)
    }

    fn of(vector: &Value) -> Self {
        let switch = Sandbox::new();
        for (bridge, address) in [("br0", "192.0.2.1/24"), ("br1", "198.51.100.1/24")] {
            switch.run(&format!(
                "ip link add {bridge} mtu 9000 type bridge; ip link set {bridge} up; ip addr add {address} dev {bridge}"
            ));
        }
        switch.run("sysctl -qw net.ipv4.ip_forward=1");
        let mut cluster = Self {
            view: vector::view(vector),
            nodes: BTreeMap::new(),
            pods: Vec::new(),
            switch,
        };
        for node in vector["input"]["nodes"].as_array().unwrap() {
            cluster.join(node);
        }
        cluster.settle();
        for attachment in vector["input"]["attachments"].as_array().unwrap() {
            let node = words(&attachment["node"]);
            let (status, said) = cluster.nodes.get_mut(&node).unwrap().add(attachment);
            assert_eq!(status, 0, "{said}");
            let ips = attachment["ips"].as_array().unwrap().iter();
            cluster.pods.push(Pod {
                node,
                key: words(&attachment["key"]),
                ips: ips.map(|ip| words(ip).parse().unwrap()).collect(),
            });
        }
        cluster.settle();
        cluster
    }

    fn join(&mut self, node: &Value) {
        let this = Node::bare(node["name"].as_str().unwrap());
        let mtu = &node["local"]["ipv4"]["mtu"];
        this.sandbox.run(&format!(
            "sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.default.rp_filter=1 net.ipv6.conf.default.accept_dad=0
             ip link add eth0 mtu {mtu} type veth peer name {name} mtu 9000 netns {switch}
             ip link set eth0 up",
            name = this.name,
            switch = self.switch.pid(),
        ));
        let (port, address) = (&this.name, words(&node["local"]["ipv4"]["address"]));
        let is_elsewhere = address.starts_with("198.51.100.");
        let bridge = if is_elsewhere { "br1" } else { "br0" };
        self.switch
            .run(&format!("ip link set {port} master {bridge}; ip link set {port} up"));
        for local in node["local"].as_object().unwrap().values() {
            this.add_address("eth0", local["address"].as_str().unwrap());
        }
        let router = if is_elsewhere { "198.51.100.1" } else { "192.0.2.1" };
        this.sandbox.run(&format!("ip route add default via {router}"));
        self.nodes.insert(this.name.clone(), this);
    }

    /// Passes on all nodes, and what they say of themselves reaches all others, until nothing changes any more.
    pub fn settle(&mut self) {
        for _ in 0..5 {
            let before = self.view.clone();
            let mut changes = 0;
            for (name, node) in &mut self.nodes {
                let outcome = node.settle(&self.view);
                changes += outcome.applied.total();
                if let Some(object) = self.view.nodes.as_mut().unwrap().get_mut(name) {
                    object.annotations.extend(outcome.annotations);
                }
            }
            if changes == 0 && before == self.view {
                return;
            }
        }
        panic!("the cluster does not come to rest");
    }

    pub fn node(&self, name: &str) -> &Node {
        &self.nodes[name]
    }

    /// The first pod of a node.
    pub fn pod_on(&self, node: &str) -> &Pod {
        self.pods.iter().find(|pod| pod.node == node).unwrap()
    }

    /// A pod's namespace.
    pub fn inside(&self, pod: &Pod) -> &Sandbox {
        &self.nodes[&pod.node].pods[&pod.key]
    }

    /// An InternalIP of the same family as another address.
    pub fn internal_ip(&self, node: &str, like: IpAddr) -> IpAddr {
        let object = &self.view.nodes.as_ref().unwrap()[node];
        let mut ips = object.internal_ips.iter().map(|ip| ip.parse::<IpAddr>().unwrap());
        ips.find(|ip| ip.is_ipv4() == like.is_ipv4()).unwrap()
    }
}

/// The worked example with two more pods, reduced to some families.
fn example(families: Families) -> Value {
    let mut vector = vector::read("02-dual-stack-vxlan");
    let more = [
        ("n3", "netcheck@c3d4e5f6@eth0", ["10.244.3.2", "fd00:10:244:3::2"]),
        ("n1", "netcheck@d4e5f6a7@eth0", ["10.244.1.3", "fd00:10:244:1::3"]),
    ];
    let pod = json!({ "namespace": "default", "name": "more", "uid": "" });
    let attachments = vector["input"]["attachments"].as_array_mut().unwrap();
    attachments.extend(more.map(|(node, key, ips)| json!({ "node": node, "key": key, "ips": ips, "pod": pod })));
    if families == Families::Dual {
        return vector;
    }
    let is_v4 = |text: &Value| !text.as_str().unwrap().contains(':');
    let input = &mut vector["input"];
    for attachment in input["attachments"].as_array_mut().unwrap() {
        attachment["ips"].as_array_mut().unwrap().retain(is_v4);
    }
    for node in input["nodes"].as_array_mut().unwrap() {
        for key in ["podCIDRs", "internalIPs"] {
            node[key].as_array_mut().unwrap().retain(is_v4);
        }
        node["local"].as_object_mut().unwrap().remove("ipv6");
        // Nothing is published yet.
        node["annotations"] = json!({});
    }
    input["config"]["clusterCIDRs"] = json!("10.244.0.0/16");
    vector
}
