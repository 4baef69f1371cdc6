//! What a capture file says.

/// The capture as a whole: the section header block.
///
/// Every text may come from anywhere: what a reader could trip over is replaced, and what is too long is cut.
#[derive(Debug, Clone, Copy, Default)]
pub struct Section<'a> {
    /// The machine that captured; left out if empty, like every other text here.
    pub hardware: &'a str,
    /// Its operating system.
    pub operating_system: &'a str,
    /// The program, with its version.
    pub application: &'a str,
    /// Anything else worth knowing: the command line, the cluster.
    pub comments: &'a [&'a str],
}

/// What a packet's first header is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// An Ethernet frame without its check sequence (LINKTYPE_ETHERNET, 1).
    #[default]
    Ethernet,
    /// An IPv4 or IPv6 packet (LINKTYPE_RAW, 101).
    RawIp,
}

/// One place where packets are captured: an interface in one pod or node.
///
/// Wireshark reads any mixture in one file. libpcap, and with it tcpdump, refuses a file whose interfaces differ in `link`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Interface<'a> {
    /// What its packets begin with.
    pub link: Link,
    /// Bytes kept of each packet at most; 0: no limit.
    pub snap_length: u32,
    /// Shown by readers beside every packet. Left out if empty, like every other text here.
    pub name: &'a str,
    /// What the name means: the pod, the node.
    pub description: &'a str,
    /// The capture filter, in pcap's language.
    pub filter: &'a str,
    /// The driver or kind of the interface.
    pub hardware: &'a str,
    /// The hardware address.
    pub mac: Option<[u8; 6]>,
    /// Anything else worth knowing about it.
    pub comment: &'a str,
}

/// Names an interface within one file. Given by [`CaptureWriter::add_interface`](crate::CaptureWriter::add_interface).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct InterfaceId(pub(crate) u32);

/// Which way a packet went, as seen by the interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// Not known.
    #[default]
    Unknown,
    /// Received.
    Inbound,
    /// Sent.
    Outbound,
}

/// Whom the link-layer address means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reception {
    /// Not known.
    #[default]
    Unspecified,
    /// This interface.
    Unicast,
    /// A group.
    Multicast,
    /// Everyone.
    Broadcast,
    /// Another interface: seen only because the interface is promiscuous.
    Promiscuous,
}

/// One captured packet.
#[derive(Debug, Clone, Copy, Default)]
pub struct Packet<'a> {
    /// Where it was captured.
    pub interface: InterfaceId,
    /// When, in nanoseconds since 1970-01-01 UTC.
    pub nanoseconds: u64,
    /// Its length on the wire, in bytes. Where it is less than what was captured, the captured length is written.
    pub original_length: u32,
    /// The captured bytes.
    pub data: &'a [u8],
    /// Which way it went.
    pub direction: Direction,
    /// Whom it was for.
    pub reception: Reception,
    /// Packets lost between the previous one of this interface and this one.
    pub lost_before: Option<u64>,
    /// A remark shown with the packet; left out if empty.
    pub comment: &'a str,
}

/// What an interface's capture amounted to, written when it ends. Times are nanoseconds since 1970-01-01 UTC, counts are packets.
#[derive(Debug, Clone, Copy, Default)]
pub struct Statistics<'a> {
    /// When the capture began.
    pub start: Option<u64>,
    /// When it ended; the time of the block itself too.
    pub end: u64,
    /// Seen by the interface.
    pub received: Option<u64>,
    /// Lost by the interface.
    pub dropped_by_interface: Option<u64>,
    /// Let through by the filter.
    pub accepted: Option<u64>,
    /// Lost by the kernel: the ring was full.
    pub dropped_by_system: Option<u64>,
    /// Handed to the capturing program.
    pub delivered: Option<u64>,
    /// Why the capture is not whole, or any other remark; left out if empty.
    pub comment: &'a str,
}
