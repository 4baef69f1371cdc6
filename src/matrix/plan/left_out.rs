//! What is no probe, and is said so.

use super::{Draft, Planner, Row};
use crate::{
    cluster::inventory::Service,
    findings::Absence,
    matrix::{
        evidence::{Aim, Protocol},
        select::{Goal, Pair},
    },
};

impl Planner<'_> {
    /// Notes what cannot be probed; a destination that the user named also gets the row that says so.
    pub(super) fn leave(
        &self,
        pair: &Pair,
        why: &'static str,
        whom: &str,
        row: impl FnOnce(Absence) -> Row,
        draft: &mut Draft,
    ) {
        let named = self.named.is_some_and(|named| match &pair.to {
            Goal::Pod(uid) => named.pods.contains(uid),
            Goal::Node(name) => named.nodes.contains(name),
            Goal::Service(namespace, name) | Goal::Dns(namespace, name) => {
                named.services.contains(&(namespace.clone(), name.clone()))
            }
        });
        if named {
            draft.rows.push(row(format!("{why} {whom}").into()));
        }
        draft.left_out.entry(why).or_default().insert(whom.to_owned());
    }

    pub(super) fn leave_without_family(&self, pair: &Pair, aim: Aim, whom: &str, draft: &mut Draft) {
        let protocol = match pair.to {
            Goal::Service(..) => Protocol::Tcp,
            Goal::Dns(..) => Protocol::Dns,
            Goal::Pod(_) | Goal::Node(_) => self.any_protocol(),
        };
        let whom = format!("{whom} from {}", self.source_name(&pair.from));
        let row = |why| self.unknown_target(pair, protocol, aim, why);
        self.leave(
            pair,
            "no IP family, of those asked for, that both ends have:",
            &whom,
            row,
            draft,
        );
    }

    pub(super) fn leave_without_local(
        &self,
        pair: &Pair,
        service: &Service,
        row: impl FnOnce(Absence) -> Row,
        draft: &mut Draft,
    ) {
        let from = self.source_name(&pair.from);
        let whom = format!("Service {}/{} from {from}", service.namespace, service.name);
        self.leave(
            pair,
            "internalTrafficPolicy is Local and no backend is on the source's node:",
            &whom,
            row,
            draft,
        );
    }

    /// How a pod or a node would be probed.
    pub(super) fn any_protocol(&self) -> Protocol {
        if self.wish.protocols.contains(&Protocol::Tcp) {
            Protocol::Tcp
        } else {
            Protocol::Icmp
        }
    }
}
