//! CHECK: whether the kernel and the disk still hold what ADD made (SPEC.md 5.3, 5.4, 7.3).
//!
//! Chained plugins add to it, so that more of anything is fine; and so is a lower MTU.

use super::Call;
use crate::{
    Code, Failure,
    attachment::{Attachment, Progress, host_end, netns_identity, pod_end},
    config::wrong,
    request::Verb,
    wiring::Sandbox,
};
use netcheck_cni_intent::{
    names::{HOST_MAC, PLUGIN},
    objects::{host_neighbours, host_routes, pod_addresses, pod_neighbours, pod_routes},
};
use netcheck_node_state::{Link, LinkKind, Neighbour, NetState, Route, VethEnd, snapshot, within};
use std::{fmt::Display, path::Path};

pub(super) fn check(call: &Call<'_>) -> Result<(), Failure> {
    let previous = call.config.previous()?;
    let previous = previous.ok_or_else(|| wrong("prevResult is missing; CHECK compares with it"))?;
    let netns = call.request.netns.clone().unwrap_or_default();
    let sandbox = Sandbox::open(&netns, call.request.may_be_own_netns)?;
    if let Some(delegate) = call.delegate()? {
        delegate.call(Verb::Check, &[])?;
    }
    let attachment = recorded(call, &netns)?;
    let mut failures = Vec::new();
    let if_name = &attachment.if_name;
    if previous.ips_of(if_name, &attachment.netns).as_ref() != Some(&attachment.ips) {
        let what = format!("prevResult gives {if_name} other addresses than {}", list(&attachment));
        failures.push(Failure::new(Code::RESERVATION, what));
    }
    failures.extend(check_reservation(call, &attachment)?);
    let cannot_read = |error: &dyn Display| Failure::new(Code::KERNEL, error);
    let host = snapshot().map_err(|error| cannot_read(&error))?;
    failures.extend(check_host(&host, &attachment));
    let pod = within(sandbox.netns(), snapshot).map_err(|error| cannot_read(&error))?;
    let pod = pod.map_err(|error| cannot_read(&error))?;
    // The daemon rewrites the routes' MTU, and not at the same moment as its file.
    let now = call.store().node().map(|node| call.config.limit(node.route_mtu));
    let mtus = [Some(attachment.route_mtu), now.ok()];
    failures.extend(check_pod(&pod, &attachment, &mtus));
    Failure::join(failures)
}

/// The attachment, as its ADD wrote it down at its end.
fn recorded(call: &Call<'_>, netns: &Path) -> Result<Attachment, Failure> {
    let key = call.key()?;
    let bad = |what: &dyn Display| Failure::new(Code::RESERVATION, format!("attachment {key}: {what}"));
    let attachment = match call.store().attachment(&key)? {
        None => return Err(bad(&"there is no file of it; DEL it, and ADD it again")),
        Some(Err(reason)) => return Err(bad(&format!("its file is damaged: {reason}"))),
        Some(Ok(attachment)) => attachment,
    };
    if attachment.state != Progress::Done {
        return Err(bad(&"its ADD did not come to an end; DEL it, and ADD it again"));
    }
    if netns_identity(netns) != Some((attachment.netns_dev, attachment.netns_ino)) {
        let what = format!("it was added to another namespace than {}", netns.display());
        return Err(bad(&what));
    }
    Ok(attachment)
}

fn check_reservation(call: &Call<'_>, attachment: &Attachment) -> Result<Vec<Failure>, Failure> {
    let mut failures = Vec::new();
    if attachment.ipam != PLUGIN {
        return Ok(failures);
    }
    let key = attachment.key();
    for ip in &attachment.ips {
        let owner = call.store().owner(*ip)?;
        if owner.as_ref() != Some(&key) {
            let owner = owner.map_or_else(|| "nobody".to_owned(), |owner| owner.to_string());
            let what = format!("{ip} of {key} is reserved for {owner}");
            failures.push(Failure::new(Code::RESERVATION, what));
        }
    }
    Ok(failures)
}

fn check_host(host: &NetState, attachment: &Attachment) -> Vec<Failure> {
    let mut failures = Vec::new();
    let end = host_end(attachment);
    let (veth, ips) = (&attachment.host_veth, &attachment.ips);
    failures.extend(check_end(host, &end, Code::HOST_LINK, "the node"));
    if let Some(Link { alias, kind, .. }) = host.links.get(&end.name) {
        let is_named = alias.as_ref().is_some_and(|alias| attachment.key().is_in_alias(alias));
        if *kind != LinkKind::Veth || !is_named {
            let what = format!("{} on the node is no veth that names {}", end.name, attachment.key());
            failures.push(Failure::new(Code::HOST_LINK, what));
        }
    }
    for wanted in host_routes(veth, ips) {
        let is_it = |route: &Route| is_same_way(route, &wanted) && route.protocol == wanted.protocol;
        if !host.routes.iter().any(is_it) {
            failures.push(missing(Code::HOST_ROUTE, "the node", &route_text(&wanted)));
        }
    }
    failures.extend(check_neighbours(
        host,
        host_neighbours(veth, ips, attachment.mac),
        Code::HOST_NEIGHBOUR,
        "the node",
    ));
    failures
}

