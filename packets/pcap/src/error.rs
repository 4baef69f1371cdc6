//! What can go wrong.

use pcap_file::{pcap::PcapWriteError, pcapng::PcapNgWriteError};
use std::io;

/// A capture file that could not be written on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The sink took no more. What it holds may end within a block; nothing more is written to it.
    #[error("cannot write the capture: {0}")]
    Write(#[source] io::Error),
    /// The sink could not be flushed.
    #[error("cannot flush the capture: {0}")]
    Flush(#[source] io::Error),
    /// An earlier write failed.
    #[error("cannot go on with a capture that could not be written before")]
    Failed,
    /// A block that pcapng cannot express, for instance one that is too large.
    #[error("cannot express a {block} in pcapng: {source}")]
    Pcapng {
        /// The block.
        block: &'static str,
        /// Why.
        #[source]
        source: PcapNgWriteError,
    },
    /// A packet or header that pcap cannot express, for instance one after the year 2106.
    #[error("cannot express a {block} in pcap: {source}")]
    Pcap {
        /// The block.
        block: &'static str,
        /// Why.
        #[source]
        source: PcapWriteError,
    },
    /// Classic pcap says for no packet where it was captured.
    #[error("cannot add interface {second:?} to a pcap file, which holds one interface only; write pcapng instead")]
    SecondInterface {
        /// The interface that was to be added.
        second: String,
    },
    /// A packet of an interface that was not added.
    #[error("cannot write a packet of interface {0}, which was not added")]
    UnknownInterface(u32),
}
