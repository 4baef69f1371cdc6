//! Addresses, routes, neighbours and forwarding entries.

use super::{ChangeError, Changer, Deed};
use crate::{
    Address, FdbEntry, Neighbour, NextHop, Route,
    numbers::{
        AF_BRIDGE, AF_INET, AF_INET6, IFA_ADDRESS, IFA_F_NODAD, IFA_LOCAL, NDA_DST, NDA_IFINDEX, NDA_LLADDR, NDA_PORT,
        NDA_PROTOCOL, NDA_VNI, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, NTF_SELF, NUD_PERMANENT, NUD_REACHABLE,
        RTA_DST, RTA_GATEWAY, RTA_METRICS, RTA_MULTIPATH, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE, RTA_VIA,
        RTAX_MTU, RTM_DELADDR, RTM_DELNEIGH, RTM_DELROUTE, RTM_GETADDR, RTM_NEWADDR, RTM_NEWNEIGH, RTM_NEWROUTE,
        RTNH_F_ONLINK,
    },
    wire::{Message, attribute, ip_bytes},
};
use std::net::IpAddr;

impl Changer {
    /// Adds an address. IPv6 has each address but once on a device: with another prefix length it is refused (`EEXIST`).
    pub(super) fn add_address(&mut self, address: &Address) -> Result<(), ChangeError> {
        let deed = Deed::new("address add", address_text(address));
        let build = |kind| move |indices: &[u32]| address_message(kind, address, indices);
        let devices = [address.interface.as_str()];
        let result = self.send_on(&devices, NLM_F_CREATE | NLM_F_EXCL, build(RTM_NEWADDR));
        let is_there = matches!(&result, Err((error, _)) if error.raw_os_error() == Some(libc::EEXIST));
        if is_there && (address.ip.is_ipv4() || self.prefix_of_v6(address) == Some(address.prefix)) {
            return Ok(());
        }
        deed.done(result, &[])
    }

    /// The prefix length with which a device has an IPv6 address.
    fn prefix_of_v6(&mut self, address: &Address) -> Option<u8> {
        let index = self.index(&address.interface).ok()?;
        // All else in a question must be zero.
        let mut fixed = vec![AF_INET6, 0, 0, 0];
        fixed.extend_from_slice(&index.to_ne_bytes());
        let request = Message::new(RTM_GETADDR, &fixed).with(IFA_ADDRESS, &ip_bytes(address.ip));
        let answer = self.exchange(&request, 0).ok()??;
        answer.body.get(1).copied()
    }

    pub(super) fn delete_address(&mut self, address: &Address) -> Result<(), ChangeError> {
        let result = self.send_on(&[&address.interface], 0, |indices| {
            address_message(RTM_DELADDR, address, indices)
        });
        Deed::new("address delete", address_text(address)).done(result, &[libc::EADDRNOTAVAIL, libc::ENODEV])
    }

    /// Adds a route where none has the same destination, table and metric; else `EEXIST`, even if it is the very same route.
    pub fn add_route_exclusively(&mut self, route: &Route) -> Result<(), ChangeError> {
        self.route("route add", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route, &[])
    }

    /// Adds a route or takes the place of another, without a moment in which there is none.
    pub(super) fn replace_route(&mut self, route: &Route) -> Result<(), ChangeError> {
        let replace =
            |changer: &mut Self| changer.route("route replace", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE, route, &[]);
        let outcome = replace(self);
        let (Err(error), Some(guide)) = (&outcome, guide(route)) else {
            return outcome;
        };
        if error.errno() != Some(libc::EINVAL) || self.add_route_exclusively(&guide).is_err() {
            return outcome;
        }
        let outcome = replace(self);
        let removed = self.delete_route(&guide);
        outcome.and(removed)
    }

    /// Removes a route with this destination, table, metric, protocol and next hop, whatever its MTU. (To the kernel an IPv4 metric of 0
    /// fits any, the lowest first.)
    pub(super) fn delete_route(&mut self, route: &Route) -> Result<(), ChangeError> {
        let gone = [libc::ESRCH, libc::ENODEV];
        self.route("route delete", RTM_DELROUTE, 0, route, &gone)
    }

    fn route(
        &mut self,
        operation: &'static str,
        kind: u16,
        flags: u16,
        route: &Route,
        fine: &[i32],
    ) -> Result<(), ChangeError> {
        let hops = route.next_hops.iter().filter_map(|hop| hop.device.as_deref());
        let devices: Vec<&str> = route.device.as_deref().into_iter().chain(hops).collect();
        let result = self.send_on(&devices, flags, |indices| route_message(kind, route, indices));
        let object = format!("{} table {} metric {}", route.destination, route.table, route.metric);
        Deed::new(operation, object).done(result, fine)
    }

