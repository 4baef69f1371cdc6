//! Reads a block of the ring: `struct tpacket_block_desc` and `struct tpacket3_hdr` of linux/if_packet.h.
//!
//! Pure, and trusts nothing in the bytes: an offset or length that leads out of the block ends the walk.

/// Bytes of the block's own header, and of a packet's header with the address after it.
pub(crate) const BLOCK_HEADER: usize = 48;
const PACKET_HEADER: usize = 48 + 20;

/// What a block's header says. All offsets are from the block's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Header {
    /// Packets in the block.
    pub count: u32,
    /// Where the first one is.
    first: u32,
    /// When the last one came, in nanoseconds of the real-time clock; without packets, when the block was closed.
    pub last_ns: u64,
}

/// Where the fields are that are read while the kernel may still write them.
pub(crate) mod offset {
    pub const STATUS: usize = 8;
    pub const COUNT: usize = 12;
    pub const SEQUENCE: usize = 24;
}

impl Header {
    /// Reads it; of a block too short for a header, one without packets.
    pub fn read(block: &[u8]) -> Self {
        let Some(header) = block.first_chunk::<BLOCK_HEADER>() else {
            return Self::default();
        };
        Self {
            count: u32_at(header, offset::COUNT),
            first: u32_at(header, 16),
            last_ns: nanoseconds(u32_at(header, 40), u32_at(header, 44)),
        }
    }
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its bytes from the link-layer header on, cut to the snap length. A VLAN tag is not among them: see [`Packet::on_wire`].
    pub bytes: &'a [u8],
    /// Its length before the cut, without the VLAN tag.
    pub original_length: u32,
    /// When the kernel saw it, in nanoseconds of the real-time clock.
    pub at_ns: u64,
    /// Index of its interface.
    pub interface: u32,
    /// `PACKET_HOST`, `PACKET_OUTGOING` … of linux/if_packet.h.
    pub packet_type: u8,
    /// The interface's `ARPHRD_…` of linux/if_arp.h.
    pub hardware_type: u16,
    /// Its outermost VLAN tag, if the kernel took that out of the bytes.
    pub vlan: Option<Vlan>,
    /// Whether the time is that at which the packet entered the stack, before it entered the ring (`TP_STATUS_TS_SOFTWARE`). The kernel
    /// stamps so early only while someone on the node asks for it.
    pub(crate) is_stamped_early: bool,
}

/// A VLAN tag (IEEE 802.1Q).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vlan {
    /// Priority, drop eligibility and VLAN identifier.
    pub tci: u16,
    /// The EtherType that announces the tag, such as 0x8100 or 0x88a8.
    pub tpid: u16,
}

/// The packets of a block, in order.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    block: &'a [u8],
    at: usize,
    left: u32,
    snap_length: usize,
}

impl<'a> Packets<'a> {
    pub(crate) fn of(block: &'a [u8], snap_length: u32) -> Self {
        let header = Header::read(block);
        Self {
            block,
            at: header.first as usize,
            left: header.count,
            snap_length: snap_length as usize,
        }
    }

    /// Packets that the block counts and that were not yet handed out. After the last one this is 0, unless the block is damaged.
    pub fn left(&self) -> u32 {
        self.left
    }

    fn read(&self) -> Option<(Packet<'a>, usize)> {
        let here = self.block.get(self.at..)?;
        let header = here.first_chunk::<PACKET_HEADER>()?;
        let status = u32_at(header, 20);
        let start = usize::from(u16_at(header, 24));
        let bytes = here.get(start..)?.get(..u32_at(header, 12) as usize)?;
        let vlan = (status & libc::TP_STATUS_VLAN_VALID != 0).then(|| Vlan {
            tci: u32_at(header, 32) as u16,
            tpid: match status & libc::TP_STATUS_VLAN_TPID_VALID {
                0 => libc::ETH_P_8021Q as u16,
                _ => u16_at(header, 36),
            },
        });
        let packet = Packet {
            // The filter cuts already, unless the program returns a length of its own making.
            bytes: bytes.get(..self.snap_length).unwrap_or(bytes),
            original_length: u32_at(header, 16),
            at_ns: nanoseconds(u32_at(header, 4), u32_at(header, 8)),
            // `struct sockaddr_ll` from here on.
            interface: u32_at(header, 48 + 4),
            hardware_type: u16_at(header, 48 + 8),
            packet_type: header[48 + 10],
            vlan,
            is_stamped_early: status & libc::TP_STATUS_TS_SOFTWARE != 0,
        };
        Some((packet, u32_at(header, 0) as usize))
    }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Packet<'a>;

    fn next(&mut self) -> Option<Packet<'a>> {
        if self.left == 0 {
            return None;
        }
        let Some((packet, distance)) = self.read() else {
            self.at = self.block.len();
            return None;
        };
        self.left -= 1;
        // The last one leads to itself; any other leads beyond its own header, so the walk ends.
        self.at = if distance < PACKET_HEADER {
            self.block.len()
        } else {
            self.at.saturating_add(distance)
        };
        Some(packet)
    }
}

fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_ne_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn nanoseconds(seconds: u32, nanoseconds: u32) -> u64 {
    u64::from(seconds) * 1_000_000_000 + u64::from(nanoseconds)
}

#[cfg(test)]
mod tests;
