//! What the BPF maps hold (SPEC.md, section 6.2), as values and as bytes.
//!
//! Devices are named here and numbered in the maps: whoever writes or reads a map knows the numbers.

use crate::{
    family::{Family, PerFamily},
    names::SCHEMA,
};
use ipnet::IpNet;
use netcheck_node_state::Mac;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
};

/// Contents of the maps that say something; counters are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BpfMaps {
    /// `nc_cfg`; `None` where it was never written.
    pub config: Option<BpfConfig>,
    /// `nc_ep`, by a local pod's address.
    pub endpoints: BTreeMap<IpAddr, Endpoint>,
    /// Keys of `nc_ep_count`.
    pub counted_endpoints: BTreeSet<IpAddr>,
    /// `nc_node`, by range.
    pub nodes: BTreeMap<IpNet, NodeEntry>,
}

/// The value of `nc_cfg`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BpfConfig {
    /// Schema of the maps.
    pub schema: u32,
    /// One packet in so many becomes an event; 0: none.
    pub sample: u32,
    /// The overlay device, if there is one.
    pub overlay: Option<String>,
    /// The node's own ranges; none of a node that is refused.
    pub own: PerFamily<IpNet>,
}

/// A value of `nc_ep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The host's end of its veth.
    pub device: String,
    /// Hardware address inside the pod.
    pub pod_mac: Mac,
    /// Hardware address of the host's end.
    pub host_mac: Mac,
    /// The pod's UID; zero if not told.
    pub pod_uid: [u8; 16],
}

/// A value of `nc_node`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEntry {
    /// The node's InternalIP of the underlay's family.
    pub node: IpAddr,
    /// Its VTEP's hardware address.
    pub mac: Mac,
    /// Whether it is reached without the tunnel.
    pub is_direct: bool,
    /// Whether it is this node.
    pub is_self: bool,
    /// Where packets to and from it are counted.
    pub place: Place,
}

/// A node's place in `nc_peer`. Which number it has is for who writes the map to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// None, as of this node itself.
    None,
    /// One that all of its ranges lead to, and those of no other node.
    Own,
    /// One that does not exist, that another node has too, or that is not that of its other ranges.
    NotOwn,
}

const FLAG_OVERLAY: u32 = 1;
const FLAG_DIRECT: u16 = 1;
const FLAG_SELF: u16 = 2;
/// How many peers `nc_peer` has room for.
const PEERS: u32 = 8192;
/// Of a node that has no place there.
const NO_SLOT: u32 = u32::MAX;

