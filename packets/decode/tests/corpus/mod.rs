//! Packets of every kind that is understood, and some that are not, built byte by byte.

use netcheck_decode::Link;

/// A packet of the corpus.
pub struct Sample {
    pub name: &'static str,
    pub link: Link,
    pub bytes: Vec<u8>,
}

/// All packets. Checksums are left at 0: local captures see them so wherever the hardware computes them.
pub fn samples() -> Vec<Sample> {
    [ethernet(), tunnels(), raw()].into_iter().flatten().collect()
}

fn ethernet() -> Vec<Sample> {
    let on_wire = |name, ether_type, payload: Vec<u8>| sample(name, frame(ether_type, &payload));
    vec![
        on_wire("tcp syn", 0x0800, ipv4(6, &tcp(0x002, SYN_OPTIONS, b""))),
        on_wire(
            "tcp data",
            0x0800,
            ipv4(6, &tcp(0x018, NO_OPTIONS, b"GET / HTTP/1.1\r\n\r\n")),
        ),
        on_wire("tcp reset", 0x0800, ipv4(6, &tcp(0x004, NO_OPTIONS, b""))),
        on_wire("tcp every flag", 0x0800, ipv4(6, &tcp(0x1ff, NO_OPTIONS, b""))),
        on_wire("tcp no flag", 0x0800, ipv4(6, &tcp(0, NO_OPTIONS, b""))),
        on_wire("tcp large", 0x0800, ipv4(6, &tcp(0x010, NO_OPTIONS, &[b'x'; 60_000]))),
        on_wire(
            "tcp not yet cut by offload",
            0x0800,
            without_length(ipv4(6, &tcp(0x010, NO_OPTIONS, &[b'x'; 2_000]))),
        ),
        on_wire(
            "tcp padded",
            0x0800,
            [ipv4(6, &tcp(0x010, NO_OPTIONS, b"")), vec![0xaa; 6]].concat(),
        ),
        on_wire("udp", 0x0800, ipv4(17, &udp(1000, 2000, b"secret"))),
        on_wire("dns query", 0x0800, ipv4(17, &udp(40_000, 53, &dns_query()))),
        on_wire("dns answer", 0x0800, ipv4(17, &udp(53, 40_000, &dns_answer()))),
        on_wire(
            "dns no such name",
            0x86dd,
            ipv6(17, &udp(53, 40_000, &dns_no_such_name())),
        ),
        on_wire(
            "dns over tcp",
            0x0800,
            ipv4(
                6,
                &tcp_ports(40_000, 53, 0x018, NO_OPTIONS, &[&[0, 38], &dns_query()[..]].concat()),
            ),
        ),
        on_wire("mdns", 0x0800, ipv4(17, &udp(5353, 5353, &dns_query()))),
        on_wire("port 53 without dns", 0x0800, ipv4(17, &udp(40_000, 53, &[0xff; 40]))),
        on_wire(
            "vlan",
            0x8100,
            [&[0x00, 12, 0x08, 0x00], &ipv4(6, &tcp(0x010, NO_OPTIONS, b"abc"))[..]].concat(),
        ),
        on_wire(
            "vlan in vlan",
            0x88a8,
            [&[0x0f, 0xff, 0x81, 0, 0, 7, 8, 0], &ipv4(17, &udp(1, 2, b"abc"))[..]].concat(),
        ),
        on_wire("arp question", 0x0806, arp(1)),
        on_wire("arp answer", 0x0806, arp(2)),
        on_wire("ping", 0x0800, ipv4(1, &icmp([8, 0], [0, 7, 0, 9], &[b'p'; 56]))),
        on_wire("pong", 0x0800, ipv4(1, &icmp([0, 0], [0, 7, 0, 9], &[b'p'; 56]))),
        on_wire(
            "port unreachable",
            0x0800,
            ipv4(1, &icmp([3, 3], [0; 4], &ipv4(17, &udp(1000, 2000, b"secret")))),
        ),
        on_wire(
            "fragmentation needed",
            0x0800,
            ipv4(
                1,
                &icmp(
                    [3, 4],
                    [0, 0, 5, 120],
                    &ipv4(6, &tcp(0x018, NO_OPTIONS, b"secret"))[..28],
                ),
            ),
        ),
        on_wire(
            "time exceeded",
            0x0800,
            ipv4(
                1,
                &icmp([11, 0], [0; 4], &ipv4(6, &tcp(0x018, NO_OPTIONS, b"secret"))[..28]),
            ),
        ),
        on_wire(
            "redirect",
            0x0800,
            ipv4(
                1,
                &icmp([5, 1], [10, 0, 0, 254], &ipv4(17, &udp(1000, 2000, b"secret"))),
            ),
        ),
        on_wire("ping6", 0x86dd, ipv6(58, &icmp([128, 0], [0, 7, 0, 9], b"secret"))),
        on_wire(
            "too big",
            0x86dd,
            ipv6(
                58,
                &icmp([2, 0], [0, 0, 5, 0], &ipv6(6, &tcp(0x018, NO_OPTIONS, b"secret"))[..48]),
            ),
        ),
        on_wire(
            "unreachable6",
            0x86dd,
            ipv6(58, &icmp([1, 4], [0; 4], &ipv6(17, &udp(1000, 2000, b"secret")))),
        ),
        on_wire(
            "neighbour solicitation",
            0x86dd,
            ipv6(
                58,
                &icmp([135, 0], [0; 4], &[&SIXTH[..], &[1, 1, 2, 0, 0, 0, 0, 1]].concat()),
            ),
        ),
        on_wire(
            "neighbour advertisement",
            0x86dd,
            ipv6(
                58,
                &icmp(
                    [136, 0],
                    [0x60, 0, 0, 0],
                    &[&SIXTH[..], &[2, 1, 2, 0, 0, 0, 0, 2]].concat(),
                ),
            ),
        ),
        on_wire(
            "first fragment",
            0x0800,
            fragment(ipv4(17, &[udp(1000, 2000, b""), vec![b's'; 32]].concat()), 0x2000),
        ),
        on_wire("later fragment", 0x0800, fragment(ipv4(17, &[b's'; 40]), 5)),
        on_wire(
            "first fragment6",
            0x86dd,
            ipv6(
                44,
                &[&[17, 0, 0, 1, 0, 0, 0, 9], &udp(1000, 2000, b"secret..")[..]].concat(),
            ),
        ),
        on_wire(
            "later fragment6",
            0x86dd,
            ipv6(44, &[&[17, 0, 0, 16, 0, 0, 0, 9], &[b's'; 16][..]].concat()),
        ),
        on_wire(
            "hop by hop",
            0x86dd,
            ipv6(
                0,
                &[&[6, 0, 1, 4, 0, 0, 0, 0], &tcp(0x018, NO_OPTIONS, b"secret")[..]].concat(),
            ),
        ),
        on_wire("esp", 0x0800, ipv4(50, &[b's'; 40])),
        on_wire(
            "sctp",
            0x0800,
            ipv4(
                132,
                &[&[3, 232, 7, 208, 0, 0, 0, 0, 0, 0, 0, 0], &[1, 0, 0, 20][..], &[0; 16]].concat(),
            ),
        ),
        on_wire("lldp", 0x88cc, vec![2, 7, 4, 2, 0, 0, 0, 0, 1, 0, 0]),
    ]
}

