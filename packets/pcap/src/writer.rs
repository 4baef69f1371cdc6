//! The one writer for both formats.

use crate::{
    classic::Classic,
    error::Error,
    facts::{Interface, InterfaceId, Packet, Section, Statistics},
    pcapng::Pcapng,
};
use std::{fmt, io::Write, net::IpAddr};

/// Writes one capture file.
///
/// Blocks are gathered and reach the sink whole, when 64 KiB are together and at every [`flush`](Self::flush). When it is dropped
/// it hands on what is left, and cannot say if that failed: end it with [`finish`](Self::finish). After a failed write every call fails.
pub struct CaptureWriter<W: Write> {
    format: Format<W>,
    interfaces: u32,
}

enum Format<W: Write> {
    Pcapng(Pcapng<W>),
    Classic(Classic<W>),
}

impl<W: Write> CaptureWriter<W> {
    /// Begins a pcapng file: any number of interfaces, names, remarks and losses.
    pub fn pcapng(sink: W, section: &Section<'_>) -> Result<Self, Error> {
        Pcapng::new(sink, section).map(|pcapng| Self::with(Format::Pcapng(pcapng)))
    }

    /// Begins a classic pcap file with nanoseconds (magic 0xa1b23c4d): one interface, times and bytes. What else is told, it forgets.
    pub fn pcap(sink: W) -> Self {
        Self::with(Format::Classic(Classic::new(sink)))
    }

    fn with(format: Format<W>) -> Self {
        Self { format, interfaces: 0 }
    }

    /// Adds an interface, at any time before its first packet.
    ///
    /// # Errors
    /// [`Error::SecondInterface`] in classic pcap.
    pub fn add_interface(&mut self, interface: &Interface<'_>) -> Result<InterfaceId, Error> {
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.add_interface(interface)?,
            Format::Classic(classic) => classic.add_interface(interface)?,
        }
        let id = InterfaceId(self.interfaces);
        self.interfaces += 1;
        Ok(id)
    }

    /// Writes names of addresses, the most telling first: readers show only one. At most 16 names an address, of 255 bytes each, are kept.
    ///
    /// Can be called again whenever names appear. Readers that read only once, like tshark, use a name from there on.
    pub fn names<N, S>(&mut self, names: impl IntoIterator<Item = (IpAddr, N)>) -> Result<(), Error>
    where
        N: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.names(names),
            Format::Classic(_) => Ok(()),
        }
    }

    /// Writes a packet. Nothing is allocated, unless the gathered blocks outgrow the memory that earlier ones took.
    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        self.check(packet.interface)?;
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.packet(packet),
            Format::Classic(classic) => classic.packet(packet),
        }
    }

    /// Writes what an interface's capture amounted to: once, when it ends.
    pub fn statistics(&mut self, interface: InterfaceId, statistics: &Statistics<'_>) -> Result<(), Error> {
        self.check(interface)?;
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.statistics(interface.0, statistics),
            Format::Classic(_) => Ok(()),
        }
    }

    /// Hands everything to the sink and flushes it: a reader now sees all packets written so far.
    pub fn flush(&mut self) -> Result<(), Error> {
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.flush(),
            Format::Classic(classic) => classic.flush(),
        }
    }

    /// Ends the file, which is readable even if it has no packet.
    pub fn finish(mut self) -> Result<(), Error> {
        match &mut self.format {
            Format::Pcapng(pcapng) => pcapng.flush(),
            Format::Classic(classic) => classic.finish(),
        }
    }

    fn check(&self, InterfaceId(interface): InterfaceId) -> Result<(), Error> {
        if interface < self.interfaces {
            Ok(())
        } else {
            Err(Error::UnknownInterface(interface))
        }
    }
}

impl<W: Write> fmt::Debug for CaptureWriter<W> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format = match self.format {
            Format::Pcapng(_) => "pcapng",
            Format::Classic(_) => "pcap",
        };
        let mut shown = formatter.debug_struct("CaptureWriter");
        shown
            .field("format", &format)
            .field("interfaces", &self.interfaces)
            .finish_non_exhaustive()
    }
}
