//! Writes capture files onto any [`std::io::Write`]: pcapng (draft-ietf-opsawg-pcapng), or classic pcap with nanoseconds
//! (draft-ietf-opsawg-pcap), which can hold one interface only.
//!
//! A [`CaptureWriter`] hands whole blocks to the sink, never a part of one: whoever reads the other end of a pipe can use every
//! packet that a [`CaptureWriter::flush`] has pushed out.
//!
//! ```
//! use netcheck_pcap::{CaptureWriter, Interface, Packet, Section};
//!
//! let mut file = Vec::new();
//! let mut capture = CaptureWriter::pcapng(&mut file, &Section::default())?;
//! let eth0 = capture.add_interface(&Interface { name: "eth0", ..Interface::default() })?;
//! capture.packet(&Packet { interface: eth0, nanoseconds: 1, original_length: 60, data: &[0; 60], ..Packet::default() })?;
//! capture.finish()?;
//! # Ok::<(), netcheck_pcap::Error>(())
//! ```

#![forbid(unsafe_code)]

mod classic;
mod error;
mod facts;
mod pcapng;
mod text;
mod whole_blocks;
mod writer;

pub use error::Error;
pub use facts::{Direction, Interface, InterfaceId, Link, Packet, Reception, Section, Statistics};
pub use writer::CaptureWriter;
