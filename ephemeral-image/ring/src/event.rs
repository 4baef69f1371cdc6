//! What a ring has to tell.

use crate::{Packets, Ring};

/// What happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// Packets came.
    Packets(Block<'a>),
    /// The interface is down. Capture goes on when it is up again.
    InterfaceDown,
    /// The interface was deleted, or moved to another namespace. What it brought before may still come, for a block timeout.
    InterfaceGone,
    /// Nothing, for as long as was to be waited.
    Quiet,
    /// After [`Ring::stop`]: all that was accepted has been delivered, and no more comes.
    End,
}

/// Packets that came together. Dropped, it goes back to the kernel.
#[derive(Debug)]
pub struct Block<'a> {
    pub(crate) ring: &'a mut Ring,
    pub(crate) count: u32,
}

impl Block<'_> {
    /// Its packets, in the order in which they entered the ring.
    pub fn packets(&self) -> Packets<'_> {
        self.ring.packets()
    }
}

impl Drop for Block<'_> {
    fn drop(&mut self) {
        self.ring.give_back(self.count);
    }
}
