//! A kernel in play: what a change does to a network namespace, as far as it matters here.
//!
//! [`crate::diff()`] asks it what else goes when a device is changed; tests apply differences to it instead of a kernel. Where it is
//! stricter or looser than Linux is said with each rule. Sources: `net/ipv4/fib_frontend.c` (`fib_disable_ip`), `net/core/neighbour.c`
//! (`neigh_changeaddr`, `neigh_ifdown`), `net/ipv6/addrconf.c` (`addrconf_ifdown`), `drivers/net/vxlan/vxlan_core.c`.

mod node;

pub use node::{apply, write_sysctl};

use crate::{
    family::Family,
    lookup::{fdb_at, neighbours_at, routes_at},
    mtu::overhead,
    names::{IPV6_MIN_MTU, TABLE_MAIN},
};
use ipnet::IpNet;
use netcheck_node_state::{
    Address, Change, FdbEntry, Link, LinkKind, LinkSetting, Mac, Neighbour, NetState, Route, Vxlan,
};
use std::net::{IpAddr, Ipv6Addr};

/// Why the kernel would not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// ENODEV.
    #[error("{0}: no such device")]
    NoDevice(String),
    /// ENETDOWN.
    #[error("{0} is down")]
    Down(String),
    /// EEXIST.
    #[error("{0} exists already")]
    Exists(String),
    /// EINVAL and alike.
    #[error("{0} cannot be")]
    Invalid(String),
}

/// Does to a namespace what the kernel would do.
///
/// # Errors
/// What the kernel would refuse; the state is then unchanged.
pub fn apply_to(net: &mut NetState, change: &Change) -> Result<(), Refused> {
    match change {
        Change::CreateVxlan {
            name,
            mac,
            mtu,
            alias,
            vxlan,
        } => create_vxlan(net, name, *mac, *mtu, alias, vxlan),
        Change::SetLink { name, set } => set_link(net, name, set),
        Change::DeleteLink(name) => {
            link_down(net, name);
            net.addresses.retain(|address| address.interface != *name);
            net.fdb.retain(|entry| entry.device != *name);
            net.links.remove(name);
            Ok(())
        }
        Change::AddAddress(address) => {
            link(net, &address.interface)?;
            // `ipv6_add_addr`: whatever its prefix length.
            let is_same = |other: &Address| (&other.interface, other.ip) == (&address.interface, address.ip);
            if address.ip.is_ipv6() && net.addresses.iter().any(is_same) && !net.addresses.contains(address) {
                return Err(Refused::Exists(address.ip.to_string()));
            }
            net.addresses.insert(address.clone());
            Ok(())
        }
        Change::DeleteAddress(address) => {
            delete_address(net, address);
            Ok(())
        }
        Change::ReplaceRoute(route) => replace_route(net, route),
        Change::DeleteRoute(route) => {
            net.routes.remove(route);
            Ok(())
        }
        Change::ReplaceNeighbour(neighbour) => {
            // Linux takes it, and flushes it with the next event: to count on it is a mistake.
            if !link(net, &neighbour.device)?.is_up {
                return Err(Refused::Down(neighbour.device.clone()));
            }
            remove_neighbour(net, neighbour);
            net.neighbours.insert(neighbour.clone());
            Ok(())
        }
        Change::DeleteNeighbour(neighbour) => {
            remove_neighbour(net, neighbour);
            Ok(())
        }
        Change::ReplaceFdb(entry) => {
            if !matches!(link(net, &entry.device)?.kind, LinkKind::Vxlan(_)) {
                return Err(Refused::Invalid(format!("forwarding entry on {}", entry.device)));
            }
            let old: Vec<FdbEntry> = fdb_at(net, &entry.device, entry.mac).cloned().collect();
            for old in old {
                net.fdb.remove(&old);
            }
            net.fdb.insert(entry.clone());
            Ok(())
        }
        Change::DeleteFdb(entry) => {
            net.fdb.remove(entry);
            Ok(())
        }
        // Kernel parameters are no part of this state: see `write_sysctl`.
        Change::WriteSysctl { .. } => Ok(()),
    }
}

