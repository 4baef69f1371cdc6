//! What was read of a whole node: its own network namespace, those of pods, and what of its disk and programs was asked for.
//!
//! Plain values that travel and are kept: they say what was there, or why that could not be read, and nothing of what should be there. With the
//! feature `kernel` they are read here as well: [`space()`], [`folder()`], [`pins()`].

#[cfg(feature = "kernel")]
mod folders;
#[cfg(feature = "kernel")]
pub mod limits;
#[cfg(feature = "kernel")]
mod pinned;
#[cfg(feature = "kernel")]
mod space;

#[cfg(feature = "kernel")]
pub use folders::{NO_SUCH_FOLDER, file, folder, folders};
#[cfg(feature = "kernel")]
pub use pinned::pins;
#[cfg(feature = "kernel")]
pub use space::{SpaceError, space};

use crate::{NetState, Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The number of this layout. A reader of another one says so and reads nothing.
pub const RECORD: u32 = 1;

/// What was read, or why it could not be.
pub type Reading<T> = Result<T, String>;

/// What was read of one node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRecord {
    /// [`RECORD`].
    pub record: u32,
    /// `uname -r`.
    pub kernel: String,
    /// The node's own network namespace.
    pub node: Space,
    /// Namespaces of pods, by the number that they were asked for by.
    #[serde(default)]
    pub pods: BTreeMap<u32, Reading<Space>>,
    /// The answer to `nft -j list ruleset` in the node's namespace (libnftables-json(5)).
    pub nft: Reading<Value>,
    /// The answers to `iptables-legacy-save` and its like in the node's namespace, by the program's name, and that to `ipset save` by `ipset`.
    #[serde(default)]
    pub iptables: BTreeMap<String, Reading<String>>,
    /// Folders that were asked for, by path, and the files in them by name; `no such folder` of one that is not there.
    #[serde(default)]
    pub folders: BTreeMap<String, Reading<BTreeMap<String, Entry>>>,
    /// BPF objects pinned under the folder that was asked for; `None`: nothing was asked for.
    #[serde(default)]
    pub pins: Option<Reading<Pins>>,
    /// The answers to `VERSION` (CNI specification, section 4) of the plugins that the node's CNI configuration names, by their names.
    #[serde(default)]
    pub plugins: BTreeMap<String, Reading<String>>,
}

impl NodeRecord {
    /// Of a node of which nothing else was read.
    pub fn of(node: Space) -> Self {
        Self {
            record: RECORD,
            kernel: String::new(),
            node,
            pods: BTreeMap::new(),
            nft: Err("not read".to_owned()),
            iptables: BTreeMap::new(),
            folders: BTreeMap::new(),
            pins: None,
            plugins: BTreeMap::new(),
        }
    }
}

/// What was read of one network namespace.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Space {
    /// Number of its file, which tells it from others on the node.
    pub inode: u64,
    /// Its devices and tables.
    pub net: NetState,
    /// Rules that choose a routing table, of both families, in the order in which the kernel asks them.
    #[serde(default)]
    pub rules: Vec<Rule>,
    /// What is to be seen of a device and is nobody's wish, by its name.
    #[serde(default)]
    pub devices: BTreeMap<String, Device>,
    /// What queues and shapes devices' packets.
    #[serde(default)]
    pub qdiscs: Vec<Qdisc>,
    /// What is asked about packets at devices' doors (`clsact`, `ingress`), in the order in which the kernel lists it.
    #[serde(default)]
    pub filters: Vec<Filter>,
    /// Kernel parameters that were asked for, as sysctl(8) writes them; those that are not there or cannot be read are left out.
    #[serde(default)]
    pub sysctls: BTreeMap<String, String>,
}

/// What is to be seen of a device and is nobody's wish.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its number.
    pub index: u32,
    /// `IFF_LOWER_UP`: whether there is a carrier.
    pub has_carrier: bool,
    /// `IFLA_MASTER`: name of the bridge or bond that it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub master: Option<String>,
    /// `IFLA_LINK`: number of the device at its other end or below it, in whatever namespace that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// What it does instead of the kernel's network stack, in the words of `ethtool -k`: `tx-checksumming` …; not read of veths.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub features: BTreeSet<String>,
    /// `IFLA_STATS64`: `rx_packets`, `tx_dropped`, `rx_otherhost_dropped` …, those that are not zero.
    #[serde(default)]
    pub counters: BTreeMap<String, u64>,
}

