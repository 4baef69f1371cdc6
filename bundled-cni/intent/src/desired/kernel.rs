//! The overlay device, the own ranges and the peers in the node's network namespace (SPEC.md, sections 5.1, 5.2, 5.5, 5.6).

use crate::{
    build::{host, neighbour, unreachable, via},
    census::Member,
    derive::vtep_address,
    family::{Family, PerFamily},
    inputs::{Inputs, LocalAddress},
    mtu::Mtus,
    names::{OVERLAY, OVERLAY_ALIAS, PROTOCOL},
    ways::Way,
};
use netcheck_node_state::{Address, FdbEntry, Link, LinkKind, NetState, Route, Vxlan};
use std::{collections::BTreeMap, net::IpAddr};

/// Where this node's InternalIPs are, as far as they are needed.
pub(super) struct Places<'a> {
    /// The underlay's family.
    pub family: Family,
    /// The InternalIP of that family.
    pub underlay: &'a LocalAddress,
    /// Those of both families, where they are on the node.
    all: PerFamily<&'a LocalAddress>,
}

impl<'a> Places<'a> {
    /// Finds them; the error is an InternalIP that is needed and on no device.
    pub fn find(inputs: &Inputs<'a>, own: &Member<'_>, peers: &[(&Member<'_>, Way)]) -> Result<Self, IpAddr> {
        let mut all = PerFamily::default();
        for family in Family::BOTH {
            if let Some(local) = inputs.local.holding(&own.internal, family) {
                all.put_first(family, local);
            }
        }
        let is_needed = |family: Family| {
            let mut direct = peers.iter().filter(|(_, way)| *way == Way::Direct);
            Some(family) == own.underlay || direct.any(|(peer, _)| peer.range_families().contains(&family))
        };
        for family in Family::BOTH {
            if let (Some(ip), None) = (own.internal.get(family), all.get(family))
                && is_needed(family)
            {
                return Err(*ip);
            }
        }
        let unspecified = IpAddr::from([0, 0, 0, 0]);
        // An accepted node has an underlay family and an address of it, and that was just found.
        let family = own.underlay.ok_or(unspecified)?;
        let underlay = *all.get(family).ok_or(unspecified)?;
        Ok(Self { family, underlay, all })
    }
}

/// The overlay device with its addresses, and the own ranges.
pub(super) fn own_side(net: &mut NetState, inputs: &Inputs<'_>, own: &Member<'_>, places: &Places<'_>, mtus: &Mtus) {
    let config = inputs.config;
    net.routes.extend(own.ranges.iter().map(|range| unreachable(*range)));
    if !config.has_overlay() {
        return;
    }
    let vxlan = Vxlan {
        vni: config.vni,
        port: config.port,
        local: Some(places.underlay.address.addr()),
        device: Some(places.underlay.device.clone()),
        learns: false,
        unusual: BTreeMap::new(),
    };
    let link = Link {
        mac: Some(own.mac),
        mtu: mtus.overlay,
        is_up: true,
        alias: Some(OVERLAY_ALIAS.to_owned()),
        makes_link_local: Some(false),
        kind: LinkKind::Vxlan(vxlan),
    };
    net.links.insert(OVERLAY.to_owned(), link);
    net.addresses.extend(own.ranges.iter().map(|range| {
        let ip = vtep_address(range);
        Address {
            interface: OVERLAY.to_owned(),
            ip,
            prefix: host(ip).prefix_len(),
        }
    }));
}

/// What leads to a peer.
pub(super) fn peer(net: &mut NetState, peer: &Member<'_>, way: Way, places: &Places<'_>) {
    match way {
        Way::Vxlan => {
            for range in &peer.ranges {
                let vtep = vtep_address(range);
                net.neighbours.insert(neighbour(OVERLAY, vtep, peer.mac, PROTOCOL));
                net.routes.insert(Route {
                    is_onlink: true,
                    ..via(*range, vtep, OVERLAY)
                });
            }
            net.fdb.insert(FdbEntry {
                device: OVERLAY.to_owned(),
                mac: peer.mac,
                destination: peer.internal.get(places.family).copied(),
                is_permanent: true,
                port: None,
                vni: None,
                via: None,
                flags: 0,
            });
        }
        Way::Direct => {
            for range in &peer.ranges {
                let family = Family::of_net(range);
                // The rule of section 4 holds, so both have an address of the family.
                if let (Some(gateway), Some(local)) = (peer.internal.get(family), places.all.get(family)) {
                    net.routes.insert(via(*range, *gateway, &local.device));
                }
            }
        }
    }
}
