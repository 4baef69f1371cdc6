//! Pods' wiring: what is inside a pod's namespace, its device's other end on the node, and the node's routes to it.

use super::{attachments::Attachments, lookup};
use crate::verify::{
    evidence::Looked,
    found::Found,
    group::Group,
    network::{Differences, Unchecked},
    objects::{Objects, PodObject},
};
use lookup::Routes;
use netcheck_cni_intent::words;
use netcheck_node_state::{
    Link, LinkKind, NetState, RouteKind,
    record::{Device, Space},
};
use std::{collections::BTreeMap, net::IpAddr};

/// A pod whose namespace was read.
pub struct Wiring<'a> {
    /// The pod.
    pub pod: &'a PodObject,
    /// What its namespace holds.
    pub space: &'a Space,
    /// Its addresses with the interfaces that have them.
    interfaces: Vec<(IpAddr, Option<&'a str>)>,
    /// The other end of the first such interface, if that is a device of the node.
    pub host: Option<&'a str>,
    /// The bridge that this is a port of.
    pub bridge: Option<&'a str>,
}

impl Wiring<'_> {
    /// What both ends of its pair take in bytes; `None` where they differ, or one is not known.
    pub fn mtu(&self, host: &Space) -> Option<u32> {
        let outside = host.net.links.get(self.host?)?.mtu;
        let inside = self.interfaces.iter().find_map(|(_, name)| *name)?;
        let inside = self.space.net.links.get(inside)?.mtu;
        (outside == inside).then_some(outside)
    }

    /// What it sends to others at most, in bytes: its device's, or less where a default route says so.
    pub fn sends(&self) -> Option<u32> {
        let name = self.interfaces.iter().find_map(|(_, name)| *name)?;
        let device = self.space.net.links.get(name)?.mtu;
        let defaults = self
            .space
            .net
            .routes
            .iter()
            .filter(|route| route.destination.prefix_len() == 0);
        let by_routes = defaults.filter_map(|route| route.mtu).min();
        Some(by_routes.map_or(device, |mtu| mtu.min(device)))
    }
}

/// Tells which pods' namespaces were not read.
pub fn unread(looked: &Looked, differences: &mut Differences) {
    for (uid, place) in &looked.places {
        let space = place.as_ref().map(|number| looked.record.pods.get(number));
        let why = match space {
            Ok(Some(Ok(_))) => continue,
            Ok(Some(Err(why))) | Err(why) => why.clone(),
            Ok(None) => "the agent said nothing of it".to_owned(),
        };
        differences.unchecked.push(Unchecked {
            group: Group::Pods,
            why: format!("the network namespace of the pod with UID {uid}: {why}"),
        });
    }
}

/// The pods of a node whose namespaces were read.
pub fn wirings<'a>(objects: &'a Objects, node: &'a str, looked: &'a Looked) -> Vec<Wiring<'a>> {
    let host = &looked.record.node;
    let spaces = objects.wired_on(node).filter_map(|pod| {
        let number = looked.places.get(&pod.uid)?.as_ref().ok()?;
        Some((pod, looked.record.pods.get(number)?.as_ref().ok()?))
    });
    let by_index: BTreeMap<u32, &str> = host
        .devices
        .iter()
        .map(|(name, device)| (device.index, name.as_str()))
        .collect();
    let mut wirings: Vec<Wiring<'_>> = spaces
        .map(|(pod, space)| {
            let interfaces: Vec<_> = pod.ips.iter().map(|ip| (*ip, interface(&space.net, *ip))).collect();
            let first = interfaces.iter().find_map(|(_, name)| *name);
            let end = first.and_then(|name| other_end(space, name, host, &by_index));
            Wiring {
                pod,
                space,
                interfaces,
                host: end,
                bridge: end.and_then(|name| bridge(host, name)),
            }
        })
        .collect();
    // Numbers count by namespace: what several claim is nobody's.
    let mut claims: BTreeMap<&str, u32> = BTreeMap::new();
    for name in wirings.iter().filter_map(|wiring| wiring.host) {
        *claims.entry(name).or_default() += 1;
    }
    for wiring in &mut wirings {
        wiring.host = wiring.host.filter(|name| claims.get(name) == Some(&1));
    }
    wirings
}

fn interface(net: &NetState, ip: IpAddr) -> Option<&str> {
    let address = net.addresses.iter().find(|address| address.ip == ip)?;
    Some(&address.interface)
}

/// The device of the node that a pod's device is a pair with: each names the other's number.
fn other_end<'a>(space: &Space, name: &str, host: &'a Space, by_index: &BTreeMap<u32, &'a str>) -> Option<&'a str> {
    let inside = space.devices.get(name)?;
    is_pair(space.net.links.get(name)?).then_some(())?;
    let name = *by_index.get(&inside.peer?)?;
    let outside: &Device = host.devices.get(name)?;
    (is_pair(host.net.links.get(name)?) && outside.peer == Some(inside.index)).then_some(name)
}

fn is_pair(link: &Link) -> bool {
    match &link.kind {
        LinkKind::Veth => true,
        LinkKind::Other(kind) => kind == "netkit",
        LinkKind::Vxlan(_) => false,
    }
}

