//! Classic pcap.

use crate::{
    tools::{fields, run, trial},
    udp,
};
use libtest_mimic::Trial;
use netcheck_pcap::{CaptureWriter, Error, Interface, Link, Packet};
use tempfile::NamedTempFile;

pub fn trials() -> Vec<Trial> {
    vec![
        trial(
            "pcap_keeps_nanoseconds_and_lengths",
            &["tshark", "capinfos"],
            pcap_keeps_nanoseconds_and_lengths,
        ),
        trial("pcap_holds_raw_ip", &["tshark"], pcap_holds_raw_ip),
        trial(
            "an_empty_pcap_is_readable",
            &["tshark", "capinfos"],
            an_empty_pcap_is_readable,
        ),
        trial("pcap_holds_one_interface", &[], pcap_holds_one_interface),
        trial("pcap_ends_in_2106", &["tshark"], pcap_ends_in_2106),
    ]
}

fn pcap_keeps_nanoseconds_and_lengths() {
    let file = NamedTempFile::new().unwrap();
    let mut capture = CaptureWriter::pcap(&file);
    let interface = capture
        .add_interface(&Interface {
            name: "eth0",
            ..Interface::default()
        })
        .unwrap();
    let frame = udp(65_000);
    for (nanoseconds, kept) in [
        (1_764_000_000_123_456_789, 60),
        (1_764_000_001_000_000_001, frame.len()),
    ] {
        let original_length = u32::try_from(frame.len()).unwrap();
        let data = &frame[..kept];
        capture
            .packet(&Packet {
                interface,
                nanoseconds,
                original_length,
                data,
                ..Packet::default()
            })
            .unwrap();
    }
    let none: [(std::net::IpAddr, [&str; 0]); 0] = [];
    capture.names(none).unwrap();
    capture.finish().unwrap();

    assert_eq!(
        fields(
            file.path(),
            &["frame.time_epoch", "frame.len", "frame.cap_len", "udp.length"],
            &["-n"]
        ),
        [
            ["1764000000.123456789", "65042", "60", "65008"],
            ["1764000001.000000001", "65042", "65042", "65008"]
        ]
    );
    let told = run("capinfos", &["-M", "-t", "-E", "-c"], file.path());
    assert!(told.contains("File type:           nsecpcap"), "{told}");
    assert!(told.contains("File encapsulation:  ether"), "{told}");
}

fn pcap_holds_raw_ip() {
    let file = NamedTempFile::new().unwrap();
    let mut capture = CaptureWriter::pcap(&file);
    let interface = capture
        .add_interface(&Interface {
            link: Link::RawIp,
            ..Interface::default()
        })
        .unwrap();
    capture
        .packet(&Packet {
            interface,
            data: &udp(0)[14..],
            ..Packet::default()
        })
        .unwrap();
    capture.finish().unwrap();
    assert_eq!(
        fields(file.path(), &["frame.len", "ip.src"], &["-n"]),
        [["28", "10.0.0.1"]]
    );
}

fn an_empty_pcap_is_readable() {
    let file = NamedTempFile::new().unwrap();
    CaptureWriter::pcap(&file).finish().unwrap();
    assert_eq!(run("tshark", &["-n", "-r"], file.path()), "");
    assert!(run("capinfos", &["-M", "-c"], file.path()).contains("Number of packets:   0"));
}

fn pcap_holds_one_interface() {
    let mut capture = CaptureWriter::pcap(Vec::new());
    capture.add_interface(&Interface::default()).unwrap();
    let second = capture.add_interface(&Interface {
        name: "eth1",
        ..Interface::default()
    });
    assert!(matches!(second, Err(Error::SecondInterface { second }) if second == "eth1"));
}

fn pcap_ends_in_2106() {
    let file = NamedTempFile::new().unwrap();
    let mut capture = CaptureWriter::pcap(&file);
    let interface = capture.add_interface(&Interface::default()).unwrap();
    let frame = udp(0);
    for nanoseconds in [u64::MAX, 4_294_967_295_999_999_999] {
        let written = capture.packet(&Packet {
            interface,
            nanoseconds,
            data: &frame,
            ..Packet::default()
        });
        assert_eq!(written.is_err(), nanoseconds == u64::MAX);
    }
    capture.finish().unwrap();
    assert_eq!(
        fields(file.path(), &["frame.time_epoch"], &["-n"]),
        [["4294967295.999999999"]]
    );
}
