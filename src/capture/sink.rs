//! Where packets go: a file, a pipe, a file for each pod, or lines on the terminal.

pub mod file;
mod lines;
mod per_pod;

pub use file::{FileSink, Output, PacketFormat};
pub use lines::{LineFormat, Lines};
pub use per_pod::PerPod;

use super::{
    account::Account,
    source::{Interface, Source},
};
use std::io;

/// A packet, ready to be written.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Number of its interface: the order in which they were added.
    pub interface: usize,
    /// Nanoseconds since 1970, by the common clock.
    pub at_ns: u64,
    /// Its length on the wire.
    pub original_length: u32,
    /// `PACKET_*` of linux/if_packet.h.
    pub packet_type: u8,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// How a capture ended, for the last blocks of a file.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// One for each source, in their order.
    pub sources: Vec<SourceEnding>,
}

/// How one source's capture ended.
#[derive(Debug, Clone, Default)]
pub struct SourceEnding {
    /// What became of its packets.
    pub account: Account,
    /// When its capture began and ended, by the common clock.
    pub span_ns: (u64, u64),
    /// Why it is not whole, or any other remark.
    pub remark: String,
}

/// Why a sink takes no more.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The reader of a pipe has left.
    #[error("the reader of the output has left")]
    ReaderLeft,
    /// It cannot be written.
    #[error("{0}")]
    Write(String),
}

impl SinkError {
    /// An error of the operating system, and what it is about.
    pub fn of(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ReaderLeft;
        }
        Self::Write(format!("{what}: {error}"))
    }
}

/// Takes a capture. What [`Sink::packet`] took is only certain to be there after a [`Sink::flush`]; after an error nothing more is given to it, and
/// what came since the last flush is not there.
pub trait Sink: Send {
    /// Adds a source to those that were there from the beginning.
    fn source(&mut self, _: &Source) -> Result<(), SinkError> {
        Ok(())
    }
    /// Adds the next interface; packets name it by its place in the order.
    fn interface(&mut self, interface: &Interface) -> Result<(), SinkError>;
    /// Adds a packet.
    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), SinkError>;
    /// Makes sure that everything so far is there.
    fn flush(&mut self) -> Result<(), SinkError>;
    /// Adds what is to be said at the end.
    fn finish(&mut self, ending: &Ending) -> Result<(), SinkError>;
}
