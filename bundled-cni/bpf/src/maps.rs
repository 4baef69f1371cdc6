//! The pinned maps: opened only if they are what SPEC.md section 6.2 says, and read as typed values.

use crate::{
    contents::Contents,
    error::{BpfError, in_full},
    layout::{
        Address, Amount, Config, CountedEndpoint, Endpoint, EndpointCount, NodeEntry, PEERS, PeerCount, Prefix, REASONS,
    },
    pins, slots,
};
use aya::{
    Pod,
    maps::{
        Array, HashMap, IterableMap, LpmTrie, Map, MapData, MapError, MapInfo, MapIter, MapType, PerCpuArray,
        PerCpuHashMap, PerCpuValues, lpm_trie,
    },
};
use std::{collections::BTreeMap, path::Path};

/// What a map must be, in the terms of `struct bpf_map_info`.
pub(crate) struct MapLayout {
    pub(crate) name: &'static str,
    kind: MapType,
    key: u32,
    value: u32,
    entries: u32,
    flags: u32,
}

/// `BPF_F_NO_PREALLOC`.
const NO_PREALLOC: u32 = 1;

const fn layout(name: &'static str, kind: MapType, [key, value, entries, flags]: [u32; 4]) -> MapLayout {
    MapLayout {
        name,
        kind,
        key,
        value,
        entries,
        flags,
    }
}

/// The table of SPEC.md section 6.2.
pub(crate) const LAYOUTS: [MapLayout; 7] = [
    layout("nc_cfg", MapType::Array, [4, 56, 1, 0]),
    layout("nc_ep", MapType::Hash, [16, 32, 1024, 0]),
    layout("nc_ep_count", MapType::PerCpuHash, [20, 32, 1024, NO_PREALLOC]),
    layout("nc_node", MapType::LpmTrie, [20, 28, 16384, NO_PREALLOC]),
    layout("nc_peer", MapType::PerCpuArray, [4, 32, PEERS, 0]),
    layout("nc_reason", MapType::PerCpuArray, [4, 16, REASONS as u32, 0]),
    layout("nc_event", MapType::RingBuf, [0, 0, 256 * 1024, 0]),
];

impl MapLayout {
    /// Opens the pinned map, if it is as it must be. `None`: there is no such pin.
    pub(crate) fn open(&self, root: &Path) -> Result<Option<MapData>, BpfError> {
        let path = pins::map(root, self.name);
        if !path.exists() {
            return Ok(None);
        }
        let fail = |error| self.failed("open".to_owned(), &error);
        let data = MapData::from_pin(&path).map_err(fail)?;
        let info = data.info().map_err(fail)?;
        // A kind that the loader does not know is not ours either.
        let kind = info.map_type().ok();
        let sizes = |info: &MapInfo| [info.key_size(), info.value_size(), info.max_entries(), info.map_flags()];
        if kind == Some(self.kind) && sizes(&info) == [self.key, self.value, self.entries, self.flags] {
            return Ok(Some(data));
        }
        let kind = kind.map_or_else(|| "of an unknown type".to_owned(), |kind| format!("{kind:?}"));
        Err(BpfError::ForeignMap {
            path,
            found: described(&kind, sizes(&info)),
            wanted: described(
                &format!("{:?}", self.kind),
                [self.key, self.value, self.entries, self.flags],
            ),
        })
    }

    fn failed(&self, operation: String, error: &MapError) -> BpfError {
        BpfError::Map {
            operation,
            map: self.name,
            reason: in_full(error),
        }
    }
}

fn described(kind: &str, [key, value, entries, flags]: [u32; 4]) -> String {
    format!("{kind} with key {key} B, value {value} B, {entries} entries, flags {flags:#x}")
}

/// The maps of one root.
pub struct Maps {
    pub(crate) config: Array<MapData, [u8; 56]>,
    pub(crate) endpoints: HashMap<MapData, [u8; 16], [u8; 32]>,
    pub(crate) endpoint_counts: PerCpuHashMap<MapData, [u8; 20], [u8; 32]>,
    pub(crate) nodes: LpmTrie<MapData, [u8; 16], [u8; 28]>,
    pub(crate) peers: PerCpuArray<MapData, [u8; 32]>,
    reasons: PerCpuArray<MapData, [u8; 16]>,
}

/// What was counted, over all processors.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// By a local pod's address.
    pub endpoints: BTreeMap<Address, EndpointCount>,
    /// By the peer's InternalIP.
    pub peers: BTreeMap<Address, PeerCount>,
}

/// `nc_reason`, by number.
pub type Reasons = [Amount; REASONS];

/// All that the maps hold, but for events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump {
    /// What the daemon put there.
    pub contents: Contents,
    /// What the programs counted. Its keys of endpoints must be those of the contents.
    pub counters: Counters,
    /// Of which kinds the packets were.
    pub reasons: Reasons,
}

impl Maps {
    /// Opens the maps pinned under `root`, without loading anything.
    ///
    /// # Errors
    /// If one is missing or has another layout.
    pub fn open(root: &Path) -> Result<Self, BpfError> {
        Ok(Self {
            config: open(root, "nc_cfg", Map::Array)?,
            endpoints: open(root, "nc_ep", Map::HashMap)?,
            endpoint_counts: open(root, "nc_ep_count", Map::PerCpuHashMap)?,
            nodes: open(root, "nc_node", Map::LpmTrie)?,
            peers: open(root, "nc_peer", Map::PerCpuArray)?,
            reasons: open(root, "nc_reason", Map::PerCpuArray)?,
        })
    }

