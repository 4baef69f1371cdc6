use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::*;

const SOCKET: Options = Options {
    source: Source::EthernetSocket,
    snap_length: 96,
    loopback: Loopback::Once,
};
const FILE: Options = Options {
    source: Source::EthernetFile,
    snap_length: WHOLE_PACKET,
    loopback: Loopback::Twice,
};
const ANY: Options = Options {
    source: Source::AnySocket,
    snap_length: WHOLE_PACKET,
    loopback: Loopback::Twice,
};

fn compiled(text: &str, options: Options, names: &dyn Names) -> Result<Vec<Instruction>, String> {
    Filter::parse(text)
        .and_then(|filter| filter.compile(options, names))
        .map_err(|error| error.to_string())
}

fn complaint(text: &str) -> String {
    compiled(text, FILE, &NoNames).expect_err(text)
}

/// Runs a program over a packet of a socket: hardware type, packet type, tag.
fn on_socket(
    program: &[Instruction],
    bytes: &[u8],
    (hardware_type, packet_type, vlan_tag): (u32, u32, Option<u16>),
) -> u32 {
    let metadata = Some(Metadata {
        packet_type,
        hardware_type,
        vlan_tag,
    });
    run(
        program,
        Packet {
            metadata,
            ..Packet::from(bytes)
        },
    )
}

/// A cluster of a few objects.
struct Cluster;

impl Names for Cluster {
    fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, String> {
        let addresses = BTreeMap::from([
            ("pod web", "10.0.0.1 2001:db8::1"),
            ("pod shop/web", "10.0.0.2"),
            ("pod tcp", "10.0.0.3"),
            ("svc shop/db.main", "10.96.0.9 10.96.0.9"),
            ("pod pending", ""),
        ]);
        let found = addresses
            .get(name.to_string().as_str())
            .ok_or("no such object\nin the cluster")?;
        Ok(found
            .split_whitespace()
            .map(|address| address.parse().expect("an address"))
            .collect())
    }
}

#[test]
fn names_mean_hosts_with_their_addresses() {
    for (ours, addresses) in [
        ("pod web", "host 10.0.0.1 or host 2001:db8::1"),
        ("src pod shop/web", "src host 10.0.0.2"),
        (
            "dst svc shop/db.main and tcp port 5432",
            "dst host 10.96.0.9 and tcp port 5432",
        ),
        ("pod shop/web or \\tcp", "host 10.0.0.2 or 10.0.0.3"),
        ("ip pod web", "ip host 10.0.0.1"),
        ("ip6 src pod web", "ip6 src host 2001:db8::1"),
        ("not pod shop/web and port 80", "not host 10.0.0.2 and port 80"),
        ("src and dst pod shop/web", "src and dst host 10.0.0.2"),
        (
            "pod (web and shop/web)",
            "(host 10.0.0.1 or host 2001:db8::1) and host 10.0.0.2",
        ),
    ] {
        assert_eq!(
            compiled(ours, FILE, &Cluster),
            compiled(addresses, FILE, &NoNames),
            "{ours}"
        );
    }
}

#[test]
fn a_large_service_of_both_families_fits_all_interfaces() {
    struct Large;
    impl Names for Large {
        fn addresses(&self, _: &Name) -> Result<Vec<IpAddr>, String> {
            let both = |n: u32| {
                [
                    IpAddr::V4((0x0a01_0000 + n).into()),
                    IpAddr::V6(((0xfd00 << 112) + u128::from(n)).into()),
                ]
            };
            Ok((0..200).flat_map(both).collect())
        }
    }
    let program = compiled("svc shop/web", ANY, &Large).expect("fits");
    let passes = |last: u8| {
        let packet = [&[0x60, 0, 0, 0, 0, 0, 59, 64, 0xfd][..], &[0; 14], &[last], &[0xfe; 16]].concat();
        let frame = [&[0; 12][..], &[0x86, 0xdd], &packet].concat();
        (
            on_socket(&program, &frame, (1, 0, None)) != 0,
            on_socket(&program, &packet, (65534, 0, None)) != 0,
        )
    };
    assert_eq!(
        (passes(0), passes(199), passes(200)),
        ((true, true), (true, true), (false, false))
    );
}

