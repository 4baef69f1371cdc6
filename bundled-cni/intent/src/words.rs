//! Objects in the words of `ip`, `bridge` and `sysctl`, for people who read a difference.

use crate::names::{SCOPE_LINK, TABLE_MAIN};
use netcheck_node_state::{Address, FdbEntry, Link, LinkKind, Neighbour, Route, RouteKind};
use std::fmt::Write;

/// `RTN_*` of linux/rtnetlink.h, as ip(8) calls those that are not said otherwise.
const KINDS: [(u8, &str); 6] = [
    (3, "broadcast"),
    (4, "anycast"),
    (5, "multicast"),
    (6, "blackhole"),
    (8, "prohibit"),
    (9, "throw"),
];

/// As `ip route` says it.
pub fn route(route: &Route) -> String {
    let mut text = match route.kind {
        RouteKind::Unicast => String::new(),
        RouteKind::Local => "local ".to_owned(),
        RouteKind::Unreachable => "unreachable ".to_owned(),
        RouteKind::Other(number) => {
            let known = KINDS.iter().find(|(known, _)| *known == number);
            known.map_or_else(|| format!("type {number} "), |(_, word)| format!("{word} "))
        }
    };
    text.push_str(&destination(route));
    // Writing to a String cannot fail, here and below.
    if let Some(gateway) = route.gateway {
        let _ = write!(text, " via {gateway}");
    }
    if let Some(device) = &route.device {
        let _ = write!(text, " dev {device}");
    }
    if route.table != TABLE_MAIN {
        let _ = write!(text, " table {}", route.table);
    }
    let _ = write!(text, " proto {}", route.protocol);
    if route.scope == SCOPE_LINK {
        text.push_str(" scope link");
    } else if route.scope != 0 {
        let _ = write!(text, " scope {}", route.scope);
    }
    if route.metric != 0 {
        let _ = write!(text, " metric {}", route.metric);
    }
    if let Some(mtu) = route.mtu {
        let _ = write!(text, " mtu {mtu}");
    }
    if let Some(source) = route.source {
        let _ = write!(text, " src {source}");
    }
    if route.is_onlink {
        text.push_str(" onlink");
    }
    for hop in &route.next_hops {
        text.push_str(" nexthop");
        if let Some(gateway) = hop.gateway {
            let _ = write!(text, " via {gateway}");
        }
        if let Some(device) = &hop.device {
            let _ = write!(text, " dev {device}");
        }
    }
    text
}

/// A route's destination.
pub fn destination(route: &Route) -> String {
    let net = route.destination;
    if net.prefix_len() == 0 {
        "default".to_owned()
    } else if net.prefix_len() == net.max_prefix_len() {
        net.addr().to_string()
    } else {
        net.to_string()
    }
}

/// As `ip neigh` says it.
pub fn neighbour(neighbour: &Neighbour) -> String {
    let mut text = format!("{} dev {}", neighbour.ip, neighbour.device);
    if let Some(mac) = neighbour.mac {
        let _ = write!(text, " lladdr {mac}");
    }
    text.push_str(if neighbour.is_permanent {
        " PERMANENT"
    } else {
        " not permanent"
    });
    if neighbour.protocol != 0 {
        let _ = write!(text, " proto {}", neighbour.protocol);
    }
    flags(&mut text, neighbour.flags);
    text
}

/// As `bridge fdb` says it.
pub fn fdb(entry: &FdbEntry) -> String {
    let mut text = format!("{} dev {}", entry.mac, entry.device);
    if let Some(destination) = entry.destination {
        let _ = write!(text, " dst {destination}");
    }
    if let Some(port) = entry.port {
        let _ = write!(text, " port {port}");
    }
    if let Some(vni) = entry.vni {
        let _ = write!(text, " vni {vni}");
    }
    if let Some(via) = &entry.via {
        let _ = write!(text, " via {via}");
    }
    text.push_str(if entry.is_permanent { " self permanent" } else { " self" });
    flags(&mut text, entry.flags);
    text
}

/// `NTF_*` by number: their names are nobody's but the kernel's.
fn flags(text: &mut String, flags: u8) {
    if flags != 0 {
        let _ = write!(text, " flags {flags:#x}");
    }
}

/// As `ip addr` says it.
pub fn address(address: &Address) -> String {
    format!("{}/{} dev {}", address.ip, address.prefix, address.interface)
}

/// As `ip -d link` says it.
pub fn link(link: &Link) -> String {
    let mut text = match &link.kind {
        LinkKind::Veth => "veth".to_owned(),
        LinkKind::Other(kind) => kind.clone(),
        LinkKind::Vxlan(vxlan) => {
            let mut text = format!("vxlan id {} dstport {}", vxlan.vni, vxlan.port);
            if let Some(local) = vxlan.local {
                let _ = write!(text, " local {local}");
            }
            if let Some(device) = &vxlan.device {
                let _ = write!(text, " dev {device}");
            }
            text.push_str(if vxlan.learns { " learning" } else { " nolearning" });
            for (word, value) in &vxlan.unusual {
                let _ = write!(text, " {word} {value}");
            }
            text
        }
    };
    if let Some(mac) = link.mac {
        let _ = write!(text, " link/ether {mac}");
    }
    let _ = write!(text, " mtu {} {}", link.mtu, if link.is_up { "up" } else { "down" });
    if let Some(alias) = &link.alias {
        let _ = write!(text, " alias {alias:?}");
    }
    text
}
