//! A whole node in play: kernel parameters, nftables, pods and BPF maps besides the network namespace.

use super::{Refused, apply_to};
use crate::{
    bpf::BpfMaps,
    desired::forwarding,
    diff::{Actual, BpfChange, Mend},
    family::Family,
    names::NFT_POLICY_TABLE,
};
use netcheck_node_state::Change;
use std::collections::BTreeMap;

/// Does to a whole node what mends a difference.
///
/// # Errors
/// What the kernel would refuse; the node is then unchanged.
pub fn apply(actual: &mut Actual, mend: &Mend) -> Result<(), Refused> {
    match mend {
        Mend::Node(change) => {
            apply_to(&mut actual.net, change)?;
            match change {
                Change::WriteSysctl { key, value } => write_sysctl(&mut actual.sysctls, key, value),
                Change::CreateVxlan { name, .. } => take_over_defaults(&mut actual.sysctls, name),
                _ => {}
            }
        }
        Mend::Pod { key, change, .. } => {
            let inside = actual.pods.get_mut(key);
            apply_to(inside.ok_or_else(|| Refused::NoDevice(key.clone()))?, change)?;
        }
        Mend::WriteNft(table) => actual.nft = Some(table.clone()),
        Mend::DeleteNft(NFT_POLICY_TABLE) => actual.has_policy_table = false,
        Mend::DeleteNft(_) => actual.nft = None,
        Mend::Bpf(change) => apply_bpf(actual.bpf.get_or_insert_default(), change),
    }
    Ok(())
}

fn take_over_defaults(sysctls: &mut BTreeMap<String, String>, device: &str) {
    for family in Family::BOTH {
        if let Some(default) = sysctls.get(&forwarding("default", family)).cloned() {
            sysctls.insert(forwarding(device, family), default);
        }
    }
}

fn apply_bpf(maps: &mut BpfMaps, change: &BpfChange) {
    match change.clone() {
        BpfChange::SetConfig(config) => maps.config = Some(config),
        BpfChange::PutEndpoint(ip, endpoint) => {
            maps.endpoints.insert(ip, endpoint);
        }
        BpfChange::DeleteEndpoint(ip) => {
            maps.endpoints.remove(&ip);
        }
        BpfChange::CountEndpoint(ip) => {
            maps.counted_endpoints.insert(ip);
        }
        BpfChange::ForgetEndpoint(ip) => {
            maps.counted_endpoints.remove(&ip);
        }
        BpfChange::PutNode(range, entry) => {
            maps.nodes.insert(range, entry);
        }
        BpfChange::DeleteNode(range) => {
            maps.nodes.remove(&range);
        }
    }
}

/// Writes a kernel parameter; what forwards as a whole makes all devices and the default forward.
pub fn write_sysctl(sysctls: &mut BTreeMap<String, String>, key: &str, value: &str) {
    let of_all = [
        ("net.ipv4.ip_forward", "net.ipv4.conf."),
        ("net.ipv6.conf.all.forwarding", "net.ipv6.conf."),
    ];
    if let Some((_, start)) = of_all.iter().find(|(all, _)| *all == key) {
        for (key, old) in sysctls.iter_mut() {
            if key.starts_with(start) && key.ends_with(".forwarding") {
                value.clone_into(old);
            }
        }
    }
    sysctls.insert(key.to_owned(), value.to_owned());
}
