//! What a network that lives by tunnels and routes must have on a node, and how that differs from what is there: the part that flannel, kindnet,
//! Calico and others have in common. Whatever is not named here is nobody's business.

use super::found::Found;
use ipnet::IpNet;
use netcheck_cni_intent::words;
use netcheck_node_state::{FdbEntry, Link, LinkKind, Mac, Neighbour, NetState, Route, RouteKind, Vxlan};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// `RT_TABLE_MAIN` of linux/rtnetlink.h.
const MAIN: u32 = 254;

/// What must be there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// What the pods of its agent are called, which puts things right when it starts.
    pub agent: &'static str,
    /// Tunnels; permanent neighbours and all forwarding entries on them are the network's.
    pub tunnels: Vec<Tunnel>,
    /// Nothing is known of ways: no route is one too many.
    pub has_unknown_ways: bool,
    /// Ways to other nodes' ranges.
    pub ways: Vec<Way>,
    /// Neighbours on tunnels, by device and address.
    pub neighbours: BTreeMap<(String, IpAddr), Mac>,
    /// Forwarding entries of tunnels, by device and hardware address.
    pub fdb: BTreeMap<(String, Mac), IpAddr>,
    /// The network's ranges as a whole: a route by a gateway to a part of them is the network's.
    pub ranges: Vec<IpNet>,
    /// Parts of them that are the node's own.
    pub own: Vec<IpNet>,
}

/// The device of a tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tunnel {
    /// Its name.
    pub name: String,
    /// What kind of device it is.
    pub kind: TunnelKind,
    /// Its hardware address, if that is known.
    pub mac: Option<Mac>,
    /// In bytes, if that is known.
    pub mtu: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<IpNet>,
}

/// What kind of tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TunnelKind {
    /// VXLAN (RFC 7348).
    Vxlan {
        /// VXLAN network identifier.
        vni: u32,
        /// UDP port.
        port: u16,
        /// Source of what it sends, if that is known.
        local: Option<IpAddr>,
        /// Whether it learns.
        learns: bool,
    },
    /// Another, by `IFLA_INFO_KIND`: `ipip`, `tun`.
    Other(&'static str),
}

/// The way to a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The range.
    pub to: IpNet,
    /// The next hop, if there is to be one.
    pub via: Option<IpAddr>,
    /// The device, if that is known.
    pub device: Option<String>,
}

impl TunnelKind {
    fn words(&self) -> String {
        match self {
            Self::Vxlan { vni, port, .. } => format!("a vxlan with VNI {vni} and port {port}"),
            Self::Other(kind) => format!("a device of kind {kind}"),
        }
    }
}

impl Way {
    fn fits(&self, route: &Route) -> bool {
        route.kind == RouteKind::Unicast
            && route.gateway == self.via
            && self.device.is_none_or_same(route.device.as_ref())
    }

    /// Whether it is a route to the next hop alone, by the same device: it leads nobody astray.
    fn is_next_hop(&self, route: &Route) -> bool {
        route.gateway.is_none()
            && self.via.is_some_and(|via| route.destination == IpNet::from(via))
            && self.device.is_none_or_same(route.device.as_ref())
    }

    fn words(&self) -> String {
        let via = self.via.map(|via| format!(" via {via}")).unwrap_or_default();
        let device = self.device.as_ref().map(|device| format!(" dev {device}"));
        format!("{}{via}{}", self.to, device.unwrap_or_default())
    }
}

trait NoneOrSame<T> {
    /// Nothing is asked for, or what is there is the same.
    fn is_none_or_same(&self, other: Option<&T>) -> bool;
}

impl<T: PartialEq> NoneOrSame<T> for Option<T> {
    fn is_none_or_same(&self, other: Option<&T>) -> bool {
        self.as_ref().is_none_or(|wanted| other == Some(wanted))
    }
}

/// Compares.
pub fn differences(expected: &Expected, net: &NetState) -> Vec<Found> {
    let mut found = Vec::new();
    for tunnel in &expected.tunnels {
        device(&mut found, tunnel, net, expected.agent);
    }
    neighbours(&mut found, expected, net);
    fdb(&mut found, expected, net);
    if !expected.has_unknown_ways {
        ways(&mut found, expected, net);
    }
    found
}

