//! What was seen, by namespace and mark, bounded: nothing leaves it but by a mark that the asker already knows.

use super::packet::Recognised;
use crate::probe::Endpoints;
use netcheck_wire::probe::{Direction, Mark, Packet};
use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::SocketAddr,
    sync::Arc,
};

/// What is kept of all namespaces together; the oldest mark makes room, and its packets are counted.
///
/// An agent on a node has 64 MiB in all, and what passes a node is not ours to choose. Full, with every list half empty and every mark a
/// DNS name of 255 bytes, the table takes about 47 MiB: packets 2 × 131,072 × 80 B = 20 MiB, names 16 MiB, and 170 B for each mark's
/// key and its places in map and order, 11 MiB.
const LIMITS: Limits = Limits {
    marks: 65_536,
    sightings: 131_072,
};
/// Packets kept of one mark. A probe has a few for each interface it crosses.
pub const MAX_PER_MARK: usize = 32;

/// SYNs kept of one announced port.
const MAX_SYNS: usize = 16;

/// A SYN that left from an announced port.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Syn {
    isn: u32,
    source: SocketAddr,
    destination: SocketAddr,
}

/// Inode of a network namespace.
pub type NetnsInode = u64;

/// One packet of a mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Nanoseconds of the real-time clock.
    pub at_ns: u64,
    /// Index of the interface.
    pub interface: u32,
    /// Which way it went.
    pub direction: Direction,
    /// What it was.
    pub packet: Packet,
    /// Where it came from.
    pub source: SocketAddr,
    /// Where it went.
    pub destination: SocketAddr,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
struct Limits {
    marks: usize,
    /// Packets of all marks together.
    sightings: usize,
}

/// The table.
#[derive(Debug)]
pub struct Table {
    limits: Limits,
    marks: HashMap<Arc<(NetnsInode, Mark)>, Vec<Seen>>,
    /// The marks in the order of their first packet.
    order: VecDeque<Arc<(NetnsInode, Mark)>>,
    /// Packets in `marks`.
    sightings: usize,
    /// Packets of a namespace that are not in the table any more, or never were.
    missed: HashMap<NetnsInode, u64>,
    /// Local ports from which a SYN is expected, and what came from them: a node also forwards what others send from the same port.
    expected: HashMap<(NetnsInode, u16), Vec<Syn>>,
    watched: HashSet<NetnsInode>,
}

impl Default for Table {
    fn default() -> Self {
        Self::with_limits(LIMITS)
    }
}

impl Table {
    fn with_limits(limits: Limits) -> Self {
        Self {
            limits,
            marks: HashMap::new(),
            order: VecDeque::new(),
            sightings: 0,
            missed: HashMap::new(),
            expected: HashMap::new(),
            watched: HashSet::new(),
        }
    }

    /// Takes note that a namespace is watched from now on.
    pub fn begin(&mut self, netns: NetnsInode) {
        self.watched.insert(netns);
    }

    /// Whether a namespace is or was watched.
    pub fn knows(&self, netns: NetnsInode) -> bool {
        self.watched.contains(&netns)
    }

    /// Adds a packet.
    pub fn record(
        &mut self,
        netns: NetnsInode,
        interface: u32,
        direction: Direction,
        at_ns: u64,
        recognised: Recognised,
    ) {
        let Recognised {
            mark,
            packet,
            source,
            destination,
        } = recognised;
        if let (Mark::Tcp { isn }, Packet::Syn, Direction::Out) = (&mark, &packet, direction)
            && let Some(expected) = self.expected.get_mut(&(netns, source.port()))
        {
            let syn = Syn {
                isn: *isn,
                source,
                destination,
            };
            if expected.len() < MAX_SYNS && !expected.contains(&syn) {
                expected.push(syn);
            }
        }
        let key = (netns, mark);
        let seen = Seen {
            at_ns,
            interface,
            direction,
            packet,
            source,
            destination,
        };
        let known = self.marks.get(&key).map(Vec::len);
        if known.is_some_and(|packets| packets >= MAX_PER_MARK) {
            return self.miss(netns, 1);
        }
        let is_full = known.is_none() && self.order.len() >= self.limits.marks;
        if is_full || self.sightings >= self.limits.sightings {
            self.evict_oldest();
        }
        self.sightings += 1;
        // Looked up again: the oldest may have been this one.
        if let Some(packets) = self.marks.get_mut(&key) {
            packets.push(seen);
            return;
        }
        let key = Arc::new(key);
        self.order.push_back(key.clone());
        self.marks.insert(key, vec![seen]);
    }

