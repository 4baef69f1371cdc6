use super::*;
use proptest::prelude::*;

/// A packet as the kernel would write it.
#[derive(Debug, Clone)]
struct Written {
    bytes: Vec<u8>,
    seconds: u32,
    nanoseconds: u32,
    vlan: Option<(u16, u16)>,
    interface: u32,
    kind: u8,
}

/// A block with these packets, laid out as `prb_open_block`, `prb_fill_curr_block` and `tpacket_rcv` do.
fn block(packets: &[Written]) -> Vec<u8> {
    let mut block = vec![0; BLOCK_HEADER];
    block[12..16].copy_from_slice(&(packets.len() as u32).to_ne_bytes());
    block[16..20].copy_from_slice(&(BLOCK_HEADER as u32).to_ne_bytes());
    for (number, packet) in packets.iter().enumerate() {
        let start = 82;
        let length = (start + packet.bytes.len()).next_multiple_of(8);
        let distance = if number + 1 == packets.len() { 0 } else { length };
        let mut header = Vec::new();
        let status = 1 | if packet.vlan.is_some() { 1 << 4 | 1 << 6 } else { 0 };
        let length_32 = packet.bytes.len() as u32;
        for word in [
            distance as u32,
            packet.seconds,
            packet.nanoseconds,
            length_32,
            length_32 + 7,
            status,
        ] {
            header.extend(word.to_ne_bytes());
        }
        header.extend((start as u16).to_ne_bytes());
        header.extend([0; 6]);
        let (tci, tpid) = packet.vlan.unwrap_or_default();
        header.extend(u32::from(tci).to_ne_bytes());
        header.extend(tpid.to_ne_bytes());
        header.resize(52, 0);
        header.extend(packet.interface.to_ne_bytes());
        header.extend(1u16.to_ne_bytes());
        header.push(packet.kind);
        header.resize(start, 0);
        header.extend(&packet.bytes);
        header.resize(length, 0);
        block.extend(header);
    }
    block
}

fn written() -> impl Strategy<Value = Written> {
    (
        prop::collection::vec(any::<u8>(), 0..200),
        any::<u32>(),
        0u32..1_000_000_000,
        any::<Option<(u16, u16)>>(),
        any::<u32>(),
        0u8..5,
    )
        .prop_map(|(bytes, seconds, nanoseconds, vlan, interface, kind)| Written {
            bytes,
            seconds,
            nanoseconds,
            vlan,
            interface,
            kind,
        })
}

proptest! {
    #[test]
    fn what_was_written_is_read(written in prop::collection::vec(written(), 0..20), snap in 0u32..300) {
        let block = block(&written);
        let mut packets = Packets::of(&block, snap);
        for one in &written {
            let packet = packets.next().ok_or_else(|| TestCaseError::fail("ends early"))?;
            prop_assert_eq!(packet.bytes, &one.bytes[..one.bytes.len().min(snap as usize)]);
            prop_assert_eq!(packet.original_length as usize, one.bytes.len() + 7);
            prop_assert_eq!(packet.at_ns, u64::from(one.seconds) * 1_000_000_000 + u64::from(one.nanoseconds));
            prop_assert_eq!(packet.vlan, one.vlan.map(|(tci, tpid)| Vlan { tci, tpid }));
            prop_assert_eq!((packet.interface, packet.packet_type, packet.hardware_type), (one.interface, one.kind, 1));
        }
        prop_assert_eq!((packets.next(), packets.left()), (None, 0));
    }

    #[test]
    fn arbitrary_bytes_end_the_walk_and_nothing_else(bytes in prop::collection::vec(any::<u8>(), 0..2000), snap in any::<u32>()) {
        let count = Packets::of(&bytes, snap).count();
        prop_assert!(count <= bytes.len() / PACKET_HEADER + 1);
    }

    #[test]
    fn a_damaged_block_ends_the_walk_and_nothing_else(
        written in prop::collection::vec(written(), 1..20),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..30),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut block = block(&written);
        for (at, value) in damage {
            let at = at.index(block.len());
            block[at] = value;
        }
        block.truncate(cut.index(block.len()) + 1);
        let limits = block.as_ptr_range();
        for packet in Packets::of(&block, 300) {
            let range = packet.bytes.as_ptr_range();
            prop_assert!(limits.start <= range.start && range.end <= limits.end);
        }
    }
}

#[test]
fn packets_that_cannot_be_read_stay_counted() {
    let mut block = block(&[]);
    block[12] = 3;
    let mut packets = Packets::of(&block, 100);
    assert_eq!((packets.next(), packets.next(), packets.left()), (None, None, 3));
}

#[test]
fn a_tag_without_its_announcement_is_the_customary_one() {
    let mut block = block(&[Written {
        bytes: vec![1; 60],
        seconds: 0,
        nanoseconds: 0,
        vlan: Some((5, 0)),
        interface: 1,
        kind: 0,
    }]);
    block[BLOCK_HEADER + 20] &= !(1 << 6);
    let vlan = Packets::of(&block, 100).next().and_then(|packet| packet.vlan);
    assert_eq!(vlan, Some(Vlan { tci: 5, tpid: 0x8100 }));
}
