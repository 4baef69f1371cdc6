//! The one way through a packet, from its first header to its last.

use crate::{
    icmp,
    ip::{self, Ip},
    link::Link,
};
use etherparse::{
    ArpPacketSlice, EtherType, Ethernet2HeaderSlice, IpNumber, SingleVlanHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
    err::tcp::HeaderSliceError, ether_type, ip_number,
};

/// Headers that are read of one packet at most; real ones have about ten.
const MAX_HEADERS: usize = 24;
/// Tunnels that are opened, one within the other.
const MAX_TUNNELS: usize = 4;

/// VXLAN by its assigned port, and by the one Linux used before and still has as its default (drivers/net/vxlan).
const VXLAN_PORTS: [u16; 2] = [4789, 8472];
const GENEVE_PORT: u16 = 6081;
/// The shortest header of both.
const TUNNEL_HEADER: usize = 8;
/// "Trans Ether Bridging": an Ethernet frame within GENEVE.
const BRIDGED: EtherType = EtherType(0x6558);

/// A header on the way. Lengths are of payloads as they were on the wire, in bytes.
pub enum Found<'a> {
    Ethernet(Ethernet2HeaderSlice<'a>),
    Vlan(SingleVlanHeaderSlice<'a>),
    Arp(ArpPacketSlice<'a>),
    Ip(Ip<'a>),
    /// What follows is within the packet found last.
    Vxlan {
        vni: u32,
    },
    /// As VXLAN.
    Geneve {
        vni: u32,
    },
    /// As VXLAN.
    IpInIp,
    Tcp {
        header: TcpHeaderSlice<'a>,
        payload: &'a [u8],
        length: usize,
    },
    Udp {
        header: UdpHeaderSlice<'a>,
        payload: &'a [u8],
        length: usize,
    },
    Icmp {
        version: icmp::Version,
        /// At least 8 bytes.
        message: &'a [u8],
        length: usize,
    },
    /// A transport that is not understood, cut within its header, or in a later fragment.
    Other {
        protocol: IpNumber,
        payload: &'a [u8],
        length: usize,
    },
}

enum Next {
    Frame,
    EtherType(EtherType),
    Ip,
    Transport { protocol: IpNumber, first: bool },
    End,
}

/// Shows each header to `visit`, and tells where the last one ends. `wire` is the packet's length on the wire.
pub fn walk<'a>(link: Link, bytes: &'a [u8], wire: usize, visit: impl FnMut(Found<'a>)) -> usize {
    let mut walk = Walk {
        rest: bytes,
        read: 0,
        wire: wire.max(bytes.len()),
        tunnels: 0,
        visit,
    };
    let mut next = match link {
        Link::Ethernet => Next::Frame,
        Link::RawIp => Next::Ip,
    };
    for _ in 0..MAX_HEADERS {
        next = match next {
            Next::Frame => walk.frame(),
            Next::EtherType(kind) => walk.ether_type(kind),
            Next::Ip => walk.ip(),
            Next::Transport { protocol, first } => walk.transport(protocol, first),
            Next::End => break,
        }
        .unwrap_or(Next::End);
    }
    walk.read
}

struct Walk<'a, V> {
    /// What is not read yet, of the packet that is being read.
    rest: &'a [u8],
    /// Bytes before `rest`.
    read: usize,
    /// Length of `rest` on the wire.
    wire: usize,
    tunnels: usize,
    visit: V,
}

/// Each gives what follows; `None` is the end.
impl<'a, V: FnMut(Found<'a>)> Walk<'a, V> {
    /// Goes on behind a header.
    fn skip(&mut self, length: usize) {
        let length = length.min(self.rest.len());
        self.rest = self.rest.get(length..).unwrap_or_default();
        self.read += length;
        self.wire = self.wire.saturating_sub(length);
    }

    fn frame(&mut self) -> Option<Next> {
        let header = Ethernet2HeaderSlice::from_slice(self.rest).ok()?;
        self.skip(header.slice().len());
        let kind = header.ether_type();
        (self.visit)(Found::Ethernet(header));
        Some(Next::EtherType(kind))
    }

    fn ether_type(&mut self, kind: EtherType) -> Option<Next> {
        match kind {
            ether_type::VLAN_TAGGED_FRAME | ether_type::PROVIDER_BRIDGING | ether_type::VLAN_DOUBLE_TAGGED_FRAME => {
                let header = SingleVlanHeaderSlice::from_slice(self.rest).ok()?;
                self.skip(header.slice().len());
                let kind = header.ether_type();
                (self.visit)(Found::Vlan(header));
                Some(Next::EtherType(kind))
            }
            ether_type::ARP => {
                let packet = ArpPacketSlice::from_slice(self.rest).ok()?;
                // Only that of IPv4 over Ethernet (RFC 826): any other could carry anything in its addresses.
                if (packet.hw_addr_size(), packet.proto_addr_size()) == (6, 4) {
                    self.skip(packet.slice().len());
                    (self.visit)(Found::Arp(packet));
                }
                None
            }
            ether_type::IPV4 | ether_type::IPV6 => Some(Next::Ip),
            _ => None,
        }
    }

    fn ip(&mut self) -> Option<Next> {
        let packet = ip::ip(self.rest, self.wire)?;
        self.skip(packet.header_length);
        self.rest = packet.payload;
        self.wire = packet.payload_length;
        (self.visit)(Found::Ip(packet));
        let first = packet.fragment.is_none_or(|piece| piece.offset == 0);
        Some(Next::Transport {
            protocol: packet.protocol,
            first,
        })
    }

    fn transport(&mut self, protocol: IpNumber, first: bool) -> Option<Next> {
        match protocol {
            _ if !first => self.other(protocol),
            ip_number::TCP => self.tcp(),
            ip_number::UDP => self.udp(),
            ip_number::ICMP => self.icmp(icmp::Version::V4, protocol),
            ip_number::IPV6_ICMP => self.icmp(icmp::Version::V6, protocol),
            ip_number::IPV4 | ip_number::IPV6 => self.tunnel(Found::IpInIp, 0, Next::Ip),
            _ => self.other(protocol),
        }
    }

    fn tcp(&mut self) -> Option<Next> {
        match TcpHeaderSlice::from_slice(self.rest) {
            Ok(header) => {
                self.skip(header.slice().len());
                (self.visit)(Found::Tcp {
                    header,
                    payload: self.rest,
                    length: self.wire,
                });
                None
            }
            Err(HeaderSliceError::Len(_)) => self.cut(ip_number::TCP),
            Err(HeaderSliceError::Content(_)) => self.other(ip_number::TCP),
        }
    }

    fn udp(&mut self) -> Option<Next> {
        let Ok(header) = UdpHeaderSlice::from_slice(self.rest) else {
            return self.cut(ip_number::UDP);
        };
        let header_length = header.slice().len();
        self.skip(header_length);
        // 0 where the field is too small (RFC 2675), and in packets that segmentation offload has not cut yet.
        if let Some(length) = usize::from(header.length()).checked_sub(header_length) {
            self.wire = self.wire.min(length);
            self.rest = self.rest.get(..length).unwrap_or(self.rest);
        }
        let port = header.destination_port();
        (self.visit)(Found::Udp {
            header,
            payload: self.rest,
            length: self.wire,
        });
        match port {
            _ if VXLAN_PORTS.contains(&port) => self.vxlan(),
            GENEVE_PORT => self.geneve(),
            _ => None,
        }
    }

    /// RFC 7348, section 5: flags with the I bit, 24 reserved bits, the VNI in 24 bits, 8 reserved bits.
    fn vxlan(&mut self) -> Option<Next> {
        let header: &[u8; TUNNEL_HEADER] = self.rest.first_chunk()?;
        let [flags, _, _, _, vni @ .., _] = header;
        (flags & 0x08 != 0).then_some(())?;
        self.tunnel(Found::Vxlan { vni: number(*vni) }, TUNNEL_HEADER, Next::Frame)
    }

    /// RFC 8926, section 3.4: version and length of options in 4 bytes, flags, protocol, the VNI in 24 bits, 8 reserved bits.
    fn geneve(&mut self) -> Option<Next> {
        let header: &[u8; TUNNEL_HEADER] = self.rest.first_chunk()?;
        let [version_and_length, _, high, low, vni @ .., _] = header;
        (version_and_length >> 6 == 0).then_some(())?;
        let length = TUNNEL_HEADER + usize::from(version_and_length & 0x3f) * 4;
        (length <= self.rest.len()).then_some(())?;
        let next = match EtherType(u16::from_be_bytes([*high, *low])) {
            BRIDGED => Next::Frame,
            kind => Next::EtherType(kind),
        };
        self.tunnel(Found::Geneve { vni: number(*vni) }, length, next)
    }

    fn tunnel(&mut self, found: Found<'a>, header_length: usize, next: Next) -> Option<Next> {
        self.tunnels += 1;
        (self.tunnels <= MAX_TUNNELS).then_some(())?;
        self.skip(header_length);
        (self.visit)(found);
        Some(next)
    }

    fn icmp(&mut self, version: icmp::Version, protocol: IpNumber) -> Option<Next> {
        let (message, length) = (self.rest, self.wire);
        let Some(header_length) = icmp::headers_length(version, message) else {
            return self.cut(protocol);
        };
        self.skip(header_length);
        (self.visit)(Found::Icmp {
            version,
            message,
            length,
        });
        None
    }

    /// What was captured ends within a header: all of it is header.
    fn cut(&mut self, protocol: IpNumber) -> Option<Next> {
        self.other(protocol);
        self.skip(self.rest.len());
        None
    }

    fn other(&mut self, protocol: IpNumber) -> Option<Next> {
        (self.visit)(Found::Other {
            protocol,
            payload: self.rest,
            length: self.wire,
        });
        None
    }
}

fn number([high, middle, low]: [u8; 3]) -> u32 {
    u32::from_be_bytes([0, high, middle, low])
}
