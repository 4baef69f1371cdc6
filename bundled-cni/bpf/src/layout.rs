//! The bytes of the maps, as SPEC.md section 6 has them. `layout.h` says the same to the programs.
//!
//! Integers are in the machine's order, ports and addresses in network order.

use netcheck_node_state::Mac;
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// The layout's number, in the path of the pins and in `nc_cfg`.
pub const SCHEMA: u32 = 1;
/// How many reasons `nc_reason` has room for.
pub const REASONS: usize = 32;
/// How many peers `nc_peer` has room for.
pub(crate) const PEERS: u32 = 8192;

/// An address of either family in 16 bytes; IPv4 as `::ffff:a.b.c.d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Address(pub [u8; 16]);

/// A prefix of either family, as the longest-match map has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix {
    /// In bits of the 16 bytes: for IPv4, 96 + its length.
    pub length: u32,
    /// The network's address.
    pub address: Address,
}

/// `nc_cfg`: what the programs must know of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Config {
    /// [`SCHEMA`].
    pub schema: u32,
    /// One packet in so many becomes an event; 0 is none.
    pub sample: u32,
    /// [`Config::TUNNEL_EXISTS`] or 0.
    pub flags: u32,
    /// The number of `ncvx0`; 0 if it does not exist.
    pub tunnel_ifindex: u32,
    /// This node's range of IPv4 addresses, if it has one.
    pub own4: Option<Prefix>,
    /// Likewise, of IPv6 addresses.
    pub own6: Option<Prefix>,
}

/// A value of `nc_ep`: a local pod's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Endpoint {
    /// The number of the host's end of its veth.
    pub ifindex: u32,
    /// MAC of the pod's end.
    pub pod_mac: Mac,
    /// MAC of the host's end.
    pub host_mac: Mac,
    /// The pod's UID in binary; zero if nobody told.
    pub pod_uid: [u8; 16],
}

/// A value of `nc_node`: whose pods a prefix holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Node {
    /// The node's InternalIP of the underlay's family.
    pub internal_ip: Address,
    /// MAC of its end of the tunnel.
    pub vtep_mac: Mac,
    /// [`Node::DIRECT`] and [`Node::SELF`].
    pub flags: u16,
}

/// A value of `nc_node` as it is in the map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NodeEntry {
    pub(crate) node: Node,
    /// The node's place in `nc_peer`, or [`NodeEntry::NO_SLOT`].
    pub(crate) slot: u32,
}

/// Packets (segments, where offload packs many into one) and bytes, of which those of headers that offload leaves out are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amount {
    /// Segments of each (SPEC.md section 6.4).
    pub packets: u64,
    /// `len` of each.
    pub bytes: u64,
}

/// A key of `nc_ep_count`: an address of a pod, and the host's end of its veth. Packets with that address on other devices are not the pod's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CountedEndpoint {
    pub(crate) address: Address,
    pub(crate) ifindex: u32,
}

/// A value of `nc_ep_count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointCount {
    /// Sent by the pod.
    pub from_pod: Amount,
    /// Sent to the pod.
    pub to_pod: Amount,
}

/// A value of `nc_peer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerCount {
    /// Sent to the peer.
    pub sent: Amount,
    /// Received from it.
    pub received: Amount,
}

/// An entry of `nc_event`: one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// `bpf_ktime_get_ns`: nanoseconds of `CLOCK_MONOTONIC`.
    pub time_ns: u64,
    /// Source; zero if it was cut off.
    pub source: Address,
    /// Destination, likewise.
    pub destination: Address,
    /// Source port; of ICMP, type × 256 + code.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
    /// IP protocol number, behind IPv6's extension headers.
    pub protocol: u8,
    /// The flags of TCP's header (RFC 9293 section 3.1).
    pub tcp_flags: u8,
    /// 0 pod_from, 1 pod_to, 2 vx_out, 3 vx_in, 4 ul_out, 5 ul_in.
    pub hook: u8,
    /// As in `nc_reason`.
    pub reason: u8,
    /// The device.
    pub ifindex: u32,
    /// In bytes, with the link layer's header.
    pub length: u32,
    /// Packets that offload packed into one.
    pub segments: u16,
}

