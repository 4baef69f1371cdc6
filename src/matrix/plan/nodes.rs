//! Probes to nodes.

use super::{Draft, EndPoint, Planner};
use crate::{
    cluster::inventory::Subject,
    matrix::{
        evidence::{Aim, Protocol},
        select::Pair,
    },
};
use netcheck_wire::probe::ProbeKind;
use std::net::SocketAddr;

impl Planner<'_> {
    pub(super) fn to_node(&self, pair: &Pair, name: &str, draft: &mut Draft) {
        let Some(node) = self.inventory.nodes.iter().find(|node| node.name == name) else {
            return;
        };
        let end = |ip, port| EndPoint {
            who: format!("node {name}"),
            subject: Some(Subject::Node(name.into())),
            ip,
            port,
            shares: Some(name.into()),
        };
        let who = format!("node {name}");
        let tcp = self.wish.protocols.contains(&Protocol::Tcp);
        let addresses = self.addresses(&pair.from, &node.ips);
        if node.ips.is_empty() {
            let row = |why| self.unknown_target(pair, self.any_protocol(), Aim::Node, why);
            self.leave(pair, "no InternalIP address is known of", &who, row, draft);
        } else if addresses.is_empty() {
            self.leave_without_family(pair, Aim::Node, &who, draft);
        } else if tcp && node.kubelet_port.is_none() {
            let row = |why| self.unknown_target(pair, Protocol::Tcp, Aim::Node, why);
            self.leave(pair, "no kubelet port is known of", &who, row, draft);
        }
        for ip in addresses {
            if let Some(port) = node.kubelet_port.filter(|_| tcp) {
                let probe = ProbeKind::Tcp {
                    to: SocketAddr::new(ip, port),
                };
                draft.rows.push(self.row(
                    pair,
                    Aim::Node,
                    vec![end(ip, port)],
                    Some("kubelet".into()),
                    probe,
                    None,
                ));
            }
            if self.wish.protocols.contains(&Protocol::Icmp) {
                draft.rows.push(self.row(
                    pair,
                    Aim::Node,
                    vec![end(ip, 0)],
                    None,
                    ProbeKind::Icmp { to: ip },
                    None,
                ));
            }
        }
    }
}
