//! Groups of checks: the columns of the overview.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Nodes, ranges and addresses in the API.
    Api,
    /// The overlay device, its settings and addresses.
    Device,
    /// Routes to other nodes.
    Routes,
    /// Neighbours and forwarding entries of other nodes.
    Neighbours,
    /// Pods: veths, their routes and neighbours, the inside of their namespaces.
    Pods,
    /// Masquerading, and firewalls in the way.
    Firewall,
    /// Kernel parameters.
    Sysctls,
    /// BPF programs, hooks and maps.
    Bpf,
    /// Files: CNI configuration, plugins, addresses given out.
    Disk,
}

impl Group {
    /// All of them, in the order of the columns.
    pub const ALL: [Self; 9] = [
        Self::Api,
        Self::Device,
        Self::Routes,
        Self::Neighbours,
        Self::Pods,
        Self::Firewall,
        Self::Sysctls,
        Self::Bpf,
        Self::Disk,
    ];

    /// Its column's head.
    pub fn head(self) -> &'static str {
        match self {
            Self::Api => "API",
            Self::Device => "DEVICE",
            Self::Routes => "ROUTES",
            Self::Neighbours => "NEIGH/FDB",
            Self::Pods => "PODS",
            Self::Firewall => "FIREWALL",
            Self::Sysctls => "SYSCTLS",
            Self::Bpf => "BPF",
            Self::Disk => "DISK",
        }
    }

    /// The group of a check, by the id of its finding.
    pub fn of(id: &str) -> Self {
        let known = CHECKS.iter().find(|(_, ids)| ids.contains(&id));
        known.map_or(Self::Disk, |(group, _)| *group)
    }
}

/// All checks, by group.
pub const CHECKS: [(Group, &[&str]); 9] = [
    (
        Group::Api,
        &[
            "verify-internal-ip",
            "verify-node-refused",
            "verify-node-unpublished",
            "verify-peer-refused",
            "verify-pod-range",
            "verify-pod-ip-shared",
        ],
    ),
    (
        Group::Device,
        &[
            "verify-overlay-missing",
            "verify-overlay-down",
            "verify-overlay-mac",
            "verify-overlay-mtu",
            "verify-overlay-source",
            "verify-overlay-learning",
            "verify-overlay-settings",
            "verify-overlay-stale",
            "verify-name-taken",
            "verify-vni-taken",
            "verify-device-address-missing",
            "verify-device-address-stray",
            "verify-device-alias",
            "verify-device-link-local",
            "verify-leftover",
            "verify-device-missing",
            "verify-device-down",
        ],
    ),
    (
        Group::Routes,
        &[
            "verify-route-missing",
            "verify-route-wrong",
            "verify-route-stale",
            "verify-route-foreign",
            "verify-route-shadowed",
            "verify-range-route-missing",
            "verify-range-route-wrong",
            "verify-range-route-stale",
        ],
    ),
    (
        Group::Neighbours,
        &[
            "verify-neighbour-missing",
            "verify-neighbour-wrong",
            "verify-neighbour-stale",
            "verify-fdb-missing",
            "verify-fdb-wrong",
            "verify-fdb-stale",
        ],
    ),
    (
        Group::Pods,
        &[
            "verify-pod-veth-missing",
            "verify-pod-veth-down",
            "verify-pod-veth-mac",
            "verify-pod-veth-mtu",
            "verify-pod-route-missing",
            "verify-pod-route-wrong",
            "verify-pod-route-stale",
            "verify-pod-neighbour-missing",
            "verify-pod-neighbour-wrong",
            "verify-pod-neighbour-stale",
            "verify-pod-mtu",
            "verify-pod-changed",
            "verify-veth-unclaimed",
            "verify-pod-ip-absent",
            "verify-pod-interface-down",
            "verify-pod-loopback-down",
            "verify-pod-default-missing",
            "verify-bridge-route-missing",
        ],
    ),
    (
        Group::Firewall,
        &[
            "verify-nft-missing",
            "verify-nft-wrong",
            "verify-nft-stale",
            "verify-forward-dropped",
        ],
    ),
    (
        Group::Sysctls,
        &[
            "verify-forwarding-off",
            "verify-sysctl",
            "verify-bridge-netfilter",
            "verify-neighbours-full",
            "verify-conntrack-full",
            "verify-rp-filter",
        ],
    ),
    (
        Group::Bpf,
        &[
            "verify-bpf-config",
            "verify-bpf-endpoint-missing",
            "verify-bpf-endpoint-wrong",
            "verify-bpf-endpoint-stale",
            "verify-bpf-node-missing",
            "verify-bpf-node-wrong",
            "verify-bpf-node-stale",
            "verify-bpf-counter-missing",
            "verify-bpf-counter-stale",
            "verify-bpf-hook",
            "verify-bpf-program-maps",
        ],
    ),
    (
        Group::Disk,
        &[
            "verify-conf-foreign",
            "verify-conf-missing",
            "verify-conf-broken",
            "verify-plugin-missing",
            "verify-attachment-broken",
            "verify-attachment-unfinished",
            "verify-attachment-stale",
            "verify-address-leaked",
            "verify-address-lost",
            "verify-pod-unattached",
            "verify-pod-address",
            "verify-cache-leaked",
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::{CHECKS, Group};
    use crate::findings;
    use std::collections::BTreeSet;

    #[test]
    fn each_page_is_a_check_of_one_group() {
        let ids: Vec<&str> = CHECKS.iter().flat_map(|(_, ids)| *ids).copied().collect();
        let distinct: BTreeSet<&str> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len());
        let pages = findings::all()
            .map(|page| page.id)
            .filter(|id| id.starts_with("verify-"));
        assert_eq!(distinct, pages.collect());
        assert_eq!(CHECKS.map(|(group, _)| group), Group::ALL);
    }
}
