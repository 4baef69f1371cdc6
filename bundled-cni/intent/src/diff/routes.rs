//! Routes of table main.

use super::{Cause, Delta, Finding, Kind, Mend, Plan, devices::Ground};
use crate::{
    build::blank,
    desired::Desired,
    lookup::routes_at,
    names::{PROTOCOL, TABLE_MAIN},
    words,
};
use netcheck_node_state::{Change, Route};

pub(super) fn diff(plan: &mut Plan, desired: &Desired, ground: &Ground<'_>) {
    for wanted in &desired.net.routes {
        if !ground.is_untouched(wanted.device.as_deref()) {
            one(plan, wanted, ground);
        }
    }
    let is_wanted = |route: &Route| {
        let mut wanted = routes_at(&desired.net, route.destination, route.metric);
        wanted.any(|wanted| !ground.is_untouched(wanted.device.as_deref()))
    };
    for present in &ground.net.routes {
        let is_ours = present.table == TABLE_MAIN && present.protocol == PROTOCOL;
        if is_ours && !ground.is_untouched(present.device.as_deref()) && !is_wanted(present) {
            plan.remove.push(removal(present));
        }
    }
}

fn removal(route: &Route) -> Delta {
    Delta {
        kind: Kind::Route,
        object: words::destination(route),
        expected: None,
        actual: Some(words::route(route)),
        cause: Cause::Differs,
        mend: Mend::Node(Change::DeleteRoute(route.clone())),
    }
}

/// One route that should be there. A kernel may hold several of one destination and metric, whoever put them there.
fn one(plan: &mut Plan, wanted: &Route, ground: &Ground<'_>) {
    shadows(plan, wanted, ground);
    let at = || routes_at(&ground.net, wanted.destination, wanted.metric);
    let mut stale: Vec<&Route> = at()
        .filter(|route| route.protocol == PROTOCOL && *route != wanted)
        .filter(|route| !ground.is_untouched(route.device.as_deref()))
        .collect();
    let has_foreign = at().any(|route| route.protocol != PROTOCOL);
    if has_foreign || ground.net.routes.contains(wanted) {
        // To take the place of one that is not ours would remove it; it was told above.
        plan.remove.extend(stale.into_iter().map(removal));
        return;
    }
    // The last one gives its place to ours without a moment between; others would stay beside it.
    let replaced = stale.pop();
    plan.build.extend(stale.into_iter().map(removal));
    plan.build.push(Delta {
        kind: Kind::Route,
        object: words::destination(wanted),
        expected: Some(words::route(wanted)),
        actual: replaced.map(words::route),
        cause: Cause::new(ground.before.routes.contains(wanted), wanted.device.as_deref()),
        mend: Mend::Node(Change::ReplaceRoute(wanted.clone())),
    });
}

/// Foreign routes of the same destination that the kernel prefers, or cannot hold beside ours.
fn shadows(plan: &mut Plan, wanted: &Route, ground: &Ground<'_>) {
    let from_first = ground.before.routes.range(blank(wanted.destination, 0)..);
    let same = from_first.take_while(|route| {
        route.table == TABLE_MAIN && route.destination == wanted.destination && route.metric <= wanted.metric
    });
    for foreign in same.filter(|route| route.protocol != PROTOCOL) {
        plan.findings.push(Finding::RouteShadowed {
            ours: words::route(wanted),
            foreign: words::route(foreign),
        });
    }
}