fn bridge<'a>(host: &'a Space, name: &str) -> Option<&'a str> {
    host.devices.get(name)?.master.as_deref()
}

/// What is to be said of the node's routes to its pods.
pub struct Ways<'a> {
    /// The node's.
    pub routes: &'a Routes<'a>,
    /// Whether anything is.
    pub are_judged: bool,
    /// The bridge that the configuration makes is the pods' gateway.
    pub has_gateway_bridge: bool,
}

/// Compares.
pub fn judge(
    wirings: &[Wiring<'_>],
    host: &Space,
    ways: &Ways<'_>,
    attachments: &Attachments<'_>,
    found: &mut Vec<Found>,
) {
    let defaults: [bool; 2] = [true, false].map(|is_v4| wirings.iter().any(|wiring| has_default(wiring.space, is_v4)));
    let owners: BTreeMap<&str, &PodObject> = wirings
        .iter()
        .filter_map(|wiring| Some((wiring.host?, wiring.pod)))
        .collect();
    for wiring in wirings {
        let before = found.len();
        inside(wiring, attachments, defaults, found);
        ends(wiring, host, found);
        // What is wrong with a device explains what is wrong with routes by it.
        let roots = [
            "verify-pod-ip-absent",
            "verify-pod-interface-down",
            "verify-pod-veth-down",
        ];
        let root = found[before..].iter().position(|one| roots.contains(&one.id));
        let root = root.map(|index| before + index);
        if ways.are_judged && wiring.bridge.is_none() {
            for (ip, _) in &wiring.interfaces {
                found.extend(by_veth(wiring, *ip, ways.routes, &owners));
            }
        }
        for (index, one) in found.iter_mut().enumerate().skip(before) {
            let is_its_own = root == Some(index) || one.id == "verify-pod-loopback-down";
            one.follows = root.filter(|_| !is_its_own);
        }
    }
    if ways.are_judged {
        by_bridges(wirings, host, ways, found);
    }
}

fn restart(pod: &PodObject) -> String {
    format!("kubectl -n {} delete pod {}", pod.namespace, pod.name)
}

fn has_default(space: &Space, is_v4: bool) -> bool {
    // Those that lead all traffic through a tunnel halve it.
    space.net.routes.iter().any(|route| {
        route.kind == RouteKind::Unicast
            && route.destination.prefix_len() <= 1
            && route.destination.addr().is_ipv4() == is_v4
    })
}

fn inside(wiring: &Wiring<'_>, attachments: &Attachments<'_>, defaults: [bool; 2], found: &mut Vec<Found>) {
    let pod = wiring.pod;
    let within = |command: &str| format!("nsenter --net=NETNS {command} (NETNS of {})", pod.full_name());
    let net = &wiring.space.net;
    let mut is_cut_off = false;
    for (ip, name) in &wiring.interfaces {
        let Some(name) = name else {
            // Sandboxed runtimes and virtual machines have it inside.
            if pod.runtime_class.is_some() || pod.name.starts_with("virt-launcher-") {
                return;
            }
            is_cut_off = true;
            found.push(
                Found::new(
                    "verify-pod-ip-absent",
                    format!("{} {ip}", pod.full_name()),
                    format!("{ip} on an interface of the pod"),
                    "on none of them",
                )
                .look(within("ip address show"))
                .fix(restart(pod)),
            );
            continue;
        };
        if net.links.get(*name).is_some_and(|link| !link.is_up) && !is_cut_off {
            is_cut_off = true;
            found.push(
                Found::new(
                    "verify-pod-interface-down",
                    format!("{} {name}", pod.full_name()),
                    "up",
                    "down",
                )
                .look(within(&format!("ip link show {name}")))
                .fix(format!("{}, or ip link set {name} up in its namespace", restart(pod))),
            );
        }
    }
    if net.links.get("lo").is_some_and(|link| !link.is_up) {
        found.push(
            Found::new(
                "verify-pod-loopback-down",
                format!("{} lo", pod.full_name()),
                "up",
                "down",
            )
            .look(within("ip link show lo"))
            .fix(format!(
                "{}; if new pods look the same, look at /opt/cni/bin/loopback",
                restart(pod)
            )),
        );
    }
    for (is_v4, usual) in [true, false].into_iter().zip(defaults) {
        let has_family = pod.ips.iter().any(|ip| ip.is_ipv4() == is_v4);
        let is_due = usual || attachments.gave_default(pod, is_v4);
        if has_family && is_due && !is_cut_off && !has_default(wiring.space, is_v4) {
            let (family, word) = if is_v4 { ("ip", "IPv4") } else { ("ip -6", "IPv6") };
            found.push(
                Found::new(
                    "verify-pod-default-missing",
                    format!("{} {word}", pod.full_name()),
                    format!("a default route of {word}"),
                    "none",
                )
                .look(within(&format!("{family} route show")))
                .fix(restart(pod)),
            );
        }
    }
}

/// Both ends of its pair.
fn ends(wiring: &Wiring<'_>, host: &Space, found: &mut Vec<Found>) {
    let (Some(outside), Some(inside)) = (wiring.host, wiring.interfaces.iter().find_map(|(_, name)| *name)) else {
        return;
    };
    let (Some(link), Some(other)) = (host.net.links.get(outside), wiring.space.net.links.get(inside)) else {
        return;
    };
    let object = format!("{} {outside}", wiring.pod.full_name());
    let look = format!("ip -d link show {outside}");
    if !link.is_up {
        found.push(
            Found::new("verify-pod-veth-down", &object, "up", "down")
                .look(&look)
                .fix(format!(
                    "ip link set {outside} up, and delete the pod if its route does not come back"
                ))
                .on(outside),
        );
    }
    if link.mtu != other.mtu {
        found.push(
            Found::new(
                "verify-pod-veth-mtu",
                object,
                format!("mtu {}, as {inside} in the pod", other.mtu),
                format!("mtu {}", link.mtu),
            )
            .look(look)
            .fix(format!(
                "ip link set {outside} mtu {}, or {}",
                other.mtu,
                restart(wiring.pod)
            ))
            .on(outside),
        );
    }
}

/// The node's route to a pod that has a device of its own.
fn by_veth(wiring: &Wiring<'_>, ip: IpAddr, routes: &Routes<'_>, owners: &BTreeMap<&str, &PodObject>) -> Option<Found> {
    let outside = wiring.host?;
    if routes.to(ip).any(|route| lookup::is_by(route, outside)) {
        let best = routes.best(ip)?;
        // Rules may lead to tables that know better: then main does not decide.
        let is_in_main = routes
            .to(ip)
            .any(|route| route.table == best.table && lookup::is_by(route, outside));
        if lookup::is_by(best, outside) || !is_in_main {
            return None;
        }
    }
    let (id, actual) = match routes.best(ip) {
        None if routes.to(ip).next().is_some() => return None,
        None => ("verify-pod-route-missing", "nothing".to_owned()),
        // A range that is a node's own is often blocked as a whole.
        Some(route) if route.kind != RouteKind::Unicast => ("verify-pod-route-missing", words::route(route)),
        Some(route) => {
            let owner = route.device.as_deref().and_then(|device| owners.get(device));
            let is_others = owner.is_some() || lookup::is_of_host(&route.destination);
            // Programs on another device may deliver it, as Cilium's do.
            is_others.then_some(())?;
            let to = owner.map_or_else(String::new, |pod| format!(", which is {}'s", pod.full_name()));
            ("verify-pod-route-wrong", format!("{}{to}", words::route(route)))
        }
    };
    Some(
        Found::new(
            id,
            format!("{} {ip}", wiring.pod.full_name()),
            format!("{ip} dev {outside}"),
            actual,
        )
        .look(format!("ip route get {ip}"))
        .fix(format!(
            "{}, or ip route replace {ip} dev {outside}",
            restart(wiring.pod)
        ))
        .on(outside),
    )
}

/// The node's routes to pods behind its bridges: one finding for each bridge, since they are lost together.
fn by_bridges(wirings: &[Wiring<'_>], host: &Space, ways: &Ways<'_>, found: &mut Vec<Found>) {
    let mut lost: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for wiring in wirings {
        let Some(bridge) = wiring.bridge else { continue };
        let is_bridge = host
            .net
            .links
            .get(bridge)
            .is_some_and(|link| link.kind == LinkKind::Other("bridge".to_owned()));
        if !is_bridge {
            continue;
        }
        for (ip, _) in &wiring.interfaces {
            let has_way = ways.routes.to(*ip).any(|route| lookup::is_by(route, bridge));
            match ways.routes.best(*ip) {
                Some(best) if lookup::is_by(best, bridge) => {}
                Some(best) if lookup::is_of_host(&best.destination) => found.push(
                    Found::new(
                        "verify-pod-route-wrong",
                        format!("{} {ip}", wiring.pod.full_name()),
                        format!("{ip} by {bridge}"),
                        words::route(best),
                    )
                    .look(format!("ip route get {ip}"))
                    .fix(format!("ip route del {}", words::route(best))),
                ),
                // Where it is no gateway, somebody else on its link is.
                None if ways.has_gateway_bridge && !has_way => lost
                    .entry(bridge)
                    .or_default()
                    .push(format!("{} {ip}", wiring.pod.full_name())),
                _ => {}
            }
        }
    }
    for (bridge, pods) in lost {
        let more = match pods.len() {
            0 | 1 => String::new(),
            count => format!(" and {} more", count - 1),
        };
        let is_down = host.net.links.get(bridge).is_some_and(|link| !link.is_up);
        found.push(
            Found::new(
                "verify-bridge-route-missing",
                format!("bridge {bridge}"),
                "an address, and with it the route to the pods that are its ports",
                format!(
                    "{}no route to {}{more}",
                    if is_down { "it is down, and " } else { "" },
                    pods.first().map(String::as_str).unwrap_or_default()
                ),
            )
            .look(format!("ip address show dev {bridge}; ip route show dev {bridge}"))
            .fix("delete a pod of the node: with the next one the plugin gives the bridge its address again")
            .on(bridge),
        );
    }
}
