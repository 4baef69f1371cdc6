//! What changed in the cluster while probes were under way. A run judges by what the API said before its first probe; a row that failed
//! because its pod was replaced meanwhile says nothing about the network. Pure.

use crate::{
    cluster::inventory::{Endpoint, Inventory, Pod, Service, Subject},
    matrix::{
        class::{Class, Meaning},
        plan,
        report::Row,
        select::Goal,
        words::pod_name,
    },
    output::safe,
};
use std::{collections::BTreeMap, net::IpAddr};

/// Changed endpoints that a row names.
const MOST_NAMED: usize = 4;

/// Turns failed rows whose source or destination changed between two inventories into rows that were not tested. `rows` are in the order
/// of `planned`. What held stays: it was answered, whatever changed.
pub fn settle(planned: &[plan::Row], rows: &mut [Row], before: &Inventory, after: &Inventory) {
    for (planned, row) in planned.iter().zip(rows) {
        if row.class.meaning() != Meaning::Failed {
            continue;
        }
        if let Some(change) = source_change(planned, before, after).or_else(|| goal_change(planned, before, after)) {
            row.class = Class::NotTested;
            row.finding = Class::NotTested.finding().map(Into::into);
            row.reason = safe(&change);
            (row.cause, row.by, row.backend, row.transport, row.next_step) = (None, None, None, None, None);
        }
    }
}

fn source_change(planned: &plan::Row, before: &Inventory, after: &Inventory) -> Option<String> {
    match &planned.pair.from {
        Subject::Pod(uid) => pod_change(uid, before, after),
        Subject::Node(_) => None,
    }
}

fn goal_change(planned: &plan::Row, before: &Inventory, after: &Inventory) -> Option<String> {
    match &planned.pair.to {
        Goal::Pod(uid) => pod_change(uid, before, after),
        Goal::Node(_) => None,
        Goal::Service(namespace, name) | Goal::Dns(namespace, name) => service_change(namespace, name, before, after),
    }
}

fn pod_change(uid: &str, before: &Inventory, after: &Inventory) -> Option<String> {
    let was = before.pods.iter().find(|pod| pod.uid == uid)?;
    let what = match after.pods.iter().find(|pod| pod.uid == uid) {
        None => {
            let namesake = |pod: &&Pod| (&pod.namespace, &pod.name) == (&was.namespace, &was.name);
            match after.pods.iter().find(namesake) {
                Some(_) => "another pod has its name now".to_owned(),
                None => "it is gone".to_owned(),
            }
        }
        Some(is) if is.ips != was.ips => format!("its addresses were {}, are {}", list(&was.ips), list(&is.ips)),
        Some(is) if is.running != was.running => turned(is.running, "running", is.reason.as_deref()),
        Some(is) if is.ready != was.ready => turned(is.ready, "ready", is.reason.as_deref()),
        Some(_) => return None,
    };
    Some(format!("{} changed in mid-run: {what}", pod_name(was)))
}

fn service_change(namespace: &str, name: &str, before: &Inventory, after: &Inventory) -> Option<String> {
    let find = |inventory: &'_ Inventory| -> Option<Service> {
        let mut services = inventory.services.iter();
        services
            .find(|service| service.namespace == namespace && service.name == name)
            .cloned()
    };
    let was = find(before)?;
    let what = match find(after) {
        None => "it is gone".to_owned(),
        Some(is) if is.cluster_ips != was.cluster_ips => format!(
            "its addresses were {}, are {}",
            list(&was.cluster_ips),
            list(&is.cluster_ips)
        ),
        Some(is) => endpoint_changes(&was.endpoints, &is.endpoints)?,
    };
    Some(format!("Service {namespace}/{name} changed in mid-run: {what}"))
}

/// `None` if there are none. The API lists endpoints in any order. One that is not ready takes no traffic: whether it is still listed, as a pod
/// on its way out is, makes no difference.
fn endpoint_changes(was: &[Endpoint], is: &[Endpoint]) -> Option<String> {
    let by_identity = |endpoints: &'_ [Endpoint]| -> BTreeMap<(IpAddr, Option<String>), bool> {
        endpoints
            .iter()
            .map(|endpoint| ((endpoint.ip, endpoint.pod_uid.clone()), endpoint.ready))
            .collect()
    };
    let (was, is) = (by_identity(was), by_identity(is));
    let ready = |in_turn: &BTreeMap<_, bool>, key| in_turn.get(key).copied().unwrap_or(false);
    let gone = was
        .keys()
        .filter(|key| ready(&was, key) && !ready(&is, key))
        .map(|key| match is.get(key) {
            None => format!("endpoint {} is gone", key.0),
            Some(_) => format!("endpoint {} {}", key.0, turned_word(false, "ready")),
        });
    let others = is
        .keys()
        .filter(|key| ready(&is, key) && !ready(&was, key))
        .map(|key| match was.get(key) {
            None => format!("endpoint {} is new", key.0),
            Some(_) => format!("endpoint {} {}", key.0, turned_word(true, "ready")),
        });
    let changes: Vec<String> = gone.chain(others).collect();
    let more = changes.len().saturating_sub(MOST_NAMED);
    let named = changes.get(..MOST_NAMED).unwrap_or(&changes).join(", ");
    match (changes.len(), more) {
        (0, _) => None,
        (_, 0) => Some(named),
        (_, more) => Some(format!("{named} and {more} more")),
    }
}

fn turned_word(now: bool, what: &str) -> String {
    if now {
        format!("became {what}")
    } else {
        format!("is no longer {what}")
    }
}

fn turned(now: bool, what: &str, reason: Option<&str>) -> String {
    let reason = reason
        .filter(|_| !now)
        .map_or_else(String::new, |reason| format!(" ({reason})"));
    format!("it {}{reason}", turned_word(now, what))
}

fn list(ips: &[IpAddr]) -> String {
    if ips.is_empty() {
        return "none".to_owned();
    }
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
