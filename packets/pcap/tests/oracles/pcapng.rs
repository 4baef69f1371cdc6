//! pcapng.

use crate::{
    tools::{fields, run, trial},
    udp,
};
use libtest_mimic::Trial;
use netcheck_pcap::{CaptureWriter, Direction, Interface, InterfaceId, Link, Packet, Reception, Section, Statistics};
use std::{fs::File, net::IpAddr};
use tempfile::NamedTempFile;

pub fn trials() -> Vec<Trial> {
    let tshark: &[&str] = &["tshark", "capinfos"];
    vec![
        trial("an_empty_pcapng_is_readable", tshark, an_empty_pcapng_is_readable),
        trial("the_section_says_who_captured", tshark, the_section_says_who_captured),
        trial(
            "interfaces_can_be_added_at_any_time",
            tshark,
            interfaces_can_be_added_at_any_time,
        ),
        trial("packets_keep_all_they_carry", tshark, packets_keep_all_they_carry),
        trial(
            "names_are_shown_once_they_are_known",
            tshark,
            names_are_shown_once_they_are_known,
        ),
        trial(
            "many_names_do_not_make_a_block_too_large",
            tshark,
            many_names_do_not_make_a_block_too_large,
        ),
        trial(
            "statistics_count_loss_and_say_why",
            tshark,
            statistics_count_loss_and_say_why,
        ),
        trial("odd_text_does_no_harm", tshark, odd_text_does_no_harm),
    ]
}

/// A capture file that is gone after the test.
pub fn capture(section: &Section<'_>) -> (NamedTempFile, CaptureWriter<File>) {
    let file = NamedTempFile::new().unwrap();
    let capture = CaptureWriter::pcapng(file.reopen().unwrap(), section).unwrap();
    (file, capture)
}

pub fn named(name: &str) -> Interface<'_> {
    Interface {
        name,
        ..Interface::default()
    }
}

pub fn packet(interface: InterfaceId, data: &[u8]) -> Packet<'_> {
    Packet {
        interface,
        data,
        ..Packet::default()
    }
}

/// The file's blocks themselves, as Wireshark's dissector of capture files shows them.
fn blocks(file: &NamedTempFile, names: &[&str]) -> Vec<String> {
    let as_file = ["-n", "-X", "read_format:MIME Files Format"];
    fields(file.path(), names, &as_file)
        .into_iter()
        .next()
        .unwrap_or_default()
}

fn an_empty_pcapng_is_readable() {
    let (file, capture) = capture(&Section::default());
    capture.finish().unwrap();
    assert_eq!(run("tshark", &["-n", "-r"], file.path()), "");
    let told = run("capinfos", &["-M"], file.path());
    assert!(told.contains("File type:           pcapng"), "{told}");
    assert!(told.contains("Number of packets:   0"), "{told}");
}

