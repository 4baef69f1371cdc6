//! pcapng (draft-ietf-opsawg-pcapng), by way of the crate pcap-file.

use crate::{
    error::Error,
    facts::{Direction, Interface, Link, Packet, Reception, Section, Statistics},
    text::{MAX_NAME, MAX_OPTION, line, lines},
    whole_blocks::WholeBlocks,
};
use pcap_file::{
    DataLink, Endianness,
    pcapng::{
        Block, PcapNgBlock, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution},
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
            name_resolution::{Ipv4Record, Ipv6Record, NameResolutionBlock, Record},
            opt_common::CommonOption,
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};
use std::{borrow::Cow, io::Write, mem, net::IpAddr, time::Duration};

/// Addresses in one name resolution block, and names of one address: together at most about 1 MiB, far below what readers refuse.
const MAX_ADDRESSES: usize = 256;
const MAX_NAMES: usize = 16;

/// A pcapng file that is being written.
pub struct Pcapng<W: Write> {
    writer: PcapNgWriter<WholeBlocks<W>>,
    /// Empty between packets; kept so that no packet allocates.
    options: Vec<EnhancedPacketOption<'static>>,
}

impl<W: Write> Pcapng<W> {
    pub fn new(sink: W, section: &Section<'_>) -> Result<Self, Error> {
        let mut options = Vec::new();
        let texts = [
            (section.hardware, SectionHeaderOption::Hardware as fn(_) -> _),
            (section.operating_system, SectionHeaderOption::OS),
            (section.application, SectionHeaderOption::UserApplication),
        ];
        options.extend(
            texts
                .into_iter()
                .filter_map(|(text, option)| some_line(text).map(option)),
        );
        options.extend(
            section
                .comments
                .iter()
                .filter_map(|text| comment(text))
                .map(SectionHeaderOption::Common),
        );
        let header = SectionHeaderBlock {
            endianness: Endianness::Little,
            options,
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(WholeBlocks::new(sink), header);
        let mut writer = writer.map_err(|source| Error::Pcapng {
            block: "section header",
            source,
        })?;
        writer.get_mut().end_block()?;
        Ok(Self {
            writer,
            options: Vec::new(),
        })
    }

    pub fn add_interface(&mut self, interface: &Interface<'_>) -> Result<(), Error> {
        let mut options = vec![InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO)];
        let texts = [
            (interface.name, InterfaceDescriptionOption::IfName as fn(_) -> _),
            (interface.description, InterfaceDescriptionOption::IfDescription),
            (interface.hardware, InterfaceDescriptionOption::IfHardware),
        ];
        options.extend(
            texts
                .into_iter()
                .filter_map(|(text, option)| some_line(text).map(option)),
        );
        if !interface.filter.is_empty() {
            // The first byte says that a filter string follows and not its program.
            let text = line(interface.filter, MAX_OPTION - 1);
            options.push(InterfaceDescriptionOption::IfFilter(
                [b"\0", text.as_bytes()].concat().into(),
            ));
        }
        if let Some(mac) = &interface.mac {
            options.push(InterfaceDescriptionOption::IfMacAddr(Cow::Borrowed(mac)));
        }
        options.extend(comment(interface.comment).map(InterfaceDescriptionOption::Common));
        let linktype = data_link(interface.link);
        let block = InterfaceDescriptionBlock {
            linktype,
            snaplen: interface.snap_length,
            options,
        };
        self.write("description of an interface", &block.into_block())
    }

    pub fn names<N, S>(&mut self, names: impl IntoIterator<Item = (IpAddr, N)>) -> Result<(), Error>
    where
        N: IntoIterator<Item = S>,
        S: AsRef<str>,
    {
        let mut records = names.into_iter().filter_map(|(address, names)| {
            let names = names
                .into_iter()
                .filter(|name| !name.as_ref().is_empty())
                .take(MAX_NAMES);
            let mut names: Vec<_> = names
                .map(|name| Cow::Owned(line(name.as_ref(), MAX_NAME).into_owned()))
                .collect();
            // Wireshark shows the last one.
            names.reverse();
            (!names.is_empty()).then_some(match address {
                IpAddr::V4(ip_addr) => Record::Ipv4(Ipv4Record { ip_addr, names }),
                IpAddr::V6(ip_addr) => Record::Ipv6(Ipv6Record { ip_addr, names }),
            })
        });
        loop {
            let records: Vec<_> = records.by_ref().take(MAX_ADDRESSES).collect();
            if records.is_empty() {
                return Ok(());
            }
            let block = NameResolutionBlock {
                records,
                options: Vec::new(),
            };
            self.write("block of names", &block.into_block())?;
        }
    }

