//! From bytes to a summary.

use crate::{
    dns, icmp,
    icmp_words::icmp_meaning,
    ip::Ip,
    link::Link,
    summary::{
        Arp, Fragment, Frame, Icmp, IpPacket, Mac, Network, Other, Quoted, Summary, Tcp, TcpFlags, Transport, Tunnel,
        TunnelKind, Udp,
    },
    walk::{Found, walk},
};
use etherparse::{
    ArpPacketSlice, Ethernet2HeaderSlice, IpNumber, TcpHeaderSlice, TcpOptionElement, UdpHeaderSlice, ip_number,
};
use std::net::{IpAddr, Ipv6Addr};

/// Tells what a packet says. `original_length` is its length on the wire; `bytes` may be fewer.
pub fn describe(link: Link, bytes: &[u8], original_length: u32) -> Summary {
    let captured = length(bytes.len());
    let mut summary = Summary {
        length: original_length.max(captured),
        captured,
        ..Summary::default()
    };
    let wire = usize::try_from(summary.length).unwrap_or(usize::MAX);
    walk(link, bytes, wire, |found| summary.add(found));
    summary
}

impl Summary {
    fn add(&mut self, found: Found<'_>) {
        match found {
            Found::Ethernet(header) => self.set_frame(&header),
            Found::Vlan(tag) => {
                if let Some(frame) = self.frame_mut() {
                    frame.vlans.push(tag.vlan_identifier().value());
                    frame.ether_type = tag.ether_type().0;
                }
            }
            Found::Arp(packet) => self.network = arp(&packet).map(Network::Arp),
            Found::Ip(packet) => self.network = Some(Network::Ip(ip(&packet))),
            Found::Vxlan { vni } => self.enter(TunnelKind::Vxlan, Some(vni)),
            Found::Geneve { vni } => self.enter(TunnelKind::Geneve, Some(vni)),
            Found::IpInIp => self.enter(TunnelKind::Ipip, None),
            Found::Tcp {
                header,
                payload,
                length,
            } => {
                self.transport = Some(Transport::Tcp(tcp(&header, length)));
                self.dns = dns::over_tcp(header.source_port(), header.destination_port(), payload);
            }
            Found::Udp {
                header,
                payload,
                length,
            } => {
                self.transport = Some(Transport::Udp(udp(&header, length)));
                self.dns = dns::over_udp(header.source_port(), header.destination_port(), payload);
            }
            Found::Icmp {
                version,
                message,
                length,
            } => {
                self.transport = Some(Transport::Icmp(icmp_message(version, message, length)));
            }
            Found::Other {
                protocol,
                payload,
                length: on_wire,
            } => {
                let first =
                    matches!(&self.network, Some(Network::Ip(ip)) if ip.fragment.is_none_or(|piece| piece.offset == 0));
                let ports = ports(protocol, payload).filter(|_| first);
                self.transport = Some(Transport::Other(Other {
                    protocol_number: protocol.0,
                    ports,
                    length: length(on_wire),
                }));
            }
        }
    }

    /// The frame whose payload is being read.
    fn frame_mut(&mut self) -> Option<&mut Frame> {
        match self.tunnels.last_mut() {
            Some(tunnel) => tunnel.frame.as_mut(),
            None => self.frame.as_mut(),
        }
    }

    fn set_frame(&mut self, header: &Ethernet2HeaderSlice<'_>) {
        let frame = Some(Frame {
            source: Mac(header.source()),
            destination: Mac(header.destination()),
            ether_type: header.ether_type().0,
            vlans: Vec::new(),
        });
        match self.tunnels.last_mut() {
            Some(tunnel) => tunnel.frame = frame,
            None => self.frame = frame,
        }
    }

    /// What was found so far turns out to be the outside of a tunnel.
    fn enter(&mut self, kind: TunnelKind, vni: Option<u32>) {
        if let Some(Network::Ip(outer)) = self.network.take() {
            let IpPacket {
                source, destination, ..
            } = outer;
            self.tunnels.push(Tunnel {
                kind,
                vni,
                source,
                destination,
                frame: None,
            });
        }
        self.transport = None;
        self.dns = None;
    }
}