fn the_section_says_who_captured() {
    let (file, capture) = capture(&Section {
        hardware: "node-1 x86_64",
        operating_system: "Linux 6.12",
        application: "kubectl-netcheck 0.1.0",
        comments: &["kubectl netcheck capture deploy/web", "cluster: prod"],
    });
    capture.finish().unwrap();
    let told = run("capinfos", &["-M"], file.path());
    for expected in [
        "Capture hardware:    node-1 x86_64",
        "Capture oper-sys:    Linux 6.12",
        "Capture application: kubectl-netcheck 0.1.0",
        "Capture comment:     kubectl netcheck capture deploy/web",
        "Capture comment:     cluster: prod",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
}

fn interfaces_can_be_added_at_any_time() {
    let (file, mut capture) = capture(&Section::default());
    let frame = udp(4);
    let first = capture
        .add_interface(&Interface {
            snap_length: 128,
            description: "pod shop/web on node-1",
            filter: "tcp port 80",
            hardware: "veth",
            mac: Some([2, 0, 0, 0, 0, 1]),
            comment: "in the pod",
            ..named("eth0")
        })
        .unwrap();
    capture.packet(&packet(first, &frame)).unwrap();
    let second = capture
        .add_interface(&Interface {
            link: Link::RawIp,
            ..named("tun0")
        })
        .unwrap();
    capture.packet(&packet(second, &frame[14..])).unwrap();
    capture.packet(&packet(first, &frame)).unwrap();
    capture.finish().unwrap();

    let names = [
        "frame.interface_id",
        "frame.interface_name",
        "frame.interface_description",
        "frame.len",
        "ip.src",
    ];
    assert_eq!(
        fields(file.path(), &names, &["-n"]),
        [
            ["0", "eth0", "pod shop/web on node-1", "46", "10.0.0.1"],
            ["1", "tun0", "", "32", "10.0.0.1"],
            ["0", "eth0", "pod shop/web on node-1", "46", "10.0.0.1"],
        ]
    );
    let told = run("capinfos", &["-M"], file.path());
    for expected in [
        "Encapsulation = Ethernet (1 - ether)",
        "Encapsulation = Raw IP (7 - rawip)",
        "Filter string = tcp port 80",
        "Hardware = veth",
        "Capture length = 128",
        "Time precision = nanoseconds (9)",
    ] {
        assert!(told.contains(expected), "{expected}: {told}");
    }
    let options = blocks(
        &file,
        &["pcapng.options.option.data.mac", "pcapng.options.option.data.comment"],
    );
    assert_eq!(options, ["02:00:00:00:00:01", "in the pod"]);
}

fn packets_keep_all_they_carry() {
    let (file, mut capture) = capture(&Section::default());
    let interface = capture.add_interface(&named("eth0")).unwrap();
    let large = udp(65_493);
    let told = Packet {
        nanoseconds: 1_764_000_000_123_456_789,
        original_length: 90_000,
        direction: Direction::Outbound,
        reception: Reception::Multicast,
        lost_before: Some(7),
        comment: "dropped by node-2",
        ..packet(interface, &large)
    };
    let inbound = Packet {
        direction: Direction::Inbound,
        reception: Reception::Unicast,
        ..packet(interface, &large[..61])
    };
    capture.packet(&told).unwrap();
    capture
        .packet(&Packet {
            nanoseconds: 1,
            ..inbound
        })
        .unwrap();
    capture.packet(&packet(interface, &[])).unwrap();
    capture.finish().unwrap();

    let names = [
        "frame.time_epoch",
        "frame.len",
        "frame.cap_len",
        "frame.packet_flags_direction",
        "frame.packet_flags_reception_type",
        "frame.number",
        "frame.comment",
    ];
    assert_eq!(
        fields(file.path(), &names, &["-n"]),
        [
            [
                "1764000000.123456789",
                "90000",
                "65535",
                "0x00000002",
                "2",
                "1",
                "dropped by node-2"
            ],
            ["0.000000001", "61", "61", "0x00000001", "1", "2", ""],
            ["0.000000000", "0", "0", "", "", "3", ""],
        ]
    );
    // Only the dissector of capture files has a field for it.
    assert_eq!(blocks(&file, &["pcapng.options.option.data.packet.drop_count"]), ["7"]);
}

fn names_are_shown_once_they_are_known() {
    let (file, mut capture) = capture(&Section::default());
    let interface = capture.add_interface(&named("eth0")).unwrap();
    let frame = udp(0);
    capture.packet(&packet(interface, &frame)).unwrap();
    let client: IpAddr = "10.0.0.1".parse().unwrap();
    let sixth: IpAddr = "fd00::1".parse().unwrap();
    capture
        .names([(client, vec!["web.shop", "web.shop.svc"]), (sixth, vec!["six"])])
        .unwrap();
    capture.packet(&packet(interface, &frame)).unwrap();
    capture
        .names([("10.0.0.2".parse::<IpAddr>().unwrap(), ["db.shop"])])
        .unwrap();
    capture.packet(&packet(interface, &frame)).unwrap();
    let mut ipv6 = vec![0; 12];
    ipv6.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 59, 64, 0xfd]);
    ipv6.extend([0; 14]);
    ipv6.extend([1, 0xfd]);
    ipv6.extend([0; 14]);
    ipv6.push(2);
    capture.packet(&packet(interface, &ipv6)).unwrap();
    capture.finish().unwrap();

    let names = ["ip.src_host", "ip.dst_host", "ipv6.src_host"];
    assert_eq!(
        fields(file.path(), &names, &["-N", "n"]),
        [
            ["10.0.0.1", "10.0.0.2", ""],
            ["web.shop", "10.0.0.2", ""],
            ["web.shop", "db.shop", ""],
            ["", "", "six"]
        ]
    );
    let records = blocks(
        &file,
        &["pcapng.records.record.data.ipv4", "pcapng.records.record.data.name"],
    );
    assert_eq!(records, ["10.0.0.1,10.0.0.2", "web.shop.svc,web.shop,six,db.shop"]);
}