fn tunnels() -> Vec<Sample> {
    let inner = |payload: Vec<u8>| frame(0x0800, &readdressed(payload));
    let geneve = [
        &[0x01, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 3, 0x80, 0][..],
        &inner(ipv4(1, &icmp([8, 0], [0, 1, 0, 2], b"secret"))),
    ]
    .concat();
    let datagram = |port, payload: Vec<u8>| frame(0x0800, &ipv4(17, &udp(50_000, port, &payload)));
    let segment = || ipv4(6, &tcp(0x018, NO_OPTIONS, b"secret"));
    let query = || ipv4(17, &udp(40_000, 53, &dns_query()));
    let small = || ipv6(17, &udp(1000, 2000, b"secret"));
    let arp_in_ipv6 = ipv6(17, &udp(50_000, 4789, &vxlan(7, &frame(0x0806, &arp(1)))));
    vec![
        sample("vxlan", datagram(4789, vxlan(1, &inner(segment())))),
        sample("vxlan of Linux", datagram(8472, vxlan(0x00ab_cdef, &inner(query())))),
        sample("vxlan over IPv6", frame(0x86dd, &arp_in_ipv6)),
        sample("geneve", datagram(6081, geneve)),
        sample("ip in ip", frame(0x0800, &ipv4(4, &readdressed(segment())))),
        sample("ip6 in ip6", frame(0x86dd, &ipv6(41, &small()))),
        sample("ip6 in ip", frame(0x0800, &ipv4(41, &small()))),
    ]
}