#[test]
fn a_filter_lists_the_names_it_needs() {
    let filter = Filter::parse("pod web or not (svc shop/db.main and tcp) or pod web").expect("a filter");
    let names: Vec<String> = filter.names().into_iter().map(ToString::to_string).collect();
    assert_eq!(names, ["pod web", "svc shop/db.main", "pod web"]);
}

#[test]
fn names_that_cannot_be_are_refused_where_they_stand() {
    for (text, message) in [
        (
            "pod nobody",
            "filter, column 5: pod nobody: no such object in the cluster",
        ),
        (
            "pod pending",
            "filter, column 5: pod pending: has no address to look for (yet)",
        ),
        (
            "ip6 pod shop/web",
            "filter, column 9: pod shop/web: has no IPv6 address to look for",
        ),
        (
            "tcp and pod Web",
            "filter, column 13: `Web` is no name of a pod, use the name `kubectl get pods` shows, or `host` for an address",
        ),
        (
            "svc 10.0.0.1",
            "filter, column 5: `10.0.0.1` is no name of a Service, use the name `kubectl get services` shows, or `host` for an \
             address",
        ),
        (
            "pod web or 80",
            "filter, column 12: `80` is no name of a pod, use the name `kubectl get pods` shows, or `host` for an address",
        ),
        (
            "pod a.b/web",
            "filter, column 5: `a.b` is no name of a namespace, use lower-case letters, digits and `-`",
        ),
        (
            "tcp pod web",
            "filter, column 5: `tcp` does not go with `pod`, join them with `and`",
        ),
        (
            "pod port",
            "filter, column 5: `port` cannot be used here, it is a word of the language, write a backslash before a name that is one",
        ),
    ] {
        assert_eq!(compiled(text, FILE, &Cluster), Err(message.to_owned()), "{text}");
    }
}

#[test]
fn errors_say_where_what_and_what_to_do() {
    for (text, message) in [
        ("tpc", "filter, column 1: `tpc` is no primitive, did you mean `tcp`?"),
        (
            "ip and hosst 10.0.0.1",
            "filter, column 8: `hosst` is no primitive, did you mean `host`?",
        ),
        ("TCP", "filter, column 1: `TCP` is no primitive, did you mean `tcp`?"),
        (
            "10.0.0.1",
            "filter, column 1: `10.0.0.1` is no primitive, write `host` before an address",
        ),
        (
            "host web",
            "filter, column 6: `web` is no address, use an address, `pod NAME` or `svc NAME`",
        ),
        (
            "host 10.0.0.256",
            "filter, column 6: `10.0.0.256` is no IP address, write it as 10.1.2.3 or 2001:db8::1",
        ),
        (
            "net 10.1.0.0/8",
            "filter, column 5: `10.1.0.0/8` is no network, clear the bits behind its prefix",
        ),
        (
            "port htttp",
            "filter, column 6: `htttp` is no well-known port, did you mean `http`?",
        ),
        ("port 65536", "filter, column 6: `65536` is no port, use 0 to 65535"),
        (
            "tcp and",
            "filter, column 8: the expression ends where a primitive such as `host` or `tcp` should be",
        ),
        (
            "(tcp",
            "filter, column 5: the expression ends where `)` (the parenthesis is still open) should be",
        ),
        (
            "tcp udp",
            "filter, column 5: `udp` stands where `and`, `or` or the end should be",
        ),
        (
            "ip proto tcp",
            "filter, column 10: `tcp` cannot be used here, it is a word of the language, write a backslash before it: `proto \\tcp`",
        ),
        (
            "tcp[13 & 2 = 0",
            "filter, column 12: `=` stands where `]` (the bracket is still open) should be",
        ),
        ("len-14 > 5", "filter, column 1: `len-14` is no primitive"),
        ("ärger", "filter, column 1: `ä` has no meaning here"),
        ("tcp and host ä", "filter, column 14: `ä` has no meaning here"),
        (
            "ip[0] / 0 = 1",
            "filter, column 9: `0` is no divisor, divide by something else than zero",
        ),
        (
            "outbound",
            "filter, column 1: `outbound` cannot be used here, a file does not say which way its packets went",
        ),
        (
            "5 = 6",
            "filter, column 1: no packet can match this on any link, loosen it",
        ),
    ] {
        assert_eq!(complaint(text), message);
    }
}