fn check_pod(pod: &NetState, attachment: &Attachment, mtus: &[Option<u32>]) -> Vec<Failure> {
    let mut failures = Vec::new();
    failures.extend(check_end(pod, &pod_end(attachment), Code::POD_LINK, "the pod"));
    let (if_name, ips) = (&attachment.if_name, &attachment.ips);
    for wanted in pod_addresses(if_name, ips) {
        if !pod.addresses.contains(&wanted) {
            let what = format!("{}/{} on {}", wanted.ip, wanted.prefix, wanted.interface);
            failures.push(missing(Code::POD_ADDRESS, "the pod", &what));
        }
    }
    let device_mtu = pod.links.get(if_name).map_or(u32::MAX, |link| link.mtu);
    for wanted in pod_routes(if_name, ips, attachment.route_mtu) {
        let Some(found) = pod.routes.iter().find(|route| is_same_way(route, &wanted)) else {
            failures.push(missing(Code::POD_ROUTE, "the pod", &route_text(&wanted)));
            continue;
        };
        // The kernel lowers it with the device's (`rt6_mtu_change()`, net/ipv6/route.c).
        let lowered = |mtu: &Option<u32>| mtu.map(|mtu| mtu.min(device_mtu));
        let is_fine = mtus.contains(&found.mtu) || mtus.iter().map(lowered).any(|mtu| mtu == found.mtu);
        if wanted.mtu.is_some() && !is_fine {
            let found = found
                .mtu
                .map_or_else(|| "no mtu".to_owned(), |mtu| format!("mtu {mtu}"));
            let what = format!("the route {} in the pod has {found}", route_text(&wanted));
            failures.push(Failure::new(Code::POD_ROUTE, what));
        }
    }
    failures.extend(check_neighbours(
        pod,
        pod_neighbours(if_name, ips),
        Code::POD_NEIGHBOUR,
        "the pod",
    ));
    failures
}

/// One end of the veth: there, up, of the right address, and no larger than it may be.
fn check_end(state: &NetState, end: &VethEnd, code: Code, place: &str) -> Vec<Failure> {
    let Some(link) = state.links.get(&end.name) else {
        return vec![missing(code, place, &format!("the interface {}", end.name))];
    };
    let mut failures = Vec::new();
    let name = &end.name;
    if !link.is_up {
        failures.push(Failure::new(code, format!("{name} in {place} is down")));
    }
    if link.mtu > end.mtu {
        let what = format!("{name} in {place} has MTU {}, not {}", link.mtu, end.mtu);
        failures.push(Failure::new(code, what));
    }
    if link.mac != Some(end.mac) {
        let found = link.mac.map_or_else(|| "none".to_owned(), |mac| mac.to_string());
        let what = format!("{name} in {place} has the hardware address {found}, not {}", end.mac);
        failures.push(Failure::new(Code::MAC, what));
    }
    failures
}

fn check_neighbours(
    state: &NetState,
    wanted: impl Iterator<Item = Neighbour>,
    code: Code,
    place: &str,
) -> Vec<Failure> {
    let is_missing = |wanted: &Neighbour| {
        !state.neighbours.iter().any(|found| {
            (found.ip, &found.device, found.mac, found.is_permanent) == (wanted.ip, &wanted.device, wanted.mac, true)
        })
    };
    let text = |wanted: Neighbour| {
        let mac = wanted.mac.unwrap_or(HOST_MAC);
        missing(
            code,
            place,
            &format!("the permanent neighbour {} at {mac} on {}", wanted.ip, wanted.device),
        )
    };
    wanted.filter(is_missing).map(text).collect()
}

/// Whether packets go the same way by both; MTU and protocol aside.
fn is_same_way(found: &Route, wanted: &Route) -> bool {
    found
        == &Route {
            mtu: found.mtu,
            protocol: found.protocol,
            ..wanted.clone()
        }
}

fn route_text(route: &Route) -> String {
    let via = route
        .gateway
        .map_or_else(String::new, |gateway| format!(" via {gateway}"));
    let device = route.device.as_deref().unwrap_or_default();
    format!("{}{via} dev {device}", route.destination)
}

fn missing(code: Code, place: &str, what: &str) -> Failure {
    Failure::new(code, format!("{place} lacks {what}"))
}

fn list(attachment: &Attachment) -> String {
    let ips: Vec<_> = attachment.ips.iter().map(ToString::to_string).collect();
    ips.join(", ")
}