fn raw() -> Vec<Sample> {
    let raw = |name, bytes| Sample {
        name,
        link: Link::RawIp,
        bytes,
    };
    vec![
        raw("raw tcp", ipv4(6, &tcp(0x018, NO_OPTIONS, b"secret"))),
        raw("raw udp6", ipv6(17, &udp(1000, 2000, b"secret"))),
    ]
}

fn sample(name: &'static str, bytes: Vec<u8>) -> Sample {
    Sample {
        name,
        link: Link::Ethernet,
        bytes,
    }
}

const SIXTH: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 6];
const NO_OPTIONS: &[u8] = &[];
/// Maximum segment size 1460, SACK permitted, timestamps, no operation, window scale 7.
const SYN_OPTIONS: &[u8] = &[2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];

fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [
        &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1][..],
        &ether_type.to_be_bytes(),
        payload,
    ]
    .concat()
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
    let header = [
        0x45, 0, high, low, 0, 5, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
    ];
    [&header[..], payload].concat()
}

/// From 10.244.0.1 to 10.244.1.2: what is within a tunnel.
fn readdressed(mut packet: Vec<u8>) -> Vec<u8> {
    packet[12..20].copy_from_slice(&[10, 244, 0, 1, 10, 244, 1, 2]);
    packet
}

fn without_length(mut packet: Vec<u8>) -> Vec<u8> {
    packet[2..4].fill(0);
    packet
}

fn fragment(mut packet: Vec<u8>, flags_and_offset: u16) -> Vec<u8> {
    packet[6..8].copy_from_slice(&flags_and_offset.to_be_bytes());
    packet
}

fn ipv6(next_header: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(payload.len()).unwrap().to_be_bytes();
    let address = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    [
        &[0x60, 0, 0, 0, high, low, next_header, 63][..],
        &address(1),
        &address(2),
        payload,
    ]
    .concat()
}

fn tcp(flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    tcp_ports(45_678, 80, flags, options, payload)
}

fn tcp_ports(source: u16, destination: u16, flags: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u16::try_from(5 + options.len() / 4).unwrap();
    let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
    let numbers = [4_000_000_001u32.to_be_bytes(), 77u32.to_be_bytes()].concat();
    let control = (words << 12 | flags).to_be_bytes();
    [
        &ports[..],
        &numbers,
        &control,
        &[0xfa, 0xf0, 0, 0, 0, 0],
        options,
        payload,
    ]
    .concat()
}

fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let header = [source, destination, length, 0].map(u16::to_be_bytes).concat();
    [&header[..], payload].concat()
}

fn vxlan(vni: u32, frame: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0][..], &(vni << 8).to_be_bytes(), frame].concat()
}

fn icmp(kind_and_code: [u8; 2], rest: [u8; 4], payload: &[u8]) -> Vec<u8> {
    [&kind_and_code[..], &[0, 0], &rest, payload].concat()
}

fn arp(operation: u8) -> Vec<u8> {
    let sender = [2, 0, 0, 0, 0, 1, 10, 0, 0, 1];
    let target = [0, 0, 0, 0, 0, 0, 10, 0, 0, 2];
    [&[0, 1, 8, 0, 6, 4, 0, operation][..], &sender, &target].concat()
}

/// A record of `web.shop.svc.local`, whose name is the question's.
const QUESTION: &[u8] = b"\x03web\x04shop\x03svc\x05local\0\0\x01\0\x01";

fn dns_query() -> Vec<u8> {
    [&[0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], QUESTION].concat()
}

/// A CNAME, and the address behind it.
fn dns_answer() -> Vec<u8> {
    let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x1e\0\x05\x02db\xc0\x10";
    let address = b"\xc0\x30\0\x01\0\x01\0\0\0\x1e\0\x04\x0a\x60\0\x0a";
    [
        &[0x12, 0x34, 0x85, 0x80, 0, 1, 0, 2, 0, 0, 0, 0][..],
        QUESTION,
        alias,
        address,
    ]
    .concat()
}

fn dns_no_such_name() -> Vec<u8> {
    [&[0x12, 0x35, 0x85, 0x83, 0, 1, 0, 0, 0, 0, 0, 0][..], QUESTION].concat()
}
