//! Every packet of the corpus, as tshark reads it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

#[path = "../corpus/mod.rs"]
mod corpus;
mod expected;
#[path = "../../../pcap/tests/oracles/tools.rs"]
mod tools;

use corpus::{Sample, samples};
use libtest_mimic::{Arguments, Trial};
use netcheck_decode::{Link, Transport, describe, headers_length, redact};
use netcheck_pcap::{CaptureWriter, Interface, Packet, Section};
use tempfile::NamedTempFile;
use tools::{fields, run, trial};

fn main() {
    let arguments = Arguments::from_args();
    libtest_mimic::run(&arguments, trials()).exit();
}

fn trials() -> Vec<Trial> {
    vec![
        trial(
            "summaries_say_what_tshark_says",
            &["tshark"],
            summaries_say_what_tshark_says,
        ),
        trial(
            "headers_alone_keep_every_header_field",
            &["tshark"],
            headers_alone_keep_every_header_field,
        ),
        trial(
            "redaction_keeps_headers_and_nothing_else",
            &["tshark"],
            redaction_keeps_headers_and_nothing_else,
        ),
        trial(
            "flags_have_the_letters_of_tcpdump",
            &["tcpdump"],
            flags_have_the_letters_of_tcpdump,
        ),
    ]
}

/// One fact per packet, without what tshark remembers of earlier ones.
const SOBER: &[&str] = &[
    "-n",
    "-d",
    "udp.port==8472,vxlan",
    "-o",
    "ip.defragment:FALSE",
    "-o",
    "ipv6.defragment:FALSE",
    "-o",
    "tcp.desegment_tcp_streams:FALSE",
    "-o",
    "tcp.relative_sequence_numbers:FALSE",
];

/// What tshark says of these packets, one line each.
fn told(names: &[&str], packets: &[(Link, Vec<u8>, usize)]) -> Vec<Vec<String>> {
    let file = NamedTempFile::new().unwrap();
    let mut capture = CaptureWriter::pcapng(&file, &Section::default()).unwrap();
    let ethernet = capture.add_interface(&Interface::default()).unwrap();
    let link = netcheck_pcap::Link::RawIp;
    let raw = capture
        .add_interface(&Interface {
            link,
            ..Interface::default()
        })
        .unwrap();
    for (link, data, length) in packets {
        let interface = if *link == Link::Ethernet { ethernet } else { raw };
        let original_length = u32::try_from(*length).unwrap();
        capture
            .packet(&Packet {
                interface,
                data,
                original_length,
                ..Packet::default()
            })
            .unwrap();
    }
    capture.finish().unwrap();
    fields(file.path(), names, SOBER)
}

fn packet(sample: &Sample) -> (Link, Vec<u8>, usize) {
    (sample.link, sample.bytes.clone(), sample.bytes.len())
}

fn summaries_say_what_tshark_says() {
    let samples = samples();
    let packets: Vec<_> = samples.iter().map(packet).collect();
    let told = told(&expected::NAMES, &packets);
    assert_eq!(told.len(), samples.len());
    for (sample, told) in samples.iter().zip(told) {
        let length = u32::try_from(sample.bytes.len()).unwrap();
        let summary = describe(sample.link, &sample.bytes, length);
        for ((name, told), ours) in expected::NAMES.iter().zip(told).zip(expected::fields(&summary)) {
            // tshark goes by the port alone.
            if sample.name == "port 53 without dns" && name.starts_with("dns.") {
                continue;
            }
            assert_eq!(ours, told, "{name} of {}: {summary:#?}", sample.name);
        }
    }
}

/// Of the header fields only: everything of DNS is payload.
fn header_names() -> Vec<&'static str> {
    expected::NAMES
        .into_iter()
        .filter(|name| !name.starts_with("dns."))
        .collect()
}

fn headers_alone_keep_every_header_field() {
    let samples = samples();
    let whole: Vec<_> = samples.iter().map(packet).collect();
    let cut: Vec<_> = whole
        .iter()
        .map(|(link, bytes, length)| (*link, bytes[..headers_length(*link, bytes)].to_vec(), *length))
        .collect();
    let before = told(&header_names(), &whole);
    let after = told(&header_names(), &cut);
    for ((sample, before), after) in samples.iter().zip(before).zip(after) {
        assert_eq!(after, before, "{}: {:?}", sample.name, header_names());
    }
    for (_, headers, _) in cut {
        assert!(!headers.windows(6).any(|bytes| bytes == b"secret"));
    }
}

fn redaction_keeps_headers_and_nothing_else() {
    let samples = samples();
    let whole: Vec<_> = samples.iter().map(packet).collect();
    let redacted: Vec<_> = whole
        .iter()
        .cloned()
        .map(|(link, mut bytes, length)| {
            redact(link, &mut bytes);
            (link, bytes, length)
        })
        .collect();
    let mut names = header_names();
    let before = told(&names, &whole);
    let payloads = ["tcp.payload", "udp.payload", "data.data"];
    names.extend(payloads);
    let after = told(&names, &redacted);
    for ((sample, before), after) in samples.iter().zip(before).zip(after) {
        let (headers, payload) = after.split_at(before.len());
        assert_eq!(headers, before, "{}", sample.name);
        // The payload of an outer UDP datagram is the inner packet, headers and all.
        if describe(sample.link, &sample.bytes, 0).tunnels.is_empty() {
            assert!(
                payload
                    .iter()
                    .all(|bytes| bytes.chars().all(|digit| "0,".contains(digit))),
                "{}: {payload:?}",
                sample.name
            );
        }
    }
}

fn flags_have_the_letters_of_tcpdump() {
    // tcpdump 4.99 does not read packets that have no length yet.
    let is_told = |sample: &&Sample| sample.name.starts_with("tcp ") && !sample.name.ends_with("offload");
    for sample in samples().iter().filter(is_told) {
        let summary = describe(sample.link, &sample.bytes, 0);
        let Some(Transport::Tcp(tcp)) = summary.transport else {
            panic!("{}", sample.name)
        };
        let file = NamedTempFile::new().unwrap();
        let mut capture = CaptureWriter::pcap(&file);
        let interface = capture.add_interface(&Interface::default()).unwrap();
        let data = &sample.bytes;
        capture
            .packet(&Packet {
                interface,
                data,
                ..Packet::default()
            })
            .unwrap();
        capture.finish().unwrap();
        let told = run("tcpdump", &["-nn", "-r"], file.path());
        // Nor does it know AE.
        let letters = tcp.flags.to_string();
        let known = letters.replace("We", "W");
        assert!(told.contains(&format!("Flags [{known}], ")), "{letters}: {told}");
    }
}
