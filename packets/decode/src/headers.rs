//! Where headers end.

use crate::{link::Link, walk::walk};

/// How many of the bytes are headers: up to the end of the innermost transport header, through tunnels.
///
/// In doubt a byte is payload: behind a header that is not understood, and in every fragment but the first, all is. Of what an
/// ICMP error quotes, the IP header and the 8 bytes behind it count as headers. Never more than `bytes.len()`.
pub fn headers_length(link: Link, bytes: &[u8]) -> usize {
    walk(link, bytes, bytes.len(), |_| {})
}

/// Overwrites with zeros all that is not headers, and tells how many bytes are.
pub fn redact(link: Link, bytes: &mut [u8]) -> usize {
    let length = headers_length(link, bytes);
    if let Some(payload) = bytes.get_mut(length..) {
        payload.fill(0);
    }
    length
}