    fn evict_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            let packets = self.marks.remove(&oldest).map_or(0, |packets| packets.len());
            self.sightings -= packets;
            self.miss(oldest.0, packets as u64);
        }
    }

    /// Counts packets that may have been a probe's and are not in the table.
    pub fn miss(&mut self, netns: NetnsInode, packets: u64) {
        *self.missed.entry(netns).or_default() += packets;
    }

    /// How many packets of a namespace are not in the table.
    pub fn missed(&self, netns: NetnsInode) -> u64 {
        self.missed.get(&netns).copied().unwrap_or(0)
    }

    /// What was seen of a mark, in the order of time.
    pub fn look(&self, netns: NetnsInode, mark: &Mark) -> Vec<Seen> {
        let mut packets = self.marks.get(&(netns, mark.clone())).cloned().unwrap_or_default();
        packets.sort_by_key(|seen| seen.at_ns);
        packets
    }

    /// Announces a SYN from a local port, for a socket whose sequence number the kernel does not tell us.
    pub fn expect(&mut self, netns: NetnsInode, port: u16) {
        self.expected.insert((netns, port), Vec::new());
    }

    /// The sequence number of the announced SYN, if it was seen and is beyond doubt; ends the announcement.
    pub fn expected(&mut self, netns: NetnsInode, Endpoints { local, to }: Endpoints) -> Option<u32> {
        let syns = self.expected.remove(&(netns, local.port()))?;
        let ours: Vec<&Syn> = syns.iter().filter(|syn| syn.source == local).collect();
        // Whose destination was rewritten is ours only if nothing else could be.
        let exact = ours.iter().find(|syn| syn.destination == to);
        let same = |number: u32| ours.iter().all(|syn| syn.isn == number);
        exact
            .or_else(|| ours.first().filter(|first| same(first.isn)))
            .map(|syn| syn.isn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn syn(isn: u32, port: u16) -> Recognised {
        Recognised {
            mark: Mark::Tcp { isn },
            packet: Packet::Syn,
            source: ([192, 0, 2, 1], port).into(),
            destination: ([192, 0, 2, 2], 80).into(),
        }
    }

    #[test]
    fn a_mark_is_found_in_its_namespace_alone_and_in_order() {
        let mut table = Table::default();
        table.record(1, 2, Direction::Out, 20, syn(7, 40000));
        table.record(1, 3, Direction::Out, 10, syn(7, 40000));
        let times: Vec<_> = table
            .look(1, &Mark::Tcp { isn: 7 })
            .iter()
            .map(|seen| seen.at_ns)
            .collect();
        assert_eq!(times, [10, 20]);
        assert_eq!(table.look(2, &Mark::Tcp { isn: 7 }), []);
    }

    #[test]
    fn the_oldest_makes_room_and_is_counted_for_its_namespace() {
        let mut table = Table::with_limits(Limits { marks: 2, ..LIMITS });
        table.record(1, 1, Direction::In, 1, syn(1, 1));
        table.record(1, 1, Direction::In, 1, syn(1, 1));
        table.record(2, 1, Direction::In, 2, syn(2, 1));
        table.record(2, 1, Direction::In, 3, syn(3, 1));
        assert_eq!((table.missed(1), table.missed(2)), (2, 0));
        assert_eq!(table.look(1, &Mark::Tcp { isn: 1 }), []);
        assert_eq!(table.look(2, &Mark::Tcp { isn: 3 }).len(), 1);
    }

    #[test]
    fn the_packets_of_all_marks_together_are_bounded() {
        let mut table = Table::with_limits(Limits { sightings: 3, ..LIMITS });
        for isn in [1, 1, 2, 2, 2, 2] {
            table.record(1, 1, Direction::In, 1, syn(isn, 1));
        }
        // The fourth packet took the place of the first mark's two; the sixth of its own mark's three.
        assert_eq!(table.missed(1), 5);
        assert_eq!(table.look(1, &Mark::Tcp { isn: 1 }), []);
        assert_eq!(table.look(1, &Mark::Tcp { isn: 2 }).len(), 1);
        assert_eq!((table.sightings, table.order.len(), table.marks.len()), (1, 1, 1));
    }

    #[test]
    fn a_full_table_fits_an_agents_memory() {
        let packets = 2 * LIMITS.sightings * size_of::<Seen>();
        // A map of this many entries has twice as many slots, an Arc two counters, an allocation some bytes of its own.
        let key = size_of::<(NetnsInode, Mark)>() + 2 * size_of::<usize>() + 2 * 16;
        let places = 2 * (size_of::<Arc<(NetnsInode, Mark)>>() + size_of::<Vec<Seen>>() + 1) + 2 * size_of::<usize>();
        let marks = LIMITS.marks * (key + places + 255);
        assert!(
            packets + marks < 48 << 20,
            "{packets} bytes of packets, {marks} of marks"
        );
    }

    #[test]
    fn a_mark_cannot_grow_without_bound() {
        let mut table = Table::default();
        for _ in 0..MAX_PER_MARK + 3 {
            table.record(1, 1, Direction::In, 1, syn(1, 1));
        }
        assert_eq!(
            (table.look(1, &Mark::Tcp { isn: 1 }).len(), table.missed(1)),
            (MAX_PER_MARK, 3)
        );
    }

    /// A SYN that leaves namespace 1 from port 40000.
    fn leaves(table: &mut Table, isn: u32, source: &str, destination: &str) {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        let recognised = Recognised {
            mark: Mark::Tcp { isn },
            packet: Packet::Syn,
            source,
            destination,
        };
        table.record(1, 1, Direction::Out, 1, recognised);
    }

    const OURS: &str = "192.0.2.1:40000";

    fn learnt(table: &mut Table) -> Option<u32> {
        table.expected(
            1,
            Endpoints {
                local: OURS.parse().unwrap(),
                to: "192.0.2.2:80".parse().unwrap(),
            },
        )
    }

    #[test]
    fn the_number_of_an_announced_syn_is_learnt_from_what_leaves() {
        let mut table = Table::default();
        table.expect(1, 40000);
        table.record(1, 1, Direction::In, 1, syn(5, 40000));
        table.record(2, 1, Direction::Out, 1, syn(8, 40000));
        leaves(&mut table, 6, OURS, "192.0.2.2:80");
        leaves(&mut table, 6, OURS, "192.0.2.2:80");
        assert_eq!(learnt(&mut table), Some(6));
        assert_eq!(learnt(&mut table), None);
    }

    #[test]
    fn what_a_node_forwards_from_the_same_port_is_not_taken_for_ours() {
        let mut table = Table::default();
        table.expect(1, 40000);
        leaves(&mut table, 7, "10.244.0.9:40000", "192.0.2.2:80");
        assert_eq!(learnt(&mut table), None);
        // Masqueraded to our address and port, but for another target: ours is the one that names it.
        table.expect(1, 40000);
        leaves(&mut table, 7, OURS, "198.51.100.7:443");
        leaves(&mut table, 8, OURS, "192.0.2.2:80");
        assert_eq!(learnt(&mut table), Some(8));
    }

    #[test]
    fn a_rewritten_destination_is_ours_only_if_nothing_else_could_be() {
        let mut table = Table::default();
        table.expect(1, 40000);
        leaves(&mut table, 7, OURS, "127.0.0.1:15001");
        assert_eq!(learnt(&mut table), Some(7));
        table.expect(1, 40000);
        leaves(&mut table, 7, OURS, "127.0.0.1:15001");
        leaves(&mut table, 8, OURS, "198.51.100.7:443");
        assert_eq!(learnt(&mut table), None);
    }
}