/// An address as it is in all maps: 16 bytes in network order, IPv4 as `::ffff:a.b.c.d`.
pub fn address_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Reads [`address_bytes`] back.
pub fn address_from(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// Key of `nc_node`: prefix length u32 (IPv4: 96 more) in the machine's order, then the address.
pub fn node_key(range: &IpNet) -> [u8; 20] {
    let mapped = 128 - u32::from(Family::of_net(range).bits());
    let mut key = [0; 20];
    key[..4].copy_from_slice(&(mapped + u32::from(range.prefix_len())).to_ne_bytes());
    key[4..].copy_from_slice(&address_bytes(range.network()));
    key
}

/// Reads [`node_key`] back; `None` for a prefix length that is none.
pub fn node_key_from(key: [u8; 20]) -> Option<IpNet> {
    let (length, address) = key.split_at(4);
    let length = u32::from_ne_bytes(length.try_into().ok()?);
    let ip = address_from(address.try_into().ok()?);
    let mapped = 128 - u32::from(Family::of(ip).bits());
    IpNet::new(ip, u8::try_from(length.checked_sub(mapped)?).ok()?).ok()
}

impl BpfConfig {
    /// The wanted one.
    pub fn new(sample: u32, overlay: Option<&str>, ranges: &[IpNet]) -> Self {
        let mut own = PerFamily::default();
        for range in ranges {
            own.put_first(Family::of_net(range), *range);
        }
        Self {
            schema: SCHEMA,
            sample,
            overlay: overlay.map(str::to_owned),
            own,
        }
    }

    /// As bytes, with the overlay device's number (0 where there is none).
    pub fn encode(&self, overlay_index: u32) -> [u8; 56] {
        let (flags, index) = match self.overlay {
            Some(_) => (FLAG_OVERLAY, overlay_index),
            None => (0, 0),
        };
        let mut value = [0; 56];
        for (place, word) in value.chunks_exact_mut(4).zip([self.schema, self.sample, flags, index]) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        let ranges = [&self.own.ipv4, &self.own.ipv6];
        for (place, range) in value[16..].chunks_exact_mut(20).zip(ranges) {
            place.copy_from_slice(&range.as_ref().map_or([0; 20], node_key));
        }
        value
    }

    /// Reads bytes back; `name` gives the name of a device's number.
    pub fn decode(value: [u8; 56], name: impl Fn(u32) -> String) -> Self {
        let range = |at: usize| {
            value[at..at + 20]
                .try_into()
                .ok()
                .filter(|key| *key != [0; 20])
                .and_then(node_key_from)
        };
        let word = |at: usize| u32::from_ne_bytes([value[at], value[at + 1], value[at + 2], value[at + 3]]);
        Self {
            schema: word(0),
            sample: word(4),
            overlay: (word(8) & FLAG_OVERLAY != 0).then(|| name(word(12))),
            own: PerFamily {
                ipv4: range(16),
                ipv6: range(36),
            },
        }
    }
}

impl Endpoint {
    /// As bytes, with the number of its device.
    pub fn encode(&self, device_index: u32) -> [u8; 32] {
        let mut value = [0; 32];
        value[..4].copy_from_slice(&device_index.to_ne_bytes());
        value[4..10].copy_from_slice(&self.pod_mac.0);
        value[10..16].copy_from_slice(&self.host_mac.0);
        value[16..].copy_from_slice(&self.pod_uid);
        value
    }

    /// Reads bytes back; `name` gives the name of a device's number.
    pub fn decode(value: [u8; 32], name: impl Fn(u32) -> String) -> Self {
        let mut pod_uid = [0; 16];
        pod_uid.copy_from_slice(&value[16..]);
        Self {
            device: name(u32::from_ne_bytes([value[0], value[1], value[2], value[3]])),
            pod_mac: mac_at(&value, 4),
            host_mac: mac_at(&value, 10),
            pod_uid,
        }
    }
}

impl NodeEntry {
    /// As bytes, with the number of its place in `nc_peer` if it has one.
    pub fn encode(&self, slot: u32) -> [u8; 28] {
        let mut flags = 0;
        if self.is_direct {
            flags |= FLAG_DIRECT;
        }
        if self.is_self {
            flags |= FLAG_SELF;
        }
        let slot = if self.place == Place::None { NO_SLOT } else { slot };
        let mut value = [0; 28];
        value[..16].copy_from_slice(&address_bytes(self.node));
        value[16..22].copy_from_slice(&self.mac.0);
        value[22..24].copy_from_slice(&flags.to_ne_bytes());
        value[24..].copy_from_slice(&slot.to_ne_bytes());
        value
    }

    /// Reads the whole map's bytes back: only all together say whose a place is.
    pub fn decode_all(values: impl IntoIterator<Item = (IpNet, [u8; 28])>) -> BTreeMap<IpNet, Self> {
        let entries = values.into_iter().map(|(range, value)| (range, Self::decode(value)));
        let entries: Vec<(IpNet, (Self, u32))> = entries.collect();
        let peers = entries.iter().filter(|(_, (entry, _))| !entry.is_self);
        let claims: BTreeSet<(IpAddr, u32)> = peers.map(|(_, (entry, slot))| (entry.node, *slot)).collect();
        let (mut of_nodes, mut of_slots) = (BTreeMap::new(), BTreeMap::new());
        for (node, slot) in &claims {
            *of_nodes.entry(*node).or_insert(0) += 1;
            *of_slots.entry(*slot).or_insert(0) += 1;
        }
        let place = |entry: &Self, slot: u32| {
            let is_alone = of_nodes.get(&entry.node) == Some(&1) && of_slots.get(&slot) == Some(&1);
            match slot {
                NO_SLOT => Place::None,
                0..PEERS if is_alone && !entry.is_self => Place::Own,
                _ => Place::NotOwn,
            }
        };
        let entries = entries.iter().map(|(range, (entry, slot))| {
            let place = place(entry, *slot);
            (*range, Self { place, ..*entry })
        });
        entries.collect()
    }

    /// One value, and the number of its place.
    fn decode(value: [u8; 28]) -> (Self, u32) {
        let mut node = [0; 16];
        node.copy_from_slice(&value[..16]);
        let flags = u16::from_ne_bytes([value[22], value[23]]);
        let entry = Self {
            node: address_from(node),
            mac: mac_at(&value, 16),
            is_direct: flags & FLAG_DIRECT != 0,
            is_self: flags & FLAG_SELF != 0,
            place: Place::None,
        };
        (entry, u32::from_ne_bytes([value[24], value[25], value[26], value[27]]))
    }
}

fn mac_at(value: &[u8], at: usize) -> Mac {
    let mut mac = [0; 6];
    mac.copy_from_slice(&value[at..at + 6]);
    Mac(mac)
}

/// A UID's 32 hex digits as bytes; zero if the text is none.
pub fn uid_bytes(text: &str) -> [u8; 16] {
    let digits = text.replace('-', "");
    let is_uid = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u128::from_str_radix(&digits, 16)
        .ok()
        .filter(|_| is_uid)
        .unwrap_or(0)
        .to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::{BpfConfig, Endpoint, NO_SLOT, NodeEntry, Place, node_key, node_key_from, uid_bytes};
    use ipnet::IpNet;
    use netcheck_node_state::Mac;

    /// SPEC.md, section 6.2, "n1's entry for n2".
    #[test]
    #[cfg(target_endian = "little")]
    fn a_node_s_entry_is_the_specification_s_example() {
        let key = node_key(&"10.244.2.0/24".parse().unwrap());
        let zeros = [0; 10];
        assert_eq!(key[..4], [0x78, 0, 0, 0]);
        assert_eq!(key[4..14], zeros);
        assert_eq!(key[14..], [0xff, 0xff, 0x0a, 0xf4, 0x02, 0x00]);
        let entry = NodeEntry {
            node: "192.0.2.12".parse().unwrap(),
            mac: "0a:48:9d:da:b5:3d".parse().unwrap(),
            is_direct: false,
            is_self: false,
            place: Place::Own,
        };
        let value = entry.encode(0);
        assert_eq!(value[..10], zeros);
        assert_eq!(
            value[10..],
            [
                0xff, 0xff, 0xc0, 0x00, 0x02, 0x0c, 0x0a, 0x48, 0x9d, 0xda, 0xb5, 0x3d, 0, 0, 0, 0, 0, 0
            ]
        );
    }

    #[test]
    fn a_place_is_a_peer_s_if_it_is_its_only_one_and_nobody_else_s() {
        use Place::{None, NotOwn, Own};
        let range = |at: usize| -> IpNet { format!("10.244.{at}.0/24").parse().unwrap() };
        // Of each entry: whose it is (0: this node's), the number of its place, and what that is.
        for entries in [
            &[(0, NO_SLOT, None), (1, 0, Own), (1, 0, Own), (2, 8191, Own)][..],
            &[(1, 0, NotOwn), (1, 3, NotOwn), (2, 7, Own)],
            &[(1, 5, NotOwn), (2, 5, NotOwn), (3, 6, Own)],
            &[(1, 8192, NotOwn), (2, NO_SLOT, None), (3, NO_SLOT, None)],
            &[(1, 4, NotOwn), (1, NO_SLOT, None)],
            &[(0, 4, NotOwn), (1, 4, Own)],
        ] {
            let values = entries.iter().enumerate().map(|(at, &(node, slot, _))| {
                let entry = NodeEntry {
                    node: std::net::Ipv4Addr::new(192, 0, 2, node).into(),
                    mac: Mac([0; 6]),
                    is_direct: false,
                    is_self: node == 0,
                    place: Own,
                };
                (range(at), entry.encode(slot))
            });
            let places = NodeEntry::decode_all(values);
            let places: Vec<Place> = places.values().map(|entry| entry.place).collect();
            let wanted: Vec<Place> = entries.iter().map(|(_, _, place)| *place).collect();
            assert_eq!(places, wanted, "{entries:?}");
        }
    }

    #[test]
    fn reads_what_it_writes() {
        for range in ["10.244.2.0/24", "fd00:10:244:2::/64", "0.0.0.0/0", "::/0"] {
            let range = range.parse().unwrap();
            assert_eq!(node_key_from(node_key(&range)), Some(range), "{range}");
        }
        for (is_direct, is_self) in [(false, false), (true, false), (false, true)] {
            let node = "2001:db8::1".parse().unwrap();
            let mac = Mac([1, 2, 3, 4, 5, 6]);
            let entry = NodeEntry {
                node,
                mac,
                is_direct,
                is_self,
                place: if is_self { Place::None } else { Place::Own },
            };
            let range = "10.244.2.0/24".parse().unwrap();
            assert_eq!(NodeEntry::decode_all([(range, entry.encode(5))])[&range], entry);
        }
        let name = |index: u32| format!("dev{index}");
        for (overlay, ranges) in [
            (None, &["10.244.1.0/24", "fd00:10:244:1::/64"][..]),
            (Some("dev7"), &[]),
        ] {
            let ranges: Vec<_> = ranges.iter().map(|range| range.parse().unwrap()).collect();
            let config = BpfConfig::new(1024, overlay, &ranges);
            assert_eq!(BpfConfig::decode(config.encode(7), name), config);
        }
        let endpoint = Endpoint {
            device: "dev9".to_owned(),
            pod_mac: Mac([1; 6]),
            host_mac: Mac([2; 6]),
            pod_uid: uid_bytes("0000aaaa-0000-4000-8000-00000000000a"),
        };
        assert_eq!(Endpoint::decode(endpoint.encode(9), name), endpoint);
        assert_eq!(endpoint.encode(9)[16..20], [0, 0, 0xaa, 0xaa]);
    }

    #[test]
    fn a_uid_that_is_none_is_zero() {
        for text in [
            "",
            "x",
            "+000aaaa-0000-4000-8000-00000000000a",
            "0000aaaa-0000-4000-8000-00000000000",
        ] {
            assert_eq!(uid_bytes(text), [0; 16], "{text}");
        }
    }
}