#[test]
fn nothing_nests_or_grows_beyond_what_the_stack_and_kernel_take() {
    for text in [
        "(".repeat(20_000),
        "not ".repeat(16_000) + "tcp",
        "!".repeat(60_000) + "tcp",
        "tcp or udp and ".repeat(4_000) + "tcp",
        "-".repeat(60_000) + "1 = 1",
        "1 ^ ".repeat(16_000) + "1 = 1",
        "ip[".repeat(20_000),
        "ip[0] + ".repeat(8_000) + "1 = 1",
        "port (".repeat(10_000),
        "1 = (".repeat(10_000),
        "tcp ".repeat(20_000),
    ] {
        assert!(complaint(&text).len() < 200);
    }
    assert!(compiled(&("(".repeat(100) + "tcp" + &")".repeat(100)), FILE, &NoNames).is_ok());
    let hosts: Vec<String> = (0..3000)
        .map(|n| format!("host 10.1.{}.{}", n / 200, n % 200))
        .collect();
    assert!(complaint(&hosts.join(" or ")).contains("the 4096 the kernel takes"));
}

#[test]
fn jumps_over_hundreds_of_instructions_arrive() {
    let hosts: Vec<String> = (0..600).map(|n| format!("10.1.{}.{}", n / 200, n % 200)).collect();
    let program =
        compiled(&format!("tcp and (src host {})", hosts.join(" or ")), FILE, &NoNames).expect("long but fits");
    assert!(program.len() > 1800);
    let packet = |last: u8, protocol: u8| {
        let mut packet = [vec![0; 12], vec![8, 0, 0x45], vec![0; 19]].concat();
        packet[23] = protocol;
        packet[26..30].copy_from_slice(&[10, 1, 2, last]);
        packet
    };
    for (packet, passes) in [
        (packet(199, 6), true),
        (packet(0, 6), true),
        (packet(200, 6), false),
        (packet(199, 17), false),
    ] {
        assert_eq!(run(&program, &*packet) == WHOLE_PACKET, passes);
    }
}

#[test]
fn jumps_arrive_at_every_distance_around_the_short_ones_limit() {
    let ip = |last: u8| [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, last][..], &[0; 4]].concat();
    for listed in 60..200_u8 {
        let hosts: Vec<String> = (0..listed).map(|n| format!("10.0.0.{n}")).collect();
        let program = compiled(
            &format!("udp and (src host {}) or igmp", hosts.join(" or ")),
            ANY,
            &NoNames,
        )
        .expect("fits");
        for (last, passes) in [(0, true), (listed - 1, true), (listed, false)] {
            let frame = [&[0; 12][..], &[8, 0], &ip(last)].concat();
            assert_eq!(
                on_socket(&program, &frame, (1, 0, None)) != 0,
                passes,
                "{listed} hosts, frame"
            );
            assert_eq!(
                on_socket(&program, &ip(last), (65534, 0, None)) != 0,
                passes,
                "{listed} hosts, raw"
            );
        }
    }
}

#[test]
fn a_socket_program_keeps_the_snap_length_and_drops_loopback_copies() {
    let program = compiled("", SOCKET, &NoNames).expect("everything");
    let seen = |hardware_type, packet_type| on_socket(&program, &[0; 20], (hardware_type, packet_type, None));
    assert_eq!((seen(772, 0), seen(772, 4), seen(1, 4), seen(1, 0)), (96, 0, 96, 96));
}

