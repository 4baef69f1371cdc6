//! Pods' insides: only the MTU of their default routes is ours to change (SPEC.md, section 5.4).

use super::{Actual, Cause, Delta, Finding, Kind, Mend, Plan};
use crate::{
    desired::{Desired, Pod},
    words,
};
use netcheck_node_state::{Change, Neighbour, NetState, Route};

pub(super) fn diff(plan: &mut Plan, desired: &Desired, actual: &Actual) {
    for (key, pod) in desired.pods.iter().flatten() {
        if let Some(inside) = actual.pods.get(key) {
            default_routes(plan, key, pod, inside);
            changed(plan, key, pod, inside);
        }
    }
}

fn is_default(route: &Route) -> bool {
    route.destination.prefix_len() == 0
}

/// The same way, whatever its MTU.
fn is_same_way(a: &Route, b: &Route) -> bool {
    (a.table, a.destination, a.gateway, &a.device) == (b.table, b.destination, b.gateway, &b.device)
}

fn default_routes(plan: &mut Plan, key: &str, pod: &Pod, inside: &NetState) {
    for wanted in pod.routes.iter().filter(|route| is_default(route)) {
        for present in inside.routes.iter().filter(|route| is_same_way(route, wanted)) {
            if present.mtu != wanted.mtu {
                let mended = Route {
                    mtu: wanted.mtu,
                    ..present.clone()
                };
                plan.build.push(Delta {
                    kind: Kind::PodRoute,
                    object: format!("{key} {}", words::destination(wanted)),
                    expected: Some(words::route(&mended)),
                    actual: Some(words::route(present)),
                    cause: Cause::Differs,
                    mend: Mend::Pod {
                        key: key.to_owned(),
                        netns: pod.netns.clone(),
                        change: Change::ReplaceRoute(mended),
                    },
                });
            }
        }
    }
}

/// What is gone or falsified; more than ours is fine, since later plugins add to it.
fn changed(plan: &mut Plan, key: &str, pod: &Pod, inside: &NetState) {
    let mut objects = Vec::new();
    let link = inside.links.get(&pod.if_name);
    // A lower MTU is fine, as CHECK has it.
    if !link.is_some_and(|link| link.is_up && link.mac == pod.mac && link.mtu <= pod.mtu) {
        let mac = pod.mac.map(|mac| mac.to_string()).unwrap_or_default();
        objects.push(format!("{} link/ether {mac} mtu {} up", pod.if_name, pod.mtu));
    }
    let addresses = pod.addresses.difference(&inside.addresses);
    objects.extend(addresses.map(words::address));
    for wanted in &pod.routes {
        let is_there = |route: &Route| {
            if is_default(wanted) {
                is_same_way(route, wanted)
            } else {
                route == wanted
            }
        };
        if !inside.routes.iter().any(is_there) {
            objects.push(words::route(wanted));
        }
    }
    for wanted in &pod.neighbours {
        let is_there = |neighbour: &Neighbour| {
            (&neighbour.device, neighbour.ip, neighbour.mac, neighbour.is_permanent)
                == (&wanted.device, wanted.ip, wanted.mac, true)
        };
        if !inside.neighbours.iter().any(is_there) {
            objects.push(words::neighbour(wanted));
        }
    }
    plan.findings
        .extend(objects.into_iter().map(|object| Finding::PodChanged {
            key: key.to_owned(),
            object,
        }));
}