/// `ip link set NAME down`: routes and neighbours go, IPv6 addresses too; forwarding entries and IPv4 addresses stay.
pub fn link_down(net: &mut NetState, name: &str) {
    if let Some(link) = net.links.get_mut(name) {
        link.is_up = false;
    }
    net.routes.retain(|route| route.device.as_deref() != Some(name));
    net.neighbours.retain(|neighbour| neighbour.device != name);
    net.addresses
        .retain(|address| address.interface != name || address.ip.is_ipv4());
}

fn remove_neighbour(net: &mut NetState, like: &Neighbour) {
    let old: Vec<Neighbour> = neighbours_at(net, &like.device, like.ip).cloned().collect();
    for old in old {
        net.neighbours.remove(&old);
    }
}

fn link<'a>(net: &'a NetState, name: &str) -> Result<&'a Link, Refused> {
    net.links.get(name).ok_or_else(|| Refused::NoDevice(name.to_owned()))
}

fn create_vxlan(net: &mut NetState, name: &str, mac: Mac, mtu: u32, alias: &str, vxlan: &Vxlan) -> Result<(), Refused> {
    if net.links.contains_key(name) {
        return Err(Refused::Exists(name.to_owned()));
    }
    let is_same = |link: &Link| matches!(&link.kind, LinkKind::Vxlan(other) if (other.vni, other.port) == (vxlan.vni, vxlan.port));
    if let Some((other, _)) = net.links.iter().find(|(_, link)| is_same(link)) {
        return Err(Refused::Exists(format!("{other} with the same identifier and port")));
    }
    let most = most_mtu(net, vxlan)?;
    let link = Link {
        mac: Some(mac),
        mtu: mtu.min(most),
        is_up: false,
        alias: Some(alias.to_owned()),
        makes_link_local: Some(false),
        kind: LinkKind::Vxlan(vxlan.clone()),
    };
    net.links.insert(name.to_owned(), link);
    Ok(())
}

/// What a vxlan can carry over the device below it.
fn most_mtu(net: &NetState, vxlan: &Vxlan) -> Result<u32, Refused> {
    let Some(below) = &vxlan.device else {
        return Ok(65_535);
    };
    let family = vxlan.local.map_or(Family::V4, Family::of);
    Ok(link(net, below)?.mtu.saturating_sub(overhead(family)))
}

fn set_link(net: &mut NetState, name: &str, set: &LinkSetting) -> Result<(), Refused> {
    let mut changed = link(net, name)?.clone();
    match set {
        LinkSetting::Up => {
            changed.is_up = true;
            make_link_local(net, name, &changed);
        }
        LinkSetting::Mac(mac) => {
            if changed.mac != Some(*mac) {
                net.neighbours.retain(|neighbour| neighbour.device != name);
            }
            changed.mac = Some(*mac);
        }
        LinkSetting::Mtu(mtu) => {
            if let LinkKind::Vxlan(vxlan) = &changed.kind
                && *mtu > most_mtu(net, vxlan)?
            {
                return Err(Refused::Invalid(format!("MTU {mtu} of {name}")));
            }
            if *mtu < IPV6_MIN_MTU {
                drop_ipv6(net, name);
                changed.makes_link_local = None;
            } else if changed.mtu < IPV6_MIN_MTU {
                // IPv6 begins anew, with the kernel's own default.
                changed.makes_link_local = Some(true);
                make_link_local(net, name, &changed);
            }
            changed.mtu = *mtu;
        }
        LinkSetting::Alias(alias) => changed.alias = Some(alias.clone()),
        LinkSetting::MakesLinkLocal(makes) => changed.makes_link_local = Some(*makes),
        LinkSetting::VxlanSource { local, device } => {
            link(net, device)?;
            let LinkKind::Vxlan(vxlan) = &mut changed.kind else {
                return Err(Refused::Invalid(format!("{name} as vxlan")));
            };
            if vxlan.local.map_or(Family::V4, Family::of) != Family::of(*local) {
                return Err(Refused::Invalid(format!("another family for {name}")));
            }
            vxlan.local = Some(*local);
            vxlan.device = Some(device.clone());
        }
        LinkSetting::VxlanUsual { .. } => {
            let LinkKind::Vxlan(vxlan) = &mut changed.kind else {
                return Err(Refused::Invalid(format!("{name} as vxlan")));
            };
            vxlan
                .unusual
                .retain(|word, _| !Vxlan::CHANGEABLE.contains(&word.as_str()));
        }
        LinkSetting::VxlanLearns(learns) => {
            let LinkKind::Vxlan(vxlan) = &mut changed.kind else {
                return Err(Refused::Invalid(format!("{name} as vxlan")));
            };
            vxlan.learns = *learns;
        }
    }
    net.links.insert(name.to_owned(), changed);
    Ok(())
}

