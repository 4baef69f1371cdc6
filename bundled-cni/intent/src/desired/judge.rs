//! What the inputs alone say is wrong (SPEC.md, section 9.4).

use super::Troubles;
use crate::{
    census::{Census, Member, Reason},
    config::Config,
    family::Family,
    inputs::{Attachment, Inputs},
    mtu::{Mtus, is_credible, overhead},
    names::{ANNOTATION_MTU, ANNOTATION_VTEP_MAC, IPV6_MIN_MTU},
    publish::Degraded,
    ways::Way,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

fn add(troubles: &mut Troubles, what: Degraded, why: String) {
    troubles.entry(what).or_default().insert(why);
}

/// What to do about a refused node.
pub(super) fn advice(own: &Member<'_>, reason: Reason) -> String {
    let ranges = own.object.pod_cidrs.join(", ");
    let ips = own.object.internal_ips.join(", ");
    let name = own.name();
    match reason {
        Reason::NoPodCIDR => {
            format!("Node {name} has no podCIDR; let kube-controller-manager give one (--allocate-node-cidrs)")
        }
        Reason::InvalidPodCIDR => format!(
            "podCIDRs {ranges} of Node {name} cannot be used; wanted is one for each family, without host bits, /29 (IPv6 /123) or larger"
        ),
        Reason::NoInternalIP => {
            format!("Node {name} has no InternalIP of the underlay's family, only {ips:?}; set kubelet's --node-ip")
        }
        Reason::DuplicateInternalIP => {
            format!("an older Node has an InternalIP of Node {name}, {ips}; give one of them another address")
        }
        Reason::DuplicatePodCIDR => {
            format!("an older Node has a podCIDR that overlaps {ranges} of Node {name}; delete and re-create this Node")
        }
        Reason::PodCIDRHoldsNodeAddress => format!(
            "podCIDRs {ranges} of Node {name} contain some Node's InternalIP; choose pod ranges apart from the nodes' addresses"
        ),
        Reason::DuplicateVtepMAC => {
            format!(
                "Node {name} derives the same VTEP MAC {} as an older Node; rename this Node",
                own.mac
            )
        }
        Reason::NoCommonUnderlay | Reason::NotOnLink | Reason::AwaitingUnderlay => format!("{name}: {reason}"),
    }
}

/// What the configuration says, whether the node counts or not.
pub(super) fn configuration(inputs: &Inputs<'_>) -> Troubles {
    let mut troubles = Troubles::new();
    for error in inputs.refused_config {
        add(&mut troubles, Degraded::ConfigInvalid, error.to_string());
    }
    if !inputs.config.ebpf {
        add(&mut troubles, Degraded::BpfOff, "ConfigMap says ebpf: off".to_owned());
    }
    troubles
}

/// What is wrong with an accepted node by its object, annotations and attachments.
pub(super) fn own(inputs: &Inputs<'_>, own: &Member<'_>, attachments: &[&Attachment]) -> Troubles {
    let mut troubles = configuration(inputs);
    by_object(&mut troubles, inputs.config, own);
    for family in Family::BOTH {
        if let (Some(ip), None) = (own.internal.get(family), inputs.local.holding(&own.internal, family)) {
            let why = format!("InternalIP {ip} is on no device of this node; set kubelet's --node-ip, or the address");
            add(&mut troubles, Degraded::InternalIPNotOnNode, why);
        }
    }
    let ips: BTreeSet<IpAddr> = attachments
        .iter()
        .flat_map(|attachment| attachment.ips.iter().copied())
        .collect();
    for ip in ips
        .iter()
        .filter(|ip| !own.ranges.iter().any(|range| range.contains(*ip)))
    {
        let why = format!("pod address {ip} is outside the Node's podCIDRs; re-create its pod");
        add(&mut troubles, Degraded::PodsOutsidePodCIDR, why);
    }
    for range in &own.ranges {
        let used = ips.iter().filter(|ip| range.contains(*ip)).count() as u128;
        let all = capacity(range);
        if used * 100 >= all * 95 {
            let why = format!("{used} of {all} addresses of {range} are in use; move pods to other nodes");
            add(&mut troubles, Degraded::RangeAlmostFull, why);
        }
    }
    troubles
}

/// How many addresses IPAM can give out (SPEC.md, section 7.3).
fn capacity(range: &IpNet) -> u128 {
    let size = 1_u128
        .checked_shl(u32::from(range.max_prefix_len() - range.prefix_len()))
        .unwrap_or(u128::MAX);
    match Family::of_net(range) {
        Family::V4 => size.saturating_sub(3),
        Family::V6 => size.min(65_536).saturating_sub(2),
    }
}

/// What shows in a Node object alone.
fn by_object(troubles: &mut Troubles, config: &Config, member: &Member<'_>) {
    if let Some(published) = member.object.annotations.get(ANNOTATION_VTEP_MAC)
        && *published != member.mac.to_string()
    {
        let why = format!(
            "annotation {ANNOTATION_VTEP_MAC} is {published:?}; {} is derived and used",
            member.mac
        );
        add(troubles, Degraded::VtepMacMismatch, why);
    }
    for range in &member.ranges {
        if !config.cluster_cidrs.iter().any(|cluster| cluster.contains(range)) {
            let why = format!("podCIDR {range} is in none of clusterCIDRs; add its range to the ConfigMap");
            add(troubles, Degraded::PodCIDROutsideClusterCIDRs, why);
        }
    }
}

/// What is wrong between this node and its peers.
pub(super) fn peers(
    troubles: &mut Troubles,
    config: &Config,
    peers: &[(&Member<'_>, Way)],
    refused: &BTreeMap<String, Reason>,
) {
    for (name, reason) in refused {
        if matches!(reason, Reason::NotOnLink | Reason::NoCommonUnderlay) {
            add(troubles, Degraded::PeerRefused, format!("{name}: {reason}"));
        }
    }
    for (peer, _) in peers.iter().filter(|(_, way)| *way == Way::Vxlan) {
        for ip in peer.internal.iter() {
            let mut ranges = config.no_masquerade_cidrs.iter().chain(&config.cluster_cidrs);
            if let Some(range) = ranges.find(|range| range.contains(ip)) {
                let why = format!(
                    "{range} holds nodes, as {ip} of {}; take it out of the ConfigMap",
                    peer.name()
                );
                // One is enough to show: all nodes of a range would make a long condition.
                troubles
                    .entry(Degraded::NodesNotMasqueraded)
                    .or_insert_with(|| BTreeSet::from([why]));
            }
        }
    }
}

/// Whether packets fit.
pub(super) fn mtus(troubles: &mut Troubles, config: &Config, own: &Member<'_>, mtus: &Mtus, underlay: Family) {
    let has_ipv6 = own.range_families().contains(&Family::V6);
    let smallest = if config.has_overlay() {
        mtus.overlay.min(mtus.route)
    } else {
        mtus.route
    };
    if has_ipv6 && smallest < IPV6_MIN_MTU {
        let why = format!(
            "{smallest} bytes are left for IPv6 pods, at least {IPV6_MIN_MTU} are needed; raise the nodes' MTU"
        );
        add(troubles, Degraded::MtuTooSmall, why);
    }
    if !is_credible(mtus.own, underlay) {
        let least = IPV6_MIN_MTU + overhead(underlay);
        let why = format!(
            "the underlay's MTU is {}, which peers do not believe; raise it to at least {least}",
            mtus.own
        );
        add(troubles, Degraded::MtuTooSmall, why);
    }
}

/// What is wrong with others.
pub(super) fn others(census: &Census<'_>, inputs: &Inputs<'_>) -> BTreeMap<String, Troubles> {
    let mut all = BTreeMap::new();
    for member in census.accepted.values().filter(|member| member.name() != inputs.own) {
        let mut troubles = Troubles::new();
        by_object(&mut troubles, inputs.config, member);
        let underlay = member.underlay.unwrap_or(Family::V4);
        let doubtful = match member.published_mtu {
            Some(Ok(mtu)) => (!is_credible(mtu, underlay)).then(|| mtu.to_string()),
            Some(Err(text)) => Some(format!("{text:?}")),
            None => None,
        };
        if let Some(mtu) = doubtful {
            let why = format!("annotation {ANNOTATION_MTU} is {mtu}, which is ignored");
            add(&mut troubles, Degraded::MtuTooSmall, why);
        }
        if !troubles.is_empty() {
            all.insert(member.name().to_owned(), troubles);
        }
    }
    all
}
