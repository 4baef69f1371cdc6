//! Places in nc_peer: bpftool says which an entry of nc_node leads to, and counts there by hand.

use crate::{
    lab::BpfFilesystem,
    pinned::{entries, update},
};
use netcheck_cni_bpf::{Address, Bpf, Change, Contents, Node, Options, Prefix, What};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
    path::Path,
};

const NO_SLOT: u32 = u32::MAX;

fn internal_ip(number: u8) -> Address {
    Ipv4Addr::new(192, 0, 2, number).into()
}

/// Ranges of both families of each node; node 1 is this one.
fn contents(peers: &[u8]) -> Contents {
    let mut contents = Contents::default();
    for &number in [1].iter().chain(peers) {
        let node = Node {
            internal_ip: internal_ip(number),
            flags: if number == 1 { Node::SELF } else { 0 },
            ..Node::default()
        };
        let v4 = Prefix::new(Ipv4Addr::new(10, 244, number, 0).into(), 24);
        let v6 = Prefix::new(format!("fd00:10:244:{number}::").parse().unwrap(), 64);
        contents.nodes.extend([(v4, node), (v6, node)]);
    }
    contents
}

/// The places that each node's entries lead to, by the last byte of its InternalIP.
fn slots(root: &Path) -> BTreeMap<u8, BTreeSet<u32>> {
    let mut slots = BTreeMap::<u8, BTreeSet<u32>>::new();
    for (_, value) in entries(root, "nc_node") {
        let slot = u32::from_ne_bytes(value[24..].try_into().unwrap());
        slots.entry(value[15]).or_default().insert(slot);
    }
    slots
}

fn are(slots: &[(u8, u32)]) -> BTreeMap<u8, BTreeSet<u32>> {
    let slots = slots.iter().map(|(number, slot)| (*number, BTreeSet::from([*slot])));
    slots.collect()
}

/// As if one packet had been sent on each processor.
fn count(root: &Path, slot: u32) {
    let mut value = [0; 32];
    value[..8].copy_from_slice(&1_u64.to_ne_bytes());
    update(root, "nc_peer", &slot.to_ne_bytes(), &value);
}

/// Which peers are counted, and whether anything was.
fn counted(bpf: &Bpf) -> BTreeMap<u8, bool> {
    let peers = bpf.read_counters().unwrap().peers;
    let peers = peers.iter();
    peers.map(|(ip, count)| (ip.0[15], count.sent.packets > 0)).collect()
}

fn added(number: u8) -> Change {
    Change {
        map: "nc_peer",
        key: internal_ip(number).to_string(),
        what: What::Added,
    }
}

pub fn each_peer_has_a_place_and_keeps_it() {
    let filesystem = BpfFilesystem::mount();
    let root = filesystem.root();
    let mut bpf = Bpf::open(&root, Options::default()).unwrap();
    let changes = bpf.reconcile(&contents(&[2, 3, 4])).unwrap();
    assert_eq!(changes[..3], [added(2), added(3), added(4)]);
    assert_eq!(slots(&root), are(&[(1, NO_SLOT), (2, 0), (3, 1), (4, 2)]));
    for slot in 0..4 {
        count(&root, slot);
    }
    assert_eq!(counted(&bpf), [(2, true), (3, true), (4, true)].into());

    // One goes and one comes: where programs may count until the end of this pass nobody else does.
    let changes = bpf.reconcile(&contents(&[2, 4, 5])).unwrap();
    assert_eq!(
        changes
            .iter()
            .filter(|change| change.map == "nc_peer")
            .collect::<Vec<_>>(),
        [&added(5)]
    );
    let wanted = are(&[(1, NO_SLOT), (2, 0), (4, 2), (5, 3)]);
    assert_eq!(slots(&root), wanted);
    assert_eq!(counted(&bpf), [(2, true), (4, true), (5, false)].into());
    // In a pass after that somebody gets the place, and not what was counted there.
    bpf.reconcile(&contents(&[2, 4, 5, 6])).unwrap();
    assert_eq!(slots(&root)[&6], [1].into());
    assert!(!counted(&bpf)[&6]);

    // Another process finds it all as it is.
    drop(bpf);
    let mut bpf = Bpf::open(&root, Options::default()).unwrap();
    assert_eq!(bpf.reconcile(&contents(&[2, 4, 5, 6])).unwrap(), []);
    assert_eq!(counted(&bpf), [(2, true), (4, true), (5, false), (6, false)].into());
    // A peer that is reached in another way is the same peer.
    let mut direct = contents(&[2, 4, 5, 6]);
    for node in direct.nodes.values_mut().filter(|node| node.flags == 0) {
        node.flags = Node::DIRECT;
    }
    let changes = bpf.reconcile(&direct).unwrap();
    assert!(changes.iter().all(|change| change.map == "nc_node"), "{changes:?}");
    assert!(counted(&bpf)[&2]);
}

pub fn falsified_places_are_put_right() {
    let filesystem = BpfFilesystem::mount();
    let root = filesystem.root();
    let mut bpf = Bpf::open(&root, Options::default()).unwrap();
    let wanted = contents(&[2, 3, 4]);
    // What an entry is made to lead to, whose, of which family (by its prefix length), whose places are new then, and how many entries are written.
    for (number, length, slot, new, written) in [
        (2, None, 8192, &[2][..], 2),
        (2, None, NO_SLOT, &[2], 2),
        // A peer's ranges disagree: who reads one place does not see the other's packets.
        (3, Some(120), 77, &[3], 2),
        (3, Some(64), NO_SLOT, &[3], 2),
        // Two count in one place.
        (3, None, 2, &[3, 4], 4),
        // This node itself is nobody's peer.
        (1, Some(120), 1, &[], 1),
        // One that nobody else has is as good as any.
        (4, None, 8191, &[], 0),
    ] {
        bpf.reconcile(&contents(&[])).unwrap();
        bpf.reconcile(&wanted).unwrap();
        assert_eq!(slots(&root), are(&[(1, NO_SLOT), (2, 0), (3, 1), (4, 2)]));
        for (key, mut value) in entries(&root, "nc_node") {
            let is_it = length.is_none_or(|length: u32| key[..4] == length.to_ne_bytes());
            if value[15] == number && is_it {
                value[24..].copy_from_slice(&slot.to_ne_bytes());
                update(&root, "nc_node", &key, &value);
            }
        }
        (0..3).chain([8191]).for_each(|slot| count(&root, slot));
        let what = format!("{number} leads to {slot}");
        let told = counted(&bpf);
        assert!(new.iter().all(|peer| !told.contains_key(peer)), "{what}: {told:?}");
        let changes = bpf.reconcile(&wanted).unwrap();
        let of = |map| changes.iter().filter(move |change| change.map == map);
        assert_eq!(of("nc_peer").count(), new.len(), "{what}: {changes:?}");
        assert_eq!(of("nc_node").count(), written, "{what}: {changes:?}");
        // All are counted again: the new ones from zero, the others as before.
        let told: BTreeMap<u8, bool> = [2, 3, 4].map(|peer| (peer, !new.contains(&peer))).into();
        assert_eq!(counted(&bpf), told, "{what}");
        let all: Vec<u32> = slots(&root).into_values().flatten().collect();
        assert_eq!(all.len(), 4, "{what}: {all:?}");
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 4, "{what}: {all:?}");
        assert_eq!(bpf.reconcile(&wanted).unwrap(), [], "{what}");
    }
}
