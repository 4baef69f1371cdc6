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
    /// Services, and what is behind them.
    Services,
    /// BPF programs, hooks and maps.
    Bpf,
    /// Files: CNI configuration, plugins, addresses given out.
    Disk,
    /// What nodes counted in an interval: only where one was observed.
    Observed,
}

impl Group {
    /// All of a node's state, in the order of the columns.
    pub const ALL: [Self; 10] = [
        Self::Api,
        Self::Device,
        Self::Routes,
        Self::Neighbours,
        Self::Pods,
        Self::Firewall,
        Self::Sysctls,
        Self::Services,
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
            Self::Services => "SERVICES",
            Self::Bpf => "BPF",
            Self::Disk => "DISK",
            Self::Observed => "OBSERVED",
        }
    }

    /// The group of a check, by the id of its finding.
    pub fn of(id: &str) -> Self {
        let known = CHECKS.iter().find(|(_, ids)| ids.contains(&id));
        known.map_or(Self::Disk, |(group, _)| *group)
    }
}

/// All checks, by group.
pub const CHECKS: [(Group, &[&str]); 11] = [
    (
        Group::Api,
        &[
            "verify-internal-ip",
            "verify-node-refused",
            "verify-node-unpublished",
            "verify-range-overlap",
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
            "verify-overlay-checksum",
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
            "verify-route-diverted",
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
            "verify-network-missing",
            "verify-network-interface-missing",
            "verify-network-changed",
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
            "verify-overlay-blocked",
            "verify-masquerade-missing",
            "verify-masquerade-pods",
            "verify-iptables-both",
            "verify-traffic-shaped",
            "verify-filter-takes",
            "verify-host-port-stale",
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
        Group::Services,
        &[
            "verify-service-missing",
            "verify-service-endpoint-missing",
            "verify-service-endpoint-stale",
            "verify-service-wrong-port",
            "verify-service-unrejected",
            "verify-service-proxy-missing",
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
            "verify-bpf-map-full",
            "verify-bpf-program-other",
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
            "verify-plugin-other",
            "verify-plugin-version",
            "verify-addresses-scarce",
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
    (
        Group::Observed,
        &[
            "observe-tunnel-otherhost",
            "observe-tunnel-undeliverable",
            "observe-tunnel-unknown",
            "observe-no-socket",
            "observe-not-forwarded",
            "observe-misdelivered",
            "observe-reverse-path",
            "observe-no-route",
            "observe-too-big",
            "observe-checksum",
            "observe-backlog",
            "observe-tracking",
            "observe-firewall",
            "observe-device",
            "observe-probes-lost",
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
            .filter(|id| id.starts_with("verify-") || id.starts_with("observe-"));
        assert_eq!(distinct, pages.collect());
        let groups: Vec<Group> = CHECKS.iter().map(|(group, _)| *group).collect();
        assert_eq!(groups, [&Group::ALL[..], &[Group::Observed]].concat());
    }
}
