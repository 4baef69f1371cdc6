//! Packets of all kinds a filter can tell apart, the same in every run.

/// A packet of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub bytes: Vec<u8>,
    /// What it had on the wire; more than its bytes where it was cut.
    pub original_length: u32,
}

const V4: [[u8; 4]; 4] = [[10, 0, 0, 1], [10, 1, 2, 3], [192, 168, 7, 9], [224, 0, 0, 251]];
const V6: [&str; 4] = ["2001:db8::1", "2001:db8:8000::2", "fe80::1234:5678", "ff02::fb"];
const MACS: [[u8; 6]; 4] = [
    [2, 0, 0, 0, 0, 1],
    [2, 0, 0, 0, 0, 2],
    [0x33, 0x33, 0, 0, 0, 0xfb],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
];
const PORTS: [(u16, u16); 6] = [
    (80, 51234),
    (40000, 443),
    (53, 53),
    (4789, 4789),
    (22, 8080),
    (1, 65535),
];

/// All IP packets: a file of raw IP.
pub fn raw() -> Vec<Packet> {
    let mut packets: Vec<Vec<u8>> = layers().into_iter().map(|(_, bytes)| bytes).collect();
    packets.extend([vec![], vec![0x45], vec![0x60; 40], vec![0x00; 60], vec![0xff; 33]]);
    with_cut(packets)
}

/// Ethernet frames: all IP packets, ARP, tags, other types, lengths, and noise.
pub fn ethernet() -> Vec<Packet> {
    let mut frames = Vec::new();
    for (index, (kind, packet)) in layers().into_iter().enumerate() {
        let (source, destination) = (MACS[index % 2], MACS[(index / 2) % 4]);
        frames.push(frame(destination, source, &[], kind, &packet));
        if index % 3 == 0 {
            frames.push(frame(destination, source, &[(0x8100, 0x2005)], kind, &packet));
        }
        if index % 5 == 0 {
            frames.push(frame(
                destination,
                source,
                &[(0x88a8, 0x0064), (0x8100, 5)],
                kind,
                &packet,
            ));
            frames.push(frame(destination, source, &[(0x9100, 7)], kind, &packet));
        }
        if index % 7 == 0 {
            frames.push(frame(destination, source, &[(0x8100, 6), (0x8100, 100)], kind, &packet));
        }
    }
    for (index, operation) in [1_u8, 2, 3, 4].into_iter().enumerate() {
        let mut message = vec![0, 1, 8, 0, 6, 4, 0, operation];
        message.extend([&MACS[0][..], &V4[index][..], &MACS[1][..], &V4[(index + 1) % 4][..]].concat());
        frames.push(frame(MACS[3], MACS[0], &[], 0x0806, &message));
        frames.push(frame(MACS[3], MACS[0], &[], 0x8035, &message));
        frames.push(frame(MACS[3], MACS[1], &[(0x8100, 5)], 0x0806, &message));
    }
    for kind in [
        0x8847, 0x8863, 0x8864, 0x88cc, 0x9000, 0x6003, 0x6004, 0x6007, 0x6001, 0x6002, 0x809b, 0x80f3, 0x8137, 1501,
        0x0600,
    ] {
        frames.push(frame(MACS[1], MACS[0], &[], kind, &[0x45; 50]));
    }
    for payload in [
        &[0x42, 0x42, 3, 0, 0][..],
        &[0xe0, 0xe0, 3, 1, 2],
        &[0xff, 0xff, 0, 30, 1],
        &[0xf0, 0xf0, 3, 9, 9],
        &[0xfe, 0xfe, 3, 0x83, 1],
        &[6, 6, 3, 0x45, 0],
        &[1, 2, 3, 4, 5],
        &[0xaa, 0xaa, 3, 0, 0, 0, 0x81, 0x37],
        &[0xaa, 0xaa, 3, 8, 0, 7, 0x80, 0x9b],
        &[0xaa, 0xaa, 3, 0, 0, 0, 0x80, 0xf3],
        &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
    ] {
        let padded = [payload, &[0; 40]].concat();
        frames.push(frame([1, 0x80, 0xc2, 0, 0, 0], MACS[0], &[], 46, &padded));
        frames.push(frame(MACS[1], MACS[0], &[], 1500, &padded));
        frames.push(frame(MACS[1], MACS[0], &[(0x8100, 5)], 46, &padded));
    }
    let mut noise = Noise(0x2545_f491_4f6c_dd1d);
    for length in (0..70).chain([90, 128, 300]) {
        frames.push((0..length).map(|_| noise.byte()).collect());
        // Noise behind a header that lets filters look at it.
        let payload: Vec<u8> = (0..length).map(|_| noise.byte()).collect();
        frames.push(frame(
            MACS[0],
            MACS[1],
            &[],
            [0x0800, 0x86dd, 0x0806][length % 3],
            &payload,
        ));
    }
    with_cut(frames)
}

/// An IPv4 packet with a UDP datagram to a port.
pub fn udp(port: u16) -> Vec<u8> {
    ipv4(
        17,
        V4[0],
        V4[1],
        0,
        &[],
        &[&[0x12, 0x34][..], &port.to_be_bytes(), &[0, 12, 0, 0, 1, 2, 3, 4]].concat(),
    )
}

/// Every packet whole, and some cut at various lengths.
fn with_cut(packets: Vec<Vec<u8>>) -> Vec<Packet> {
    let mut all = Vec::new();
    for (index, bytes) in packets.into_iter().enumerate() {
        let original_length = u32::try_from(bytes.len()).expect("short");
        if index % 4 == 1 {
            for kept in [13, 16, 21, 23, 27, 33, 35, 37, 41, 53, 55, 57, 70]
                .into_iter()
                .filter(|kept| kept % 2 != index % 4 || index % 8 == 1)
            {
                if kept < bytes.len() {
                    all.push(Packet {
                        bytes: bytes[..kept].to_vec(),
                        original_length,
                    });
                }
            }
        }
        all.push(Packet { bytes, original_length });
    }
    all
}

