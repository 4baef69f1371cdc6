//! Netlink messages as bytes: writing requests, and reading answers attribute by attribute.
//!
//! What a kernel says about a link has some hundred attributes, and each version adds more or makes one longer. Here only those are looked
//! at that are asked for, so that nothing else can make a table unreadable.

use std::net::IpAddr;

/// `struct nlmsghdr` of linux/netlink.h, in bytes.
pub(crate) const MESSAGE_HEADER: usize = 16;
/// `struct ifinfomsg`, in bytes.
pub(crate) const LINK_HEADER: usize = 16;
/// Bits of an attribute's number that are not its number: `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`.
const ATTRIBUTE_FLAGS: u16 = 0xc000;
const NESTED: u16 = 0x8000;

/// A message without its netlink header: `kind` is `RTM_*` of linux/rtnetlink.h, then a fixed part, then attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// `RTM_*`.
    pub kind: u16,
    /// The fixed part, and the attributes behind it.
    pub body: Vec<u8>,
}

impl Message {
    /// A message with its fixed part.
    pub fn new(kind: u16, fixed: &[u8]) -> Self {
        let mut body = Vec::with_capacity(256);
        body.extend_from_slice(fixed);
        Self { kind, body }
    }

    /// Appends an attribute.
    #[must_use]
    pub fn with(mut self, number: u16, value: &[u8]) -> Self {
        put(&mut self.body, number, value);
        self
    }

    /// Appends an attribute if there is a value.
    #[must_use]
    pub fn with_some<T: AsRef<[u8]>>(self, number: u16, value: Option<T>) -> Self {
        match value {
            Some(value) => self.with(number, value.as_ref()),
            None => self,
        }
    }

    /// Appends a text, ended by a zero byte.
    #[must_use]
    pub fn with_text(self, number: u16, text: &str) -> Self {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        self.with(number, &bytes)
    }

    /// Appends an attribute made of attributes.
    #[must_use]
    pub fn with_nested(self, number: u16, inner: &[u8]) -> Self {
        self.with(number | NESTED, inner)
    }

    /// The whole message, ready to be sent.
    pub fn to_bytes(&self, flags: u16, sequence: u32) -> Vec<u8> {
        let length = MESSAGE_HEADER + self.body.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(&(length as u32).to_ne_bytes());
        bytes.extend_from_slice(&self.kind.to_ne_bytes());
        bytes.extend_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(&sequence.to_ne_bytes());
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The attributes behind a fixed part of `fixed` bytes.
    pub fn attributes(&self, fixed: usize) -> impl Iterator<Item = (u16, &[u8])> {
        attributes(self.body.get(fixed..).unwrap_or_default())
    }
}

/// Appends an attribute, padded to four bytes.
pub fn put(bytes: &mut Vec<u8>, number: u16, value: &[u8]) {
    let length = 4 + value.len();
    bytes.extend_from_slice(&(length as u16).to_ne_bytes());
    bytes.extend_from_slice(&number.to_ne_bytes());
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// One attribute as bytes.
pub fn attribute(number: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(4 + value.len().next_multiple_of(4));
    put(&mut bytes, number, value);
    bytes
}

/// Attributes one behind the other, by number; what is cut off ends them.
pub fn attributes(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(rest, 0)?);
        let number = u16_at(rest, 2)? & !ATTRIBUTE_FLAGS;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

/// Two bytes in the machine's order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// Four bytes in the machine's order.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A text up to its zero byte.
pub fn text(value: &[u8]) -> String {
    let end = value.iter().position(|&byte| byte == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

/// An address of four or sixteen bytes.
pub(crate) fn ip(value: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(value) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(value).ok().map(IpAddr::from)
}

/// The bytes of an address, in network order.
pub(crate) fn ip_bytes(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn attributes_read_back_whatever_their_length() {
        let inner = [attribute(1, b"a"), attribute(2, b"")].concat();
        let message = Message::new(16, &[7; 4]).with_text(3, "eth0").with_nested(18, &inner);
        let read: Vec<_> = message.attributes(4).collect();
        assert_eq!(read, [(3, b"eth0\0".as_slice()), (18, inner.as_slice())]);
        let nested: Vec<_> = attributes(read[1].1).collect();
        assert_eq!(nested, [(1, b"a".as_slice()), (2, b"".as_slice())]);
        assert_eq!(text(read[0].1), "eth0");
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let count = attributes(&bytes).count();
            prop_assert!(count <= bytes.len() / 4);
        }
    }
}