impl Address {
    /// As people write it.
    pub fn ip(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }
}

impl From<IpAddr> for Address {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => ip.into(),
            IpAddr::V6(ip) => Self(ip.octets()),
        }
    }
}

impl From<Ipv4Addr> for Address {
    fn from(ip: Ipv4Addr) -> Self {
        Self(ip.to_ipv6_mapped().octets())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ip().fmt(formatter)
    }
}

impl Prefix {
    /// A prefix of `ip`'s family. Bits behind the length must be zero, as the kernel keeps them otherwise.
    pub fn new(ip: IpAddr, length: u8) -> Self {
        let before = if ip.is_ipv4() { 96 } else { 0 };
        Self {
            length: before + u32::from(length),
            address: ip.into(),
        }
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = self.address.ip();
        match self.length.checked_sub(96).filter(|_| ip.is_ipv4()) {
            Some(length) => write!(formatter, "{ip}/{length}"),
            None => write!(formatter, "{}/{}", Ipv6Addr::from(self.address.0), self.length),
        }
    }
}

impl Amount {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            packets: self.packets.wrapping_add(other.packets),
            bytes: self.bytes.wrapping_add(other.bytes),
        }
    }

    /// From 16 bytes of `nc_reason`.
    pub(crate) fn decode(bytes: &[u8; 16]) -> Self {
        Self {
            packets: u64::from_ne_bytes(at(bytes, 0)),
            bytes: u64::from_ne_bytes(at(bytes, 8)),
        }
    }
}

/// `N` bytes at an offset. Lengths are constants here, so what lies outside is a mistake of ours that every test would meet; it reads as
/// zero.
fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    let found = bytes.get(offset..).and_then(|rest| rest.first_chunk());
    found.copied().unwrap_or([0; N])
}

/// Parts one after another; what is missing at the end is zero.
fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    bytes
}

impl Config {
    /// `ncvx0` exists.
    pub const TUNNEL_EXISTS: u32 = 1;

    pub(crate) fn encode(self) -> [u8; 56] {
        let [own4, own6] = [self.own4, self.own6].map(|range| range.map_or([0; 20], Prefix::encode));
        join(&[
            &self.schema.to_ne_bytes(),
            &self.sample.to_ne_bytes(),
            &self.flags.to_ne_bytes(),
            &self.tunnel_ifindex.to_ne_bytes(),
            &own4,
            &own6,
        ])
    }

    pub(crate) fn decode(bytes: &[u8; 56]) -> Self {
        let range = |place: usize| Some(Prefix::decode(&at(bytes, place))).filter(|range| range.length > 0);
        Self {
            schema: u32::from_ne_bytes(at(bytes, 0)),
            sample: u32::from_ne_bytes(at(bytes, 4)),
            flags: u32::from_ne_bytes(at(bytes, 8)),
            tunnel_ifindex: u32::from_ne_bytes(at(bytes, 12)),
            own4: range(16),
            own6: range(36),
        }
    }
}

impl Prefix {
    pub(crate) fn encode(self) -> [u8; 20] {
        join(&[&self.length.to_ne_bytes(), &self.address.0])
    }

    pub(crate) fn decode(bytes: &[u8; 20]) -> Self {
        Self {
            length: u32::from_ne_bytes(at(bytes, 0)),
            address: Address(at(bytes, 4)),
        }
    }
}

impl Endpoint {
    pub(crate) fn encode(self) -> [u8; 32] {
        join(&[
            &self.ifindex.to_ne_bytes(),
            &self.pod_mac.0,
            &self.host_mac.0,
            &self.pod_uid,
        ])
    }

    pub(crate) fn decode(bytes: &[u8; 32]) -> Self {
        Self {
            ifindex: u32::from_ne_bytes(at(bytes, 0)),
            pod_mac: Mac(at(bytes, 4)),
            host_mac: Mac(at(bytes, 10)),
            pod_uid: at(bytes, 16),
        }
    }
}

