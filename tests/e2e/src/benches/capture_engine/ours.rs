//! Our ring as a process that writes a capture file, the least that `tcpdump -w` does too.

#![allow(clippy::print_stderr, reason = "it reports as tcpdump does")]

use super::RING;
use anyhow::{Context, Result};
use netcheck_node_state::interface_names;
use netcheck_ring::{Event, Options, Packet, Ring};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::{
    fs::File,
    io::{IoSlice, Write},
    path::Path,
    time::Duration,
};

/// Longest record: whole packets.
const SNAP_LENGTH: u32 = 262_144;
/// Bytes that are gathered for one write.
const BUFFER: usize = 256 << 10;
/// From so many bytes on a write of its own costs less than gathering.
const LARGE: usize = 16 << 10;

/// Captures on an interface of this process's namespace into a file until standard input ends.
pub fn capture(interface: &str, file: &Path) -> Result<()> {
    let index = interface_names()?
        .into_iter()
        .find_map(|(index, name)| (name == interface).then_some(index));
    let mut ring = Ring::open(&Options {
        interface: Some(index.context("no such interface")?),
        snap_length: SNAP_LENGTH,
        ring_bytes: RING,
        ..Options::default()
    })?;
    let mut writer = Writer::new(File::create(file)?);
    eprintln!("listening on {interface}");
    let mut is_stopped = false;
    loop {
        match ring.next(Duration::from_millis(100))? {
            Event::Packets(block) => {
                for packet in block.packets() {
                    writer.write(&packet)?;
                }
            }
            Event::End => break,
            _ => {}
        }
        if !is_stopped && is_over()? {
            ring.stop()?;
            is_stopped = true;
        }
    }
    writer.flush()?;
    let statistics = ring.statistics()?;
    eprintln!("{} packets captured", statistics.delivered());
    eprintln!("{} packets dropped by kernel", statistics.dropped);
    Ok(())
}

/// Whether standard input ended.
fn is_over() -> Result<bool> {
    let input = std::io::stdin();
    let mut polled = [PollFd::new(&input, PollFlags::IN)];
    Ok(poll(&mut polled, Some(&Timespec::default()))? > 0)
}

/// Writes packets in the classic format with nanoseconds (draft-ietf-opsawg-pcap).
struct Writer {
    file: File,
    buffer: Vec<u8>,
}

impl Writer {
    fn new(file: File) -> Self {
        let mut buffer = Vec::with_capacity(BUFFER + SNAP_LENGTH as usize);
        // Version 2.4, Ethernet.
        for word in [0xa1b2_3c4d, 0x0004_0002, 0, 0, SNAP_LENGTH, 1] {
            buffer.extend(u32::to_le_bytes(word));
        }
        Self { file, buffer }
    }

    fn write(&mut self, packet: &Packet<'_>) -> Result<()> {
        const SECOND: u64 = 1_000_000_000;
        let frame = packet.on_wire(SNAP_LENGTH);
        let words = [
            (packet.at_ns / SECOND) as u32,
            (packet.at_ns % SECOND) as u32,
            frame.captured_length() as u32,
            frame.original_length,
        ];
        self.buffer.extend(words.map(u32::to_le_bytes).as_flattened());
        for part in frame.parts() {
            if part.len() < LARGE {
                self.buffer.extend_from_slice(part);
            } else {
                self.flush_with(part)?;
            }
        }
        if self.buffer.len() >= BUFFER {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes what was gathered and then `more`, which is not gathered first.
    fn flush_with(&mut self, more: &[u8]) -> Result<()> {
        let mut slices = [IoSlice::new(&self.buffer), IoSlice::new(more)];
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let written = self.file.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
        self.buffer.clear();
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.flush_with(&[])
    }
}
