//! What the daemon puts into the maps, and how maps become so.

use crate::{
    error::BpfError,
    layout::{Address, Config, CountedEndpoint, Endpoint, Node, NodeEntry, PEERS, Prefix},
    maps::{Maps, failed, key_of, keys, zeros},
    slots,
};
use aya::maps::MapError;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
};

/// `BPF_NOEXIST`: what is there, with its counts, stays.
const IF_ABSENT: u64 = 1;

/// What `nc_cfg`, `nc_ep` (and with it `nc_ep_count`) and `nc_node` must hold. All nodes there but the own one are counted in `nc_peer`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Contents {
    /// `nc_cfg`.
    pub config: Config,
    /// `nc_ep`, by the pod's address.
    pub endpoints: BTreeMap<Address, Endpoint>,
    /// `nc_node`, by podCIDR.
    pub nodes: BTreeMap<Prefix, Node>,
}

impl Contents {
    /// The keys of `nc_ep_count`.
    fn counted_endpoints(&self) -> impl Iterator<Item = CountedEndpoint> {
        self.endpoints.iter().map(|(&address, endpoint)| CountedEndpoint {
            address,
            ifindex: endpoint.ifindex,
        })
    }
}

/// A change made to a map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The map.
    pub map: &'static str,
    /// The key, as people write it.
    pub key: String,
    /// What was done.
    pub what: What,
}

/// What was done to an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is new.
    Added,
    /// It had another value.
    Changed,
    /// It is gone, and what it had counted.
    Removed,
}

