//! What is certain about packets still to come.

/// No packet still to come bears an earlier time, so streams of many rings can be merged in time order up to the least of their
/// watermarks. It never goes back.
///
/// # Why
/// The kernel stamps a packet after it gave it a place in a block, and closes a block only when each packet in it is stamped and copied
/// (`tpacket_rcv`, `prb_retire_current_block`). So packets of later blocks bear times at or after the last one of a closed block. And if
/// the open block holds no packet, none still to come bears a time before that look at it, less [`SETTLE_NS`] for its count to become
/// visible to this processor.
///
/// # Limits
/// - Under steady traffic it lags by up to the block timeout.
/// - While anyone on the node asks for software time stamps (`SO_TIMESTAMPNS` and alike), the kernel stamps packets as they enter the
///   stack. On their way to the ring they may then stand in a device queue, and come that much later than their time says: microseconds,
///   under load milliseconds. [`Watermark::is_exact`] tells whether packets so far showed this.
/// - If the real-time clock is set back, later packets bear earlier times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// Nanoseconds of the real-time clock; [`u64::MAX`] when no packet comes any more.
    pub at_ns: u64,
    /// Whether all blocks so far began with a packet that was stamped when it entered the ring.
    pub is_exact: bool,
}

/// Allowance for a store on one processor to be seen by another. It takes nanoseconds.
const SETTLE_NS: u64 = 100_000;

impl Watermark {
    /// Before anything was seen.
    pub(crate) const NONE: Self = Self {
        at_ns: 0,
        is_exact: true,
    };

    /// A closed block was taken whose last packet came at `last_ns`.
    pub(crate) fn block_closed(&mut self, last_ns: u64, is_stamped_early: bool) {
        self.at_ns = self.at_ns.max(last_ns);
        self.is_exact &= !is_stamped_early;
    }

    /// The open block was seen without packets, and before that look it was `before_ns`.
    pub(crate) fn seen_empty(&mut self, before_ns: u64) {
        self.at_ns = self.at_ns.max(before_ns.saturating_sub(SETTLE_NS));
    }

    /// Nothing comes any more.
    pub(crate) fn ended(&mut self) {
        self.at_ns = u64::MAX;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let mut mark = Watermark::NONE;
        mark.block_closed(5_000_000, false);
        mark.seen_empty(4_000_000);
        assert_eq!(mark.at_ns, 5_000_000);
        mark.seen_empty(6_000_000);
        assert_eq!(mark.at_ns, 6_000_000 - SETTLE_NS);
        mark.block_closed(1, true);
        assert_eq!((mark.at_ns, mark.is_exact), (6_000_000 - SETTLE_NS, false));
        mark.ended();
        assert_eq!(mark.at_ns, u64::MAX);
    }
}
