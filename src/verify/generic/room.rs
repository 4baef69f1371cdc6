//! Room that runs out: addresses of a node's range, entries of its BPF maps.

use crate::verify::found::Found;
use ipnet::IpNet;
use netcheck_node_state::record::Pins;
use std::{collections::BTreeSet, net::IpAddr};

/// Of a hundred addresses, how many must be free.
const FREE: u128 = 5;
/// Of a hundred entries, how many may be there.
const FILLED: u64 = 90;
/// `BPF_MAP_TYPE_*` whose entries come and go: hash, per-CPU hash, LPM trie.
const GROWING: [u32; 3] = [1, 5, 11];

/// Ranges of a node of which nearly all addresses are given out.
pub fn addresses(ranges: &[IpNet], given: &BTreeSet<IpAddr>, folder: &str, found: &mut Vec<Found>) {
    for range in ranges {
        // An IPv6 range of that size has more than anybody gives out; 2 to the power of what is left of the prefix is the number of addresses.
        let bits = range.max_prefix_len() - range.prefix_len();
        if bits >= 64 {
            continue;
        }
        // Of IPv4 nobody gets the first and the last.
        let never = if range.addr().is_ipv4() { 2 } else { 0 };
        let all = (1_u128 << bits).saturating_sub(never);
        let used = given.iter().filter(|ip| range.contains(*ip)).count() as u128;
        let free = all.saturating_sub(used);
        // Of small ranges the last one may be the gateway's, which nobody gets.
        if free * 100 < all * FREE || free <= 1 && used > 0 {
            found.push(
                Found::new(
                    "verify-addresses-scarce",
                    range.to_string(),
                    format!("{FREE} of 100 addresses are free"),
                    format!("{used} of {all} are given out"),
                )
                .look(format!("ls {folder} | wc -l"))
                .fix("give nodes larger ranges (--node-cidr-mask-size), or fewer pods to this one (maxPods of the kubelet)"),
            );
        }
    }
}

/// Maps that are pinned and nearly full.
pub fn maps(pins: &Pins, folder: &str, found: &mut Vec<Found>) {
    for (name, map) in &pins.maps {
        let Ok(map) = map else { continue };
        let (used, all) = (map.entries.len() as u64, u64::from(map.max_entries));
        if GROWING.contains(&map.kind) && all > 0 && used * 100 >= all * FILLED {
            found.push(
                Found::new(
                    "verify-bpf-map-full",
                    name.clone(),
                    format!("fewer than {FILLED} of 100 entries are taken"),
                    format!("{used} of {all} are taken"),
                )
                .look(format!("bpftool map show pinned {folder}/{name}")),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_node_state::record::PinnedMap;
    use std::collections::BTreeMap;

    #[test]
    fn a_range_that_is_nearly_given_out_is_told() {
        let ranges: Vec<IpNet> = ["10.0.0.0/26", "fd00::/64"].map(|range| range.parse().unwrap()).into();
        let given = |count: u8| -> BTreeSet<IpAddr> { (0..count).map(|last| [10, 0, 0, last].into()).collect() };
        let told = |count| {
            let mut found = Vec::new();
            addresses(&ranges, &given(count), "/run/ip", &mut found);
            found.into_iter().map(|one| one.object).collect::<Vec<_>>()
        };
        // Of 62 that can be given out, the first of the range among these; four are more than 5 of 100.
        assert_eq!(told(58), [""; 0]);
        assert_eq!(told(59), ["10.0.0.0/26"]);
    }

    #[test]
    fn a_map_that_is_nearly_full_is_told_and_an_array_is_always_full() {
        let map = |kind, entries: u32| {
            let entries = (0..entries).map(|key| (key.to_string(), String::new())).collect();
            Ok(PinnedMap {
                id: 1,
                kind,
                key: 4,
                value: 0,
                max_entries: 10,
                flags: 0,
                entries,
            })
        };
        let pins = Pins {
            maps: BTreeMap::from([
                ("maps/array".to_owned(), map(2, 10)),
                ("maps/roomy".to_owned(), map(1, 8)),
                ("maps/tight".to_owned(), map(11, 9)),
            ]),
            ..Pins::default()
        };
        let mut found = Vec::new();
        maps(&pins, "/sys/fs/bpf", &mut found);
        let told: Vec<_> = found.iter().map(|one| one.object.as_str()).collect();
        assert_eq!(told, ["maps/tight"]);
    }
}
