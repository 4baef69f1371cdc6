//! Kernel parameters that any network needs, and tables that fill up.

use super::pods::Wiring;
use crate::verify::{found::Found, objects::Objects};
use netcheck_node_state::{
    LinkKind,
    record::{NodeRecord, Space},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Parameters about forwarding.
pub const FORWARDING: [&str; 5] = [
    "net.ipv4.ip_forward",
    "net.ipv4.conf.*.forwarding",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
];
/// Parameters about tables. The thresholds are there in the first network namespace alone (`neigh_sysctl_register()`, net/core/neighbour.c).
pub const LIMITS: [&str; 4] = [
    "net.ipv4.neigh.default.gc_thresh2",
    "net.ipv6.neigh.default.gc_thresh2",
    COUNT,
    MOST,
];
/// Connections in the table.
pub const COUNT: &str = "net.netfilter.nf_conntrack_count";
/// As many as there may be.
pub const MOST: &str = "net.netfilter.nf_conntrack_max";

/// Whether the node forwards, if pods need that.
pub fn forwarding<'a>(objects: &Objects, node: &str, wirings: &[Wiring<'a>], host: &Space, found: &mut Vec<Found>) {
    // What Open vSwitch forwards is nothing of the kernel's routes.
    let is_bridge = |name: &str| {
        let link = host.net.links.get(name);
        link.is_some_and(|link| link.kind == LinkKind::Other("bridge".to_owned()))
    };
    let end = |wiring: &Wiring<'a>| match wiring.bridge {
        Some(bridge) => Some(bridge).filter(|bridge| is_bridge(bridge)),
        None => wiring.host,
    };
    let ends: BTreeSet<&str> = wirings.iter().filter_map(end).collect();
    // Pods with devices of the underlay do not need the node's kernel.
    if ends.is_empty() {
        return;
    }
    let has_family = |is_v4| {
        let mut ips = wirings.iter().flat_map(|wiring| &wiring.pod.ips);
        ips.any(|ip| ip.is_ipv4() == is_v4)
    };
    let is_off = |key: &str| host.sysctls.get(key).is_some_and(|value| value == "0");
    let off = |key: &str| {
        Found::new("verify-forwarding-off", format!("sysctl {key}"), "1", "0")
            .look(format!("sysctl {key}"))
            .fix(format!(
                "sysctl -w {key}=1, and find what set it: grep -r forward /etc/sysctl.conf /etc/sysctl.d"
            ))
    };
    if has_family(true) {
        if is_off("net.ipv4.ip_forward") {
            found.push(off("net.ipv4.ip_forward"));
        } else {
            // Where packets come in decides.
            let uplinks = uplinks(objects, node, host);
            for device in ends.iter().copied().chain(uplinks) {
                let key = format!("net.ipv4.conf.{}.forwarding", device.replace('.', "/"));
                if is_off(&key) {
                    found.push(off(&key).on(device));
                }
            }
        }
    }
    // The kernel asks for all devices at once (ip6_forward(), net/ipv6/ip6_output.c).
    if has_family(false) && is_off("net.ipv6.conf.all.forwarding") {
        found.push(off("net.ipv6.conf.all.forwarding"));
    }
    let has_bridge = wirings.iter().any(|wiring| wiring.bridge.is_some_and(is_bridge));
    for (is_v4, key) in [
        (true, "net.bridge.bridge-nf-call-iptables"),
        (false, "net.bridge.bridge-nf-call-ip6tables"),
    ] {
        if has_bridge && has_family(is_v4) && is_off(key) {
            found.push(
                Found::new("verify-bridge-netfilter", format!("sysctl {key}"), "1", "0")
                    .look(format!("sysctl {key}"))
                    .fix(format!(
                        "sysctl -w {key}=1, and write it into /etc/sysctl.d/ so that it stays"
                    )),
            );
        }
    }
}

fn uplinks<'a>(objects: &'a Objects, node: &'a str, host: &'a Space) -> impl Iterator<Item = &'a str> {
    let own = objects.nodes.iter().filter(move |object| object.name == node);
    let ips: Vec<IpAddr> = own
        .flat_map(|own| &own.internal_ips)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    let mut seen = BTreeSet::new();
    let addresses = host
        .net
        .addresses
        .iter()
        .filter(move |address| ips.contains(&address.ip));
    addresses
        .map(|address| address.interface.as_str())
        .filter(move |device| seen.insert(*device))
}

/// Whether tables are nearly full.
pub fn limits(record: &NodeRecord, found: &mut Vec<Found>) {
    let number =
        |sysctls: &BTreeMap<String, String>, key: &str| sysctls.get(key).and_then(|value| value.parse::<u64>().ok());
    let host = &record.node;
    let spaces = || std::iter::once(host).chain(record.pods.values().filter_map(|space| space.as_ref().ok()));
    for (is_v4, key) in [(true, LIMITS[0]), (false, LIMITS[1])] {
        let Some(limit) = number(&host.sysctls, key) else {
            continue;
        };
        // One table for all namespaces; entries for good do not count.
        let neighbours = spaces().flat_map(|space| &space.net.neighbours);
        let count = neighbours
            .filter(|one| !one.is_permanent && one.ip.is_ipv4() == is_v4)
            .count();
        if count as u64 >= limit {
            found.push(
                Found::new(
                    "verify-neighbours-full",
                    format!("sysctl {key}"),
                    format!("fewer than {limit} neighbours in all namespaces of the node"),
                    format!("{count}"),
                )
                .look(format!("sysctl {key}; ip neighbour show | wc -l"))
                .fix(format!(
                    "raise net.{0}.neigh.default.gc_thresh1, 2 and 3 of the node, and write them into /etc/sysctl.d/",
                    if is_v4 { "ipv4" } else { "ipv6" }
                )),
            );
        }
    }
    if let (Some(count), Some(most)) = (number(&host.sysctls, COUNT), number(&host.sysctls, MOST))
        && most > 0
        && count.saturating_mul(10) > most.saturating_mul(8)
    {
        found.push(
            Found::new(
                "verify-conntrack-full",
                "conntrack",
                format!("at most 80 % of {most} connections"),
                format!("{count}"),
            )
            .look(format!("sysctl {COUNT} {MOST}"))
            .fix(format!(
                "sysctl -w {MOST}={} (kube-proxy: conntrack.maxPerCore)",
                most.saturating_mul(2)
            )),
        );
    }
}
