//! The networks that are compared. Each joins the pods of a site of its own.

use super::site::{ALL_PODS, NODES, RANGES, Server, Site, wait};
use crate::benches::{
    fake_api::{FakeApi, node},
    node_daemon::NodeDaemon,
    plugin_call::Plugin,
    products::folder_in_memory,
};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{fs, net::Ipv4Addr, path::Path, process::Command};
use tempfile::TempDir;

/// A way to join pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// `ptp` with `host-local`, and static routes between the nodes.
    Plain,
    /// Veth pairs and a vxlan device, by `ip` and `bridge`.
    Handmade,
    /// `flanneld` with its vxlan backend, and the `bridge` plugin as flannel's own plugin calls it.
    Flannel,
    /// The bundled CNI, its daemon and its plugin as shipped.
    Ours { backend: &'static str, counts: bool },
}

/// A network at work; it ends with this.
pub struct Running {
    pub site: Site,
    pub addresses: [Ipv4Addr; 3],
    daemons: Vec<NodeDaemon>,
    servers: Vec<Server>,
    folder: TempDir,
}

impl Network {
    pub fn name(self) -> String {
        match self {
            Self::Plain => "plain".to_owned(),
            Self::Handmade => "hand-made vxlan".to_owned(),
            Self::Flannel => "flannel vxlan".to_owned(),
            Self::Ours { backend, counts } => format!("ours {backend}{}", if counts { "" } else { ", no BPF" }),
        }
    }

    pub fn start(self) -> Result<Running> {
        let mut running = Running {
            site: Site::new()?,
            addresses: [Ipv4Addr::UNSPECIFIED; 3],
            daemons: Vec::new(),
            servers: Vec::new(),
            folder: folder_in_memory()?,
        };
        match self {
            Self::Plain => running.plain(),
            Self::Handmade => running.by_hand(),
            Self::Flannel => running.flannel(),
            Self::Ours { backend, counts } => running.ours(backend, counts),
        }
        .with_context(|| self.name())?;
        running.site.serve(running.addresses).with_context(|| self.name())?;
        Ok(running)
    }
}

impl Running {
    /// Has each node's plugin attach its pods.
    fn attach(&mut self, plugins: &[Plugin; 2]) -> Result<()> {
        for (number, place, pod) in self.site.placed() {
            let called =
                self.site.nodes[place].within(|| plugins[place].call("ADD", &format!("pod-{number}"), pod))??;
            let result: Value = serde_json::from_slice(&called.said)?;
            let address = result["ips"][0]["address"]
                .as_str()
                .and_then(|text| text.split('/').next());
            self.addresses[number] = address.context("the plugin told no address")?.parse()?;
        }
        Ok(())
    }

    fn plain(&mut self) -> Result<()> {
        self.site.masquerade()?;
        for place in 0..2 {
            let (range, gateway) = (RANGES[1 - place], NODES[1 - place]);
            self.site.nodes[place].ip(&format!("route add {range} via {gateway}"))?;
        }
        let folder = self.folder.path();
        let plugin = |place: usize| Plugin::ptp(&folder.join(place.to_string()), &[RANGES[place]]);
        let plugins = [plugin(0), plugin(1)];
        self.attach(&plugins)
    }

    fn by_hand(&mut self) -> Result<()> {
        self.site.masquerade()?;
        for (place, node) in self.site.nodes.iter().enumerate() {
            let (own, other) = (place + 1, 2 - place);
            node.run(&format!(
                "ip link add vx0 address 0a:00:00:00:00:0{own} mtu 1450 type vxlan id 1 local {} dev eth0 dstport 8472 nolearning
                 ip link set vx0 up
                 ip addr add 10.244.{own}.0/32 dev vx0
                 ip neigh add 10.244.{other}.0 lladdr 0a:00:00:00:00:0{other} dev vx0 nud permanent
                 bridge fdb append 0a:00:00:00:00:0{other} dev vx0 dst {} self permanent
                 ip route add {} via 10.244.{other}.0 dev vx0 onlink",
                NODES[place],
                NODES[1 - place],
                RANGES[1 - place],
            ))?;
        }
        for (number, place, pod) in self.site.placed() {
            let (node, address) = (
                &self.site.nodes[place],
                Ipv4Addr::new(10, 244, place as u8 + 1, number as u8 + 2),
            );
            node.run(&format!(
                "ip link add pod{number} mtu 1450 type veth peer name eth0 mtu 1450 netns {}
                 ip link set pod{number} up
                 ip addr add 169.254.1.1/32 dev pod{number}
                 ip route add {address} dev pod{number}",
                pod.name()
            ))?;
            pod.run(&format!(
                "ip addr add {address}/32 dev eth0
                 ip link set eth0 up
                 ip route add 169.254.1.1 dev eth0
                 ip route add default via 169.254.1.1 dev eth0"
            ))?;
            self.addresses[number] = address;
        }
        Ok(())
    }

