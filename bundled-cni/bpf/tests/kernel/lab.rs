//! Two nodes with a pod each, a router between the nodes, and the state of SPEC.md section 5 put there by `ip` and `bridge`.

use crate::shell::{json, run};
use netcheck_cni_bpf::{
    Address, Bpf, Config, Contents, Endpoint, Hook, Hooking, Node, Options, Prefix, Program, SCHEMA,
};
use netcheck_node_state::{Netns, within};
use netcheck_trials::wait_for;
use serde_json::Value;
use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};
use tempfile::TempDir;

/// A BPF filesystem of its own.
pub struct BpfFilesystem(TempDir);

impl BpfFilesystem {
    pub fn mount() -> Self {
        let folder = TempDir::new().unwrap();
        run(&format!("mount -t bpf bpf {}", folder.path().display()));
        Self(folder)
    }

    pub fn root(&self) -> PathBuf {
        self.0.path().join("netcheck-cni/v1")
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for BpfFilesystem {
    fn drop(&mut self) {
        run(&format!("umount {}", self.0.path().display()));
    }
}

/// A network namespace, by name.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new(role: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ncbpf-{}-{number}-{role}", std::process::id());
        run(&format!("ip netns add {name} && ip -n {name} link set lo up"));
        let namespace = Self(name);
        // The kernel's own multicast reports and neighbour discovery would be counted among what the tests send.
        namespace.run(
            "cd /proc/sys/net/ipv6/conf/default
             echo 0 | tee accept_dad dad_transmits router_solicitations accept_ra >/dev/null
             echo 3600000 | tee mldv1_unsolicited_report_interval mldv2_unsolicited_report_interval >/dev/null",
        );
        namespace
    }

    pub fn netns(&self) -> Netns {
        Netns::open(Path::new(&format!("/run/netns/{}", self.0))).unwrap()
    }

    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        within(&self.netns(), work).unwrap()
    }

    pub fn run(&self, command: &str) -> String {
        let name = &self.0;
        run(&format!("ip netns exec {name} sh -ec '{command}'"))
    }

    /// What bpftool says of a link to one of this namespace's devices: elsewhere it finds no name for that. Version 7.5 says it and fails.
    pub fn pinned_link(&self, pin: &Path) -> Value {
        let shown = self.run(&format!("bpftool -j link show pinned {} || true", pin.display()));
        serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
    }

    pub fn ifindex(&self, device: &str) -> u32 {
        let links = json(&format!("ip -n {} -j link show {device}", self.0));
        u32::try_from(links[0]["ifindex"].as_u64().unwrap()).unwrap()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        run(&format!("ip netns del {}", self.0));
    }
}

pub const UPLINK: &str = "eth0.100";
const HOST_MAC: &str = "0e:6e:63:00:00:01";

/// A node, its pod, and its BPF filesystem.
pub struct LabNode {
    pub number: u8,
    pub host: Namespace,
    pub pod: Namespace,
    pub filesystem: BpfFilesystem,
}

impl LabNode {
    pub fn new(number: u8) -> Self {
        let node = Self {
            number,
            host: Namespace::new("node"),
            pod: Namespace::new("pod"),
            filesystem: BpfFilesystem::mount(),
        };
        let (host, pod, mac) = (&node.host.0, &node.pod.0, node.pod_mac());
        run(&format!(
            "ip -n {host} link add vethp address {HOST_MAC} type veth peer name eth0 netns {pod} address {mac}"
        ));
        node.host.run(&format!(
            "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip link set vethp addrgenmode none
             ip link set vethp up
             ip route add 10.244.{number}.2/32 dev vethp proto 147
             ip route add fd00:10:244:{number}::2/128 dev vethp proto 147
             ip neigh add 10.244.{number}.2 lladdr {mac} dev vethp nud permanent
             ip neigh add fd00:10:244:{number}::2 lladdr {mac} dev vethp nud permanent"
        ));
        node.pod.run(&format!(
            "ip addr add 10.244.{number}.2/32 dev eth0
             ip addr add fd00:10:244:{number}::2/128 dev eth0 nodad
             ip link set eth0 up
             ip neigh add 169.254.1.1 lladdr {HOST_MAC} dev eth0 nud permanent
             ip neigh add fe80::1 lladdr {HOST_MAC} dev eth0 nud permanent
             ip route add 169.254.1.1 dev eth0 scope link
             ip route add default via 169.254.1.1 dev eth0 mtu 1450
             ip route add default via fe80::1 dev eth0 mtu 1450"
        ));
        node
    }