/// A queueing discipline.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Qdisc {
    /// Its device.
    pub device: String,
    /// `noqueue`, `tbf`, `clsact` …
    pub kind: String,
    /// Its number, the part before the colon in the upper half.
    pub handle: u32,
    /// What it hangs on: `TC_H_ROOT` (`0xffffffff`), `TC_H_CLSACT`, or a class.
    pub parent: u32,
    /// Packets that it has dropped.
    #[serde(default)]
    pub dropped: u32,
}

/// A side of a device, as its node's kernel sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What comes from the device.
    #[default]
    Ingress,
    /// What goes to it.
    Egress,
}

/// A filter of traffic control.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Its device.
    pub device: String,
    /// Which packets it sees.
    pub side: Side,
    /// `bpf`, `u32`, `flower` …
    pub kind: String,
    /// The lowest is asked first.
    pub preference: u32,
    /// Its number within its preference.
    pub handle: u32,
    /// Of kind `bpf`: what the program is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// Of kind `bpf`: the program's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program_id: Option<u32>,
    /// What is done with packets that it fits, one after the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

/// What a filter does with a packet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Action {
    /// `gact`, `mirred` …
    pub kind: String,
    /// `TC_ACT_*` of linux/pkt_cls.h: 2 drops it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<i32>,
    /// Of kind `mirred`: where it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Of kind `mirred`: it goes there and nowhere else, instead of a copy of it.
    #[serde(default)]
    pub is_redirect: bool,
}

/// A file or a symbolic link in a folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// In bytes.
    pub length: u64,
    /// Its permission bits, as chmod(1) takes them.
    pub mode: u32,
    /// Seconds since it was changed.
    pub age_seconds: u64,
    /// Whether it is a symbolic link: it is told of, and not followed.
    #[serde(default)]
    pub is_link: bool,
    /// What it says, where text was asked for; of a symbolic link always, and then it is where that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Reading<String>>,
}

/// BPF objects that are pinned under one folder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Pins {
    /// Maps, by the pin's path below the folder.
    #[serde(default)]
    pub maps: BTreeMap<String, Reading<PinnedMap>>,
    /// Programs.
    #[serde(default)]
    pub programs: BTreeMap<String, Reading<PinnedProgram>>,
    /// Links.
    #[serde(default)]
    pub links: BTreeMap<String, Reading<PinnedLink>>,
    /// What hangs on devices of the node's namespace (TCX), by device and side (`ncvx0 ingress`), in the order in which it runs: identifiers of
    /// programs.
    #[serde(default)]
    pub hooks: BTreeMap<String, Vec<u32>>,
}