impl Node {
    /// It is reached without tunnel.
    pub const DIRECT: u16 = 1;
    /// It is this node itself.
    pub const SELF: u16 = 2;

    /// Whether it is another node, so that packets to and from it are counted.
    pub(crate) fn is_peer(&self) -> bool {
        self.flags & Self::SELF == 0
    }
}

impl NodeEntry {
    /// Of this node itself, which is not counted, and of a peer that there is no room for.
    pub(crate) const NO_SLOT: u32 = u32::MAX;

    pub(crate) fn encode(self) -> [u8; 28] {
        let node = self.node;
        join(&[
            &node.internal_ip.0,
            &node.vtep_mac.0,
            &node.flags.to_ne_bytes(),
            &self.slot.to_ne_bytes(),
        ])
    }

    pub(crate) fn decode(bytes: &[u8; 28]) -> Self {
        Self {
            node: Node {
                internal_ip: Address(at(bytes, 0)),
                vtep_mac: Mac(at(bytes, 16)),
                flags: u16::from_ne_bytes(at(bytes, 22)),
            },
            slot: u32::from_ne_bytes(at(bytes, 24)),
        }
    }
}

/// Both halves of a value of `nc_ep_count` or `nc_peer`.
fn amounts(bytes: &[u8; 32]) -> (Amount, Amount) {
    (Amount::decode(&at(bytes, 0)), Amount::decode(&at(bytes, 16)))
}

impl CountedEndpoint {
    pub(crate) fn encode(self) -> [u8; 20] {
        join(&[&self.address.0, &self.ifindex.to_ne_bytes()])
    }

    pub(crate) fn decode(bytes: &[u8; 20]) -> Self {
        Self {
            address: Address(at(bytes, 0)),
            ifindex: u32::from_ne_bytes(at(bytes, 16)),
        }
    }
}

impl fmt::Display for CountedEndpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} on device {}", self.address, self.ifindex)
    }
}

impl EndpointCount {
    pub(crate) fn decode(bytes: &[u8; 32]) -> Self {
        let (from_pod, to_pod) = amounts(bytes);
        Self { from_pod, to_pod }
    }

    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            from_pod: self.from_pod.plus(other.from_pod),
            to_pod: self.to_pod.plus(other.to_pod),
        }
    }
}

impl PeerCount {
    pub(crate) fn decode(bytes: &[u8; 32]) -> Self {
        let (sent, received) = amounts(bytes);
        Self { sent, received }
    }

    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent.plus(other.sent),
            received: self.received.plus(other.received),
        }
    }
}

impl Event {
    /// From 64 bytes of the ring; `None` if there are fewer.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 64] = bytes.first_chunk()?;
        let [protocol, tcp_flags, hook, reason] = at(bytes, 44);
        Some(Self {
            time_ns: u64::from_ne_bytes(at(bytes, 0)),
            source: Address(at(bytes, 8)),
            destination: Address(at(bytes, 24)),
            source_port: u16::from_be_bytes(at(bytes, 40)),
            destination_port: u16::from_be_bytes(at(bytes, 42)),
            protocol,
            tcp_flags,
            hook,
            reason,
            ifindex: u32::from_ne_bytes(at(bytes, 48)),
            length: u32::from_ne_bytes(at(bytes, 52)),
            segments: u16::from_ne_bytes(at(bytes, 56)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Address, Config, Endpoint, Event, Node, NodeEntry, PeerCount, Prefix};

    /// The example of SPEC.md section 6.2, by hand.
    #[test]
    fn a_node_is_as_the_specification_shows_it() {
        let prefix = Prefix::new(std::net::Ipv4Addr::new(10, 244, 2, 0).into(), 24);
        assert_eq!(prefix.length, 0x78);
        assert_eq!(
            prefix.address.0,
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0xf4, 2, 0]
        );
        let node = Node {
            internal_ip: std::net::Ipv4Addr::new(192, 0, 2, 12).into(),
            vtep_mac: "0a:48:9d:da:b5:3d".parse().unwrap(),
            ..Node::default()
        };
        let bytes = [
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xc0, 0, 2, 0x0c, 0x0a, 0x48, 0x9d, 0xda, 0xb5, 0x3d, 0, 0, 0, 0,
            0, 0,
        ];
        assert_eq!(NodeEntry { node, slot: 0 }.encode(), bytes);
        let node = Node {
            flags: Node::DIRECT | Node::SELF,
            ..node
        };
        let entry = NodeEntry { node, slot: 8191 };
        let bytes = entry.encode();
        assert_eq!(
            bytes[22..],
            [&3_u16.to_ne_bytes()[..], &8191_u32.to_ne_bytes()].concat()
        );
        assert_eq!(NodeEntry::decode(&bytes), entry);
    }

    #[test]
    fn numbers_stand_where_the_specification_puts_them() {
        let config = Config {
            schema: 1,
            sample: 1024,
            flags: Config::TUNNEL_EXISTS,
            tunnel_ifindex: 7,
            own4: Some(Prefix::new("10.244.1.0".parse().unwrap(), 24)),
            own6: None,
        };
        let mut bytes: Vec<u8> = [1_u32, 1024, 1, 7, 120]
            .into_iter()
            .flat_map(u32::to_ne_bytes)
            .collect();
        bytes.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 244, 1, 0]);
        bytes.extend([0; 20]);
        assert_eq!(config.encode().as_slice(), bytes);
        assert_eq!(Config::decode(&config.encode()), config);

