//! Three namespaces in a row: a client, a router that has the rules, and a server that writes down what arrives and answers nothing.

use netcheck_node_state::{Netns, within};
use netcheck_ruleset::{Family, Flavour, Protocol, Ruleset, Sets};
use netcheck_trials::wait_for;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    process::{Command, Stdio, id},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// The client's addresses, and the router's own.
pub const CLIENT: [&str; 2] = ["10.244.0.9", "fd00:244::9"];
pub const ROUTER: [&str; 4] = ["10.244.0.1", "10.90.0.21", "fd00:244::1", "fd00:90::21"];
/// The router's devices, to the client and to the server.
pub const DEVICES: [&str; 2] = ["cni0", "flannel.1"];

/// How long a sender waits for what comes back.
const TIME: Duration = Duration::from_millis(60);

/// What becomes of packets, as far as it is seen from outside.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It arrived there, and whether it has its own source still.
    Arrived(SocketAddr, bool),
    /// Its sender got an error.
    Rejected,
    /// Nothing was seen of it.
    Vanished,
}

pub struct Net {
    client: String,
    router: String,
    server: String,
}

static MADE: AtomicU32 = AtomicU32::new(0);

impl Net {
    pub fn new() -> Self {
        let start = format!("ncrs-{}-{}", id(), MADE.fetch_add(1, Ordering::Relaxed));
        let net = Self {
            client: format!("{start}-c"),
            router: format!("{start}-r"),
            server: format!("{start}-s"),
        };
        let (client, router, server) = (&net.client, &net.router, &net.server);
        let [to_client, to_server] = DEVICES;
        shell(&format!(
            "for n in {client} {router} {server}; do ip netns add $n; ip -n $n link set lo up; done
             ip -n {router} link add {to_client} type veth peer name eth0 netns {client}
             ip -n {router} link add {to_server} type veth peer name eth0 netns {server}
             ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
             ip netns exec {router} sysctl -qw net.ipv4.conf.cni0.rp_filter=0 net.ipv4.conf.flannel/1.rp_filter=0
             ip netns exec {router} sysctl -qw net.ipv4.icmp_ratelimit=0 net.ipv6.icmp.ratelimit=0
             ip -n {client} addr add 10.244.0.9/24 dev eth0; ip -n {client} addr add fd00:244::9/64 dev eth0 nodad
             ip -n {router} addr add 10.244.0.1/24 dev {to_client}; ip -n {router} addr add fd00:244::1/64 dev {to_client} nodad
             ip -n {router} addr add 10.90.0.21/24 dev {to_server}; ip -n {router} addr add fd00:90::21/64 dev {to_server} nodad
             ip -n {server} addr add 10.90.0.99/24 dev eth0; ip -n {server} addr add fd00:90::99/64 dev eth0 nodad
             ip -n {client} link set eth0 up; ip -n {server} link set eth0 up
             ip -n {router} link set {to_client} up; ip -n {router} link set {to_server} up
             ip -n {client} route add default via 10.244.0.1; ip -n {client} -6 route add default via fd00:244::1
             ip -n {router} route add default via 10.90.0.99; ip -n {router} -6 route add default via fd00:90::99
             # Endpoints beside the client are behind the server as well.
             for a in 2 3 4; do ip -n {router} route add 10.244.0.$a via 10.90.0.99; done
             ip -n {router} route add 10.90.0.10 via 10.90.0.99"
        ));
        within_shell(
            server,
            "nft -f -",
            "table inet seen {
                set four { type ipv4_addr . ipv4_addr . inet_service; flags dynamic; size 4096; }
                set six { type ipv6_addr . ipv6_addr . inet_service; flags dynamic; size 4096; }
                chain c { type filter hook prerouting priority raw; policy accept;
                    meta l4proto { tcp, udp } add @four { ip saddr . ip daddr . th dport } drop
                    meta l4proto { tcp, udp } add @six { ip6 saddr . ip6 daddr . th dport } drop
                }
            }",
        );
        // A socket forgets an error that comes while it is being connected: what comes is counted before it.
        within_shell(
            client,
            "nft -f -",
            "table inet seen {
                counter errors { }
                chain c { type filter hook prerouting priority raw; policy accept;
                    icmp type destination-unreachable counter name errors
                    icmpv6 type destination-unreachable counter name errors
                    tcp flags & rst == rst counter name errors
                }
            }",
        );
        within_shell(
            router,
            "ipset restore",
            "create source hash:ip\nadd source 10.244.0.9\ncreate range hash:net\nadd range 10.244.1.0/24\n\
             create door hash:ip,port\nadd door 10.244.1.4,udp:53\nadd door 10.244.1.4,tcp:81\n\
             create three hash:ip,port,ip\nadd three 10.244.0.9,tcp:80,10.244.1.4\n",
        );
        // Until neighbours are known, packets wait.
        for to in ["10.244.1.99:9", "[fd00:244:1::99]:9"] {
            let to: SocketAddr = to.parse().unwrap();
            wait_for(&format!("the way to {to}"), || {
                net.send(Protocol::UDP, to) == BTreeSet::from([Fate::Arrived(to, true)])
            });
        }
        net
    }

    /// Gives the router rules.
    pub fn load(&self, program: &str, rules: &str) {
        within_shell(&self.router, program, rules);
    }

    /// The router without rules.
    pub fn forget(&self) {
        self.load("nft -f -", "flush ruleset");
        for program in ["iptables-legacy-restore", "ip6tables-legacy-restore"] {
            let empty = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n*nat\n:PREROUTING ACCEPT [0:0]\nCOMMIT\n";
            self.load(program, empty);
        }
        // Known connections would go on as they were decided.
        let _ = self.answer("conntrack -F 2>/dev/null || true");
    }

    /// The router's rules, read by the programs that a node's are read by.
    pub fn ruleset(&self) -> Ruleset {
        let nft: Value = serde_json::from_str(&self.answer("nft -j list ruleset")).unwrap();
        let texts = [
            (Family::Ip, Flavour::IptablesNft, "iptables-nft-save"),
            (Family::Ip6, Flavour::IptablesNft, "ip6tables-nft-save"),
            (Family::Ip, Flavour::IptablesLegacy, "iptables-legacy-save"),
            (Family::Ip6, Flavour::IptablesLegacy, "ip6tables-legacy-save"),
        ];
        let texts = texts.map(|(family, flavour, program)| (family, flavour, self.answer(program)));
        let texts = texts
            .iter()
            .map(|(family, flavour, text)| (*family, *flavour, text.as_str()));
        let sets = Sets::read(&self.answer("ipset save"));
        Ruleset::read(Some(&nft), texts, &sets).with_locals(ROUTER.iter().map(|ip| ip.parse().unwrap()))
    }

    fn answer(&self, command: &str) -> String {
        shell(&format!("ip netns exec {} {command}", self.router))
    }

    /// Sends the first packet of a new connection.
    pub fn send(&self, protocol: Protocol, to: SocketAddr) -> BTreeSet<Fate> {
        let sets = "flush set inet seen four\nflush set inet seen six";
        within_shell(&self.server, "nft -f -", sets);
        let before = self.errors();
        let netns = Netns::open(format!("/run/netns/{}", self.client).as_ref()).unwrap();
        within(&netns, move || attempt(protocol, to)).unwrap();
        let mut fates = self.seen();
        if self.errors() > before {
            fates.insert(Fate::Rejected);
        }
        if fates.is_empty() {
            fates.insert(Fate::Vanished);
        }
        fates
    }

    fn errors(&self) -> u64 {
        let text = shell(&format!("ip netns exec {} nft -j list counters", self.client));
        let listing: Value = serde_json::from_str(&text).unwrap();
        let mut counters = listing["nftables"].as_array().unwrap().iter();
        let counter = counters.find_map(|entry| entry.get("counter")).unwrap();
        counter["packets"].as_u64().unwrap()
    }

    fn seen(&self) -> BTreeSet<Fate> {
        let text = shell(&format!("ip netns exec {} nft -j list ruleset", self.server));
        let listing: Value = serde_json::from_str(&text).unwrap();
        let sets = listing["nftables"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry.get("set"));
        let elements = sets
            .filter_map(|set| set.get("elem"))
            .flat_map(|elements| elements.as_array().unwrap());
        let fate = |element: &Value| {
            let [from, to, port] = element["concat"].as_array().unwrap().as_slice() else {
                panic!("{element}");
            };
            let ip = |value: &Value| value.as_str().unwrap().parse::<IpAddr>().unwrap();
            let port = port.as_u64().and_then(|port| u16::try_from(port).ok()).unwrap();
            let is_own = CLIENT.iter().any(|own| own.parse::<IpAddr>().unwrap() == ip(from));
            Fate::Arrived(SocketAddr::new(ip(to), port), is_own)
        };
        elements.map(fate).collect()
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in [&self.client, &self.router, &self.server] {
            let _ = Command::new("ip")
                .args(["netns", "del", name])
                .stderr(Stdio::null())
                .status();
        }
    }
}

/// Sends one packet, and gives what becomes of it some time.
fn attempt(protocol: Protocol, to: SocketAddr) {
    if protocol == Protocol::TCP {
        assert!(TcpStream::connect_timeout(&to, TIME).is_err(), "{to} answers");
        return;
    }
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(TIME)).unwrap();
    // An error may come back at once.
    if socket.send(b"test").is_ok() {
        assert!(socket.recv(&mut [0; 16]).is_err(), "{to} answers");
    }
}

fn shell(script: &str) -> String {
    run(Command::new("sh").args(["-ec", script]), "")
}

fn within_shell(name: &str, program: &str, input: &str) {
    run(
        Command::new("ip")
            .args(["netns", "exec", name])
            .args(program.split(' ')),
        input,
    );
}

fn run(command: &mut Command, input: &str) -> String {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {complaint}\n{input}");
    String::from_utf8(output.stdout).unwrap()
}