    pub fn packet(&mut self, packet: &Packet<'_>) -> Result<(), Error> {
        let mut options: Vec<EnhancedPacketOption<'_>> = mem::take(&mut self.options);
        let flags = flags(packet);
        if flags != 0 {
            options.push(EnhancedPacketOption::Flags(flags));
        }
        options.extend(packet.lost_before.map(EnhancedPacketOption::DropCount));
        options.extend(comment(packet.comment).map(EnhancedPacketOption::Common));
        let captured = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
        let block = Block::EnhancedPacket(EnhancedPacketBlock {
            interface_id: packet.interface.0,
            timestamp: Duration::from_nanos(packet.nanoseconds),
            original_len: packet.original_length.max(captured),
            data: Cow::Borrowed(packet.data),
            options,
        });
        let written = self.write("packet", &block);
        if let Block::EnhancedPacket(block) = block {
            self.options = emptied(block.options);
        }
        written
    }

    pub fn statistics(&mut self, interface_id: u32, statistics: &Statistics<'_>) -> Result<(), Error> {
        let end = Duration::from_nanos(statistics.end);
        let mut options = Vec::new();
        options.extend(
            statistics
                .start
                .map(Duration::from_nanos)
                .map(InterfaceStatisticsOption::IsbStartTime),
        );
        options.push(InterfaceStatisticsOption::IsbEndTime(end));
        let counts = [
            (statistics.received, InterfaceStatisticsOption::IsbIfRecv as fn(_) -> _),
            (statistics.dropped_by_interface, InterfaceStatisticsOption::IsbIfDrop),
            (statistics.accepted, InterfaceStatisticsOption::IsbFilterAccept),
            (statistics.dropped_by_system, InterfaceStatisticsOption::IsbOsDrop),
            (statistics.delivered, InterfaceStatisticsOption::IsbUsrDeliv),
        ];
        options.extend(counts.into_iter().filter_map(|(count, option)| count.map(option)));
        options.extend(comment(statistics.comment).map(InterfaceStatisticsOption::Common));
        let block = InterfaceStatisticsBlock {
            interface_id,
            timestamp: end,
            options,
        };
        self.write("block of statistics", &block.into_block())
    }

    pub fn flush(&mut self) -> Result<(), Error> {
        self.writer.get_mut().flush_blocks()
    }

    fn write(&mut self, name: &'static str, block: &Block<'_>) -> Result<(), Error> {
        match self.writer.write_block(block) {
            Ok(_) => self.writer.get_mut().end_block(),
            Err(source) => {
                self.writer.get_mut().forget_block();
                Err(Error::Pcapng { block: name, source })
            }
        }
    }
}

/// The link-layer header type of both formats.
pub fn data_link(link: Link) -> DataLink {
    match link {
        Link::Ethernet => DataLink::ETHERNET,
        Link::RawIp => DataLink::RAW,
    }
}

fn some_line(text: &str) -> Option<Cow<'_, str>> {
    (!text.is_empty()).then(|| line(text, MAX_OPTION))
}

fn comment(text: &str) -> Option<CommonOption<'_>> {
    (!text.is_empty()).then(|| CommonOption::Comment(lines(text, MAX_OPTION)))
}

/// The flags word: direction in bits 0 and 1, reception in bits 2 to 4 (draft-ietf-opsawg-pcapng, "Enhanced Packet Block Flags Word").
fn flags(packet: &Packet<'_>) -> u32 {
    let direction = match packet.direction {
        Direction::Unknown => 0,
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    };
    let reception = match packet.reception {
        Reception::Unspecified => 0,
        Reception::Unicast => 1,
        Reception::Multicast => 2,
        Reception::Broadcast => 3,
        Reception::Promiscuous => 4,
    };
    direction | reception << 2
}

/// The same vector without its content. The standard library collects in place, so its memory stays.
fn emptied<'new>(options: Vec<EnhancedPacketOption<'_>>) -> Vec<EnhancedPacketOption<'new>> {
    options.into_iter().map_while(|_| None).collect()
}
