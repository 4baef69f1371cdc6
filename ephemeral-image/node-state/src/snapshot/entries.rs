//! Routes, neighbours and forwarding entries, from what the kernel says about them.

use super::Names;
use crate::{
    FdbEntry, Mac, Neighbour, NextHop, Route,
    netlink::{DumpError, dump},
    numbers::{
        AF_BRIDGE, AF_INET, AF_INET6, NDA_DST, NDA_IFINDEX, NDA_LLADDR, NDA_PORT, NDA_PROTOCOL, NDA_VNI,
        NTF_EXT_LEARNED, NTF_PROXY, NTF_ROUTER, NTF_STICKY, NUD_NOARP, NUD_PERMANENT, RTA_DST, RTA_GATEWAY,
        RTA_METRICS, RTA_MULTIPATH, RTA_OIF, RTA_PREFSRC, RTA_PRIORITY, RTA_TABLE, RTA_VIA, RTAX_MTU, RTM_F_CLONED,
        RTM_GETNEIGH, RTM_GETROUTE, RTM_NEWNEIGH, RTM_NEWROUTE, RTNH_F_ONLINK,
    },
    wire::{Message, attributes, ip, u16_at, u32_at},
};
use ipnet::IpNet;
use netlink_sys::protocols::NETLINK_ROUTE;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `struct rtmsg` of linux/rtnetlink.h, in bytes.
pub(crate) const ROUTE_HEADER: usize = 12;
/// `struct ndmsg` of linux/neighbour.h, in bytes.
const NEIGHBOUR_HEADER: usize = 12;
/// `struct rtnexthop`, in bytes.
const HOP_HEADER: usize = 8;

/// What the kernel says about the routes of all tables, of both families.
pub(super) fn dump_routes() -> Result<Vec<Message>, DumpError> {
    let mut answers = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut header = [0; ROUTE_HEADER];
        header[0] = family;
        answers.extend(dump(NETLINK_ROUTE, "routes", &Message::new(RTM_GETROUTE, &header))?);
    }
    Ok(answers)
}

/// What the kernel says about neighbours of both families.
pub(super) fn dump_neighbours() -> Result<Vec<Message>, DumpError> {
    let request = Message::new(RTM_GETNEIGH, &[0; NEIGHBOUR_HEADER]);
    dump(NETLINK_ROUTE, "neighbours", &request)
}

/// What the kernel says about forwarding entries.
pub(super) fn dump_fdb() -> Result<Vec<Message>, DumpError> {
    let mut header = [0; NEIGHBOUR_HEADER];
    header[0] = AF_BRIDGE;
    dump(
        NETLINK_ROUTE,
        "forwarding entries",
        &Message::new(RTM_GETNEIGH, &header),
    )
}

/// Reads a route. `None` if it is but a remembered answer, holds only for some sources or types of service, or leads to a device that is
/// gone.
pub(super) fn route(answer: &Message, names: &Names) -> Option<Route> {
    let &[family, length, source_length, service, table, protocol, scope, kind, ..] = answer.body.as_slice() else {
        return None;
    };
    let flags = u32_at(&answer.body, 8)?;
    let is_partial = source_length != 0 || service != 0 || flags & RTM_F_CLONED != 0;
    if answer.kind != RTM_NEWROUTE || is_partial {
        return None;
    }
    let any = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => return None,
    };
    let mut route = Route {
        table: table.into(),
        destination: IpNet::new(any, length).ok()?,
        metric: 0,
        kind: kind.into(),
        gateway: None,
        device: None,
        scope,
        protocol,
        mtu: None,
        source: None,
        is_onlink: flags & u32::from(RTNH_F_ONLINK) != 0,
        next_hops: vec![],
    };
    for (number, value) in answer.attributes(ROUTE_HEADER) {
        match number {
            RTA_TABLE => route.table = u32_at(value, 0)?,
            RTA_DST => route.destination = IpNet::new(ip(value)?, length).ok()?,
            RTA_PRIORITY => route.metric = u32_at(value, 0)?,
            RTA_OIF => route.device = Some(names.get(&u32_at(value, 0)?)?.clone()),
            RTA_PREFSRC => route.source = ip(value),
            RTA_GATEWAY | RTA_VIA => route.gateway = gateway(number, value),
            RTA_METRICS => {
                let mtu = attributes(value).find(|(metric, _)| *metric == RTAX_MTU);
                route.mtu = mtu.and_then(|(_, value)| u32_at(value, 0));
            }
            RTA_MULTIPATH => route.next_hops = next_hops(value, names)?,
            _ => {}
        }
    }
    Some(route)
}

