//! Which addresses a rig uses: pure arithmetic on one number that differs between rigs.
//!
//! Underlay networks come from 198.18.0.0/15, set aside for benchmarks (RFC 2544 section C.2.2), and from fd00::/8
//! (RFC 4193): neither is routed anywhere, so a machine's own network is not shadowed. Only the underlay is visible in the
//! root namespace; pods and Services have the customary networks, the same in every rig, as they never leave it.

use crate::Families;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The rig's networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Third byte of the underlay network, different in each rig of a machine.
    pub underlay: u8,
    /// Families in use.
    pub families: Families,
}

/// Somebody on the underlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Control plane and bridge; also every node's default gateway (which leads nowhere).
    Hub,
    /// Node number (1 = `n1`).
    Node(u8),
    /// The same node after it was given other addresses.
    MovedNode(u8),
    /// The machine's root namespace.
    Root,
}

impl Endpoint {
    fn host_number(self) -> u8 {
        match self {
            Self::Hub => 1,
            Self::Node(number) => number.saturating_add(10),
            Self::MovedNode(number) => number.saturating_add(110),
            Self::Root => 254,
        }
    }
}

/// Prefix length of an underlay network.
pub(crate) const fn underlay_prefix(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 24,
        IpAddr::V6(_) => 64,
    }
}

impl Addresses {
    /// The addresses of somebody on the underlay, primary family first.
    pub fn of(self, endpoint: Endpoint) -> Vec<IpAddr> {
        let host = endpoint.host_number();
        self.pick(
            IpAddr::V4(Ipv4Addr::new(198, 18, self.underlay, host)),
            IpAddr::V6(Ipv6Addr::new(
                0xfd00,
                0x198,
                0x18,
                u16::from(self.underlay),
                0,
                0,
                0,
                u16::from(host),
            )),
        )
    }

    /// The primary address of somebody on the underlay.
    pub fn primary(self, endpoint: Endpoint) -> IpAddr {
        let host = endpoint.host_number();
        if self.families.has_v4() {
            IpAddr::V4(Ipv4Addr::new(198, 18, self.underlay, host))
        } else {
            IpAddr::V6(Ipv6Addr::new(
                0xfd00,
                0x198,
                0x18,
                u16::from(self.underlay),
                0,
                0,
                0,
                u16::from(host),
            ))
        }
    }

    /// What the controller manager cuts the nodes' pod networks from.
    pub fn pod_networks(self) -> Vec<&'static str> {
        self.pick("10.244.0.0/16", "fd00:10:244::/56")
    }

    /// What ClusterIPs come from.
    pub fn service_networks(self) -> Vec<&'static str> {
        self.pick("10.96.0.0/16", "fd00:10:96::/112")
    }

    /// The API server's own ClusterIP: the first of its network.
    pub fn kubernetes_service(self) -> Vec<&'static str> {
        self.pick("10.96.0.1", "fd00:10:96::1")
    }

    /// The cluster DNS Service's addresses.
    pub fn cluster_dns(self) -> Vec<&'static str> {
        self.pick("10.96.0.10", "fd00:10:96::a")
    }

    pub(crate) fn pick<T>(self, v4: T, v6: T) -> Vec<T> {
        match self.families {
            Families::V4 => vec![v4],
            Families::V6 => vec![v6],
            Families::Dual => vec![v4, v6],
        }
    }
}

/// `address` as it stands in a URL or before a port.
pub(crate) fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn primary_address_is_the_first_one_of_each_family_choice() {
        for families in [Families::V4, Families::V6, Families::Dual] {
            let addresses = Addresses { underlay: 7, families };
            for endpoint in [Endpoint::Hub, Endpoint::Node(1), Endpoint::Root] {
                assert_eq!(addresses.of(endpoint)[0], addresses.primary(endpoint));
            }
        }
    }

    #[test]
    fn nodes_count_from_eleven() {
        let addresses = Addresses {
            underlay: 3,
            families: Families::Dual,
        };
        let shown: Vec<_> = addresses
            .of(Endpoint::Node(2))
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["198.18.3.12", "fd00:198:18:3::c"]);
    }
}
