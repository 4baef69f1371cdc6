//! The classic BPF program of the watch's sockets: the kernel hands up only what could belong to a probe.
//!
//! It sees packets from their IP header on (packet(7), `SOCK_DGRAM`) and accepts what [`super::packet`] may recognise: TCP with SYN or
//! RST, UDP that looks like one DNS question, ICMP echoes and errors. A load beyond the packet's end drops the packet.

use socket2::SockFilter;

/// Bytes of a packet that are handed up: headers, the longest DNS question, what an ICMP error quotes.
pub const SNAP: u32 = 1024;

// Opcodes of linux/bpf_common.h.
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF: u16 = 0x28;
/// X = 4 * (byte at k & 0x0f): the length of an IPv4 header.
const LOAD_X_HEADER_LENGTH: u16 = 0xb1;
const LOAD_BYTE_FROM_X: u16 = 0x50;
const LOAD_HALF_FROM_X: u16 = 0x48;
const AND: u16 = 0x54;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

/// One instruction, its jump targets by name.
#[derive(Debug, Clone, Copy)]
struct Step {
    label: &'static str,
    code: u16,
    k: u32,
    yes: &'static str,
    no: &'static str,
}

/// Goes on with the next instruction.
const NEXT: &str = "";

const fn step(label: &'static str, code: u16, k: u32) -> Step {
    Step {
        label,
        code,
        k,
        yes: NEXT,
        no: NEXT,
    }
}

const fn jump(code: u16, k: u32, yes: &'static str, no: &'static str) -> Step {
    Step {
        label: "",
        code,
        k,
        yes,
        no,
    }
}

/// TCP flags SYN and RST.
const SYN_OR_RST: u32 = 0x06;
/// Opcode bits in the third byte of a DNS header; 0 is a query.
const DNS_OPCODE: u32 = 0x78;

const PROGRAM: [Step; 45] = [
    step("", LOAD_BYTE, 0),
    step("", AND, 0xf0),
    jump(JUMP_IF_EQUAL, 0x40, "v4", NEXT),
    jump(JUMP_IF_EQUAL, 0x60, "v6", "drop"),
    // IPv4: not a later fragment, then by protocol.
    step("v4", LOAD_HALF, 6),
    jump(JUMP_IF_ANY_BIT, 0x1fff, "drop", NEXT),
    step("", LOAD_X_HEADER_LENGTH, 0),
    step("", LOAD_BYTE, 9),
    jump(JUMP_IF_EQUAL, 6, "v4-tcp", NEXT),
    jump(JUMP_IF_EQUAL, 17, "v4-udp", NEXT),
    jump(JUMP_IF_EQUAL, 1, "v4-icmp", "drop"),
    step("v4-tcp", LOAD_BYTE_FROM_X, 13),
    jump(JUMP_IF_ANY_BIT, SYN_OR_RST, "accept", "drop"),
    // After UDP's eight bytes: id, flags, number of questions.
    step("v4-udp", LOAD_BYTE_FROM_X, 10),
    jump(JUMP_IF_ANY_BIT, DNS_OPCODE, "drop", NEXT),
    step("", LOAD_HALF_FROM_X, 12),
    jump(JUMP_IF_EQUAL, 1, "accept", "drop"),
    step("v4-icmp", LOAD_BYTE_FROM_X, 0),
    jump(JUMP_IF_EQUAL, 0, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 3, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 8, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 11, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 12, "accept", "drop"),
    // IPv6: by next header; those with extension headers are few, and left to the parser.
    step("v6", LOAD_BYTE, 6),
    jump(JUMP_IF_EQUAL, 6, "v6-tcp", NEXT),
    jump(JUMP_IF_EQUAL, 17, "v6-udp", NEXT),
    jump(JUMP_IF_EQUAL, 58, "v6-icmp", NEXT),
    jump(JUMP_IF_EQUAL, 0, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 43, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 60, "accept", "drop"),
    step("v6-tcp", LOAD_BYTE, 53),
    jump(JUMP_IF_ANY_BIT, SYN_OR_RST, "accept", "drop"),
    step("v6-udp", LOAD_BYTE, 50),
    jump(JUMP_IF_ANY_BIT, DNS_OPCODE, "drop", NEXT),
    step("", LOAD_HALF, 52),
    jump(JUMP_IF_EQUAL, 1, "accept", "drop"),
    step("v6-icmp", LOAD_BYTE, 40),
    jump(JUMP_IF_EQUAL, 1, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 2, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 3, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 4, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 128, "accept", NEXT),
    jump(JUMP_IF_EQUAL, 129, "accept", "drop"),
    step("accept", RETURN, SNAP),
    step("drop", RETURN, 0),
];

