//! IPv4 and IPv6 headers.

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpv4Slice, LaxIpv6Slice};
use std::net::IpAddr;

const IPV6_HEADER: usize = 40;

/// An IP packet, perhaps cut.
#[derive(Debug, Clone, Copy)]
pub struct Ip<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    pub hop_limit: u8,
    /// What the payload is.
    pub protocol: IpNumber,
    pub fragment: Option<Piece>,
    /// Bytes of the header with its options and extension headers.
    pub header_length: usize,
    /// As captured, without what may follow the packet in its frame.
    pub payload: &'a [u8],
    /// Bytes of the payload as it was on the wire.
    pub payload_length: usize,
}

/// Which part of a larger packet this is.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    pub identification: u32,
    /// Bytes of the larger packet's payload before this part.
    pub offset: usize,
    pub more: bool,
}

/// Reads an IP header. `wire` are the bytes that were there on the wire.
pub fn ip(bytes: &[u8], wire: usize) -> Option<Ip<'_>> {
    match bytes.first()? >> 4 {
        4 => ipv4(bytes, wire),
        6 => ipv6(bytes, wire),
        _ => None,
    }
}

fn ipv4(bytes: &[u8], wire: usize) -> Option<Ip<'_>> {
    let (packet, _) = LaxIpv4Slice::from_slice(bytes).ok()?;
    let header = packet.header();
    let header_length = header.slice().len() + packet.extensions().auth.map_or(0, |auth| auth.slice().len());
    let payload = packet.payload();
    Some(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.ttl(),
        protocol: payload.ip_number,
        fragment: packet.is_payload_fragmented().then(|| Piece {
            identification: header.identification().into(),
            offset: header.fragments_offset().byte_offset().into(),
            more: header.more_fragments(),
        }),
        header_length,
        payload: payload.payload,
        payload_length: length_on_wire(header.total_len().into(), wire).saturating_sub(header_length),
    })
}

fn ipv6(bytes: &[u8], wire: usize) -> Option<Ip<'_>> {
    let (packet, _) = LaxIpv6Slice::from_slice(bytes).ok()?;
    let header = packet.header();
    let header_length = IPV6_HEADER + packet.extensions().slice().len();
    let payload = packet.payload();
    let total = match header.payload_length() {
        0 => 0,
        length => IPV6_HEADER + usize::from(length),
    };
    let fragment = || {
        packet
            .extensions()
            .clone()
            .into_iter()
            .find_map(|extension| match extension {
                Ipv6ExtensionSlice::Fragment(fragment) => Some(Piece {
                    identification: fragment.identification(),
                    offset: fragment.fragment_offset().byte_offset().into(),
                    more: fragment.more_fragments(),
                }),
                _ => None,
            })
    };
    Some(Ip {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        hop_limit: header.hop_limit(),
        protocol: payload.ip_number,
        fragment: packet.is_payload_fragmented().then(fragment).flatten(),
        header_length,
        payload: payload.payload,
        payload_length: length_on_wire(total, wire).saturating_sub(header_length),
    })
}

/// The smaller of what the header says and what was there. A header says 0 where its field is too small, as in packets that
/// segmentation offload has not cut yet.
fn length_on_wire(said: usize, wire: usize) -> usize {
    if said == 0 { wire } else { said.min(wire) }
}