/// A device that is up has its link-local address of the hardware address (RFC 4291, appendix A), unless it was told not to.
fn make_link_local(net: &mut NetState, name: &str, link: &Link) {
    if let (true, Some(true), Some(Mac([a, b, c, d, e, f]))) = (link.is_up, link.makes_link_local, link.mac) {
        let octets = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f];
        net.addresses.insert(Address {
            interface: name.to_owned(),
            ip: Ipv6Addr::from(octets).into(),
            prefix: 64,
        });
    }
}

/// What a device loses when its MTU is too small for IPv6.
fn drop_ipv6(net: &mut NetState, name: &str) {
    net.addresses
        .retain(|address| address.interface != name || address.ip.is_ipv4());
    net.neighbours
        .retain(|neighbour| neighbour.device != name || neighbour.ip.is_ipv4());
    net.routes
        .retain(|route| route.device.as_deref() != Some(name) || route.destination.addr().is_ipv4());
}

/// With a device's last IPv4 address go its IPv4 routes and neighbours (`fib_inetaddr_event`, `fib_disable_ip`).
fn delete_address(net: &mut NetState, address: &Address) {
    let name = &address.interface;
    let removed = net.addresses.remove(address);
    let has_ipv4 = net
        .addresses
        .iter()
        .any(|other| other.interface == *name && other.ip.is_ipv4());
    if removed && address.ip.is_ipv4() && !has_ipv4 {
        net.neighbours
            .retain(|neighbour| neighbour.device != *name || !neighbour.ip.is_ipv4());
        net.routes
            .retain(|route| route.device.as_ref() != Some(name) || !route.destination.addr().is_ipv4());
    }
}

/// IPv4 takes the place of the first; IPv6 of all (`fib6_add_rt2node` removes the siblings too).
fn replace_route(net: &mut NetState, route: &Route) -> Result<(), Refused> {
    if let Some(device) = route.device.as_deref().filter(|device| *device != "lo") {
        if !link(net, device)?.is_up {
            return Err(Refused::Down(device.to_owned()));
        }
        if let Some(gateway) = route.gateway
            && !route.is_onlink
            && !is_on_link(net, device, gateway)
        {
            return Err(Refused::Invalid(format!("gateway {gateway} by {device}")));
        }
    }
    if route.table == TABLE_MAIN {
        let is_ipv4 = route.destination.addr().is_ipv4();
        let old: Vec<Route> = routes_at(net, route.destination, route.metric)
            .take(if is_ipv4 { 1 } else { usize::MAX })
            .cloned()
            .collect();
        for old in old {
            net.routes.remove(&old);
        }
    }
    net.routes.insert(route.clone());
    Ok(())
}

/// Whether a gateway is a neighbour by the device's addresses, by a route of its own, or by its kind.
fn is_on_link(net: &NetState, device: &str, gateway: IpAddr) -> bool {
    let holds = |address: &Address| {
        address.interface == device && IpNet::new(address.ip, address.prefix).is_ok_and(|net| net.contains(&gateway))
    };
    let is_link_local = matches!(gateway, IpAddr::V6(ip) if ip.is_unicast_link_local());
    let leads = |route: &Route| {
        route.gateway.is_none() && route.device.as_deref() == Some(device) && route.destination.addr() == gateway
    };
    is_link_local || net.addresses.iter().any(holds) || net.routes.iter().any(leads)
}