    /// Adds or replaces a neighbour. A protocol of 0 leaves the one that is there: the kernel knows no way back.
    pub(super) fn replace_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), ChangeError> {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        let result = self.send_on(&[&neighbour.device], flags, |indices| {
            neighbour_message(RTM_NEWNEIGH, neighbour, indices)
        });
        Deed::new("neighbour replace", neighbour_text(neighbour)).done(result, &[])
    }

    pub(super) fn delete_neighbour(&mut self, neighbour: &Neighbour) -> Result<(), ChangeError> {
        let result = self.send_on(&[&neighbour.device], 0, |indices| {
            neighbour_message(RTM_DELNEIGH, neighbour, indices)
        });
        Deed::new("neighbour delete", neighbour_text(neighbour)).done(result, &[libc::ENOENT, libc::ENODEV])
    }

    /// Makes an entry the only one of its hardware address. Group addresses and the all-zero one are refused (`EOPNOTSUPP`): of those a
    /// vxlan can have several, and the kernel replaces none.
    pub(super) fn replace_fdb(&mut self, entry: &FdbEntry) -> Result<(), ChangeError> {
        let flags = NLM_F_CREATE | NLM_F_REPLACE;
        let result = self.send_on(&fdb_devices(entry), flags, |indices| {
            fdb_message(RTM_NEWNEIGH, entry, indices)
        });
        Deed::new("fdb replace", fdb_text(entry)).done(result, &[])
    }

    pub(super) fn delete_fdb(&mut self, entry: &FdbEntry) -> Result<(), ChangeError> {
        let result = self.send_on(&fdb_devices(entry), 0, |indices| {
            fdb_message(RTM_DELNEIGH, entry, indices)
        });
        Deed::new("fdb delete", fdb_text(entry)).done(result, &[libc::ENOENT, libc::ENODEV])
    }
}

/// The way to an IPv6 gateway itself, if it is declared to be on-link.
///
/// The kernel refuses such a gateway where the table leads to it by another device (`ip6_route_check_nh_onlink()`, net/ipv6/route.c), as the
/// very route does that is to be replaced, if it goes by another device and the gateway is an address of its destination.
fn guide(route: &Route) -> Option<Route> {
    let gateway = route.gateway.filter(|gateway| gateway.is_ipv6() && route.is_onlink)?;
    Some(Route {
        table: libc::RT_TABLE_MAIN.into(),
        destination: gateway.into(),
        gateway: None,
        mtu: None,
        source: None,
        is_onlink: false,
        ..route.clone()
    })
}

fn address_text(address: &Address) -> String {
    format!("{}/{} dev {}", address.ip, address.prefix, address.interface)
}

fn neighbour_text(neighbour: &Neighbour) -> String {
    format!("{} dev {}", neighbour.ip, neighbour.device)
}

fn fdb_text(entry: &FdbEntry) -> String {
    match entry.destination {
        Some(destination) => format!("{} dev {} dst {destination}", entry.mac, entry.device),
        None => format!("{} dev {}", entry.mac, entry.device),
    }
}

fn family(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => AF_INET,
        IpAddr::V6(_) => AF_INET6,
    }
}

