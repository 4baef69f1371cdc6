//! Places in `nc_peer`: an entry of `nc_node` leads to that of its peer, so that programs need not search a second time (SPEC.md section 6.2).

use crate::layout::{Address, NodeEntry, PEERS};
use std::collections::{BTreeMap, BTreeSet};

/// The peers that have a place, each one of its own: all of its entries lead there, and those of no other do. Where that is not so, counts are
/// nobody's.
pub(crate) fn owned<'a>(entries: impl Iterator<Item = &'a NodeEntry>) -> BTreeMap<Address, u32> {
    let peers = entries.filter(|entry| entry.node.is_peer());
    let pairs: BTreeSet<(Address, u32)> = peers.map(|entry| (entry.node.internal_ip, entry.slot)).collect();
    let (mut of_peers, mut of_slots) = (BTreeMap::new(), BTreeMap::new());
    for (peer, slot) in &pairs {
        *of_peers.entry(*peer).or_insert(0) += 1;
        *of_slots.entry(*slot).or_insert(0) += 1;
    }
    let is_own = |(peer, slot): &(Address, u32)| {
        *slot < PEERS && of_peers.get(peer) == Some(&1) && of_slots.get(slot) == Some(&1)
    };
    pairs.into_iter().filter(is_own).collect()
}

/// Places that no entry leads to, the lowest first. Those of entries that are about to go are not among them: programs may still count there.
pub(crate) fn free<'a>(entries: impl Iterator<Item = &'a NodeEntry>) -> impl Iterator<Item = u32> {
    let taken: BTreeSet<u32> = entries.map(|entry| entry.slot).collect();
    (0..PEERS).filter(move |slot| !taken.contains(slot))
}

#[cfg(test)]
mod tests {
    use super::{free, owned};
    use crate::layout::{Address, Node, NodeEntry, PEERS};
    use std::{collections::BTreeMap, net::Ipv4Addr};

    fn peer(number: u8) -> Address {
        Ipv4Addr::new(192, 0, 2, number).into()
    }

    /// Entries of nodes with these numbers; node 0 is this one.
    fn entries(of: &[(u8, u32)]) -> Vec<NodeEntry> {
        let entry = |&(number, slot): &(u8, u32)| NodeEntry {
            node: Node {
                internal_ip: peer(number),
                flags: if number == 0 { Node::SELF } else { Node::DIRECT },
                ..Node::default()
            },
            slot,
        };
        of.iter().map(entry).collect()
    }

    #[test]
    fn a_place_is_a_peer_s_if_it_is_its_only_one_and_nobody_else_s() {
        const NONE: u32 = NodeEntry::NO_SLOT;
        for (there, own) in [
            (&[(0, NONE), (1, 0), (1, 0), (2, 7)][..], &[(1, 0), (2, 7)][..]),
            (&[(1, 0), (1, 3), (2, 7)], &[(2, 7)]),
            (&[(1, 5), (2, 5), (3, 6)], &[(3, 6)]),
            (&[(1, 0), (1, 5), (2, 5), (3, 6)], &[(3, 6)]),
            (&[(1, PEERS), (2, NONE), (3, PEERS - 1)], &[(3, PEERS - 1)]),
            // Nothing is counted as this node's own.
            (&[(0, 4), (1, 4)], &[(1, 4)]),
            (&[], &[]),
        ] {
            let own: BTreeMap<Address, u32> = own.iter().map(|(number, slot)| (peer(*number), *slot)).collect();
            assert_eq!(owned(entries(there).iter()), own, "{there:?}");
        }
    }

    #[test]
    fn the_lowest_free_places_are_given_out() {
        let there = entries(&[(0, 2), (1, 0), (2, 3), (3, 3), (4, NodeEntry::NO_SLOT)]);
        assert_eq!(free(there.iter()).take(3).collect::<Vec<_>>(), [1, 4, 5]);
        let all: Vec<NodeEntry> = (0..PEERS).flat_map(|slot| entries(&[(1, slot)])).collect();
        assert_eq!(free(all.iter()).next(), None);
    }
}
