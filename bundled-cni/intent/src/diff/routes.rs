//! Routes of table main.

use super::{Cause, Delta, Finding, Kind, Mend, Plan, devices::Ground};
use crate::{
    build::blank,
    desired::Desired,
    lookup::routes_at,
    names::{PROTOCOL, PROTOCOL_KERNEL, TABLE_MAIN},
    words,
};
use ipnet::IpNet;
use netcheck_node_state::{Change, Route};
use std::collections::BTreeMap;

pub(super) fn diff(plan: &mut Plan, desired: &Desired, ground: &Ground<'_>) {
    let wanted: Vec<&Route> = desired
        .net
        .routes
        .iter()
        .filter(|route| !ground.is_untouched(route.device.as_deref()))
        .collect();
    for route in &wanted {
        one(plan, route, ground);
    }
    parts(plan, &wanted, ground);
    let is_wanted = |route: &Route| {
        let mut wanted = routes_at(&desired.net, route.destination, route.metric);
        wanted.any(|wanted| !ground.is_untouched(wanted.device.as_deref()))
    };
    for present in &ground.net.routes {
        let is_ours = present.table == TABLE_MAIN && present.protocol == PROTOCOL;
        if is_ours && !ground.is_untouched(present.device.as_deref()) && !is_wanted(present) {
            plan.remove.push(removal(present, None, Cause::Differs));
        }
    }
}

fn removal(route: &Route, instead: Option<&Route>, cause: Cause) -> Delta {
    Delta {
        kind: Kind::Route,
        object: words::destination(route),
        expected: instead.map(words::route),
        actual: Some(words::route(route)),
        cause,
        mend: Mend::Node(Change::DeleteRoute(route.clone())),
    }
}

/// One route that should be there, and nothing else in its place: a kernel may hold several of one destination and metric, of which the
/// first is taken, or with IPv6 all in turn.
fn one(plan: &mut Plan, wanted: &Route, ground: &Ground<'_>) {
    shadows(plan, wanted, ground);
    let is_foreign = |route: &Route| route.protocol != PROTOCOL;
    let mut others: Vec<&Route> = routes_at(&ground.net, wanted.destination, wanted.metric)
        .filter(|route| *route != wanted)
        .filter(|route| is_foreign(route) || !ground.is_untouched(route.device.as_deref()))
        .collect();
    let why = |route: &Route| {
        if is_foreign(route) {
            Cause::Foreign
        } else {
            Cause::Differs
        }
    };
    if ground.net.routes.contains(wanted) {
        let removals = others.into_iter().map(|other| removal(other, Some(wanted), why(other)));
        plan.remove.extend(removals);
        return;
    }
    let cause = if others.iter().any(|other| is_foreign(other)) {
        Cause::Foreign
    } else {
        Cause::new(ground.before.routes.contains(wanted), wanted.device.as_deref())
    };
    // The last one gives its place to ours without a moment between; others would stay beside it.
    let replaced = others.pop();
    let removals = others.into_iter().map(|other| removal(other, Some(wanted), why(other)));
    plan.build.extend(removals);
    plan.build.push(Delta {
        kind: Kind::Route,
        object: words::destination(wanted),
        expected: Some(words::route(wanted)),
        actual: replaced.map(words::route),
        cause,
        mend: Mend::Node(Change::ReplaceRoute(wanted.clone())),
    });
}

/// Foreign routes of the same destination that the kernel prefers.
fn shadows(plan: &mut Plan, wanted: &Route, ground: &Ground<'_>) {
    let from_first = ground.before.routes.range(blank(wanted.destination, 0)..);
    let same = from_first.take_while(|route| {
        route.table == TABLE_MAIN && route.destination == wanted.destination && route.metric < wanted.metric
    });
    for foreign in same.filter(|route| route.protocol != PROTOCOL) {
        plan.findings.push(shadowed(wanted, foreign));
    }
}

/// Foreign routes for a part of what one of ours is for.
fn parts(plan: &mut Plan, wanted: &[&Route], ground: &Ground<'_>) {
    let ours: BTreeMap<IpNet, &Route> = wanted.iter().map(|route| (route.destination, *route)).collect();
    // What the kernel makes by itself for an address on a device of ours is no stranger's.
    let is_of_ours = |route: &Route| {
        route.protocol == PROTOCOL_KERNEL && route.device.as_ref().is_some_and(|device| ground.ours.contains(device))
    };
    let foreign = ground
        .before
        .routes
        .iter()
        .filter(|route| route.table == TABLE_MAIN && route.protocol != PROTOCOL && !is_of_ours(route));
    // Of those with a destination of ours all is said.
    for foreign in foreign.filter(|route| !ours.contains_key(&route.destination)) {
        let mut wider = foreign.destination;
        while let Some(next) = wider.supernet() {
            wider = next;
            if let Some(route) = ours.get(&wider) {
                plan.findings.push(shadowed(route, foreign));
                break;
            }
        }
    }
}

fn shadowed(ours: &Route, foreign: &Route) -> Finding {
    Finding::RouteShadowed {
        ours: words::route(ours),
        foreign: words::route(foreign),
    }
}