/// As JSON and lines have it; no packet is longer.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn ip(packet: &Ip<'_>) -> IpPacket {
    IpPacket {
        source: packet.source,
        destination: packet.destination,
        hop_limit: packet.hop_limit,
        fragment: packet.fragment.map(|piece| Fragment {
            identification: piece.identification,
            offset: length(piece.offset),
            more: piece.more,
        }),
    }
}

fn arp(packet: &ArpPacketSlice<'_>) -> Option<Arp> {
    let address = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    let mac = |bytes: &[u8]| bytes.try_into().ok().map(Mac);
    Some(Arp {
        operation: packet.operation().0,
        sender: address(packet.sender_protocol_addr())?,
        sender_mac: mac(packet.sender_hw_addr())?,
        target: address(packet.target_protocol_addr())?,
        target_mac: mac(packet.target_hw_addr())?,
    })
}

fn tcp(header: &TcpHeaderSlice<'_>, payload_length: usize) -> Tcp {
    let flags = [
        header.fin(),
        header.syn(),
        header.rst(),
        header.psh(),
        header.ack(),
        header.urg(),
        header.ece(),
        header.cwr(),
        header.ns(),
    ];
    let bits = flags.into_iter().enumerate().map(|(bit, set)| u16::from(set) << bit);
    let mss = header.options_iterator().flatten().find_map(|option| match option {
        TcpOptionElement::MaximumSegmentSize(size) => Some(size),
        _ => None,
    });
    Tcp {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        flags: TcpFlags(bits.sum()),
        sequence: header.sequence_number(),
        acknowledgement: header.acknowledgment_number(),
        window: header.window_size(),
        mss,
        length: length(payload_length),
    }
}

fn udp(header: &UdpHeaderSlice<'_>, payload_length: usize) -> Udp {
    Udp {
        source_port: header.source_port(),
        destination_port: header.destination_port(),
        length: length(payload_length),
    }
}

fn icmp_message(version: icmp::Version, message: &[u8], on_wire: usize) -> Icmp {
    use icmp::Version::{V4, V6};
    let [kind, code, _, _, a, b, c, d] = message.first_chunk().copied().unwrap_or_default();
    let echo = match version {
        V4 => matches!(kind, 0 | 8),
        V6 => matches!(kind, 128 | 129),
    };
    let mtu = match (version, kind, code) {
        (V4, 3, 4) => Some(u16::from_be_bytes([c, d]).into()),
        (V6, 2, _) => Some(u32::from_be_bytes([a, b, c, d])),
        _ => None,
    };
    let target = match (version, kind) {
        (V4, 5) => Some(IpAddr::from([a, b, c, d])),
        (V6, 135..=137) => {
            let bytes = message.get(icmp::HEADER..).and_then(<[u8]>::first_chunk::<16>);
            bytes.map(|bytes| Ipv6Addr::from(*bytes).into())
        }
        _ => None,
    };
    Icmp {
        version: if version == V4 { 4 } else { 6 },
        kind,
        code,
        meaning: icmp_meaning(version == V6, kind, code),
        identifier: echo.then(|| u16::from_be_bytes([a, b])),
        sequence: echo.then(|| u16::from_be_bytes([c, d])),
        mtu,
        target,
        mac: icmp::link_address(message).filter(|_| version == V6).map(Mac),
        quoted: icmp::quoted(version, message).map(|packet| Quoted {
            source: packet.source,
            destination: packet.destination,
            protocol_number: packet.protocol.0,
            ports: ports(packet.protocol, packet.payload),
        }),
        length: length(on_wire),
    }
}

/// Of protocols whose header begins with two ports.
fn ports(protocol: IpNumber, payload: &[u8]) -> Option<[u16; 2]> {
    let has_ports = matches!(
        protocol,
        ip_number::TCP | ip_number::UDP | ip_number::SCTP | ip_number::UDP_LITE | ip_number::DCCP
    );
    let [a, b, c, d] = *payload.first_chunk().filter(|_| has_ports)?;
    Some([u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])])
}