    /// What was counted for each pod and peer. A peer whose place in `nc_peer` somebody falsified is missing until that is put right.
    pub fn read_counters(&self) -> Result<Counters, BpfError> {
        let endpoints = entries(self.endpoint_counts.iter(), "nc_ep_count")?.into_iter();
        let peers = slots::owned(self.read_nodes()?.values()).into_iter();
        Ok(Counters {
            endpoints: endpoints
                .map(|(key, values)| {
                    let values = values.iter().map(EndpointCount::decode);
                    let sum = values.fold(EndpointCount::default(), EndpointCount::plus);
                    (CountedEndpoint::decode(&key).address, sum)
                })
                .collect(),
            peers: peers
                .map(|(peer, slot)| {
                    let values = self.peers.get(&slot, 0);
                    let values = values.map_err(|error| failed(&format!("read {slot} of"), "nc_peer", &error))?;
                    let values = values.iter().map(PeerCount::decode);
                    Ok((peer, values.fold(PeerCount::default(), PeerCount::plus)))
                })
                .collect::<Result<_, BpfError>>()?,
        })
    }

    /// How many packets each reason has.
    pub fn read_reasons(&self) -> Result<Reasons, BpfError> {
        let mut reasons = [Amount::default(); REASONS];
        for (number, sum) in (0_u32..).zip(&mut reasons) {
            let values = self.reasons.get(&number, 0);
            let values = values.map_err(|error| failed(&format!("read {number} of"), "nc_reason", &error))?;
            *sum = values.iter().map(Amount::decode).fold(*sum, Amount::plus);
        }
        Ok(reasons)
    }

    /// What the daemon put into the maps.
    pub fn contents(&self) -> Result<Contents, BpfError> {
        let nodes = self.read_nodes()?.into_iter();
        Ok(Contents {
            config: self.read_config()?,
            endpoints: self.read_endpoints()?,
            nodes: nodes.map(|(prefix, entry)| (prefix, entry.node)).collect(),
        })
    }

    pub(crate) fn read_config(&self) -> Result<Config, BpfError> {
        let config = self.config.get(&0, 0);
        Ok(Config::decode(
            &config.map_err(|error| failed("read", "nc_cfg", &error))?,
        ))
    }

    pub(crate) fn read_endpoints(&self) -> Result<BTreeMap<Address, Endpoint>, BpfError> {
        let endpoints = entries(self.endpoints.iter(), "nc_ep")?.into_iter();
        Ok(endpoints
            .map(|(key, value)| (Address(key), Endpoint::decode(&value)))
            .collect())
    }

    /// `nc_node`, with the places in `nc_peer` that it leads to.
    pub(crate) fn read_nodes(&self) -> Result<BTreeMap<Prefix, NodeEntry>, BpfError> {
        let nodes = entries(self.nodes.iter(), "nc_node")?.into_iter();
        Ok(nodes
            .map(|(key, value)| (prefix_of(key), NodeEntry::decode(&value)))
            .collect())
    }

    /// All that the maps hold, to compare it with what should be there. Maps are read one after the other, while programs count on.
    pub fn dump(&self) -> Result<Dump, BpfError> {
        Ok(Dump {
            contents: self.contents()?,
            counters: self.read_counters()?,
            reasons: self.read_reasons()?,
        })
    }
}

pub(crate) fn prefix_of(key: lpm_trie::Key<[u8; 16]>) -> Prefix {
    Prefix {
        length: u32::from_ne_bytes(key.prefix_len().to_ne_bytes()),
        address: Address(key.data()),
    }
}

pub(crate) fn key_of(prefix: Prefix) -> lpm_trie::Key<[u8; 16]> {
    lpm_trie::Key::new(prefix.length, prefix.address.0)
}

/// Opens the map `name` under `root` as the loader's type for it.
pub(crate) fn open<M: TryFrom<Map, Error = MapError>>(
    root: &Path,
    name: &'static str,
    kind: impl FnOnce(MapData) -> Map,
) -> Result<M, BpfError> {
    let missing = || BpfError::Map {
        operation: "open".to_owned(),
        map: name,
        reason: format!("there is no pin {}", pins::map(root, name).display()),
    };
    let layout = LAYOUTS.iter().find(|layout| layout.name == name).ok_or_else(missing)?;
    let data = layout.open(root)?.ok_or_else(missing)?;
    M::try_from(kind(data)).map_err(|error| layout.failed("open".to_owned(), &error))
}

fn entries<K: Pod, V, I: IterableMap<K, V>>(
    iterator: MapIter<'_, K, V, I>,
    map: &'static str,
) -> Result<Vec<(K, V)>, BpfError> {
    iterator
        .collect::<Result<_, _>>()
        .map_err(|error| failed("list", map, &error))
}

pub(crate) fn keys<K>(keys: impl Iterator<Item = Result<K, MapError>>, map: &'static str) -> Result<Vec<K>, BpfError> {
    keys.collect::<Result<_, _>>()
        .map_err(|error| failed("list", map, &error))
}

pub(crate) fn failed(operation: &str, map: &'static str, error: &MapError) -> BpfError {
    BpfError::Map {
        operation: operation.to_owned(),
        map,
        reason: in_full(error),
    }
}

/// What counting begins with: zero on each processor.
pub(crate) fn zeros<const N: usize>() -> Result<PerCpuValues<[u8; N]>, MapError> {
    let processors = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    Ok(PerCpuValues::try_from(vec![[0; N]; processors])?)
}
