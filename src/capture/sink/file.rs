//! A capture file, whole at every moment: readers of what a killed or full run left see every block that is there.

use super::{Ending, Packet, Sink, SinkError};
use crate::capture::{names::Names, source::Interface};
use netcheck_pcap::{
    CaptureWriter, Direction, Error, Interface as FileInterface, InterfaceId, Packet as FilePacket, Reception, Section,
    Statistics,
};
use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::Arc,
};

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PacketFormat {
    /// pcapng: any number of interfaces, names, comments.
    Pcapng,
    /// Classic pcap with nanoseconds: packets of one interface, and nothing else.
    Pcap,
}

impl PacketFormat {
    /// What a file's name asks for.
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("pcap" | "cap") => Self::Pcap,
            _ => Self::Pcapng,
        }
    }
}

/// What a file says of itself, whatever is in it.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Comments of the section: command, cluster.
    pub comments: Vec<String>,
    /// The filter as it was typed.
    pub filter: String,
    /// Bytes kept of each packet at most.
    pub snap_length: u32,
    /// Names of addresses.
    pub names: Arc<Names>,
}

/// Where its bytes go.
pub enum Output {
    /// A file, which ends after the last whole block whatever happens.
    File {
        /// The file.
        file: File,
        /// Its name in messages.
        name: String,
        /// Bytes in it at the last flush.
        kept: u64,
        /// Bytes in it now.
        length: u64,
    },
    /// A pipe: stdout or another program's stdin.
    Pipe {
        /// The pipe.
        pipe: Box<dyn Write + Send>,
        /// Its name in messages.
        name: &'static str,
    },
}

impl Output {
    /// Creates a file, in place of one that is there.
    ///
    /// # Errors
    /// Those of the operating system.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self::File {
            file: File::create(path)?,
            name: path.display().to_string(),
            kept: 0,
            length: 0,
        })
    }

    fn name(&self) -> &str {
        match self {
            Self::File { name, .. } => name,
            Self::Pipe { name, .. } => name,
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, kept, length, .. } => {
                // All or nothing: half a block would make the file unreadable behind it, and what came since the last flush counts as lost.
                if let Err(error) = file.write_all(bytes) {
                    file.set_len(*kept)?;
                    return Err(error);
                }
                *length += bytes.len() as u64;
                Ok(bytes.len())
            }
            Self::Pipe { pipe, .. } => pipe.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { kept, length, .. } => {
                *kept = *length;
                Ok(())
            }
            Self::Pipe { pipe, .. } => pipe.flush(),
        }
    }
}

/// Writes a capture file.
pub struct FileSink {
    writer: Option<CaptureWriter<Output>>,
    format: PacketFormat,
    name: String,
    about: About,
    interfaces: Vec<Known>,
}

/// An interface, and what the file calls it.
struct Known {
    source: usize,
    id: Option<InterfaceId>,
    interface: Interface,
    packets: u64,
}

impl FileSink {
    /// Begins a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn begin(output: Output, format: PacketFormat, about: About) -> Result<Self, SinkError> {
        let name = output.name().to_owned();
        let failed = |error: Error| failed(&name, error);
        let writer = match format {
            PacketFormat::Pcapng => {
                let comments: Vec<&str> = about.comments.iter().map(String::as_str).collect();
                let section = Section {
                    application: concat!("kubectl-netcheck ", env!("CARGO_PKG_VERSION")),
                    comments: &comments,
                    ..Section::default()
                };
                let mut writer = CaptureWriter::pcapng(output, &section).map_err(failed)?;
                writer.names(about.names.all()).map_err(failed)?;
                writer
            }
            PacketFormat::Pcap => CaptureWriter::pcap(output),
        };
        Ok(Self {
            writer: Some(writer),
            format,
            name,
            about,
            interfaces: Vec::new(),
        })
    }

    fn writer(&mut self) -> Result<&mut CaptureWriter<Output>, SinkError> {
        let name = &self.name;
        self.writer
            .as_mut()
            .ok_or_else(|| SinkError::Write(format!("{name} is closed")))
    }

    /// The file's number for an interface, which is written when it is first needed in a format that has room for one only.
    fn id(&mut self, number: usize) -> Result<InterfaceId, SinkError> {
        let Some(known) = self.interfaces.get(number) else {
            return Err(SinkError::Write(format!("{}: a packet of no interface", self.name)));
        };
        if let Some(id) = known.id {
            return Ok(id);
        }
        let interface = known.interface.clone();
        let (filter, snap_length) = (self.about.filter.clone(), self.about.snap_length);
        let id = self.writer()?.add_interface(&FileInterface {
            link: interface.link,
            snap_length,
            name: &interface.name,
            description: &interface.description,
            filter: &filter,
            mac: interface.address,
            comment: &interface.remark,
            ..FileInterface::default()
        });
        let id = id.map_err(|error| failed(&self.name, error))?;
        if let Some(known) = self.interfaces.get_mut(number) {
            known.id = Some(id);
        }
        Ok(id)
    }
}

