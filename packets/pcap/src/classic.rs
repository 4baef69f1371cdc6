//! Classic pcap (draft-ietf-opsawg-pcap) with times in nanoseconds, by way of the crate pcap-file.

use crate::{
    error::Error,
    facts::{Interface, Packet},
    pcapng::data_link,
    whole_blocks::WholeBlocks,
};
use byteorder_slice::LittleEndian;
use pcap_file::{
    Endianness,
    pcap::{PcapHeader, PcapPacket, PcapTsResolution},
};
use std::{io::Write, time::Duration};

/// What tcpdump writes for "no limit".
const NO_LIMIT: u32 = 262_144;

/// A pcap file that is being written.
pub struct Classic<W: Write> {
    blocks: WholeBlocks<W>,
    /// The interface is known, and the file's header written with it.
    begun: bool,
}

impl<W: Write> Classic<W> {
    pub fn new(sink: W) -> Self {
        Self {
            blocks: WholeBlocks::new(sink),
            begun: false,
        }
    }

    pub fn add_interface(&mut self, interface: &Interface<'_>) -> Result<(), Error> {
        if self.begun {
            return Err(Error::SecondInterface {
                second: interface.name.to_owned(),
            });
        }
        let snaplen = if interface.snap_length == 0 {
            NO_LIMIT
        } else {
            interface.snap_length
        };
        let header = PcapHeader {
            snaplen,
            datalink: data_link(interface.link),
            ts_resolution: PcapTsResolution::NanoSecond,
            endianness: Endianness::Little,
            ..PcapHeader::default()
        };
        let written = header.write_to(&mut self.blocks);
        written.map_err(|source| Error::Pcap {
            block: "file header",
            source,
        })?;
        self.begun = true;
        self.blocks.end_block()
    }

    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        let timestamp = Duration::from_nanos(packet.nanoseconds);
        let written = PcapPacket::new(timestamp, packet.original_length.max(captured), packet.data)
            .map_err(Into::into)
            .and_then(|packet| {
                let raw = packet.into_raw_packet(PcapTsResolution::NanoSecond);
                raw.write_to::<_, LittleEndian>(&mut self.blocks)
            });
        written.map_err(|source| Error::Pcap {
            block: "packet",
            source,
        })?;
        self.blocks.end_block()
    }

    pub fn flush(&mut self) -> Result<(), Error> {
        self.blocks.flush_blocks()
    }

    /// Gives a file that never had an interface a header, so that readers take it for an empty capture.
    pub fn finish(&mut self) -> Result<(), Error> {
        if !self.begun {
            self.add_interface(&Interface::default())?;
        }
        self.flush()
    }
}
