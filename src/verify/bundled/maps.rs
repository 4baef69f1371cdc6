//! What the pinned BPF maps hold (SPEC.md, section 6.2), read from a record.

use netcheck_cni_intent::bpf::{BpfConfig, BpfMaps, Endpoint, NodeEntry, address_from, node_key_from};
use netcheck_node_state::record::{NodeRecord, PinnedMap};
use std::collections::BTreeMap;

/// Why the maps say nothing.
type Unread = String;

/// The maps, with devices by their names.
pub fn read(record: &NodeRecord) -> Result<BpfMaps, Unread> {
    let pins = match &record.pins {
        Some(Ok(pins)) => pins,
        Some(Err(why)) => return Err(why.clone()),
        None => return Err("BPF objects were not read".to_owned()),
    };
    let map = |name: &str| -> Result<&PinnedMap, Unread> {
        match pins.maps.get(&format!("maps/{name}")) {
            Some(Ok(map)) => Ok(map),
            Some(Err(why)) => Err(format!("map {name}: {why}")),
            None => Err(format!("map {name} is not pinned")),
        }
    };
    let names: BTreeMap<u32, &String> = record
        .node
        .devices
        .iter()
        .map(|(name, device)| (device.index, name))
        .collect();
    let name = |index: u32| {
        names
            .get(&index)
            .map_or_else(|| format!("#{index}"), |name| (*name).clone())
    };
    let mut maps = BpfMaps::default();
    for value in entries::<4, 56>(map("nc_cfg")?)?.into_values() {
        // What was never written is zero, and of no schema.
        maps.config = Some(BpfConfig::decode(value, name)).filter(|config| config.schema != 0);
    }
    for (key, value) in entries::<16, 32>(map("nc_ep")?)? {
        maps.endpoints.insert(address_from(key), Endpoint::decode(value, name));
    }
    for key in keys::<20>(map("nc_ep_count")?)? {
        let (address, index) = key.split_at(16);
        let ip = address_from(address.try_into().unwrap_or_default());
        let device = name(u32::from_ne_bytes(index.try_into().unwrap_or_default()));
        // One of another device counts nothing of the pod.
        if maps.endpoints.get(&ip).is_none_or(|endpoint| endpoint.device == device) {
            maps.counted_endpoints.insert(ip);
        }
    }
    let nodes = entries::<20, 28>(map("nc_node")?)?.into_iter().map(|(key, value)| {
        let no_range = || format!("map nc_node holds a key that is no range: {key:02x?}");
        Ok((node_key_from(key).ok_or_else(no_range)?, value))
    });
    maps.nodes = NodeEntry::decode_all(nodes.collect::<Result<Vec<_>, Unread>>()?);
    // What is counted there is no matter, but it must be pinned.
    map("nc_peer")?;
    Ok(maps)
}

fn entries<const K: usize, const V: usize>(map: &PinnedMap) -> Result<BTreeMap<[u8; K], [u8; V]>, Unread> {
    let entries = map.entries.iter();
    entries.map(|(key, value)| Ok((bytes(key)?, bytes(value)?))).collect()
}

fn keys<const K: usize>(map: &PinnedMap) -> Result<Vec<[u8; K]>, Unread> {
    map.entries.keys().map(|key| bytes(key)).collect()
}

/// So many bytes in hexadecimal digits.
fn bytes<const N: usize>(text: &str) -> Result<[u8; N], Unread> {
    let wrong = || format!("{N} bytes in hexadecimal digits were expected, not {text:?}");
    if text.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let mut bytes = [0; N];
    for (byte, at) in bytes.iter_mut().zip((0..).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn digits_are_read_or_refused() {
        assert_eq!(bytes::<3>("00ff1a"), Ok([0, 255, 26]));
        for text in ["", "00ff", "00ff1", "00ff1g", "00ff1a00", "+0ff1a", "ää"] {
            assert!(bytes::<3>(text).is_err(), "{text}");
        }
    }
}