impl Sink for FileSink {
    fn interface(&mut self, interface: &Interface) -> Result<(), SinkError> {
        self.interfaces.push(Known {
            source: interface.source,
            id: None,
            interface: interface.clone(),
            packets: 0,
        });
        if self.format == PacketFormat::Pcapng {
            self.id(self.interfaces.len() - 1)?;
        }
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), SinkError> {
        let id = self.id(packet.interface)?;
        if let Some(known) = self.interfaces.get_mut(packet.interface) {
            known.packets += 1;
        }
        let (direction, reception) = way(packet.packet_type);
        let written = self.writer()?.packet(&FilePacket {
            interface: id,
            nanoseconds: packet.at_ns,
            original_length: packet.original_length,
            data: packet.bytes,
            direction,
            reception,
            ..FilePacket::default()
        });
        written.map_err(|error| failed(&self.name, error))
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        let flushed = self.writer()?.flush();
        flushed.map_err(|error| failed(&self.name, error))
    }

    fn finish(&mut self, ending: &Ending) -> Result<(), SinkError> {
        for (number, source) in ending.sources.iter().enumerate() {
            let of_source = |known: &&Known| known.source == number;
            // One ring serves all interfaces of a source, so its losses cannot be told apart: the busiest carries them, and says so.
            let busiest = self
                .interfaces
                .iter()
                .enumerate()
                .filter(|(_, known)| of_source(known))
                .max_by_key(|(index, known)| (known.packets, usize::MAX - index))
                .map(|(index, _)| index);
            let statistics: Vec<_> = self
                .interfaces
                .iter()
                .enumerate()
                .filter(|(_, known)| of_source(known))
                .filter_map(|(index, known)| Some((known.id?, known.packets, Some(index) == busiest)))
                .collect();
            let shared = statistics.len() > 1;
            for (id, packets, carries) in statistics {
                let lost = if carries { source.account.lost() } else { 0 };
                let mut remark = source.remark.clone();
                if carries && shared && lost > 0 {
                    remark = format!("losses are those of all interfaces of this source; {remark}");
                }
                let written = self.writer()?.statistics(
                    id,
                    &Statistics {
                        start: Some(source.span_ns.0),
                        end: source.span_ns.1,
                        received: Some(packets + lost),
                        accepted: Some(packets + lost),
                        dropped_by_interface: Some(lost),
                        dropped_by_system: Some(if carries { source.account.lost_in_ring } else { 0 }),
                        delivered: Some(packets),
                        comment: remark.trim_end_matches("; "),
                    },
                );
                written.map_err(|error| failed(&self.name, error))?;
            }
        }
        match self.writer.take() {
            Some(writer) => writer.finish().map_err(|error| failed(&self.name, error)),
            None => Ok(()),
        }
    }
}

fn failed(name: &str, error: Error) -> SinkError {
    match error {
        Error::Write(error) | Error::Flush(error) => SinkError::of(&format!("cannot write {name}"), &error),
        error => SinkError::Write(format!("{name}: {error}")),
    }
}

/// `PACKET_HOST` 0, `PACKET_BROADCAST` 1, `PACKET_MULTICAST` 2, `PACKET_OTHERHOST` 3, `PACKET_OUTGOING` 4 (linux/if_packet.h).
fn way(packet_type: u8) -> (Direction, Reception) {
    match packet_type {
        0 => (Direction::Inbound, Reception::Unicast),
        1 => (Direction::Inbound, Reception::Broadcast),
        2 => (Direction::Inbound, Reception::Multicast),
        3 => (Direction::Inbound, Reception::Promiscuous),
        4 => (Direction::Outbound, Reception::Unspecified),
        _ => (Direction::Unknown, Reception::Unspecified),
    }
}
