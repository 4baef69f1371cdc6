//! MTUs, all in bytes (SPEC.md, section 2.3).

use crate::{
    census::Member,
    config::{Backend, Config},
    family::{Family, PerFamily},
    inputs::LocalAddress,
    names::IPV6_MIN_MTU,
};

/// O: what the tunnel adds to a packet: inner Ethernet 14, VXLAN 8, UDP 8, and IPv4 20 or IPv6 40 of the *underlay* (RFC 7348,
/// section 5; `vxlan_headroom()` of include/net/vxlan.h).
pub fn overhead(underlay: Family) -> u32 {
    match underlay {
        Family::V4 => 50,
        Family::V6 => 70,
    }
}

/// U(self): lowest MTU of the devices that carry this node's traffic to others. `None` if none of its InternalIPs is on it.
pub fn own_underlay(own: &Member<'_>, config: &Config, local: &PerFamily<LocalAddress>) -> Option<u32> {
    let mut families = own.range_families();
    match config.backend {
        Backend::Vxlan => families = own.underlay.into_iter().collect(),
        // The tunnel's family may have no range, and counts all the same.
        Backend::Auto => families.extend(own.underlay),
        Backend::HostGw => {}
    }
    let mtu_of = |family: Family| Some(local.holding(&own.internal, family)?.mtu);
    let lowest = families.into_iter().filter_map(mtu_of).min();
    lowest.or_else(|| Family::BOTH.into_iter().find_map(mtu_of))
}

/// Whether a published MTU can be believed: lower ones leave no room for IPv6 in the tunnel, and one node must not stop all.
pub fn is_credible(mtu: u32, underlay: Family) -> bool {
    mtu >= IPV6_MIN_MTU + overhead(underlay)
}

/// The MTUs of an accepted node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mtus {
    /// U(self).
    pub own: u32,
    /// V, of the overlay device.
    pub overlay: u32,
    /// M, of the pods' default routes.
    pub route: u32,
}

impl Mtus {
    /// From U(self), what all accepted nodes of the same underlay family published, and whether some peer is reached by vxlan.
    pub fn new(
        own: u32,
        published: impl Iterator<Item = u32>,
        underlay: Family,
        config: &Config,
        tunnels: bool,
    ) -> Self {
        let lowest = published.filter(|&mtu| is_credible(mtu, underlay)).fold(own, u32::min);
        let limit = |mtu: u32| config.mtu.map_or(mtu, |most| mtu.min(most));
        let overlay = limit(lowest.saturating_sub(overhead(underlay)));
        let inside = match config.backend {
            Backend::Vxlan => true,
            Backend::Auto => tunnels,
            Backend::HostGw => false,
        };
        let route = if inside { overlay } else { limit(lowest) };
        Self { own, overlay, route }
    }
}

#[cfg(test)]
mod tests {
    use super::Mtus;
    use crate::{config::Config, family::Family};
    use std::collections::BTreeMap;

    fn mtus(backend: &str, limit: &str, own: u32, published: &[u32], underlay: Family, tunnels: bool) -> (u32, u32) {
        let data = [("clusterCIDRs", "10.244.0.0/16"), ("backend", backend), ("mtu", limit)];
        let data = BTreeMap::from(data.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let config = Config::parse(&data).unwrap();
        let mtus = Mtus::new(own, published.iter().copied(), underlay, &config, tunnels);
        (mtus.overlay, mtus.route)
    }

    #[test]
    fn follows_the_specification_s_table() {
        let (v4, v6) = (Family::V4, Family::V6);
        assert_eq!(mtus("vxlan", "0", 1500, &[9000], v4, true), (1450, 1450));
        assert_eq!(mtus("vxlan", "0", 9000, &[1500], v6, true), (1430, 1430));
        assert_eq!(mtus("vxlan", "1400", 1500, &[], v4, false), (1400, 1400));
        assert_eq!(mtus("vxlan", "1460", 1500, &[], v4, false), (1450, 1450));
        assert_eq!(mtus("host-gw", "0", 1500, &[9000], v4, false), (1450, 1500));
        assert_eq!(mtus("host-gw", "1480", 1500, &[], v4, false).1, 1480);
        assert_eq!(mtus("auto", "0", 1500, &[], v4, false), (1450, 1500));
        assert_eq!(mtus("auto", "0", 1500, &[], v4, true), (1450, 1450));
        // Below 1280 + O nobody is believed; just that is.
        assert_eq!(mtus("vxlan", "0", 1500, &[1329], v4, true).0, 1450);
        assert_eq!(mtus("vxlan", "0", 1500, &[1330], v4, true).0, 1280);
        assert_eq!(mtus("vxlan", "0", 1500, &[1349], v6, true).0, 1430);
    }
}
