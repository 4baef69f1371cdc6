//! Two nodes joined by a wire, and three pods: two on the first node, one on the second. Which network joins the pods is `networks`'.

use crate::benches::namespace::Namespace;
use anyhow::{Context, Result, ensure};
use std::{
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Addresses of the nodes, each on its `eth0`.
pub const NODES: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 11), Ipv4Addr::new(192, 0, 2, 12)];
/// Ranges of their pods.
pub const RANGES: [&str; 2] = ["10.244.1.0/24", "10.244.2.0/24"];
pub const ALL_PODS: &str = "10.244.0.0/16";
/// Where servers listen.
pub const IPERF: u16 = 5201;
pub const SOCKPERF_UDP: u16 = 11_111;
pub const SOCKPERF_TCP: u16 = 11_112;
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes, pods and the servers in them; all ends with this.
pub struct Site {
    pub nodes: [Namespace; 2],
    /// The one that asks, its neighbour on the same node, and one on the other node.
    pub pods: [Namespace; 3],
    servers: Vec<Server>,
}

/// A process that ends with its value.
pub struct Server(Child);

impl Server {
    /// Starts it in a namespace, with its words thrown away.
    pub fn start(namespace: &Namespace, command: &mut Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let shown = format!("{command:?}");
        let child = namespace.within(|| command.spawn())?;
        Ok(Self(child.with_context(|| format!("cannot start {shown}"))?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Site {
    pub fn new() -> Result<Self> {
        let nodes = [Namespace::new("node")?, Namespace::new("node")?];
        nodes[0].ip(&format!(
            "link add eth0 type veth peer name eth0 netns {}",
            nodes[1].name()
        ))?;
        for (node, address) in nodes.iter().zip(NODES) {
            node.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1")?;
            node.ip("link set eth0 up")?;
            node.ip(&format!("addr add {address}/24 dev eth0"))?;
        }
        Ok(Self {
            nodes,
            pods: [Namespace::new("pod")?, Namespace::new("pod")?, Namespace::new("pod")?],
            servers: Vec::new(),
        })
    }

    /// Each pod with its number and the number of its node.
    pub fn placed(&self) -> impl Iterator<Item = (usize, usize, &Namespace)> {
        self.pods
            .iter()
            .enumerate()
            .map(|(number, pod)| (number, number / 2, pod))
    }

    /// What every cluster has: what leaves it is masqueraded, and so conntrack sees all that is forwarded. For networks that bring none of their own.
    pub fn masquerade(&self) -> Result<()> {
        for node in &self.nodes {
            node.run(&format!(
                "nft add table inet outside
                 nft add chain inet outside postrouting '{{ type nat hook postrouting priority srcnat + 5 ; }}'
                 nft add rule inet outside postrouting ip saddr {ALL_PODS} ip daddr != {ALL_PODS} masquerade fully-random"
            ))?;
        }
        Ok(())
    }

    /// Starts the servers of the two pods that are asked, and waits until they listen and are reached.
    pub fn serve(&mut self, addresses: [Ipv4Addr; 3]) -> Result<()> {
        for (pod, address) in self.pods.iter().zip(addresses).skip(1) {
            let address = address.to_string();
            let ports = [IPERF, SOCKPERF_UDP, SOCKPERF_TCP].map(|port| port.to_string());
            let servers = [
                ("iperf3", vec!["-s", "-B", &address, "-p", &ports[0]]),
                ("sockperf", vec!["sr", "-i", &address, "-p", &ports[1]]),
                ("sockperf", vec!["sr", "--tcp", "-i", &address, "-p", &ports[2]]),
            ];
            for (program, arguments) in servers {
                self.servers
                    .push(Server::start(pod, Command::new(program).args(arguments))?);
            }
            wait("the servers", || {
                Ok(pod.run("ss -Hlntu")?.lines().count() >= ports.len())
            })?;
            wait("the way between pods", || {
                Ok(self.pods[0]
                    .run(&format!("ping -qc1 -W1 {address} || true"))?
                    .contains(" 0% packet loss"))
            })?;
        }
        Ok(())
    }
}

/// Waits for a condition.
pub fn wait(what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so()? {
        ensure!(Instant::now() < deadline, "{what} did not come within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
