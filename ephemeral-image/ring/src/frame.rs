//! A frame as it was on the wire: the kernel keeps a VLAN tag beside the packet, a capture file wants it within.

use crate::Packet;

/// Bytes of a VLAN tag.
const TAG: u32 = 4;
/// Where it stands in an Ethernet frame: after both addresses (IEEE 802.3).
const TAG_AT: usize = 12;

/// A frame in three parts, none of them copied: what is before the tag, the tag, and what is after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    before: &'a [u8],
    tag: [u8; TAG as usize],
    tag_length: usize,
    after: &'a [u8],
    /// The whole frame's length on the wire.
    pub original_length: u32,
}

impl Packet<'_> {
    /// The frame with its VLAN tag, cut to `snap_length` bytes. Where fewer than twelve bytes were captured, the tag's place was cut off
    /// and only the original length tells of it.
    pub fn on_wire(&self, snap_length: u32) -> Frame<'_> {
        let whole = Frame {
            before: self.bytes,
            tag: [0; TAG as usize],
            tag_length: 0,
            after: &[],
            original_length: self.original_length,
        };
        let Some(vlan) = self.vlan else { return whole };
        let original_length = self.original_length.saturating_add(TAG);
        let Some((before, after)) = self.bytes.split_at_checked(TAG_AT) else {
            return Frame {
                original_length,
                ..whole
            };
        };
        let [a, b] = vlan.tpid.to_be_bytes();
        let [c, d] = vlan.tci.to_be_bytes();
        let room = (snap_length as usize).saturating_sub(TAG_AT);
        let tag_length = room.min(TAG as usize);
        Frame {
            before,
            tag: [a, b, c, d],
            tag_length,
            after: after.get(..room - tag_length).unwrap_or(after),
            original_length,
        }
    }
}

impl Frame<'_> {
    /// The parts, one after the other; of a frame without a tag the first is all of it.
    pub fn parts(&self) -> [&[u8]; 3] {
        let tag = self.tag.get(..self.tag_length).unwrap_or(&self.tag);
        [self.before, tag, self.after]
    }

    /// Bytes in all parts.
    pub fn captured_length(&self) -> usize {
        self.before.len() + self.tag_length + self.after.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vlan;

    fn packet(bytes: &[u8]) -> Packet<'_> {
        Packet {
            bytes,
            original_length: 20,
            at_ns: 0,
            interface: 1,
            packet_type: 0,
            hardware_type: 1,
            vlan: Some(Vlan {
                tci: 0x2064,
                tpid: 0x88a8,
            }),
            is_stamped_early: false,
        }
    }

    #[test]
    fn the_tag_stands_after_the_addresses() {
        let bytes: Vec<u8> = (0..20).collect();
        let packet = packet(&bytes);
        let frame = packet.on_wire(100);
        assert_eq!(
            frame.parts().concat(),
            [
                0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xa8, 0x20, 0x64, 12, 13, 14, 15, 16, 17, 18, 19
            ]
        );
        assert_eq!((frame.captured_length(), frame.original_length), (24, 24));
    }

    #[test]
    fn a_frame_without_a_tag_is_what_it_is() {
        let bytes = [7; 20];
        let packet = Packet {
            vlan: None,
            ..packet(&bytes)
        };
        let frame = packet.on_wire(100);
        assert_eq!(
            (frame.parts().concat(), frame.captured_length(), frame.original_length),
            (bytes.to_vec(), 20, 20)
        );
    }

    #[test]
    fn the_tag_counts_against_the_snap_length() {
        let bytes: Vec<u8> = (0..20).collect();
        for (snap, captured) in [(18, 18), (16, 16), (14, 14), (12, 12)] {
            let packet = packet(&bytes[..snap as usize]);
            let frame = packet.on_wire(snap);
            assert_eq!((frame.captured_length(), frame.original_length), (captured, 24));
            assert_eq!(frame.parts().concat().len(), captured);
        }
        let short = packet(&bytes[..8]);
        assert_eq!(short.on_wire(8).parts().concat(), bytes[..8]);
        assert_eq!(short.on_wire(8).original_length, 24);
    }
}