/// A map, by `BPF_OBJ_GET_INFO_BY_FD`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedMap {
    /// Its number in the kernel.
    pub id: u32,
    /// `BPF_MAP_TYPE_*`.
    pub kind: u32,
    /// Size of a key in bytes.
    pub key: u32,
    /// Size of a value in bytes.
    pub value: u32,
    /// How many it may hold.
    pub max_entries: u32,
    /// `BPF_F_*`.
    pub flags: u32,
    /// Its entries, of kinds that have some, of arrays those that are not zero: bytes of keys and values in hexadecimal digits; of kinds with a
    /// value for each processor, one after the other, each filled up to 8 bytes.
    #[serde(default)]
    pub entries: BTreeMap<String, String>,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedProgram {
    /// Its number in the kernel.
    pub id: u32,
    /// Its tag: the same instructions have the same.
    pub tag: String,
    /// Numbers of the maps that it uses.
    pub maps: Vec<u32>,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PinnedLink {
    /// Its number in the kernel.
    pub id: u32,
    /// `BPF_LINK_TYPE_*`.
    #[serde(default)]
    pub kind: u32,
    /// The program that it runs.
    pub program: u32,
    /// The device that it hangs on (XDP, TCX, netkit); 0 of another kind, and once that is gone.
    pub ifindex: u32,
    /// `BPF_TCX_INGRESS` …, of TCX and netkit.
    pub attach_type: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Address, Link, LinkKind, Vxlan};
    use proptest::prelude::*;

    /// Something in each place.
    fn example() -> NodeRecord {
        let vxlan = Vxlan {
            vni: 4242,
            port: 8472,
            local: "192.0.2.1".parse().ok(),
            device: Some("eth0".to_owned()),
            learns: false,
            unusual: BTreeMap::from([("ttl".to_owned(), "5".to_owned())]),
        };
        let link = Link {
            mac: "0a:00:00:00:00:01".parse().ok(),
            mtu: 1450,
            is_up: true,
            alias: Some("netcheck-cni v1".to_owned()),
            makes_link_local: Some(false),
            kind: LinkKind::Vxlan(vxlan),
        };
        let mut net = NetState::default();
        net.links.insert("ncvx0".to_owned(), link);
        net.addresses.insert(Address {
            interface: "ncvx0".to_owned(),
            ip: "10.244.1.0".parse().unwrap(),
            prefix: 32,
        });
        let device = Device {
            index: 7,
            has_carrier: true,
            master: Some("br0".to_owned()),
            peer: Some(2),
            counters: BTreeMap::from([("rx_packets".to_owned(), u64::MAX)]),
            features: BTreeSet::from(["tx-checksumming".to_owned()]),
        };
        let space = Space {
            inode: 4_026_531_840,
            net,
            rules: vec![Rule::default()],
            devices: BTreeMap::from([("ncvx0".to_owned(), device)]),
            qdiscs: vec![Qdisc::default()],
            filters: vec![Filter {
                program: Some("cil_from_netdev".to_owned()),
                actions: vec![Action::default()],
                ..Filter::default()
            }],
            sysctls: BTreeMap::from([("net.ipv4.ip_forward".to_owned(), "1".to_owned())]),
        };
        let entry = Entry {
            length: 5,
            mode: 0o777,
            age_seconds: 9,
            is_link: true,
            text: Some(Ok("../away".to_owned())),
        };
        let map = PinnedMap {
            id: 1,
            kind: 1,
            key: 2,
            value: 1,
            max_entries: 8,
            flags: 0,
            entries: BTreeMap::from([("0a0b".to_owned(), "ff".to_owned())]),
        };
        NodeRecord {
            record: RECORD,
            kernel: "6.18.1".to_owned(),
            node: space.clone(),
            pods: BTreeMap::from([(3, Ok(space)), (4, Err("not located".to_owned()))]),
            nft: Ok(serde_json::json!({"nftables": [{"metainfo": {}}]})),
            iptables: BTreeMap::from([("iptables-nft-save".to_owned(), Ok(String::new()))]),
            folders: BTreeMap::from([("/etc".to_owned(), Ok(BTreeMap::from([("a".to_owned(), entry)])))]),
            pins: Some(Ok(Pins {
                maps: BTreeMap::from([("maps/m".to_owned(), Ok(map))]),
                ..Pins::default()
            })),
            plugins: BTreeMap::from([("bridge".to_owned(), Ok("{}".to_owned()))]),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = serde_json::to_vec(&example()).unwrap();
        assert_eq!(serde_json::from_slice::<NodeRecord>(&bytes).unwrap(), example());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(at in any::<prop::sample::Index>(), instead in prop::collection::vec(any::<u8>(), 0..4), cut in any::<bool>()) {
            let mut bytes = serde_json::to_vec(&example()).unwrap();
            let at = at.index(bytes.len());
            let end = if cut { bytes.len() } else { (at + instead.len()).min(bytes.len()) };
            bytes.splice(at..end, instead);
            if let Ok(record) = serde_json::from_slice::<NodeRecord>(&bytes) {
                let again = serde_json::to_vec(&record).unwrap();
                prop_assert_eq!(serde_json::from_slice::<NodeRecord>(&again).unwrap(), record);
            }
        }
    }
}
