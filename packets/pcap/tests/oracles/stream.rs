//! How a file reaches its sink.

use crate::{
    pcapng::{capture, named, packet},
    tools::{fields, run, trial},
    udp,
};
use libtest_mimic::Trial;
use netcheck_pcap::{CaptureWriter, Error, InterfaceId, Packet, Section};
use std::io::{self, Write};
use tempfile::NamedTempFile;

pub fn trials() -> Vec<Trial> {
    vec![
        trial("tcpdump_reads_both_formats", &["tcpdump"], tcpdump_reads_both_formats),
        trial("a_flush_shows_every_packet", &["tshark"], a_flush_shows_every_packet),
        trial("the_sink_gets_whole_blocks", &[], the_sink_gets_whole_blocks),
        trial("a_dropped_capture_is_whole", &["tshark"], a_dropped_capture_is_whole),
        trial(
            "a_failed_write_is_told_at_once_and_for_good",
            &[],
            a_failed_write_is_told_at_once_and_for_good,
        ),
        trial("an_unknown_interface_is_refused", &[], an_unknown_interface_is_refused),
    ]
}

fn tcpdump_reads_both_formats() {
    let (pcapng, mut writer) = capture(&Section::default());
    write_one(&mut writer);
    writer.finish().unwrap();
    let pcap = NamedTempFile::new().unwrap();
    let mut writer = CaptureWriter::pcap(&pcap);
    write_one(&mut writer);
    writer.finish().unwrap();
    for file in [pcapng, pcap] {
        let told = run("tcpdump", &["-nn", "-tt", "--nano", "-r"], file.path());
        assert_eq!(
            told,
            "1764000000.123456789 IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 5\n"
        );
    }
}

fn write_one<W: Write>(capture: &mut CaptureWriter<W>) {
    let interface = capture.add_interface(&named("eth0")).unwrap();
    let nanoseconds = 1_764_000_000_123_456_789;
    let data = &udp(5);
    capture
        .packet(&Packet {
            interface,
            nanoseconds,
            data,
            ..Packet::default()
        })
        .unwrap();
}

fn a_flush_shows_every_packet() {
    let (file, mut capture) = capture(&Section::default());
    let interface = capture.add_interface(&named("eth0")).unwrap();
    for length in 0..10 {
        capture.packet(&packet(interface, &udp(length))).unwrap();
        capture.flush().unwrap();
        assert_eq!(fields(file.path(), &["frame.len"], &["-n"]).len(), length + 1);
    }
}

/// Remembers how its bytes came.
#[derive(Default)]
struct Writes(Vec<Vec<u8>>);

impl Write for Writes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn the_sink_gets_whole_blocks() {
    let mut writes = Writes::default();
    let mut capture = CaptureWriter::pcapng(&mut writes, &Section::default()).unwrap();
    let interface = capture.add_interface(&named("eth0")).unwrap();
    for length in 0..2_000 {
        capture.packet(&packet(interface, &udp(length))).unwrap();
    }
    capture.finish().unwrap();
    assert!(writes.0.len() > 10, "{}", writes.0.len());
    for mut write in writes.0.iter().map(Vec::as_slice) {
        while !write.is_empty() {
            let length = u32::from_le_bytes(write[4..8].try_into().unwrap()) as usize;
            assert_eq!(write[length - 4..length], write[4..8]);
            write = &write[length..];
        }
    }
}

fn a_dropped_capture_is_whole() {
    let (file, mut capture) = capture(&Section::default());
    let interface = capture.add_interface(&named("eth0")).unwrap();
    capture.packet(&packet(interface, &udp(1))).unwrap();
    drop(capture);
    assert_eq!(fields(file.path(), &["frame.len"], &["-n"]), [["43"]]);
}

/// A disk that is full.
struct Full;

impl Write for Full {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn a_failed_write_is_told_at_once_and_for_good() {
    let mut capture = CaptureWriter::pcapng(Full, &Section::default()).unwrap();
    let interface = capture.add_interface(&named("eth0")).unwrap();
    assert!(matches!(capture.flush(), Err(Error::Write(_))));
    assert!(matches!(
        capture.packet(&packet(interface, &udp(1))),
        Err(Error::Failed)
    ));
    assert!(matches!(capture.finish(), Err(Error::Failed)));
}

fn an_unknown_interface_is_refused() {
    let mut capture = CaptureWriter::pcapng(Vec::new(), &Section::default()).unwrap();
    let unknown = capture.packet(&packet(InterfaceId::default(), &udp(1)));
    assert!(matches!(unknown, Err(Error::UnknownInterface(0))));
}
