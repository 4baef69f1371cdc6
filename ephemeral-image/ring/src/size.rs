//! How a ring is divided into blocks.

use std::io;

/// The block that serves a large ring best: few wake-ups, and yet many blocks.
const LARGE_BLOCK: usize = 1 << 20;
/// Blocks that a ring should have: while one is read and one is filled, the others take what comes.
const GOOD_COUNT: usize = 8;
/// Fewest blocks: one is read while the other is filled.
const FEWEST: usize = 2;
/// What the kernel puts before a packet at most: block header, packet header, address, alignment (`tpacket_rcv`).
const OVERHEAD: usize = 256;
/// The longest frame: a segment of 64 KiB that the network card would have cut, with link-layer headers.
const LONGEST_FRAME: usize = 0x1_0000 + 64;

/// Size of a ring, in blocks of a number of bytes. A packet does not cross blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Bytes of a block: pages, as many as a power of two.
    pub block: usize,
    /// Number of blocks, at least two.
    pub count: usize,
}

impl Size {
    /// Bytes of the whole ring.
    pub fn bytes(self) -> usize {
        self.block * self.count
    }

    /// The division of `bytes`, of which little is left over. Every block holds a packet cut to `snap_length` bytes, for which the
    /// ring is made larger than asked if need be.
    pub(crate) fn of(bytes: usize, snap_length: u32, page: usize) -> Self {
        let frame = usize::try_from(snap_length).map_or(LONGEST_FRAME, |snap| snap.min(LONGEST_FRAME));
        let least = (frame + OVERHEAD).next_power_of_two().max(page);
        // Lengths of blocks go into 32 bits.
        let bytes = bytes.min(1 << 31);
        let mut block = LARGE_BLOCK.max(least);
        while block > least && bytes / block < GOOD_COUNT {
            block /= 2;
        }
        Self {
            block,
            count: (bytes / block).max(FEWEST),
        }
    }

    /// The division of `bytes`, or if the kernel has not that much memory of the largest half, quarter … that it has. An error comes with
    /// the size that was refused last.
    pub(crate) fn largest(
        bytes: usize,
        snap_length: u32,
        page: usize,
        mut take: impl FnMut(Self) -> io::Result<()>,
    ) -> Result<Self, (Self, io::Error)> {
        let mut size = Self::of(bytes, snap_length, page);
        while let Err(error) = take(size) {
            let smaller = Self::of(size.bytes() / 2, snap_length, page);
            if error.raw_os_error() != Some(libc::ENOMEM) || smaller.bytes() >= size.bytes() {
                return Err((size, error));
            }
            size = smaller;
        }
        Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_usual_ring_has_large_blocks() {
        let size = Size::of(16 << 20, 262_144, 4096);
        assert_eq!(
            size,
            Size {
                block: 1 << 20,
                count: 16
            }
        );
    }

    #[test]
    fn a_tiny_ring_for_short_packets_has_pages_for_blocks() {
        assert_eq!(Size::of(8192, 96, 4096), Size { block: 4096, count: 2 });
    }

    #[test]
    fn a_tiny_ring_for_whole_packets_still_holds_the_longest() {
        let size = Size::of(1, 262_144, 4096);
        assert_eq!(
            size,
            Size {
                block: 1 << 17,
                count: 2
            }
        );
    }

    #[test]
    fn what_the_kernel_has_no_memory_for_is_made_smaller() {
        let mut tried = Vec::new();
        let size = Size::largest(16 << 20, 262_144, 4096, |size| {
            tried.push(size.bytes() >> 20);
            match size.bytes() {
                ..=3_000_000 => Ok(()),
                _ => Err(io::Error::from_raw_os_error(libc::ENOMEM)),
            }
        });
        assert_eq!(tried, [16, 8, 4, 2]);
        assert!(size.is_ok_and(|size| size.bytes() == 2 << 20));
    }

    #[test]
    fn another_refusal_ends_it_and_so_does_the_smallest_ring() {
        for (errno, refused) in [(libc::EINVAL, 16 << 20), (libc::ENOMEM, 2 << 17)] {
            let result = Size::largest(16 << 20, 262_144, 4096, |_| Err(io::Error::from_raw_os_error(errno)));
            assert!(result.is_err_and(|(size, error)| size.bytes() == refused && error.raw_os_error() == Some(errno)));
        }
    }

    proptest! {
        #[test]
        fn the_kernel_takes_any(bytes in 0usize..1 << 40, snap in any::<u32>(), page in prop::sample::select(vec![4096usize, 16384, 65536])) {
            let size = Size::of(bytes, snap, page);
            prop_assert!(size.block.is_multiple_of(page) && size.block.is_power_of_two() && size.count >= FEWEST);
            prop_assert!(size.block >= LONGEST_FRAME.min(snap as usize) + OVERHEAD);
            prop_assert!(size.bytes() <= bytes || size.count == FEWEST);
            prop_assert!(u32::try_from(size.bytes()).is_ok());
        }
    }
}