/// The entries that must be put, and the keys that must go.
fn difference<'a, K: Ord + Copy, V: PartialEq>(
    there: &BTreeMap<K, V>,
    wanted: &'a BTreeMap<K, V>,
) -> (Vec<(K, &'a V, What)>, Vec<K>) {
    let put = wanted.iter().filter_map(|(&key, value)| match there.get(&key) {
        None => Some((key, value, What::Added)),
        Some(old) if old != value => Some((key, value, What::Changed)),
        Some(_) => None,
    });
    let gone = there.keys().filter(|key| !wanted.contains_key(key)).copied();
    (put.collect(), gone.collect())
}

/// The same for a map whose values are counts: an entry that is there stays as it is.
fn difference_of_keys<K: Ord + Copy>(there: &BTreeSet<K>, wanted: &BTreeSet<K>) -> (Vec<K>, Vec<K>) {
    (
        wanted.difference(there).copied().collect(),
        there.difference(wanted).copied().collect(),
    )
}

/// What the maps hold, but for counts.
struct There {
    config: Config,
    endpoints: BTreeMap<Address, Endpoint>,
    counted: BTreeSet<CountedEndpoint>,
    nodes: BTreeMap<Prefix, NodeEntry>,
}

/// What was done, and what failed; one failure does not stop the rest.
#[derive(Default)]
struct Done {
    changes: Vec<Change>,
    errors: Vec<BpfError>,
}

impl Done {
    fn note(&mut self, map: &'static str, key: impl Display, what: What, outcome: Result<(), MapError>) {
        let key = key.to_string();
        match outcome {
            Ok(()) => self.changes.push(Change { map, key, what }),
            // Someone else was quicker: it is as it must be.
            Err(MapError::KeyNotFound) if what == What::Removed => {}
            Err(error) => {
                let verb = if what == What::Removed { "remove" } else { "put" };
                self.errors.push(failed(&format!("{verb} {key} in"), map, &error));
            }
        }
    }
}

impl Maps {
    /// Makes the maps hold exactly `wanted`; a second call right after changes nothing. Counts of pods and peers that stay are kept.
    ///
    /// What is counted into is there before what leads to it, and goes after it, so that programs do not meet half of a peer. A peer that
    /// has no place in `nc_peer`, or one that is not its alone, gets the lowest free one, with zeroes; [`Change`] says that it is added there.
    ///
    /// # Errors
    /// All that failed, after everything was tried; without a way to read the maps nothing is tried.
    pub fn reconcile(&mut self, wanted: &Contents) -> Result<Vec<Change>, Vec<BpfError>> {
        let there = self.there().map_err(|error| vec![error])?;
        let wanted_counts: BTreeSet<CountedEndpoint> = wanted.counted_endpoints().collect();
        let mut done = Done::default();

        if there.config != wanted.config {
            let outcome = self.config.set(0, wanted.config.encode(), 0);
            done.note("nc_cfg", 0, What::Changed, outcome);
        }
        let slots = self.give_slots(&there.nodes, wanted, &mut done);
        let (new_counts, old_counts) = difference_of_keys(&there.counted, &wanted_counts);
        for key in new_counts {
            let outcome = zeros().and_then(|zeros| self.endpoint_counts.insert(key.encode(), zeros, IF_ABSENT));
            done.note("nc_ep_count", key, What::Added, outcome);
        }
        let wanted_nodes = wanted.nodes.iter().map(|(&prefix, &node)| {
            let slot = slots.get(&node.internal_ip).filter(|_| node.is_peer());
            let slot = slot.copied().unwrap_or(NodeEntry::NO_SLOT);
            (prefix, NodeEntry { node, slot })
        });
        let wanted_nodes = wanted_nodes.collect();
        let (nodes, old_nodes) = difference(&there.nodes, &wanted_nodes);
        for (key, value, what) in nodes {
            let outcome = self.nodes.insert(&key_of(key), value.encode(), 0);
            done.note("nc_node", key, what, outcome);
        }
        let (endpoints, old_endpoints) = difference(&there.endpoints, &wanted.endpoints);
        for (key, value, what) in endpoints {
            let outcome = self.endpoints.insert(key.0, value.encode(), 0);
            done.note("nc_ep", key, what, outcome);
        }

        for key in old_endpoints {
            let outcome = self.endpoints.remove(&key.0);
            done.note("nc_ep", key, What::Removed, outcome);
        }
        for key in old_nodes {
            let outcome = self.nodes.remove(&key_of(key));
            done.note("nc_node", key, What::Removed, outcome);
        }
        for key in old_counts {
            let outcome = self.endpoint_counts.remove(&key.encode());
            done.note("nc_ep_count", key, What::Removed, outcome);
        }
        if done.errors.is_empty() {
            Ok(done.changes)
        } else {
            Err(done.errors)
        }
    }

    fn there(&self) -> Result<There, BpfError> {
        let counted = keys(self.endpoint_counts.keys(), "nc_ep_count")?;
        Ok(There {
            config: self.read_config()?,
            endpoints: self.read_endpoints()?,
            counted: counted.iter().map(CountedEndpoint::decode).collect(),
            nodes: self.read_nodes()?,
        })
    }

    /// Places in `nc_peer`, of all wanted peers that there is one for.
    fn give_slots(
        &mut self,
        there: &BTreeMap<Prefix, NodeEntry>,
        wanted: &Contents,
        done: &mut Done,
    ) -> BTreeMap<Address, u32> {
        let mut slots = slots::owned(there.values());
        let mut free = slots::free(there.values());
        let peers = wanted.nodes.values().filter(|node| node.is_peer());
        let new: BTreeSet<Address> = peers
            .map(|node| node.internal_ip)
            .filter(|peer| !slots.contains_key(peer))
            .collect();
        for peer in new {
            // All are taken: its packets are told as a peer's without entry.
            let slot = free.next().unwrap_or(PEERS);
            let outcome = zeros().and_then(|zeros| self.peers.set(slot, zeros, 0));
            if outcome.is_ok() {
                slots.insert(peer, slot);
            }
            done.note("nc_peer", peer, What::Added, outcome);
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::{What, difference};
    use std::collections::BTreeMap;

    #[test]
    fn only_what_differs_is_put() {
        let there = BTreeMap::from([(1, 'a'), (2, 'b'), (3, 'c')]);
        let wanted = BTreeMap::from([(2, 'b'), (3, 'x'), (4, 'd')]);
        let (put, gone) = difference(&there, &wanted);
        assert_eq!(put, [(3, &'x', What::Changed), (4, &'d', What::Added)]);
        assert_eq!(gone, [1]);
        assert_eq!(difference(&wanted, &wanted), (vec![], vec![]));
    }
}
