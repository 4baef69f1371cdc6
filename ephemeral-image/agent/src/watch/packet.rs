//! Recognises probes in packets: bytes of an IP packet in, what marks the probe out. Pure, and safe against any bytes.
//!
//! Formats: RFC 791 (IPv4), RFC 8200 (IPv6), RFC 9293 (TCP), RFC 1035 section 4.1 (DNS), RFC 792 (ICMP), RFC 4443 (ICMPv6).

use netcheck_wire::probe::{Mark, Packet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
/// IPv6 extension headers that are stepped over: hop-by-hop, routing, destination options. A fragment (44) is not followed.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// More of them in one packet are not followed.
const MAX_EXTENSIONS: usize = 8;

const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// A packet that belongs to a probe, or looks like it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// What recognises the probe.
    pub mark: Mark,
    /// What the packet is to it.
    pub packet: Packet,
    /// Source address and port; port 0 for ICMP.
    pub source: SocketAddr,
    /// Destination address and port; port 0 for ICMP.
    pub destination: SocketAddr,
}

/// The network layer of a packet.
struct Network<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    transport: &'a [u8],
}

/// Reads a packet that starts with its IP header and may be cut at its end.
pub fn recognise(bytes: &[u8]) -> Option<Recognised> {
    let network = network(bytes)?;
    let transport = network.transport;
    let (mark, packet, ports) = match network.protocol {
        TCP => {
            let (mark, packet) = tcp(transport)?;
            (mark, packet, ports(transport)?)
        }
        UDP => {
            let (mark, packet) = dns(transport.get(8..)?)?;
            (mark, packet, ports(transport)?)
        }
        ICMP | ICMPV6 if (network.protocol == ICMPV6) == network.source.is_ipv6() => {
            let (mark, packet) = icmp(network.protocol, transport)?;
            (mark, packet, (0, 0))
        }
        _ => return None,
    };
    Some(Recognised {
        mark,
        packet,
        source: SocketAddr::new(network.source, ports.0),
        destination: SocketAddr::new(network.destination, ports.1),
    })
}

fn network(bytes: &[u8]) -> Option<Network<'_>> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes),
        6 => ipv6(bytes),
        _ => None,
    }
}

fn ipv4(bytes: &[u8]) -> Option<Network<'_>> {
    let header_length = usize::from(bytes.first()? & 0x0f) * 4;
    if header_length < 20 || u16_at(bytes, 6)? & 0x1fff != 0 {
        // Too short to be one, or a fragment without the transport header.
        return None;
    }
    Some(Network {
        source: Ipv4Addr::from(array_at::<4>(bytes, 12)?).into(),
        destination: Ipv4Addr::from(array_at::<4>(bytes, 16)?).into(),
        protocol: *bytes.get(9)?,
        transport: bytes.get(header_length..)?,
    })
}

fn ipv6(bytes: &[u8]) -> Option<Network<'_>> {
    let mut protocol = *bytes.get(6)?;
    let mut transport = bytes.get(40..)?;
    for _ in 0..MAX_EXTENSIONS {
        if !EXTENSIONS.contains(&protocol) {
            break;
        }
        protocol = *transport.first()?;
        let length = (usize::from(*transport.get(1)?) + 1) * 8;
        transport = transport.get(length..)?;
    }
    Some(Network {
        source: Ipv6Addr::from(array_at::<16>(bytes, 8)?).into(),
        destination: Ipv6Addr::from(array_at::<16>(bytes, 24)?).into(),
        protocol,
        transport,
    })
}

fn ports(transport: &[u8]) -> Option<(u16, u16)> {
    Some((u16_at(transport, 0)?, u16_at(transport, 2)?))
}

/// A SYN carries the number itself; its answers acknowledge the one after it; a reset that answers a SYN-ACK has just that number.
fn tcp(segment: &[u8]) -> Option<(Mark, Packet)> {
    let flags = *segment.get(13)?;
    let sequence = u32_at(segment, 4)?;
    let acknowledged = u32_at(segment, 8)?;
    let (isn, packet) = match (flags & RST != 0, flags & SYN != 0, flags & ACK != 0) {
        (true, _, true) => (acknowledged.wrapping_sub(1), Packet::Rst),
        (true, _, false) => (sequence.wrapping_sub(1), Packet::Rst),
        (false, true, true) => (acknowledged.wrapping_sub(1), Packet::SynAck),
        (false, true, false) => (sequence, Packet::Syn),
        (false, false, _) => return None,
    };
    Some((Mark::Tcp { isn }, packet))
}

