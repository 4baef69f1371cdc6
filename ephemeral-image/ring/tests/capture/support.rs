//! Two namespaces joined by a pair of veth interfaces, and what the tests do with rings.

use libtest_mimic::Trial;
use netcheck_node_state::{Netns, within};
use netcheck_ring::{Event, Instruction, Options, Packet, Ring};
use netcheck_trials::Need;
pub use netcheck_trials::{PATIENCE, wait_for};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::{
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where datagrams of the tests are sent to.
pub const PORT: u16 = 4000;

/// A test that needs root and tools.
pub fn trial(name: &str, tools: &[&'static str], test: fn()) -> Trial {
    let tools = tools.iter().copied().map(Need::Program);
    let needs: Vec<Need> = [Need::Root].into_iter().chain(tools).collect();
    netcheck_trials::trial(name, &needs, test)
}

/// The two namespaces, `near` and `far`; the interface of each is `eth0`.
pub struct World {
    name: String,
}

static NEXT: AtomicU32 = AtomicU32::new(1);

impl World {
    pub fn new() -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let world = Self {
            name: format!("ncring-{}-{number}", std::process::id()),
        };
        for side in ["near", "far"] {
            ip(&format!("netns add {}", world.ns(side)));
            // No packet but those of the tests.
            world.run(
                side,
                "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6; echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6",
            );
        }
        let (near, far) = (world.ns("near"), world.ns("far"));
        ip(&format!(
            "-n {near} link add eth0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:02 netns {far}"
        ));
        ip(&format!("-n {near} addr add 198.18.0.1/24 dev eth0"));
        ip(&format!("-n {far} addr add 198.18.0.2/24 dev eth0"));
        for side in ["near", "far"] {
            ip(&format!("-n {} link set eth0 up", world.ns(side)));
        }
        world.meet();
        world
    }

    /// Lets both sides know each other's hardware address, so that they need not ask.
    pub fn meet(&self) {
        self.run("near", "ip neigh replace 198.18.0.2 lladdr 02:00:00:00:00:02 dev eth0");
        self.run("far", "ip neigh replace 198.18.0.1 lladdr 02:00:00:00:00:01 dev eth0");
    }

    pub fn ns(&self, side: &str) -> String {
        format!("{}-{side}", self.name)
    }

    fn netns(&self, side: &str) -> Netns {
        Netns::open(&PathBuf::from(format!("/run/netns/{}", self.ns(side)))).unwrap()
    }

    /// Does something in a namespace.
    pub fn within<T: Send>(&self, side: &str, work: impl FnOnce() -> T + Send) -> T {
        within(&self.netns(side), work).unwrap()
    }

    /// Runs shell commands in a namespace and returns what they print.
    pub fn run(&self, side: &str, script: &str) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", &self.ns(side), "sh", "-ec", script])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The index of an interface as `ip` tells it.
    pub fn index(&self, side: &str, interface: &str) -> u32 {
        let links: serde_json::Value =
            serde_json::from_str(&self.run(side, &format!("ip -j link show {interface}"))).unwrap();
        u32::try_from(links[0]["ifindex"].as_u64().unwrap()).unwrap()
    }

    /// Packets that the far side's `eth0` received and sent so far, as `ip` tells it.
    pub fn traffic(&self) -> u64 {
        let links: serde_json::Value = serde_json::from_str(&self.run("far", "ip -s -j link show eth0")).unwrap();
        ["rx", "tx"]
            .map(|way| links[0]["stats64"][way]["packets"].as_u64().unwrap())
            .iter()
            .sum()
    }

    /// A ring on the far side's `eth0`.
    pub fn ring(&self, options: Options<'_>) -> Ring {
        let interface = Some(self.index("far", "eth0"));
        self.within("far", || Ring::open(&Options { interface, ..options }))
            .unwrap()
    }

    /// A ring on every interface of the far side.
    pub fn ring_on_all(&self, options: Options<'_>) -> Ring {
        self.within("far", || Ring::open(&options)).unwrap()
    }

    /// A socket of a side, to send from.
    pub fn socket(&self, side: &str) -> UdpSocket {
        self.within(side, || UdpSocket::bind("0.0.0.0:0")).unwrap()
    }

    /// Sends a datagram to the far side.
    pub fn send(&self, payload: &[u8]) {
        self.socket("near").send_to(payload, to(2)).unwrap();
    }

    /// A socket that sends whole frames from a side's `eth0`.
    pub fn link_socket(&self, side: &str) -> Socket {
        let index = self.index(side, "eth0");
        let socket = self
            .within(side, || Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))))
            .unwrap();
        // SAFETY: the closure fills a zeroed storage, which is large enough for any address, as a `sockaddr_ll` and gives its size.
        let ((), address) = unsafe {
            SockAddr::try_init(|storage, length| {
                let address: *mut libc::sockaddr_ll = storage.cast();
                (*address).sll_family = libc::AF_PACKET as u16;
                (*address).sll_ifindex = index.cast_signed();
                *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
                Ok(())
            })
        }
        .unwrap();
        socket.bind(&address).unwrap();
        socket
    }

    /// A TCP connection from near to far.
    pub fn connection(&self) -> (TcpStream, TcpStream) {
        let listener = self.within("far", || TcpListener::bind("198.18.0.2:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let near = self.within("near", || TcpStream::connect(address)).unwrap();
        (near, listener.accept().unwrap().0)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for side in ["near", "far"] {
            let _ = Command::new("ip").args(["netns", "del", &self.ns(side)]).status();
        }
    }
}

/// The port of the tests on a host of the network.
pub fn to(host: u8) -> SocketAddr {
    SocketAddr::from(([198, 18, 0, host], PORT))
}

pub fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split(' ')).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

