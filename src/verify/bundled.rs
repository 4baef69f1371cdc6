//! What must be on the nodes of the bundled CNI (`bundled-cni/SPEC.md`): the daemon's own intent and comparison, reported instead of mended.

mod deltas;
mod disk;
mod hooks;
mod maps;
#[cfg(test)]
mod tests;

use super::{
    evidence::Looked,
    found::Found,
    generic::{self, Concern},
    group::Group,
    network::{Differences, Network, Unchecked},
    objects::Objects,
    relate::relate,
};
use disk::Disk;
use netcheck_cni_intent::{
    Actual, Config, Desired, Hold, Inputs, diff, intent,
    local::local,
    names::{BPF_PINS, NFT_POLICY_TABLE, NFT_TABLE},
};
use netcheck_node_state::{NetState, record::Space, ruleset::NftTable};
use netcheck_wire::message::{Folder, RecordOrder};
use std::collections::BTreeMap;

/// Family of its nftables tables.
const FAMILY: &str = "inet";
/// Kernel parameters that the intent may name (SPEC.md, section 5.7).
const SYSCTLS: [&str; 4] = [
    "net.ipv4.ip_forward",
    "net.ipv4.conf.*.forwarding",
    "net.ipv6.conf.*.forwarding",
    "net.ipv6.conf.*.accept_ra",
];

/// The bundled CNI.
#[derive(Debug, Clone, Copy)]
pub struct Bundled;

impl Network for Bundled {
    fn name(&self) -> &'static str {
        "netcheck-cni"
    }

    fn is_routed_by_main(&self) -> bool {
        true
    }

    fn order(&self) -> RecordOrder {
        let folder = |(path, with_text): (&str, bool)| Folder {
            path: path.to_owned(),
            with_text,
        };
        RecordOrder {
            places: Vec::new(),
            sysctls: SYSCTLS.map(str::to_owned).to_vec(),
            folders: disk::FOLDERS.map(folder).to_vec(),
            pins: Some(BPF_PINS.trim_end_matches('/').to_owned()),
            plugins: None,
        }
    }

    fn covers(&self) -> &'static [Concern] {
        &[
            Concern::Configuration,
            Concern::NodeAddress,
            Concern::Ranges,
            Concern::Pods,
            Concern::Ways,
            Concern::Forwarding,
            Concern::Attachments,
        ]
    }

    fn differences(&self, objects: &Objects, node: &str, looked: &Looked) -> Differences {
        let mut differences = Differences::default();
        let config = match Config::parse(objects.bundled.as_ref().unwrap_or(&BTreeMap::new())) {
            Ok(config) => config,
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                let why = format!(
                    "the ConfigMap netcheck-cni/netcheck-cni is not valid: {}",
                    errors.join("; ")
                );
                differences.unchecked.extend(Group::ALL.map(|group| Unchecked {
                    group,
                    why: why.clone(),
                }));
                return differences;
            }
        };
        let disk = Disk::read(&looked.record, &mut differences);
        disk.judge(objects, node, &mut differences.found);
        let host = &looked.record.node;
        let own = objects.nodes.iter().find(|object| object.name == node);
        let internal = own.map(|own| own.internal_ips.clone()).unwrap_or_default();
        let local = local(&host.net, &internal);
        let attachments: Vec<_> = disk.live().map(|recorded| recorded.clone().reduced()).collect();
        let inputs = Inputs {
            own: node,
            nodes: &objects.nodes,
            config: &config,
            refused_config: &[],
            local: &local,
            attachments: &attachments,
        };
        match intent(&inputs) {
            Ok(desired) => compare(&desired, looked, &disk, &mut differences),
            Err(hold) => differences.found.push(held(&hold, node)),
        }
        differences
    }
}

/// Why no intent can be worked out.
fn held(hold: &Hold, node: &str) -> Found {
    match hold {
        Hold::OwnNodeMissing { .. } => Found::new(
            "verify-node-refused",
            node,
            "the Node is listed by the API",
            hold.to_string(),
        ),
        Hold::InternalIPNotOnNode { ip, .. } => Found::new(
            "verify-internal-ip",
            ip.to_string(),
            format!("{ip} on one of the node's devices"),
            "on none of them",
        )
        .look(format!("ip address show to {ip}")),
    }
}

fn compare(desired: &Desired, looked: &Looked, disk: &Disk, differences: &mut Differences) {
    let record = &looked.record;
    let host = &record.node;
    if let Some(reason) = desired.refused {
        let why = desired.degraded.values().flatten().next().cloned().unwrap_or_default();
        differences.found.push(Found::new(
            "verify-node-refused",
            desired.node.clone(),
            "the node has a range and an address of its own",
            format!("{reason}: {why}"),
        ));
    }
    for (peer, reason) in &desired.refused_peers {
        differences.found.push(Found::new(
            "verify-peer-refused",
            peer.clone(),
            format!("a way from {} to {peer}", desired.node),
            reason.to_string(),
        ));
    }
    let nft = match &record.nft {
        Ok(listing) => NftTable::in_ruleset(listing, FAMILY, NFT_TABLE),
        Err(why) => {
            unchecked(differences, Group::Firewall, why);
            desired.nft.clone()
        }
    };
    let has_policy_table = record
        .nft
        .as_ref()
        .is_ok_and(|listing| NftTable::in_ruleset(listing, FAMILY, NFT_POLICY_TABLE).is_some());
    let bpf = desired.bpf.as_ref().map(|wanted| match maps::read(record) {
        Ok(maps) => maps,
        Err(why) => {
            unchecked(differences, Group::Bpf, &why);
            wanted.clone()
        }
    });
    let actual = Actual {
        net: host.net.clone(),
        sysctls: host.sysctls.clone(),
        nft,
        has_policy_table,
        pods: insides(desired, looked, disk, differences),
        bpf,
    };
    let difference = diff(desired, &actual);
    differences.found.extend(difference.deltas.iter().map(deltas::of_delta));
    differences
        .found
        .extend(difference.findings.iter().map(deltas::of_finding));
    if let Some(Ok(pins)) = &record.pins {
        generic::room::maps(pins, BPF_PINS.trim_end_matches('/'), &mut differences.found);
    }
    if let (Some(maps), Some(Ok(pins))) = (&desired.bpf, &record.pins) {
        differences
            .found
            .extend(hooks::differences(desired, maps, &host.devices, pins));
    }
    relate(&mut differences.found);
}

fn unchecked(differences: &mut Differences, group: Group, why: &str) {
    differences.unchecked.push(Unchecked {
        group,
        why: why.to_owned(),
    });
}

/// The inside of each attachment whose namespace was read, found by the number of its file.
fn insides(
    desired: &Desired,
    looked: &Looked,
    disk: &Disk,
    differences: &mut Differences,
) -> BTreeMap<String, NetState> {
    let spaces: BTreeMap<u64, &Space> = looked
        .record
        .pods
        .values()
        .filter_map(|space| space.as_ref().ok())
        .map(|space| (space.inode, space))
        .collect();
    generic::pods::unread(looked, differences);
    let mut insides = BTreeMap::new();
    for recorded in disk.live() {
        let key = recorded.key().to_string();
        let is_wanted = desired.pods.as_ref().is_some_and(|pods| pods.contains_key(&key));
        if let Some(space) = spaces.get(&recorded.netns_ino).filter(|_| is_wanted) {
            insides.insert(key, space.net.clone());
        }
    }
    insides
}
