//! Packets as lines to read, or as JSON, one object a line.

use super::{Ending, Packet, Sink, SinkError};
use crate::{
    capture::{names::Names, source::Interface},
    output::Printer,
};
use jiff::{Timestamp, tz::TimeZone};
use netcheck_decode::{Link, Summary, describe, line};
use serde::Serialize;
use std::sync::Arc;

/// How a packet is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Writes lines to stdout.
pub struct Lines {
    printer: Printer,
    format: LineFormat,
    names: Arc<Names>,
    zone: TimeZone,
    interfaces: Vec<Interface>,
    pending: String,
}

/// A packet in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Record<'a> {
    time: String,
    interface: &'a str,
    direction: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    source_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_name: Option<String>,
    #[serde(flatten)]
    summary: &'a Summary,
}

impl Lines {
    /// Lines for this printer; times of text are local ones, as tcpdump's.
    pub fn new(printer: Printer, format: LineFormat, names: Arc<Names>) -> Self {
        Self {
            printer,
            format,
            names,
            zone: TimeZone::system(),
            interfaces: Vec::new(),
            pending: String::new(),
        }
    }

    fn text(&self, packet: &Packet<'_>, interface: &Interface, summary: &Summary) -> String {
        let time = time(packet.at_ns).to_zoned(self.zone.clone());
        format!(
            "{} {} {} {}\n",
            time.strftime("%H:%M:%S.%6f"),
            interface.name,
            direction(packet.packet_type),
            line(summary, &*self.names)
        )
    }

    fn json(&self, packet: &Packet<'_>, interface: &Interface, summary: &Summary) -> Result<String, SinkError> {
        let addresses = summary.addresses();
        let name = |address| netcheck_decode::Names::name(&*self.names, address).map(std::borrow::Cow::into_owned);
        let record = Record {
            time: time(packet.at_ns).to_string(),
            interface: &interface.name,
            direction: direction(packet.packet_type),
            source_name: addresses.and_then(|(source, _)| name(source)),
            destination_name: addresses.and_then(|(_, destination)| name(destination)),
            summary,
        };
        serde_json::to_string(&record)
            .map(|json| json + "\n")
            .map_err(|error| SinkError::Write(format!("cannot write a packet as JSON: {error}")))
    }
}

impl Sink for Lines {
    fn interface(&mut self, interface: &Interface) -> Result<(), SinkError> {
        self.interfaces.push(interface.clone());
        Ok(())
    }

    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), SinkError> {
        let Some(interface) = self.interfaces.get(packet.interface) else {
            return Err(SinkError::Write("a packet of no interface".to_owned()));
        };
        let begins_with = match interface.link {
            netcheck_pcap::Link::Ethernet => Link::Ethernet,
            netcheck_pcap::Link::RawIp => Link::RawIp,
        };
        let summary = describe(begins_with, packet.bytes, packet.original_length);
        let line = match self.format {
            LineFormat::Text => self.text(packet, interface, &summary),
            LineFormat::Json => self.json(packet, interface, &summary)?,
        };
        self.pending.push_str(&line);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), SinkError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let written = self.printer.data(&self.pending);
        self.pending.clear();
        written.map_err(|failure| SinkError::Write(failure.message))?;
        if self.printer.reader_has_left() {
            return Err(SinkError::ReaderLeft);
        }
        Ok(())
    }

    fn finish(&mut self, _: &Ending) -> Result<(), SinkError> {
        self.flush()
    }
}

fn time(at_ns: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(at_ns)).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `PACKET_OUTGOING` of linux/if_packet.h.
fn direction(packet_type: u8) -> &'static str {
    if packet_type == 4 { "out" } else { "in" }
}
