//! What was received and what was lost.

use crate::socket::Counted;

/// What the kernel counted since the ring was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Packets that the filter accepted, those dropped included.
    pub accepted: u64,
    /// Of these, packets dropped for want of room.
    pub dropped: u64,
    /// How often the ring was full.
    pub freezes: u64,
}

impl Statistics {
    /// Packets that were delivered, or will be.
    pub fn delivered(self) -> u64 {
        self.accepted.saturating_sub(self.dropped)
    }

    pub(crate) fn add(&mut self, counted: Counted) {
        self.accepted += u64::from(counted.packets);
        self.dropped += u64::from(counted.drops);
        self.freezes += u64::from(counted.freezes);
    }
}