#[test]
fn a_tag_is_found_aside_or_in_the_bytes() {
    let program = compiled("vlan 5 and tcp", SOCKET, &NoNames).expect("a filter");
    let frame = |tag: &[u8]| {
        [
            &[0; 12][..],
            tag,
            &[8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0],
            &[0; 8],
        ]
        .concat()
    };
    let passes = |bytes: &[u8], vlan_tag| on_socket(&program, bytes, (1, 0, vlan_tag)) != 0;
    assert!(passes(&frame(&[]), Some(0x2005)) && passes(&frame(&[0x81, 0, 0, 5]), None));
    assert!(!passes(&frame(&[]), Some(6)) && !passes(&frame(&[0x81, 0, 0, 6]), None) && !passes(&frame(&[]), None));
}

#[test]
fn on_all_interfaces_the_hardware_type_says_how_to_read() {
    let ip = [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0][..], &[0; 8]].concat();
    let frame = [&[0; 12][..], &[8, 0], &ip].concat();
    let passes = |text, bytes: &[u8], hardware_type| {
        let program = compiled(text, ANY, &NoNames).expect("a filter");
        on_socket(&program, bytes, (hardware_type, 0, None)) != 0
    };
    for hardware_type in [1, 772] {
        assert!(passes("tcp", &frame, hardware_type) && !passes("tcp", &ip, hardware_type));
    }
    for hardware_type in RAW_HARDWARE {
        assert!(passes("tcp", &ip, hardware_type) && !passes("tcp", &frame, hardware_type));
        assert!(passes("not broadcast", &ip, hardware_type) && !passes("vlan or arp", &ip, hardware_type));
    }
    // PPP: nothing is known of its bytes.
    assert!(!passes("tcp", &ip, 512) && !passes("not tcp", &ip, 512) && passes("", &ip, 512));
}

#[test]
fn instructions_travel_as_four_numbers() {
    let program = compiled("", FILE, &NoNames).expect("everything");
    let text = serde_json::to_string(&program).expect("written");
    assert_eq!(text, "[[6,0,0,262144]]");
    assert_eq!(serde_json::from_str::<Vec<Instruction>>(&text).expect("read"), program);
}

proptest! {
    /// Any text is refused in one line or makes a program that ends.
    #[test]
    fn no_text_does_harm(text in "\\PC*|[a-z0-9 ()!&|=<>\\[\\]:./\\\\+*%^-]{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        harmless(&text, &bytes)?;
    }

    /// The same for texts of the language's own words.
    #[test]
    fn no_sequence_of_words_does_harm(words in proptest::collection::vec(word(), 0..24), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        harmless(&words.join(" "), &bytes)?;
    }

    /// No program, wherever it comes from, does harm.
    #[test]
    fn no_program_does_harm(program in proptest::collection::vec(any::<(u8, u8, u8, u32)>(), 0..40), bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let program: Vec<Instruction> =
            program.into_iter().map(|(code, jt, jf, k)| Instruction::from((u16::from(code), jt % 8, jf % 8, k % 64))).collect();
        run(&program, &*bytes);
    }
}

fn harmless(text: &str, bytes: &[u8]) -> Result<(), TestCaseError> {
    for options in [SOCKET, FILE, ANY] {
        match compiled(text, options, &Cluster) {
            Ok(program) => {
                prop_assert!(program.len() <= MAX_INSTRUCTIONS);
                prop_assert!([0, options.snap_length].contains(&run(&program, bytes)));
            }
            Err(error) => prop_assert!(
                error.lines().count() == 1 && !error.chars().any(char::is_control),
                "{error:?}"
            ),
        }
    }
    Ok(())
}

fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        "tcp udp ip ip6 arp ether host net port portrange proto src dst and or not ( ) ! && || [ ] : = != < > <= >= + - * / % & | ^ << >> \
         0 1 4 80 255 65536 10.0.0.1 10/8 10.0.0.0/8 ::1 2001:db8::/32 02:00:00:00:00:01 http \\tcp vlan less greater len inbound outbound \
         broadcast multicast mask 255.0.0.0 icmp icmp6 icmptype tcpflags tcp-syn pod svc web shop/web 8000-9000 web/ / \\"
            .split(' ')
            .filter(|word| !word.is_empty())
            .collect::<Vec<_>>(),
    )
}