fn device(found: &mut Vec<Found>, tunnel: &Tunnel, net: &NetState, agent: &str) {
    let name = &tunnel.name;
    let look = format!("ip -d address show dev {name}");
    let mut say = |id, expected: String, actual: String| {
        found.push(
            Found::new(id, format!("link {name}"), expected, actual)
                .look(&look)
                .fix(anew(agent))
                .on(name),
        );
    };
    let wanted = tunnel.kind.words();
    let Some(link) = net.links.get(name) else {
        say("verify-overlay-missing", wanted, "no such device".to_owned());
        return;
    };
    match (&tunnel.kind, &link.kind) {
        (TunnelKind::Vxlan { .. }, LinkKind::Vxlan(vxlan)) => {
            vxlan_settings(&mut say, &tunnel.kind, vxlan, link);
        }
        (TunnelKind::Other(wanted), LinkKind::Other(kind)) if kind == wanted => {}
        _ => {
            say("verify-name-taken", wanted, words::link(link));
            return;
        }
    }
    settings(&mut say, tunnel, link);
    for wanted in &tunnel.addresses {
        let is_it = |ip: IpAddr, prefix| (ip, prefix) == (wanted.addr(), wanted.prefix_len());
        let of_device = net.addresses.iter().filter(|address| address.interface == *name);
        if !of_device.clone().any(|address| is_it(address.ip, address.prefix)) {
            say(
                "verify-device-address-missing",
                wanted.to_string(),
                "nothing".to_owned(),
            );
        }
        let of_family = of_device.filter(|address| address.ip.is_ipv4() == wanted.addr().is_ipv4());
        for stray in of_family.filter(|address| !is_it(address.ip, address.prefix) && !is_link_local(address.ip)) {
            say(
                "verify-device-address-stray",
                wanted.to_string(),
                format!("{}/{}", stray.ip, stray.prefix),
            );
        }
    }
}