/// The mark of a TCP header quoted by an ICMP error, of which RFC 792 promises eight bytes only: up to the sequence number.
fn quoted_tcp(segment: &[u8]) -> Option<Mark> {
    match segment.get(13) {
        Some(_) => tcp(segment).map(|(mark, _)| mark),
        None => Some(Mark::Tcp {
            isn: u32_at(segment, 4)?,
        }),
    }
}

/// One question of class IN, asked by a query or repeated by a response. Recognised by its form, not its port: a Service may lead
/// port 53 to any.
fn dns(message: &[u8]) -> Option<(Mark, Packet)> {
    let id = u16_at(message, 0)?;
    let flags = u16_at(message, 2)?;
    let is_query_opcode = flags & 0x7800 == 0;
    if !is_query_opcode || u16_at(message, 4)? != 1 {
        return None;
    }
    let (name, after) = question_name(message.get(12..)?)?;
    if u16_at(after, 2)? != 1 {
        return None;
    }
    let packet = if flags & 0x8000 == 0 {
        Packet::Request
    } else {
        Packet::Reply
    };
    Some((Mark::Dns { id, name }, packet))
}

/// A name of plain labels, as it is spelled, and the bytes after it. Names that could not be a probe's are none: compressed, longer than
/// 255 bytes, or with bytes that no host name has.
fn question_name(mut bytes: &[u8]) -> Option<(String, &[u8])> {
    let mut name = String::new();
    loop {
        let (&length, rest) = bytes.split_first()?;
        if length == 0 {
            return Some((name, rest));
        }
        if length > 63 || name.len() + usize::from(length) > 255 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(length.into())?;
        if !label
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        {
            return None;
        }
        if !name.is_empty() {
            name.push('.');
        }
        name.extend(label.iter().copied().map(char::from));
        bytes = rest;
    }
}

/// What an ICMP or ICMPv6 type means here.
enum IcmpKind {
    Request,
    Reply,
    Error,
}

fn icmp(protocol: u8, message: &[u8]) -> Option<(Mark, Packet)> {
    let (&kind, &code) = (message.first()?, message.get(1)?);
    let meaning = match (protocol, kind) {
        (ICMP, 8) | (ICMPV6, 128) => IcmpKind::Request,
        (ICMP, 0) | (ICMPV6, 129) => IcmpKind::Reply,
        (ICMP, 3 | 11 | 12) | (ICMPV6, 1..=4) => IcmpKind::Error,
        _ => return None,
    };
    match meaning {
        IcmpKind::Request => Some((nonce(message)?, Packet::Request)),
        IcmpKind::Reply => Some((nonce(message)?, Packet::Reply)),
        IcmpKind::Error => Some((quoted(message.get(8..)?)?, Packet::IcmpError { kind, code })),
    }
}

/// An echo's payload begins after type, code, checksum, identifier and sequence number; a probe's with its nonce.
fn nonce(echo: &[u8]) -> Option<Mark> {
    Some(Mark::Icmp {
        nonce: u64::from_be_bytes(array_at(echo, 8)?),
    })
}

