//! Ways to other nodes' pods, where it can be told without knowing the network.

use super::{
    habits::{Habits, Range},
    lookup::Routes,
};
use crate::verify::found::Found;
use netcheck_cni_intent::words;
use netcheck_node_state::{Route, RouteKind};
use std::collections::BTreeSet;

/// Compares.
pub fn judge(habits: &Habits<'_>, node: &str, routes: &Routes<'_>, found: &mut Vec<Found>) {
    for other in habits.ranges.iter().filter(|other| other.node != node) {
        let Some(whole) = routes.exact(&other.net) else {
            let is_known = other.ips.first().is_some_and(|ip| routes.to(*ip).next().is_some());
            // Where nobody has one, the fabric between nodes does it. Rules, which are not read, may lead to what other tables have.
            if habits.has_ways && !is_known {
                let object = format!("route {}", other.net);
                found.push(say(other, "verify-route-missing", object, "nothing".to_owned()).fix(by_hand(other)));
            }
            continue;
        };
        if let Some(why) = wrong(habits, other, whole) {
            let object = format!("route {}", other.net);
            let actual = format!("{}: {why}", words::route(whole));
            found.push(say(other, "verify-route-wrong", object, actual).fix(by_hand(other)));
        } else if habits.style.is_some() {
            shadowing(other, whole, routes, found);
        }
    }
}

fn say(other: &Range<'_>, id: &'static str, object: String, actual: String) -> Found {
    let expected = format!("a way to {} on {}", other.net, other.node);
    Found::new(id, object, expected, actual).look(format!("ip route show to match {}", other.net))
}

/// What is wrong with a route to a range, if that can be told.
fn wrong(habits: &Habits<'_>, other: &Range<'_>, route: &Route) -> Option<String> {
    if route.kind != RouteKind::Unicast {
        return Some("it drops what is sent there".to_owned());
    }
    // With a network of its own a way may lead by a third node.
    habits.style?;
    let gateway = route.gateway?;
    let owner = habits.owners.get(&gateway)?;
    (*owner != other.node).then(|| format!("{gateway} is {owner}"))
}

/// Routes to parts of a range that lead elsewhere. Only where nobody makes such on purpose.
fn shadowing(other: &Range<'_>, whole: &Route, routes: &Routes<'_>, found: &mut Vec<Found>) {
    let is_same = |route: &Route| (route.gateway, &route.device) == (whole.gateway, &whole.device);
    let decides = other.ips.iter().filter_map(|ip| routes.best(*ip));
    let others: BTreeSet<&Route> = decides.filter(|route| !is_same(route)).collect();
    for route in others {
        let words = words::route(route);
        found.push(
            say(
                other,
                "verify-route-shadowed",
                words.clone(),
                format!("{words} decides"),
            )
            .fix(format!("ip route del {words}")),
        );
    }
}

fn by_hand(other: &Range<'_>) -> String {
    let whoever = "whoever makes routes between nodes must make it";
    match other.internal_ip {
        Some(ip) => format!(
            "{whoever}; by hand, where nodes are on one link: ip route replace {} via {ip}",
            other.net
        ),
        None => whoever.to_owned(),
    }
}