/// The program with its jumps as the kernel wants them: distances from the next instruction.
fn assembled() -> impl Iterator<Item = (u16, u8, u8, u32)> {
    let distance = |from: usize, label: &str| match label {
        NEXT => 0,
        label => PROGRAM
            .iter()
            .position(|step| step.label == label)
            .map_or(0, |to| to.saturating_sub(from + 1)) as u8,
    };
    PROGRAM
        .iter()
        .enumerate()
        .map(move |(at, step)| (step.code, distance(at, step.yes), distance(at, step.no), step.k))
}

/// The program for `SO_ATTACH_FILTER`.
pub fn program() -> Vec<SockFilter> {
    assembled()
        .map(|(code, yes, no, k)| SockFilter::new(code, yes, no, k))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::packet::{recognise, samples};
    use proptest::prelude::*;

    /// What the kernel does with the program.
    fn accepts(packet: &[u8]) -> bool {
        let program: Vec<_> = assembled().collect();
        let (mut a, mut x, mut at) = (0u32, 0u32, 0);
        let byte = |at: u32| packet.get(at as usize).copied().map(u32::from);
        let half = |at: u32| Some(byte(at)? << 8 | byte(at + 1)?);
        loop {
            let (code, yes, no, k) = program[at];
            at += 1;
            let loaded = match code {
                LOAD_BYTE => byte(k),
                LOAD_HALF => half(k),
                LOAD_BYTE_FROM_X => byte(x + k),
                LOAD_HALF_FROM_X => half(x + k),
                LOAD_X_HEADER_LENGTH => {
                    let Some(first) = byte(k) else { return false };
                    x = (first & 0x0f) * 4;
                    Some(a)
                }
                AND => Some(a & k),
                JUMP_IF_EQUAL => {
                    at += usize::from(if a == k { yes } else { no });
                    Some(a)
                }
                JUMP_IF_ANY_BIT => {
                    at += usize::from(if a & k != 0 { yes } else { no });
                    Some(a)
                }
                RETURN => return k != 0,
                other => panic!("opcode {other:#x}"),
            };
            let Some(loaded) = loaded else { return false };
            a = loaded;
        }
    }

    #[test]
    fn every_label_is_there() {
        for step in PROGRAM {
            for label in [step.yes, step.no].into_iter().filter(|label| *label != NEXT) {
                assert!(PROGRAM.iter().any(|step| step.label == label), "{label}");
            }
        }
    }

    #[test]
    fn ordinary_traffic_stays_in_the_kernel() {
        for flags in [0x10, 0x18, 0x11] {
            assert!(!accepts(&samples::ipv4(6, &samples::tcp(flags, 1, 1))));
            assert!(!accepts(&samples::ipv6(6, &samples::tcp(flags, 1, 1))));
        }
        assert!(!accepts(&samples::ipv4(17, &[0; 60])));
        assert!(
            !accepts(&samples::ipv6(58, &samples::icmp(135, 0, &[0; 24]))),
            "neighbour solicitation"
        );
        assert!(!accepts(&samples::ipv4(47, &[0; 60])));
        assert!(!accepts(&[]));
    }

    proptest! {
        #[test]
        fn whatever_the_parser_recognises_passes(
            is_v6: bool,
            protocol in prop::sample::select(vec![1u8, 6, 17, 58, 0, 43, 60, 44, 47]),
            transport in prop_oneof![
                (any::<u8>(), any::<u32>(), any::<u32>()).prop_map(|(flags, sequence, acknowledged)| samples::tcp(flags, sequence, acknowledged)),
                (any::<u16>(), any::<u16>()).prop_map(|(id, flags)| samples::dns(id, flags)),
                (0u8..140, any::<u8>(), any::<u32>()).prop_map(|(kind, code, isn)| samples::icmp(kind, code, &samples::ipv4(6, &samples::tcp(2, isn, 0)))),
                prop::collection::vec(any::<u8>(), 0..80),
            ],
        ) {
            let packet = if is_v6 { samples::ipv6(protocol, &transport) } else { samples::ipv4(protocol, &transport) };
            prop_assert!(recognise(&packet).is_none() || accepts(&packet), "{packet:?}");
        }
    }
}