/// IP packets with their Ethernet types.
fn layers() -> Vec<(u16, Vec<u8>)> {
    let mut all = Vec::new();
    let transports = transports();
    for (index, (number, payload)) in transports.iter().enumerate() {
        let (source, destination) = (V4[index % 3], V4[(index / 2 + 1) % 4]);
        all.push((0x0800, ipv4(*number, source, destination, 0, &[], payload)));
        if index % 2 == 0 {
            all.push((0x0800, ipv4(*number, destination, source, 0, &[1; 8], payload)));
        }
        let fragment = [0x2000, 0x3000, 0x0007, 0x4000][index % 4];
        all.push((0x0800, ipv4(*number, source, destination, fragment, &[], payload)));
        let (source, destination) = (V6[index % 3], V6[(index / 2 + 1) % 4]);
        let number6 = if *number == 1 { 58 } else { *number };
        all.push((0x86dd, ipv6(number6, source, destination, payload)));
        let fragment = [&[number6, 0, 0, 1, 0, 0, 0, 9], &payload[..]].concat();
        let hop_by_hop = [&[number6, 0, 5, 2, 0, 0, 1, 0], &payload[..]].concat();
        all.push((0x86dd, ipv6(44, destination, source, &fragment)));
        if index % 3 == 0 {
            all.push((0x86dd, ipv6(0, source, destination, &hop_by_hop)));
            all.push((0x86dd, ipv6(59, source, destination, &[])));
        }
    }
    // IPv4 under IPv6's type and the other way round, wrong versions, odd header lengths.
    all.push((0x86dd, ipv4(6, V4[0], V4[1], 0, &[], &[0; 30])));
    all.push((0x0800, ipv6(6, V6[0], V6[1], &[0; 30])));
    let mut short_header = ipv4(6, V4[0], V4[1], 0, &[], &[0, 80, 0, 80, 9, 9]);
    short_header[0] = 0x42;
    all.push((0x0800, short_header));
    all.push((
        0x0800,
        ipv4(17, V4[0], [255, 255, 255, 255], 0, &[], &[0, 68, 0, 67, 0, 9]),
    ));
    all
}

fn transports() -> Vec<(u8, Vec<u8>)> {
    let mut all = Vec::new();
    for (index, (source, destination)) in PORTS.into_iter().enumerate() {
        let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        let flags = [0x02, 0x12, 0x10, 0x18, 0x11, 0xc4][index];
        let header = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 2, 0x50, flags, 1, 0, 0, 0, 0, 0]].concat();
        all.push((6, [&header[..], b"GET / HTTP/1.1\r\n"].concat()));
        all.push((17, [&ports[..], &[0, 16, 0, 0], &[0x08, 0, 0, 0, 0, 0, 42, 0]].concat()));
        all.push((132, [&ports[..], &[0, 0, 0, 7, 1, 2, 3, 4, 1, 0, 0, 4]].concat()));
    }
    for (kind, code) in [
        (8, 0),
        (0, 0),
        (3, 1),
        (3, 3),
        (11, 0),
        (128, 0),
        (129, 0),
        (133, 0),
        (135, 0),
        (143, 0),
    ] {
        all.push((1, vec![kind, code, 0, 0, 0, 1, 0, 2, 9, 9, 9, 9]));
    }
    for number in [2, 9, 41, 47, 50, 51, 89, 103, 112, 4, 255, 0] {
        all.push((number, vec![0x11, 0, 0, 80, 224, 0, 0, 1, 0, 0, 0, 0]));
    }
    // VXLAN around a frame.
    let inner = frame(
        MACS[0],
        MACS[1],
        &[],
        0x0800,
        &ipv4(6, V4[0], V4[1], 0, &[], &[0, 80, 1, 187, 0, 0, 0, 0]),
    );
    let outer = [
        &[0x12, 0x34, 0x12, 0xb5, 0, 80, 0, 0, 8, 0, 0, 0, 0, 0, 42, 0],
        &inner[..],
    ]
    .concat();
    all.push((17, outer));
    all
}

fn frame(destination: [u8; 6], source: [u8; 6], tags: &[(u16, u16)], kind: u16, payload: &[u8]) -> Vec<u8> {
    let tags: Vec<u8> = tags
        .iter()
        .flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat())
        .collect();
    [&destination[..], &source, &tags, &kind.to_be_bytes(), payload].concat()
}

fn ipv4(number: u8, source: [u8; 4], destination: [u8; 4], fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let words = u8::try_from(5 + options.len() / 4).expect("few options");
    let length = u16::try_from(usize::from(words) * 4 + payload.len())
        .expect("short")
        .to_be_bytes();
    let [high, low] = fragment.to_be_bytes();
    let header = [0x40 | words, 0, length[0], length[1], 0, 1, high, low, 64, number, 0, 0];
    [&header[..], &source, &destination, options, payload].concat()
}

fn ipv6(number: u8, source: &str, destination: &str, payload: &[u8]) -> Vec<u8> {
    let address = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address").octets();
    let length = u16::try_from(payload.len()).expect("short").to_be_bytes();
    let header = [0x60, 0, 0, 0, length[0], length[1], number, 64];
    [&header[..], &address(source), &address(destination), payload].concat()
}

/// Bytes without a pattern (Marsaglia's xorshift).
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.to_be_bytes()[0]
    }
}