/// A message with `struct ifaddrmsg` of linux/if_addr.h.
fn address_message(kind: u16, address: &Address, indices: &[u32]) -> Message {
    let index = indices.first().copied().unwrap_or_default();
    // As ip(8) does: the kernel finds the scope of an IPv6 address by itself.
    let is_loopback = matches!(address.ip, IpAddr::V4(ip) if ip.is_loopback());
    let scope = if is_loopback {
        libc::RT_SCOPE_HOST
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    let flags = if address.ip.is_ipv6() { IFA_F_NODAD } else { 0 };
    let mut fixed = vec![family(address.ip), address.prefix, flags, scope];
    fixed.extend_from_slice(&index.to_ne_bytes());
    let ip = ip_bytes(address.ip);
    Message::new(kind, &fixed).with(IFA_LOCAL, &ip).with(IFA_ADDRESS, &ip)
}

/// A message with `struct rtmsg` of linux/rtnetlink.h. `indices` are those of the route's device and then of its next hops' devices.
fn route_message(kind: u16, route: &Route, indices: &[u32]) -> Message {
    let mut indices = indices.iter().copied();
    let short_table = u8::try_from(route.table).unwrap_or(libc::RT_TABLE_UNSPEC);
    let destination = route.destination.network();
    let fixed = [
        family(destination),
        route.destination.prefix_len(),
        0,
        0,
        short_table,
        route.protocol,
        route.scope,
        route.kind.number(),
    ];
    let mut flags = [0; 4];
    if route.is_onlink {
        flags = u32::from(RTNH_F_ONLINK).to_ne_bytes();
    }
    let mut message = Message::new(kind, &[&fixed[..], &flags].concat())
        .with(RTA_TABLE, &route.table.to_ne_bytes())
        .with(RTA_DST, &ip_bytes(destination));
    if route.metric != 0 {
        message = message.with(RTA_PRIORITY, &route.metric.to_ne_bytes());
    }
    if let Some(mtu) = route.mtu {
        message = message.with_nested(RTA_METRICS, &attribute(RTAX_MTU, &mtu.to_ne_bytes()));
    }
    message = message.with_some(RTA_PREFSRC, route.source.map(ip_bytes));
    if route.device.is_some() {
        message = message.with_some(RTA_OIF, indices.next().map(u32::to_ne_bytes));
    }
    if let Some(gateway) = route.gateway {
        message.body.extend(gateway_attribute(gateway, destination));
    }
    if !route.next_hops.is_empty() {
        let hops: Vec<u8> = route
            .next_hops
            .iter()
            .flat_map(|hop| next_hop(hop, destination, &mut indices))
            .collect();
        message = message.with_nested(RTA_MULTIPATH, &hops);
    }
    message
}

/// `struct rtnexthop` with its attributes.
fn next_hop(hop: &NextHop, destination: IpAddr, indices: &mut impl Iterator<Item = u32>) -> Vec<u8> {
    let index = hop.device.as_ref().and_then(|_| indices.next()).unwrap_or_default();
    let gateway = hop.gateway.map(|gateway| gateway_attribute(gateway, destination));
    let gateway = gateway.unwrap_or_default();
    let flags = if hop.is_onlink { RTNH_F_ONLINK } else { 0 };
    let hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    let mut bytes = ((8 + gateway.len()) as u16).to_ne_bytes().to_vec();
    bytes.extend([flags, hops]);
    bytes.extend(index.to_ne_bytes());
    bytes.extend(gateway);
    bytes
}

/// A gateway of the destination's family, or one of the other with its family before it (`struct rtvia`).
fn gateway_attribute(gateway: IpAddr, destination: IpAddr) -> Vec<u8> {
    if family(gateway) == family(destination) {
        return attribute(RTA_GATEWAY, &ip_bytes(gateway));
    }
    let family = u16::from(family(gateway)).to_ne_bytes();
    attribute(RTA_VIA, &[&family[..], &ip_bytes(gateway)].concat())
}

/// A message with `struct ndmsg` of linux/neighbour.h.
fn neighbour_header(kind: u16, family: u8, is_permanent: bool, flags: u8, indices: &[u32]) -> Message {
    let index = indices.first().copied().unwrap_or_default();
    let state = if is_permanent { NUD_PERMANENT } else { NUD_REACHABLE };
    let mut fixed = vec![family, 0, 0, 0];
    fixed.extend_from_slice(&index.to_ne_bytes());
    fixed.extend_from_slice(&state.to_ne_bytes());
    fixed.extend_from_slice(&[flags, 0]);
    Message::new(kind, &fixed)
}

fn neighbour_message(kind: u16, neighbour: &Neighbour, indices: &[u32]) -> Message {
    let message = neighbour_header(
        kind,
        family(neighbour.ip),
        neighbour.is_permanent,
        neighbour.flags,
        indices,
    )
    .with(NDA_DST, &ip_bytes(neighbour.ip))
    .with_some(NDA_LLADDR, neighbour.mac.map(|mac| mac.0));
    match neighbour.protocol {
        0 => message,
        protocol => message.with(NDA_PROTOCOL, &[protocol]),
    }
}

/// The devices that an entry names: its own, then the one that leads on.
fn fdb_devices(entry: &FdbEntry) -> Vec<&str> {
    let via = entry.via.as_deref().filter(|via| !via.starts_with('#'));
    [entry.device.as_str()].into_iter().chain(via).collect()
}

fn fdb_message(kind: u16, entry: &FdbEntry, indices: &[u32]) -> Message {
    let via = match entry.via.as_deref().map(|via| via.strip_prefix('#')) {
        Some(Some(number)) => number.parse().ok(),
        Some(None) => indices.get(1).copied(),
        None => None,
    };
    neighbour_header(kind, AF_BRIDGE, entry.is_permanent, NTF_SELF | entry.flags, indices)
        .with(NDA_LLADDR, &entry.mac.0)
        .with_some(NDA_DST, entry.destination.map(ip_bytes))
        .with_some(NDA_PORT, entry.port.map(u16::to_be_bytes))
        .with_some(NDA_VNI, entry.vni.map(u32::to_ne_bytes))
        .with_some(NDA_IFINDEX, via.map(u32::to_ne_bytes))
}
