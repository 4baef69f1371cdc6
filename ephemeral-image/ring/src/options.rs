//! How to capture.

use crate::Instruction;
use std::time::Duration;

/// How to capture.
#[derive(Debug, Clone, Copy)]
pub struct Options<'a> {
    /// Index of the interface; without it, every interface of the namespace, also those that appear later.
    pub interface: Option<u32>,
    /// What to accept; empty is everything.
    pub program: &'a [Instruction],
    /// Most bytes kept of a packet, at least 1.
    pub snap_length: u32,
    /// Size that the ring should have; see [`Ring::size`] for the one it got.
    pub ring_bytes: usize,
    /// How long the kernel may keep a block that is not full, in whole milliseconds, at least one.
    pub block_timeout: Duration,
    /// Whether to hear what is not sent to this interface. Only with [`Options::interface`]: every interface cannot be made to.
    pub promiscuous: bool,
}

impl Default for Options<'_> {
    /// Whole packets of every interface, in 16 blocks of 1 MiB, each kept for at most 100 ms.
    fn default() -> Self {
        Self {
            interface: None,
            program: &[],
            snap_length: 262_144,
            ring_bytes: 16 << 20,
            block_timeout: Duration::from_millis(100),
            promiscuous: false,
        }
    }
}
