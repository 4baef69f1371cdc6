//! Routes to the blocks of other nodes, and the block of the node itself.

use super::{
    IPIP, Published, VXLAN,
    objects::{Block, CalicoObjects, Mode, Pool, Ways},
};
use crate::verify::{
    expected::{Expected, Way},
    found::Found,
    group::Group,
    network::{Differences, Unchecked},
    objects::Objects,
};
use ipnet::IpNet;
use netcheck_node_state::{NetState, RouteKind};
use std::{collections::BTreeMap, net::IpAddr};

/// Says which ways must be there.
pub fn expect(
    objects: &Objects,
    calico: &CalicoObjects,
    published: &[(&str, Published)],
    node: &str,
    expected: &mut Expected,
    differences: &mut Differences,
) {
    let mut unchecked = |why: &str| {
        differences.unchecked.push(Unchecked {
            group: Group::Routes,
            why: why.to_owned(),
        });
    };
    let ways = match &calico.ways {
        Ok(ways) => ways,
        Err(why) => {
            expected.has_unknown_ways = true;
            return unchecked(why);
        }
    };
    let Some((_, me)) = published.iter().find(|(name, _)| *name == node) else {
        return;
    };
    let peers: BTreeMap<&str, &Published> = published.iter().map(|(name, said)| (*name, said)).collect();
    let mut is_by_bgp = false;
    for (to, owner) in destinations(objects, ways) {
        if owner == node {
            expected.own.push(to);
            continue;
        }
        let (Some(peer), Some(pool)) = (peers.get(owner), pool(ways, to)) else {
            // Its node is leaving, or came only now.
            expected.own.push(to);
            continue;
        };
        if let Some((via, device)) = way(pool, me, peer) {
            expected.ways.push(Way {
                to,
                via: Some(via),
                device,
            });
        } else {
            is_by_bgp = true;
            expected.own.push(to);
        }
    }
    for block in ways.blocks.iter().filter(|block| !block.is_confirmed()) {
        expected.own.push(block.cidr);
    }
    let pools = ways.pools.iter().filter(|pool| !pool.disabled && has_tunnel(pool));
    expected.ranges.extend(pools.map(|pool| pool.cidr));
    if is_by_bgp {
        unchecked("routes that BGP makes without a tunnel follow from peerings that are not read");
    }
}

fn has_tunnel(pool: &Pool) -> bool {
    (pool.vxlan_mode, pool.ipip_mode) != (Mode::Never, Mode::Never)
}

fn pool(ways: &Ways, to: IpNet) -> Option<&Pool> {
    ways.pools.iter().find(|pool| pool.cidr.contains(&to))
}

/// Blocks, and addresses that pods have of another node's block, with the nodes that they are on. IPv4 alone.
fn destinations<'a>(objects: &'a Objects, ways: &'a Ways) -> Vec<(IpNet, &'a str)> {
    let confirmed = ways.blocks.iter().filter(|block| block.is_confirmed());
    let blocks: BTreeMap<IpNet, &str> = confirmed
        .filter(|block| block.cidr.addr().is_ipv4())
        .map(|block| (block.cidr, block.node.as_str()))
        .collect();
    let mut destinations: Vec<(IpNet, &str)> = blocks.iter().map(|(to, node)| (*to, *node)).collect();
    for pod in objects.pods.iter().filter(|pod| pod.is_wired()) {
        for ip in pod.ips.iter().copied().filter(IpAddr::is_ipv4) {
            // Blocks do not overlap: the one that begins last before the address has it, if any has.
            let before = blocks.range(..=IpNet::from(ip)).next_back();
            let owner = before.filter(|(block, _)| block.contains(&ip)).map(|(_, node)| *node);
            if owner.is_some_and(|owner| owner != pod.node) {
                destinations.push((IpNet::from(ip), &pod.node));
            }
        }
    }
    destinations
}

/// The next hop to a node and the device, if that is settled; `None` where BGP decides.
fn way(pool: &Pool, me: &Published, peer: &Published) -> Option<(IpAddr, Option<String>)> {
    let is_near = me.address.contains(&peer.address.addr());
    let goes = |mode| mode == Mode::Always || (mode == Mode::CrossSubnet && !is_near);
    if goes(pool.vxlan_mode) {
        Some((peer.vxlan?, Some(VXLAN.to_owned())))
    } else if goes(pool.ipip_mode) {
        Some((peer.address.addr(), Some(IPIP.to_owned())))
    } else if pool.vxlan_mode == Mode::CrossSubnet {
        // Felix makes these itself.
        Some((peer.address.addr(), None))
    } else {
        None
    }
}

/// A node's own blocks are closed, so that addresses which no pod has do not go by the default route.
pub fn blocks(calico: &CalicoObjects, node: &str, net: &NetState, found: &mut Vec<Found>) {
    let Ok(ways) = &calico.ways else { return };
    let is_own = |block: &&Block| block.node == node && block.is_confirmed() && block.cidr.addr().is_ipv4();
    for block in ways.blocks.iter().filter(is_own) {
        let is_due = pool(ways, block.cidr).is_some_and(|pool| pool.vxlan_mode != Mode::Never);
        let is_there = net
            .routes
            .iter()
            .any(|route| route.destination == block.cidr && route.kind != RouteKind::Unicast);
        if is_due && !is_there {
            found.push(
                Found::new(
                    "verify-range-route-missing",
                    format!("route {}", block.cidr),
                    format!("blackhole {} proto 80", block.cidr),
                    "nothing",
                )
                .look(format!("ip route show {}", block.cidr))
                .fix(format!(
                    "ip route add blackhole {} proto 80; Felix does so when it starts",
                    block.cidr
                )),
            );
        }
    }
}