/// The mark of the packet that an error quotes.
fn quoted(bytes: &[u8]) -> Option<Mark> {
    let network = network(bytes)?;
    match network.protocol {
        TCP => quoted_tcp(network.transport),
        UDP => Some(dns(network.transport.get(8..)?)?.0),
        ICMP | ICMPV6 => match (network.protocol, network.transport.first()?) {
            (ICMP, 0 | 8) | (ICMPV6, 128 | 129) => nonce(network.transport),
            _ => None,
        },
        _ => None,
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array_at(bytes, at).map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array_at(bytes, at).map(u32::from_be_bytes)
}

/// Packets for this module's tests and the filter's.
#[cfg(test)]
pub mod samples {
    use super::*;

    /// An IPv4 packet of a protocol.
    pub fn ipv4(protocol: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![
            0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2,
        ];
        packet.extend_from_slice(transport);
        packet
    }

    /// An IPv6 packet of a next header.
    pub fn ipv6(next: u8, transport: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, next, 64];
        packet.extend_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(&"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend_from_slice(transport);
        packet
    }

    /// A TCP header from port 40000 to port 80.
    pub fn tcp(flags: u8, sequence: u32, acknowledged: u32) -> Vec<u8> {
        let mut segment = Vec::new();
        segment.extend_from_slice(&40000u16.to_be_bytes());
        segment.extend_from_slice(&80u16.to_be_bytes());
        segment.extend_from_slice(&sequence.to_be_bytes());
        segment.extend_from_slice(&acknowledged.to_be_bytes());
        segment.extend_from_slice(&[0x50, flags, 0, 0, 0, 0, 0, 0]);
        segment
    }

    /// A UDP datagram to port 5353 with a DNS question for `wEb.Shop`, type A.
    pub fn dns(id: u16, flags: u16) -> Vec<u8> {
        let mut datagram = vec![0x9c, 0x40, 0x14, 0xe9, 0, 0, 0, 0];
        datagram.extend_from_slice(&id.to_be_bytes());
        datagram.extend_from_slice(&flags.to_be_bytes());
        datagram.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        datagram.extend_from_slice(b"\x03wEb\x04Shop\0\0\x01\0\x01");
        datagram
    }

    /// An ICMP message: type, code, eight bytes of header in all, then a body.
    pub fn icmp(kind: u8, code: u8, body: &[u8]) -> Vec<u8> {
        let mut message = vec![kind, code, 0, 0, 0, 1, 0, 1];
        message.extend_from_slice(body);
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FIN: u8 = 0x01;

    fn seen(packet: &[u8]) -> Option<(Mark, Packet)> {
        recognise(packet).map(|recognised| (recognised.mark, recognised.packet))
    }

    fn both(v4: u8, v6: u8, transport: &[u8]) -> [Vec<u8>; 2] {
        [samples::ipv4(v4, transport), samples::ipv6(v6, transport)]
    }

    #[test]
    fn each_part_of_a_handshake_leads_to_the_same_number() {
        let mark = Mark::Tcp { isn: u32::MAX };
        for (flags, sequence, acknowledged, packet) in [
            (SYN, u32::MAX, 0, Packet::Syn),
            (SYN | ACK, 77, 0, Packet::SynAck),
            (RST | ACK, 0, 0, Packet::Rst),
            (RST, 0, 9, Packet::Rst),
        ] {
            for bytes in both(TCP, TCP, &samples::tcp(flags, sequence, acknowledged)) {
                assert_eq!(seen(&bytes), Some((mark.clone(), packet.clone())), "flags {flags:#x}");
            }
        }
        assert_eq!(seen(&samples::ipv4(TCP, &samples::tcp(ACK, 1, 1))), None);
        assert_eq!(seen(&samples::ipv4(TCP, &samples::tcp(FIN | ACK, 1, 1))), None);
    }

    #[test]
    fn addresses_and_ports_are_read() {
        let v4 = recognise(&samples::ipv4(TCP, &samples::tcp(SYN, 1, 0))).unwrap();
        assert_eq!(
            (v4.source, v4.destination),
            ("192.0.2.1:40000".parse().unwrap(), "192.0.2.2:80".parse().unwrap())
        );
        let v6 = recognise(&samples::ipv6(ICMPV6, &samples::icmp(128, 0, &[0; 8]))).unwrap();
        assert_eq!(
            (v6.source, v6.destination),
            ("[2001:db8::1]:0".parse().unwrap(), "[2001:db8::2]:0".parse().unwrap())
        );
    }

    #[test]
    fn a_dns_question_is_recognised_on_any_port_with_its_spelling() {
        let mark = Mark::Dns {
            id: 0xbeef,
            name: "wEb.Shop".to_owned(),
        };
        for bytes in both(UDP, UDP, &samples::dns(0xbeef, 0x0100)) {
            assert_eq!(seen(&bytes), Some((mark.clone(), Packet::Request)));
        }
        for bytes in both(UDP, UDP, &samples::dns(0xbeef, 0x8580)) {
            assert_eq!(seen(&bytes), Some((mark.clone(), Packet::Reply)));
        }
        assert_eq!(
            seen(&samples::ipv4(UDP, &samples::dns(1, 0x2800))),
            None,
            "a dynamic update is no query"
        );
    }

    #[test]
    fn an_echo_is_known_by_its_nonce() {
        let mark = Mark::Icmp {
            nonce: 0x0102_0304_0506_0708,
        };
        let body = 0x0102_0304_0506_0708u64.to_be_bytes();
        for (kind, packet) in [(8, Packet::Request), (0, Packet::Reply)] {
            let bytes = samples::ipv4(ICMP, &samples::icmp(kind, 0, &body));
            assert_eq!(seen(&bytes), Some((mark.clone(), packet)));
        }
        for (kind, packet) in [(128, Packet::Request), (129, Packet::Reply)] {
            let bytes = samples::ipv6(ICMPV6, &samples::icmp(kind, 0, &body));
            assert_eq!(seen(&bytes), Some((mark.clone(), packet)));
        }
        assert_eq!(seen(&samples::ipv4(ICMP, &samples::icmp(8, 0, &body[..7]))), None);
    }

    #[test]
    fn an_error_is_joined_to_the_packet_it_quotes() {
        let inner = samples::ipv4(TCP, &samples::tcp(SYN, 5, 0));
        let error = Packet::IcmpError { kind: 3, code: 13 };
        for length in [28, 33, inner.len()] {
            let bytes = samples::ipv4(ICMP, &samples::icmp(3, 13, &inner[..length]));
            assert_eq!(
                seen(&bytes),
                Some((Mark::Tcp { isn: 5 }, error.clone())),
                "{length} bytes quoted"
            );
        }
        let reply = samples::ipv4(TCP, &samples::tcp(SYN | ACK, 900, 6));
        let bytes = samples::ipv4(ICMP, &samples::icmp(3, 13, &reply));
        assert_eq!(seen(&bytes), Some((Mark::Tcp { isn: 5 }, error)));

        let query = samples::ipv6(UDP, &samples::dns(7, 0x0100));
        let bytes = samples::ipv6(ICMPV6, &samples::icmp(1, 4, &query));
        let mark = Mark::Dns {
            id: 7,
            name: "wEb.Shop".to_owned(),
        };
        assert_eq!(seen(&bytes), Some((mark, Packet::IcmpError { kind: 1, code: 4 })));

        let echo = samples::ipv6(ICMPV6, &samples::icmp(128, 0, &9u64.to_be_bytes()));
        let bytes = samples::ipv6(ICMPV6, &samples::icmp(1, 0, &echo));
        assert_eq!(
            seen(&bytes),
            Some((Mark::Icmp { nonce: 9 }, Packet::IcmpError { kind: 1, code: 0 }))
        );
    }

    #[test]
    fn extension_headers_are_stepped_over_and_later_fragments_left() {
        let mut options = vec![TCP, 0, 1, 4, 0, 0, 0, 0];
        options.extend(samples::tcp(SYN, 5, 0));
        assert_eq!(
            seen(&samples::ipv6(60, &options)),
            Some((Mark::Tcp { isn: 5 }, Packet::Syn))
        );
        assert_eq!(seen(&samples::ipv6(44, &options)), None);
        let mut fragment = samples::ipv4(TCP, &samples::tcp(SYN, 5, 0));
        fragment[7] = 1;
        assert_eq!(seen(&fragment), None);
    }

    #[test]
    fn names_that_no_probe_has_are_none() {
        for name in [
            &b"\xc0\x0c"[..],
            b"\x03a b\0",
            b"\x03a.b\0",
            b"\x40",
            b"\x05abc",
            b"\x01\x1b\0",
        ] {
            assert_eq!(question_name(name), None, "{name:?}");
        }
        let long = [b"\x3f".as_slice(), &[b'a'; 63]].concat().repeat(5);
        assert_eq!(question_name(&long), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            recognise(&bytes);
        }

        #[test]
        fn any_cut_and_any_changed_byte_is_read(which in 0usize..5, cut in 0usize..120, at in 0usize..120, byte: u8) {
            let inner = samples::ipv4(TCP, &samples::tcp(SYN, 5, 0));
            let mut bytes = match which {
                0 => samples::ipv4(TCP, &samples::tcp(SYN, 5, 0)),
                1 => samples::ipv6(UDP, &samples::dns(7, 0)),
                2 => samples::ipv4(ICMP, &samples::icmp(3, 1, &inner)),
                3 => samples::ipv6(60, &[TCP, 0, 0, 0, 0, 0, 0, 0]),
                _ => samples::ipv6(ICMPV6, &samples::icmp(1, 0, &inner)),
            };
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(cut);
            recognise(&bytes);
        }
    }
}
