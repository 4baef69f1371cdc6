//! Neighbours and forwarding entries.

use super::{Cause, Delta, Kind, Mend, Plan, devices::Ground};
use crate::{
    desired::Desired,
    lookup::{fdb_at, neighbours_at},
    names::{OVERLAY, PROTOCOL},
    words,
};
use netcheck_node_state::{Change, FdbEntry, Neighbour};

pub(super) fn neighbours(plan: &mut Plan, desired: &Desired, ground: &Ground<'_>) {
    for wanted in &desired.net.neighbours {
        if ground.is_untouched(Some(&wanted.device)) || ground.net.neighbours.contains(wanted) {
            continue;
        }
        let mut present = neighbours_at(&ground.net, &wanted.device, wanted.ip);
        plan.build.push(Delta {
            kind: Kind::Neighbour,
            object: wanted.ip.to_string(),
            expected: Some(words::neighbour(wanted)),
            actual: present.next().map(words::neighbour),
            cause: Cause::new(ground.before.neighbours.contains(wanted), Some(&wanted.device)),
            mend: Mend::Node(Change::ReplaceNeighbour(wanted.clone())),
        });
    }
    let is_ours = |neighbour: &Neighbour| {
        neighbour.protocol == PROTOCOL || (neighbour.is_permanent && ground.ours.contains(&neighbour.device))
    };
    let is_wanted = |neighbour: &Neighbour| {
        let mut wanted = neighbours_at(&desired.net, &neighbour.device, neighbour.ip);
        wanted.next().is_some()
    };
    for present in ground.net.neighbours.iter().filter(|neighbour| is_ours(neighbour)) {
        if !ground.is_untouched(Some(&present.device)) && !is_wanted(present) {
            plan.remove.push(Delta {
                kind: Kind::Neighbour,
                object: present.ip.to_string(),
                expected: None,
                actual: Some(words::neighbour(present)),
                cause: Cause::Differs,
                mend: Mend::Node(Change::DeleteNeighbour(present.clone())),
            });
        }
    }
}

pub(super) fn fdb(plan: &mut Plan, desired: &Desired, ground: &Ground<'_>) {
    if ground.is_untouched(Some(OVERLAY)) || !ground.ours.contains(OVERLAY) {
        return;
    }
    for wanted in &desired.net.fdb {
        let present: Vec<&FdbEntry> = fdb_at(&ground.net, &wanted.device, wanted.mac).collect();
        if present == [wanted] {
            continue;
        }
        let texts: Vec<String> = present.iter().map(|entry| words::fdb(entry)).collect();
        plan.build.push(Delta {
            kind: Kind::Fdb,
            object: wanted.mac.to_string(),
            expected: Some(words::fdb(wanted)),
            actual: (!texts.is_empty()).then(|| texts.join(" and ")),
            cause: Cause::new(ground.before.fdb.contains(wanted) && present.is_empty(), Some(OVERLAY)),
            mend: Mend::Node(Change::ReplaceFdb(wanted.clone())),
        });
    }
    for present in ground.net.fdb.iter().filter(|entry| entry.device == OVERLAY) {
        if fdb_at(&desired.net, OVERLAY, present.mac).next().is_none() {
            plan.remove.push(Delta {
                kind: Kind::Fdb,
                object: present.mac.to_string(),
                expected: None,
                actual: Some(words::fdb(present)),
                cause: Cause::Differs,
                mend: Mend::Node(Change::DeleteFdb(present.clone())),
            });
        }
    }
}