fn many_names_do_not_make_a_block_too_large() {
    let (file, mut capture) = capture(&Section::default());
    let interface = capture.add_interface(&named("eth0")).unwrap();
    let name = "n".repeat(300);
    let addresses = (0..5_000u32).map(|number| IpAddr::from((0x0a00_0000 + number).to_be_bytes()));
    capture
        .names(addresses.map(|address| (address, vec![&name; 40])))
        .unwrap();
    capture.packet(&packet(interface, &udp(0))).unwrap();
    capture.finish().unwrap();
    let shown = fields(file.path(), &["ip.src_host"], &["-N", "n"]);
    assert!(shown[0][0].starts_with("nnnn"), "{shown:?}");
    assert!(shown[0][0].len() <= 255, "{shown:?}");
}

fn statistics_count_loss_and_say_why() {
    let (file, mut capture) = capture(&Section::default());
    let first = capture.add_interface(&named("eth0")).unwrap();
    let second = capture.add_interface(&named("eth1")).unwrap();
    let comment = "this capture is incomplete: the agent on node-1 was evicted";
    capture
        .statistics(
            second,
            &Statistics {
                start: Some(1_764_000_000_000_000_001),
                end: 1_764_000_010_500_000_000,
                received: Some(10),
                dropped_by_interface: Some(1),
                accepted: Some(8),
                dropped_by_system: Some(2),
                delivered: Some(5_000_000_000),
                comment,
            },
        )
        .unwrap();
    capture
        .statistics(
            first,
            &Statistics {
                end: 5,
                ..Statistics::default()
            },
        )
        .unwrap();
    capture.finish().unwrap();
    let option = |name: &str| format!("pcapng.options.option.data.interface.{name}");
    let names = [
        "received",
        "dropped",
        "accepted_by_filter",
        "dropped_by_os",
        "delivered_to_user",
    ]
    .map(option);
    let mut names: Vec<_> = names.iter().map(String::as_str).collect();
    names.extend(["pcapng.options.option.data.comment", "pcapng.block.type"]);
    let told = blocks(&file, &names);
    assert_eq!(told[..6], ["10", "1", "8", "2", "5000000000", comment]);
    assert_eq!(told[6], "0x0a0d0d0a,0x00000001,0x00000001,0x00000005,0x00000005");
    run("capinfos", &["-M"], file.path());
}

fn odd_text_does_no_harm() {
    let long = "日".repeat(70_000 / 3);
    let odd = "größe\0\x1b[2J\u{202e}\u{9b}31m 日本";
    let comments = [odd, &long];
    let (file, mut capture) = capture(&Section {
        hardware: odd,
        operating_system: &long,
        comments: &comments,
        ..Section::default()
    });
    let odd_interface = Interface {
        description: &long,
        filter: &long,
        comment: odd,
        ..named(odd)
    };
    let interface = capture.add_interface(&odd_interface).unwrap();
    capture
        .names([(IpAddr::from([10, 0, 0, 1]), [odd, "", &long])])
        .unwrap();
    capture
        .packet(&Packet {
            comment: &long,
            ..packet(interface, &udp(1))
        })
        .unwrap();
    capture
        .packet(&Packet {
            comment: odd,
            ..packet(interface, &udp(2))
        })
        .unwrap();
    capture
        .statistics(
            interface,
            &Statistics {
                comment: &long,
                ..Statistics::default()
            },
        )
        .unwrap();
    capture.finish().unwrap();

    let told = fields(
        file.path(),
        &["frame.interface_name", "frame.comment", "frame.len"],
        &["-n"],
    );
    assert_eq!(told.len(), 2);
    assert!(told[0][0].starts_with("größe\u{fffd}\u{fffd}[2J"), "{}", told[0][0]);
    assert!(told[0][1].starts_with("日日日") && told[0][1].ends_with("日…"));
    assert!((65_532..=65_535).contains(&told[0][1].len()), "{}", told[0][1].len());
    assert_eq!((told[0][2].as_str(), told[1][2].as_str()), ("43", "44"));
    run("capinfos", &["-M"], file.path());
}
