//! The nftables table and the BPF maps.

use super::{Actual, BpfChange, Cause, Delta, Kind, Mend, Plan, report::nft_object};
use crate::{
    bpf::BpfMaps,
    desired::Desired,
    names::{NFT_POLICY_TABLE, NFT_TABLE, OVERLAY},
};
use netcheck_node_state::ruleset::NftTable;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{Debug, Display},
};

/// The table is written whole or not at all.
pub(super) fn nft(plan: &mut Plan, desired: &Desired, actual: &Actual) {
    if actual.has_policy_table {
        plan.remove.push(Delta {
            kind: Kind::Nft,
            object: nft_object(NFT_POLICY_TABLE),
            expected: None,
            actual: Some("a table, which nothing here makes yet".to_owned()),
            cause: Cause::Differs,
            mend: Mend::DeleteNft(NFT_POLICY_TABLE),
        });
    }
    if desired.nft == actual.nft {
        return;
    }
    let (wanted, present) = (desired.nft.as_ref(), actual.nft.as_ref());
    let parts = parts_that_differ(wanted, present);
    let delta = |mend: Mend| Delta {
        kind: Kind::Nft,
        object: nft_object(NFT_TABLE),
        expected: wanted.map(|table| describe(table, &parts)),
        actual: present.map(|table| describe(table, &parts)),
        cause: Cause::Differs,
        mend,
    };
    match wanted {
        Some(table) => plan.build.push(delta(Mend::WriteNft(table.clone()))),
        None => plan.remove.push(delta(Mend::DeleteNft(NFT_TABLE))),
    }
}

/// Names of sets and chains that are not alike; empty if one table is missing.
fn parts_that_differ(a: Option<&NftTable>, b: Option<&NftTable>) -> BTreeSet<String> {
    let (Some(a), Some(b)) = (a, b) else {
        return BTreeSet::new();
    };
    let sets = a.sets.keys().chain(b.sets.keys());
    let chains = a.chains.keys().chain(b.chains.keys());
    sets.filter(|name| a.sets.get(*name) != b.sets.get(*name))
        .chain(chains.filter(|name| a.chains.get(*name) != b.chains.get(*name)))
        .cloned()
        .collect()
}

fn describe(table: &NftTable, parts: &BTreeSet<String>) -> String {
    if parts.is_empty() {
        return format!("a table of {} sets and {} chains", table.sets.len(), table.chains.len());
    }
    let describe = |name: &String| {
        let part = match (table.sets.get(name), table.chains.get(name)) {
            (Some(set), _) => {
                let elements: Vec<String> = set.elements.iter().map(ToString::to_string).collect();
                format!("{{{}}}", elements.join(", "))
            }
            (None, Some(chain)) => format!("{chain:?}"),
            (None, None) => "missing".to_owned(),
        };
        format!("{name} {part}")
    };
    parts.iter().map(describe).collect::<Vec<_>>().join(", ")
}

/// `has_new_overlay`: the device's number in the configuration is about to be wrong, though its name is not.
pub(super) fn bpf(plan: &mut Plan, desired: &Desired, actual: &Actual, has_new_overlay: bool) {
    let (Some(wanted), Some(present)) = (&desired.bpf, &actual.bpf) else {
        return;
    };
    let differs = wanted.config != present.config;
    if let Some(config) = wanted.config.clone().filter(|_| differs || has_new_overlay) {
        plan.build.push(Delta {
            kind: Kind::Bpf,
            object: "nc_cfg".to_owned(),
            expected: Some(format!("{config:?}")),
            actual: present.config.as_ref().map(|config| format!("{config:?}")),
            cause: if differs {
                Cause::Differs
            } else {
                Cause::Follows(OVERLAY.to_owned())
            },
            mend: Mend::Bpf(BpfChange::SetConfig(config)),
        });
    }
    maps(plan, wanted, present);
}

fn maps(plan: &mut Plan, wanted: &BpfMaps, present: &BpfMaps) {
    let copy = |key: &_, endpoint: &crate::bpf::Endpoint| BpfChange::PutEndpoint(*key, endpoint.clone());
    entries(plan, "nc_ep", &wanted.endpoints, &present.endpoints, copy, |key| {
        BpfChange::DeleteEndpoint(*key)
    });
    let text = || Some("an entry".to_owned());
    let (counted, present_counted) = (&wanted.counted_endpoints, &present.counted_endpoints);
    for key in counted.difference(present_counted) {
        let change = BpfChange::CountEndpoint(*key);
        plan.build.push(entry("nc_ep_count", key, text(), None, change));
    }
    for key in present_counted.difference(counted) {
        let change = BpfChange::ForgetEndpoint(*key);
        plan.remove.push(entry("nc_ep_count", key, None, text(), change));
    }
    let copy = |key: &_, entry: &_| BpfChange::PutNode(*key, *entry);
    entries(plan, "nc_node", &wanted.nodes, &present.nodes, copy, |key| {
        BpfChange::DeleteNode(*key)
    });
}

fn entry(map: &str, key: impl Display, expected: Option<String>, actual: Option<String>, change: BpfChange) -> Delta {
    Delta {
        kind: Kind::Bpf,
        object: format!("{map} {key}"),
        expected,
        actual,
        cause: Cause::Differs,
        mend: Mend::Bpf(change),
    }
}

fn entries<K: Ord + Display, V: PartialEq + Debug>(
    plan: &mut Plan,
    map: &str,
    wanted: &BTreeMap<K, V>,
    present: &BTreeMap<K, V>,
    put: impl Fn(&K, &V) -> BpfChange,
    delete: impl Fn(&K) -> BpfChange,
) {
    for (key, value) in wanted.iter().filter(|(key, value)| present.get(key) != Some(*value)) {
        let actual = present.get(key).map(|value| format!("{value:?}"));
        let change = put(key, value);
        plan.build
            .push(entry(map, key, Some(format!("{value:?}")), actual, change));
    }
    for (key, value) in present.iter().filter(|(key, _)| !wanted.contains_key(key)) {
        let change = delete(key);
        plan.remove
            .push(entry(map, key, None, Some(format!("{value:?}")), change));
    }
}