    fn ours(&mut self, backend: &str, counts: bool) -> Result<()> {
        let config = [
            ("clusterCIDRs", ALL_PODS),
            ("backend", backend),
            ("ebpf", if counts { "auto" } else { "off" }),
            ("chain", ""),
        ];
        let mut plugins = Vec::new();
        for (place, namespace) in self.site.nodes.iter().enumerate() {
            let object = |place: usize| {
                let created = format!("2026-01-01T00:00:0{place}Z");
                let (ip, range) = (NODES[place].to_string(), RANGES[place].to_owned());
                node(&format!("n{place}"), &created, &ip, 24, &[range])
            };
            let api = FakeApi::start(namespace, vec![object(0), object(1)], &config)?;
            let mut daemon = NodeDaemon::start(namespace, &format!("n{place}"), &api)?;
            let bpf = if counts { "tcx" } else { "off: ConfigMap says ebpf: off" };
            daemon.wait_for("the network", |state| state["peers"] == 1 && state["bpf"] == bpf)?;
            plugins.push(Plugin::ours(&daemon.state())?);
            self.daemons.push(daemon);
        }
        let plugins: [Plugin; 2] = plugins.try_into().ok().context("two nodes")?;
        self.attach(&plugins)?;
        if counts {
            // A pod's programs are hung by the pass that its veth causes: two for each, and two for the way to the other node.
            for (daemon, pods) in self.daemons.iter().zip([2, 1]) {
                wait("programs on each hook", || Ok(daemon.hooks() == 2 * pods + 2))?;
            }
        }
        Ok(())
    }

    fn flannel(&mut self) -> Result<()> {
        let program = netcheck_rig::flanneld(&netcheck_rig::Stderr::start())?;
        let folder = self.folder.path().to_owned();
        let etcd = format!("http://{}:2379", NODES[0]);
        let mut command = Command::new("etcd");
        command
            .args([
                "--listen-client-urls",
                &etcd,
                "--advertise-client-urls",
                &etcd,
                "--unsafe-no-fsync",
                "--data-dir",
            ])
            .arg(folder.join("etcd"))
            .args(["--listen-peer-urls", "http://127.0.0.1:2380"]);
        self.servers.push(Server::start(&self.site.nodes[0], &mut command)?);
        // etcd's JSON takes keys and values in base 64: /coreos.com/network/config, and {"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}.
        let put = format!(
            "curl -sf -X POST {etcd}/v3/kv/put -d '{{\"key\": \"L2NvcmVvcy5jb20vbmV0d29yay9jb25maWc=\", \"value\": \"{}\"}}' && echo done || true",
            "eyJOZXR3b3JrIjoiMTAuMjQ0LjAuMC8xNiIsIkJhY2tlbmQiOnsiVHlwZSI6InZ4bGFuIn19"
        );
        wait("etcd", || Ok(self.site.nodes[0].run(&put)?.ends_with("done\n")))?;
        let mut plugins = Vec::new();
        for (place, node) in self.site.nodes.iter().enumerate() {
            let file = folder.join(format!("subnet-{place}.env"));
            let mut command = Command::new(&program);
            command
                .args(["-etcd-endpoints", &etcd, "-iface", "eth0", "-ip-masq", "-subnet-file"])
                .arg(&file);
            self.servers.push(Server::start(node, &mut command)?);
            wait("flanneld's subnet file", || Ok(file.is_file()))?;
            plugins.push(bridge(&file, &folder.join(place.to_string()))?);
        }
        let plugins: [Plugin; 2] = plugins.try_into().ok().context("two nodes")?;
        self.attach(&plugins)
    }
}

/// What flannel's own plugin makes of the file that the daemon wrote: a call of `bridge`.
fn bridge(file: &Path, state: &Path) -> Result<Plugin> {
    let text = fs::read_to_string(file)?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.with_context(|| format!("no {key} in {text:?}"))
    };
    let mtu: u32 = value("FLANNEL_MTU=")?.parse()?;
    // The file has the bridge's own address; the range is wanted.
    let (address, length) = value("FLANNEL_SUBNET=")?.split_once('/').context("a range")?;
    let address: Ipv4Addr = address.parse()?;
    let range = format!("{}/{length}", Ipv4Addr::from(u32::from(address) & !0xff));
    let keys = json!({"isDefaultGateway": true, "hairpinMode": true, "ipMasq": false, "mtu": mtu});
    Ok(Plugin::reference("bridge", keys, state, &[&range], &[ALL_PODS]))
}
