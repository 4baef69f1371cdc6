//! What a packet begins with.

/// The first header of captured bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet header (LINKTYPE_ETHERNET, 1).
    Ethernet,
    /// An IPv4 or IPv6 header (LINKTYPE_RAW, 101).
    RawIp,
}