        let endpoint = Endpoint {
            ifindex: 9,
            pod_mac: "0a:58:0a:f4:01:02".parse().unwrap(),
            host_mac: "0e:6e:63:00:00:01".parse().unwrap(),
            pod_uid: [0xab; 16],
        };
        let bytes = endpoint.encode();
        assert_eq!(bytes[..4], 9_u32.to_ne_bytes());
        assert_eq!(bytes[4..16], [0x0a, 0x58, 0x0a, 0xf4, 1, 2, 0x0e, 0x6e, 0x63, 0, 0, 1]);
        assert_eq!(bytes[16..], [0xab; 16]);
        assert_eq!(Endpoint::decode(&bytes), endpoint);

        let bytes: Vec<u8> = [1_u64, 2, 3, 4].into_iter().flat_map(u64::to_ne_bytes).collect();
        let count = PeerCount::decode(bytes.first_chunk().unwrap());
        assert_eq!((count.sent.packets, count.sent.bytes), (1, 2));
        assert_eq!((count.received.packets, count.received.bytes), (3, 4));
    }

    #[test]
    fn an_event_is_read_field_by_field() {
        let mut bytes = Vec::new();
        bytes.extend(5_u64.to_ne_bytes());
        bytes.extend(Address::from(std::net::Ipv4Addr::new(10, 0, 0, 1)).0);
        bytes.extend([0xfd; 16]);
        bytes.extend([0x1f, 0x90, 0, 80, 6, 0x12, 3, 5]);
        bytes.extend(11_u32.to_ne_bytes());
        bytes.extend(1514_u32.to_ne_bytes());
        bytes.extend(44_u16.to_ne_bytes());
        bytes.extend([0; 6]);
        assert_eq!(bytes.len(), 64);
        let event = Event::decode(&bytes).unwrap();
        assert_eq!((event.time_ns, event.source.to_string()), (5, "10.0.0.1".to_owned()));
        assert_eq!((event.source_port, event.destination_port), (8080, 80));
        assert_eq!(
            (event.protocol, event.tcp_flags, event.hook, event.reason),
            (6, 0x12, 3, 5)
        );
        assert_eq!((event.ifindex, event.length, event.segments), (11, 1514, 44));
        assert_eq!(Event::decode(&bytes[..63]), None);
    }

    #[test]
    fn prefixes_read_as_people_write_them() {
        for text in ["10.244.2.0/24", "fd00:10:244:2::/64", "0.0.0.0/0"] {
            let (ip, length) = text.split_once('/').unwrap();
            let prefix = Prefix::new(ip.parse().unwrap(), length.parse().unwrap());
            assert_eq!(prefix.to_string(), text);
        }
    }
}