    pub fn root(&self) -> PathBuf {
        self.filesystem.root()
    }

    pub fn internal_ip(&self) -> Address {
        let ip: IpAddr = format!("192.0.2.{}", self.number * 64 + 11).parse().unwrap();
        ip.into()
    }

    pub fn pod_ip(&self) -> IpAddr {
        format!("10.244.{}.2", self.number).parse().unwrap()
    }

    pub fn pod_ip_bytes(&self) -> [u8; 16] {
        Address::from(self.pod_ip()).0
    }

    pub fn pod_ip6(&self) -> IpAddr {
        format!("fd00:10:244:{}::2", self.number).parse().unwrap()
    }

    pub fn pod_mac(&self) -> String {
        format!("0a:58:0a:f4:{:02x}:02", self.number)
    }

    pub fn vtep_mac(&self) -> String {
        format!("0a:00:00:00:00:{:02x}", self.number)
    }

    /// The overlay device as section 5.1 and 5.2 have it.
    pub fn make_tunnel(&self, peer: &Self) {
        let (number, other) = (self.number, peer.number);
        let (mac, local) = (self.vtep_mac(), self.internal_ip());
        let (peer_mac, remote) = (peer.vtep_mac(), peer.internal_ip());
        self.host.run(&format!(
            "ip link add ncvx0 address {mac} type vxlan id 4242 local {local} dev {UPLINK} dstport 8472 nolearning udpcsum
             ip link set ncvx0 addrgenmode none mtu 1450
             ip link set ncvx0 up
             ip addr add 10.244.{number}.0/32 dev ncvx0
             ip addr add fd00:10:244:{number}::/128 dev ncvx0 nodad
             ip neigh add 10.244.{other}.0 lladdr {peer_mac} dev ncvx0 nud permanent
             ip neigh add fd00:10:244:{other}:: lladdr {peer_mac} dev ncvx0 nud permanent
             bridge fdb append {peer_mac} dev ncvx0 dst {remote} self permanent
             ip route replace 10.244.{other}.0/24 via 10.244.{other}.0 dev ncvx0 onlink
             ip -6 route replace fd00:10:244:{other}::/64 via fd00:10:244:{other}:: dev ncvx0 onlink"
        ));
    }

    pub fn hook(&self, device: &str, program: Program) -> Hook {
        Hook {
            device: device.to_owned(),
            ifindex: self.host.ifindex(device),
            program,
        }
    }

    pub fn hooks(&self) -> Vec<Hook> {
        vec![
            self.hook("vethp", Program::PodFrom),
            self.hook("vethp", Program::PodTo),
            self.hook("ncvx0", Program::VxOut),
            self.hook("ncvx0", Program::VxIn),
        ]
    }

    fn prefixes(&self) -> [Prefix; 2] {
        let v6 = format!("fd00:10:244:{}::", self.number).parse().unwrap();
        let v4 = format!("10.244.{}.0", self.number).parse().unwrap();
        [Prefix::new(v4, 24), Prefix::new(v6, 64)]
    }