/// Accepts IPv4 datagrams to a port. (`tcpdump -d "ip and udp dst port N"`, without its care for fragments and IP options.)
pub fn to_port(port: u16) -> [Instruction; 6] {
    let step = |code, jf, k| Instruction { code, jt: 0, jf, k };
    [
        step(0x28, 0, 12),
        step(0x15, 3, 0x0800),
        step(0x28, 0, 36),
        step(0x15, 1, u32::from(port)),
        step(0x06, 0, 262_144),
        step(0x06, 0, 0),
    ]
}

/// A packet that outlives its block, as a capture file would hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub at_ns: u64,
    pub original_length: u32,
    pub bytes: Vec<u8>,
}

impl Record {
    pub fn of(packet: &Packet<'_>, snap_length: u32) -> Self {
        let frame = packet.on_wire(snap_length);
        Self {
            at_ns: packet.at_ns,
            original_length: frame.original_length,
            bytes: frame.parts().concat(),
        }
    }
}

/// Ends a flood when it goes, also when the test fails: its threads are waited for.
pub struct EndOfFlood<'a>(pub &'a AtomicBool);

impl Drop for EndOfFlood<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until so many packets are in the ring: a sent one may stand in a queue for a while.
pub fn wait_for_packets(ring: &mut Ring, count: u64) {
    wait_for("the packets to arrive", || ring.statistics().unwrap().accepted >= count);
}

/// What `look` says of each packet, until there are at least so many.
pub fn take<T>(ring: &mut Ring, count: usize, mut look: impl FnMut(&Packet<'_>) -> T) -> Vec<T> {
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while seen.len() < count {
        assert!(Instant::now() < deadline, "{} of {count} packets came", seen.len());
        if let Event::Packets(block) = ring.next(Duration::from_millis(100)).unwrap() {
            seen.extend(block.packets().map(|packet| look(&packet)));
        }
    }
    seen
}

/// Stops the ring and drains it: what `look` says of each packet that still comes.
pub fn drain<T>(ring: &mut Ring, mut look: impl FnMut(&Packet<'_>) -> T) -> Vec<T> {
    ring.stop().unwrap();
    let mut seen = Vec::new();
    loop {
        match ring.next(PATIENCE).unwrap() {
            Event::Packets(block) => {
                let mut packets = block.packets();
                seen.extend(packets.by_ref().map(|packet| look(&packet)));
                assert_eq!(packets.left(), 0, "a whole block");
            }
            Event::End => return seen,
            Event::InterfaceDown => {}
            other => panic!("{other:?} while draining"),
        }
    }
}

/// The real-time clock in nanoseconds.
pub fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}
