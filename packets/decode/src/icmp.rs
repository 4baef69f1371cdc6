//! ICMP (RFC 792) and ICMPv6 (RFC 4443) with neighbour discovery (RFC 4861).

use crate::ip::{self, Ip};

/// Type, code, checksum and four bytes whose meaning depends on the type.
pub const HEADER: usize = 8;
/// Of what an error quotes, the bytes behind the IP header that name the flow: RFC 792 asks for so many.
const QUOTED_TRANSPORT: usize = 8;
/// A link-layer address of Ethernet as an option of neighbour discovery, and its types: source and target.
const LINK_OPTION: usize = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

/// How much of a message is headers; `None` if it is cut within its own.
pub fn headers_length(version: Version, message: &[u8]) -> Option<usize> {
    if message.len() < HEADER {
        return None;
    }
    if let Some(quoted) = quoted(version, message) {
        return Some(HEADER + quoted.header_length + QUOTED_TRANSPORT.min(quoted.payload.len()));
    }
    Some(discovery_length(version, message).unwrap_or(HEADER))
}

/// The packet an error is about.
pub fn quoted(version: Version, message: &[u8]) -> Option<Ip<'_>> {
    let kind = message.first()?;
    let quotes = match version {
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        Version::V4 => matches!(kind, 3 | 4 | 5 | 11 | 12),
        // Unreachable, too big, time exceeded, parameter problem.
        Version::V6 => matches!(kind, 1..=4),
    };
    let packet = message.get(HEADER..).filter(|_| quotes)?;
    ip::ip(packet, usize::MAX)
}

/// The link-layer address that a message of neighbour discovery tells, of the router, the asker or the target.
#[cfg(feature = "text")]
pub fn link_address(message: &[u8]) -> Option<[u8; 6]> {
    let option: &[u8; LINK_OPTION] = message.get(fixed_length(*message.first()?)?..)?.first_chunk()?;
    let [1 | 2, 1, address @ ..] = option else { return None };
    Some(*address)
}

fn discovery_length(version: Version, message: &[u8]) -> Option<usize> {
    let fixed = fixed_length(*message.first()?).filter(|_| version == Version::V6)?;
    let mut length = fixed.min(message.len());
    // Link-layer addresses are headers like those of ARP. Other options could hold anything.
    while let Some([1 | 2, 1, ..]) = message.get(length..).and_then(<[u8]>::first_chunk::<LINK_OPTION>) {
        length += LINK_OPTION;
    }
    Some(length)
}

/// The bytes before the options, by type (RFC 4861, section 4).
fn fixed_length(kind: u8) -> Option<usize> {
    match kind {
        133 => Some(8),
        134 => Some(16),
        135 | 136 => Some(24),
        137 => Some(40),
        _ => None,
    }
}