    /// What the maps must hold on this node, with `peers`, which are reached directly or by the tunnel.
    pub fn contents(&self, peers: &[&Self], is_direct: bool) -> Contents {
        let endpoint = Endpoint {
            ifindex: self.host.ifindex("vethp"),
            pod_mac: self.pod_mac().parse().unwrap(),
            host_mac: HOST_MAC.parse().unwrap(),
            pod_uid: [7; 16],
        };
        let mut contents = Contents {
            config: Config {
                schema: SCHEMA,
                sample: 0,
                flags: Config::TUNNEL_EXISTS,
                tunnel_ifindex: self.host.ifindex("ncvx0"),
                own4: Some(self.prefixes()[0]),
                own6: Some(self.prefixes()[1]),
            },
            endpoints: [self.pod_ip(), self.pod_ip6()].map(|ip| (ip.into(), endpoint)).into(),
            ..Contents::default()
        };
        let direct = if is_direct { Node::DIRECT } else { 0 };
        let peers = peers.iter().map(|peer| (*peer, direct));
        for (node, flags) in peers.chain([(self, Node::SELF)]) {
            let value = Node {
                internal_ip: node.internal_ip(),
                vtep_mac: node.vtep_mac().parse().unwrap(),
                flags,
            };
            contents.nodes.extend(node.prefixes().map(|prefix| (prefix, value)));
        }
        contents
    }

    pub fn open(&self, hooking: Option<Hooking>) -> Bpf {
        Bpf::open(&self.root(), Options { hooking }).unwrap()
    }

    /// Programs on pod and tunnel, and maps filled.
    pub fn start(&self, peer: &Self, hooking: Option<Hooking>) -> Bpf {
        let mut bpf = self.open(hooking);
        bpf.reconcile(&self.contents(&[peer], false)).unwrap();
        self.attach(&mut bpf, &self.hooks());
        bpf
    }

    pub fn attach(&self, bpf: &mut Bpf, hooks: &[Hook]) -> Vec<netcheck_cni_bpf::AttachChange> {
        self.host.within(|| bpf.ensure_attached(hooks)).unwrap()
    }
}

/// Nodes 1 and 2, and what lies between them.
pub struct Lab {
    pub a: LabNode,
    pub b: LabNode,
    pub router: Namespace,
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self {
            a: LabNode::new(1),
            b: LabNode::new(2),
            router: Namespace::new("router"),
        };
        lab.router
            .run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        for node in [&lab.a, &lab.b] {
            let (host, router, number) = (&node.host.0, &lab.router.0, node.number);
            let (ip, gateway) = (node.internal_ip(), format!("192.0.2.{}", number * 64 + 1));
            run(&format!(
                "ip -n {host} link add {UPLINK} type veth peer name to{number} netns {router}
                 ip -n {host} link set {UPLINK} up
                 ip -n {router} link set to{number} up"
            ));
            node.host.run(&format!(
                "ip addr add {ip}/26 dev {UPLINK}
                 ip addr add fd00:99:{number}::11/64 dev {UPLINK} nodad"
            ));
            lab.router.run(&format!(
                "ip addr add {gateway}/26 dev to{number}
                 ip addr add fd00:99:{number}::1/64 dev to{number} nodad
                 ip route add 10.244.{number}.0/24 via {ip}
                 ip -6 route add fd00:10:244:{number}::/64 via fd00:99:{number}::11"
            ));
            node.host.run(&format!(
                "ip route add default via {gateway}; ip -6 route add default via fd00:99:{number}::1"
            ));
        }
        lab.a.make_tunnel(&lab.b);
        lab.b.make_tunnel(&lab.a);
        wait_for("the way from pod to pod", || {
            let ping = format!(
                "ip netns exec {} ping -qc1 -W1 {} >/dev/null && echo yes || true",
                lab.a.pod.0,
                lab.b.pod_ip()
            );
            run(&ping) == "yes\n"
        });
        lab
    }

    /// Packets stay single everywhere, so that tcpdump's lines are packets.
    pub fn without_offload(&self) {
        for node in [&self.a, &self.b] {
            node.pod.run("ethtool -K eth0 tso off gso off gro off");
            node.host.run(&format!(
                "for device in vethp ncvx0 {UPLINK}; do ethtool -K $device tso off gso off gro off; done"
            ));
        }
    }

    /// Packets leave the nodes one by one, as from hardware that cannot segment what is in a tunnel.
    pub fn segment_before_the_wire(&self) {
        for node in [&self.a, &self.b] {
            node.host.run(&format!(
                "ethtool -K {UPLINK} tx-udp_tnl-segmentation off tx-udp_tnl-csum-segmentation off tso off gso off"
            ));
        }
    }
}
