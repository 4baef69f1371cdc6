//! Captures packets of a network namespace: a packet socket (packet(7)) with a `TPACKET_V3` receive ring
//! (Documentation/networking/packet_mmap.rst of the kernel).
//!
//! [`Ring::open`] opens it, [`Ring::next`] hands out block after block of packets, [`Ring::stop`] ends the intake, and what is in the
//! ring then still comes, to the last packet: after [`Event::End`], packets delivered are exactly [`Statistics::delivered`].
//!
//! # Order and time
//! Packets come in the order in which the kernel put them into the ring. Their times are almost in that order: processors that put packets
//! in at the same moment read the clock each for itself. A lone packet comes within about the block timeout (kernels before 6.18: twice
//! that). What is certain about packets still to come is told by [`Ring::watermark`].
//!
//! # Memory
//! A ring takes [`Size::bytes`] of kernel memory at once, which shows in this process as resident file memory (`RssFile`). The kernel
//! takes it without `__GFP_ACCOUNT` (net/packet/af_packet.c, `alloc_one_pg_vec_page`), so a cgroup is not charged for it: measured on
//! Linux 6.18, where a ring of 128 MiB left `memory.usage_in_bytes` at 2 MiB. A memory limit should have room for it all the same: another
//! kernel may charge it, and the node pays in any case.

mod block;
mod error;
mod event;
mod filter;
mod frame;
mod map;
mod options;
mod ring;
mod size;
mod socket;
mod statistics;
mod watermark;

pub use block::{Packet, Packets, Vlan};
pub use error::RingError;
pub use event::{Block, Event};
pub use filter::Instruction;
pub use frame::Frame;
pub use options::Options;
pub use ring::Ring;
pub use size::Size;
pub use statistics::Statistics;
pub use watermark::Watermark;