fn gateway(number: u16, value: &[u8]) -> Option<IpAddr> {
    match number {
        RTA_GATEWAY => ip(value),
        // struct rtvia: the family stands before the address.
        RTA_VIA => ip(value.get(2..)?),
        _ => None,
    }
}

fn next_hops(mut rest: &[u8], names: &Names) -> Option<Vec<NextHop>> {
    let mut hops = Vec::new();
    while let Some(length) = u16_at(rest, 0).map(usize::from) {
        let hop = rest.get(..length)?;
        let mut inner = attributes(hop.get(HOP_HEADER..)?);
        hops.push(NextHop {
            gateway: inner.find_map(|(number, value)| gateway(number, value)),
            device: match u32_at(hop, 4)? {
                0 => None,
                index => Some(names.get(&index)?.clone()),
            },
            is_onlink: hop[2] & RTNH_F_ONLINK != 0,
            weight: u16::from(hop[3]) + 1,
        });
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Some(hops)
}

/// What `struct ndmsg` and its attributes say, of neighbours and of forwarding entries.
struct Entry {
    family: u8,
    device: String,
    state: u16,
    flags: u8,
    ip: Option<IpAddr>,
    mac: Option<Mac>,
    protocol: u8,
    port: Option<u16>,
    vni: Option<u32>,
    via: Option<String>,
}

/// Flags that somebody sets and that last; the others say where an entry is or what hardware did with it.
const LASTING: u8 = NTF_ROUTER | NTF_STICKY | NTF_EXT_LEARNED;

fn entry(answer: &Message, names: &Names) -> Option<Entry> {
    if answer.kind != RTM_NEWNEIGH {
        return None;
    }
    let mut entry = Entry {
        family: *answer.body.first()?,
        device: names.get(&u32_at(&answer.body, 4)?)?.clone(),
        state: u16_at(&answer.body, 8)?,
        flags: *answer.body.get(10)?,
        ip: None,
        mac: None,
        protocol: 0,
        port: None,
        vni: None,
        via: None,
    };
    for (number, value) in answer.attributes(NEIGHBOUR_HEADER) {
        match number {
            NDA_DST => entry.ip = ip(value),
            NDA_LLADDR => entry.mac = <[u8; 6]>::try_from(value).ok().map(Mac),
            NDA_PROTOCOL => entry.protocol = value.first().copied().unwrap_or_default(),
            NDA_PORT => entry.port = value.try_into().ok().map(u16::from_be_bytes),
            NDA_VNI => entry.vni = u32_at(value, 0),
            NDA_IFINDEX => {
                let index = u32_at(value, 0)?;
                entry.via = Some(names.get(&index).cloned().unwrap_or_else(|| format!("#{index}")));
            }
            _ => {}
        }
    }
    Some(entry)
}

/// Reads a neighbour. `None` for those that ip(8) does not show of itself: answers on another's behalf, those of no state, and those that
/// need no resolution (`NUD_NOARP`), such as groups.
pub(super) fn neighbour(answer: &Message, names: &Names) -> Option<Neighbour> {
    let entry = entry(answer, names)?;
    let is_shown = !matches!(entry.state, 0 | NUD_NOARP) && entry.flags & NTF_PROXY == 0;
    if !is_shown || !matches!(entry.family, AF_INET | AF_INET6) {
        return None;
    }
    Some(Neighbour {
        device: entry.device,
        ip: entry.ip?,
        mac: entry.mac,
        is_permanent: entry.state & NUD_PERMANENT != 0,
        protocol: entry.protocol,
        flags: entry.flags & LASTING,
    })
}

/// Reads a forwarding entry; `None` if its hardware address is not of six bytes.
pub(super) fn fdb(answer: &Message, names: &Names) -> Option<FdbEntry> {
    let entry = entry(answer, names)?;
    if entry.family != AF_BRIDGE {
        return None;
    }
    Some(FdbEntry {
        device: entry.device,
        mac: entry.mac?,
        destination: entry.ip,
        port: entry.port,
        vni: entry.vni,
        via: entry.via,
        is_permanent: entry.state & (NUD_PERMANENT | NUD_NOARP) != 0,
        flags: entry.flags & LASTING,
    })
}