fn vxlan_settings(say: &mut impl FnMut(&'static str, String, String), wanted: &TunnelKind, vxlan: &Vxlan, link: &Link) {
    let TunnelKind::Vxlan {
        vni,
        port,
        local,
        learns,
    } = wanted
    else {
        return;
    };
    if (vxlan.vni, vxlan.port) != (*vni, *port) {
        say("verify-overlay-settings", wanted.words(), words::link(link));
    }
    if !local.is_none_or_same(vxlan.local.as_ref()) {
        let text = |ip: Option<IpAddr>| ip.map_or_else(|| "no local address".to_owned(), |ip| format!("local {ip}"));
        say("verify-overlay-source", text(*local), text(vxlan.local));
    }
    if vxlan.learns != *learns {
        let text = |learns| if learns { "learning" } else { "nolearning" }.to_owned();
        say("verify-overlay-learning", text(*learns), text(vxlan.learns));
    }
}

/// Agents look at devices and routes when they start, and few of them later.
fn anew(agent: &str) -> String {
    format!("delete the {agent} pod of this node: it puts that right when it starts")
}

fn settings(say: &mut impl FnMut(&'static str, String, String), tunnel: &Tunnel, link: &Link) {
    if let Some(mac) = tunnel.mac.filter(|_| tunnel.mac != link.mac) {
        let is = link.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
        say("verify-overlay-mac", mac.to_string(), is);
    }
    if let Some(mtu) = tunnel.mtu.filter(|mtu| *mtu != link.mtu) {
        say("verify-overlay-mtu", format!("mtu {mtu}"), format!("mtu {}", link.mtu));
    }
    if !link.is_up {
        say("verify-overlay-down", "up".to_owned(), "down".to_owned());
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn neighbours(found: &mut Vec<Found>, expected: &Expected, net: &NetState) {
    let look = |device: &str| format!("ip neighbour show dev {device}");
    let by_key = by(&net.neighbours, |one| (one.device.as_str(), one.ip));
    for ((device, ip), mac) in &expected.neighbours {
        let there = by_key.get(&(device.as_str(), *ip)).and_then(|all| all.first());
        let wanted = format!("{ip} dev {device} lladdr {mac} PERMANENT");
        let (id, actual) = match there {
            Some(one) if one.mac == Some(*mac) && one.is_permanent => continue,
            Some(one) => ("verify-neighbour-wrong", words::neighbour(one)),
            None => ("verify-neighbour-missing", "nothing".to_owned()),
        };
        let fix = format!("ip neighbour replace {ip} lladdr {mac} nud permanent dev {device}");
        found.push(
            Found::new(id, format!("neighbour {ip}"), wanted, actual)
                .look(look(device))
                .fix(fix)
                .on(device),
        );
    }
    let is_stale = |one: &&Neighbour| {
        one.is_permanent
            && is_tunnel(expected, &one.device)
            && !expected.neighbours.contains_key(&(one.device.clone(), one.ip))
    };
    for one in net.neighbours.iter().filter(is_stale) {
        found.push(
            Found::new(
                "verify-neighbour-stale",
                format!("neighbour {}", one.ip),
                "nothing",
                words::neighbour(one),
            )
            .look(look(&one.device))
            .fix(format!("ip neighbour del {} dev {}", one.ip, one.device))
            .on(&one.device),
        );
    }
}

fn is_tunnel(expected: &Expected, device: &str) -> bool {
    expected.tunnels.iter().any(|tunnel| tunnel.name == device)
}

fn fdb(found: &mut Vec<Found>, expected: &Expected, net: &NetState) {
    let look = |device: &str| format!("bridge fdb show dev {device}");
    let by_key = by(&net.fdb, |one| (one.device.as_str(), one.mac));
    for ((device, mac), destination) in &expected.fdb {
        let there = by_key.get(&(device.as_str(), *mac));
        let there = there.map(Vec::as_slice).unwrap_or_default();
        let wanted = format!("{mac} dev {device} dst {destination} self permanent");
        let is_it = |one: &FdbEntry| {
            one.destination == Some(*destination) && one.is_permanent && one.port.is_none() && one.vni.is_none()
        };
        let (id, actual) = match there {
            [one] if is_it(one) => continue,
            [] => ("verify-fdb-missing", "nothing".to_owned()),
            several => {
                let texts: Vec<String> = several.iter().map(|one| words::fdb(one)).collect();
                ("verify-fdb-wrong", texts.join(" and "))
            }
        };
        found.push(
            Found::new(id, format!("fdb {mac}"), &wanted, actual)
                .look(look(device))
                .fix(format!("bridge fdb replace {wanted}"))
                .on(device),
        );
    }
    let is_stale = |one: &&FdbEntry| {
        is_tunnel(expected, &one.device) && !expected.fdb.contains_key(&(one.device.clone(), one.mac))
    };
    for one in net.fdb.iter().filter(is_stale) {
        found.push(
            Found::new(
                "verify-fdb-stale",
                format!("fdb {}", one.mac),
                "nothing",
                words::fdb(one),
            )
            .look(look(&one.device))
            .fix(format!("bridge fdb del {}", words::fdb(one)))
            .on(&one.device),
        );
    }
}

fn ways(found: &mut Vec<Found>, expected: &Expected, net: &NetState) {
    let look = |to: &IpNet| format!("ip route show {to}");
    let wanted: BTreeSet<IpNet> = expected.ways.iter().map(|way| way.to).collect();
    // Nets are in order of their addresses: what is part of a range is between its first and its last.
    let by_net = by(in_main(net), |route| route.destination);
    for way in &expected.ways {
        let there = by_net.get(&way.to).map(Vec::as_slice).unwrap_or_default();
        let lowest = there.iter().map(|route| route.metric).min();
        let first = there.iter().find(|route| Some(route.metric) == lowest);
        let say = |id, actual: String| {
            let one = Found::new(id, format!("route {}", way.to), way.words(), actual)
                .look(look(&way.to))
                .fix(anew(expected.agent));
            match &way.device {
                Some(device) => one.on(device),
                None => one,
            }
        };
        match first {
            Some(route) if way.fits(route) => {}
            Some(route) if there.iter().any(|other| way.fits(other)) => {
                found.push(say("verify-route-shadowed", words::route(route)));
            }
            Some(route) => found.push(say("verify-route-wrong", words::route(route))),
            None => found.push(say("verify-route-missing", "nothing".to_owned())),
        }
        let is_part = |route: &&Route| {
            way.to.contains(&route.destination)
                && !wanted.contains(&route.destination)
                && !expected.own.iter().any(|own| own.contains(&route.destination))
                && !way.is_next_hop(route)
        };
        let all = by_net.range(way.to.trunc()..).map(|(_, routes)| routes);
        let within = all
            .flatten()
            .copied()
            .take_while(|route| route.destination.addr() <= way.to.broadcast());
        for part in within.filter(is_part) {
            found.push(
                Found::new(
                    "verify-route-shadowed",
                    words::route(part),
                    format!("{} decides", way.words()),
                    format!("{} decides", words::route(part)),
                )
                .look(look(&part.destination))
                .fix(format!("ip route del {}", words::route(part))),
            );
        }
    }
    let is_stale = |route: &&Route| {
        let is_of_ours = |net: &IpNet| net.contains(&route.destination) && *net != route.destination;
        route.gateway.is_some()
            && !wanted.contains(&route.destination)
            // Parts of a range that somebody has are told of above.
            && !wanted.iter().any(|way| way.contains(&route.destination))
            && (expected.ranges.iter().any(is_of_ours)
                || route.device.as_ref().is_some_and(|device| is_tunnel(expected, device)))
            && !expected.own.contains(&route.destination)
    };
    found.extend(in_main(net).filter(is_stale).map(stale_route));
}

/// A route of the network that leads to nobody.
pub fn stale_route(route: &Route) -> Found {
    Found::new(
        "verify-route-stale",
        format!("route {}", route.destination),
        "nothing",
        words::route(route),
    )
    .look(format!("ip route show {}", route.destination))
    .fix(format!("ip route del {}", words::route(route)))
}

/// Whether an address is on a link of the node.
pub fn is_on_link(net: &NetState, ip: IpAddr) -> bool {
    let nets = net
        .addresses
        .iter()
        .filter_map(|address| IpNet::new(address.ip, address.prefix).ok());
    nets.filter(|net| net.prefix_len() < net.max_prefix_len())
        .any(|net| net.contains(&ip))
}

/// Entries by what they are looked up by, each in its old order.
fn by<'a, T: 'a, K: Ord>(all: impl IntoIterator<Item = &'a T>, key: impl Fn(&'a T) -> K) -> BTreeMap<K, Vec<&'a T>> {
    let mut found: BTreeMap<K, Vec<&T>> = BTreeMap::new();
    for one in all {
        found.entry(key(one)).or_default().push(one);
    }
    found
}

fn in_main(net: &NetState) -> impl Iterator<Item = &Route> + Clone {
    net.routes.iter().filter(|route| route.table == MAIN)
}
