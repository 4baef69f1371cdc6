//! Probes to pods.

use super::{Draft, EndPoint, Planner, Row, row::not_running};
use crate::{
    cluster::inventory::{Pod, Subject},
    findings::Absence,
    matrix::{
        evidence::{Aim, Protocol},
        family::Family,
        ports,
        select::Pair,
        words::pod_name,
    },
};
use netcheck_wire::probe::ProbeKind;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// A port to dial.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Dial {
    pub(super) port: u16,
    pub(super) name: Option<String>,
}

impl Planner<'_> {
    pub(super) fn to_pod(&self, pair: &Pair, pod: &Pod, draft: &mut Draft) {
        let who = pod_name(pod);
        let end = |ip, port| EndPoint {
            who: who.clone(),
            subject: Some(Subject::Pod(pod.uid.clone())),
            ip,
            port,
            shares: pod.node.clone().filter(|_| pod.host_network),
        };
        let trouble: Option<Absence> = (!pod.running).then(|| not_running(&who, pod).into());
        let addresses = self.addresses(&pair.from, &pod.ips);
        if addresses.is_empty() && (trouble.is_some() || pod.ips.is_empty()) {
            let why = trouble.unwrap_or_else(|| format!("{who} has no address").into());
            for protocol in [Protocol::Tcp, Protocol::Icmp]
                .into_iter()
                .filter(|protocol| self.wish.protocols.contains(protocol))
            {
                draft
                    .rows
                    .push(self.unknown_target(pair, protocol, Aim::Pod, why.clone()));
            }
            return;
        }
        if addresses.is_empty() {
            self.leave_without_family(pair, Aim::Pod, &who, draft);
        }
        for ip in addresses {
            if self.wish.protocols.contains(&Protocol::Tcp) {
                match self.pod_ports(pod, ip) {
                    Ok(ports) if ports.is_empty() => {
                        let row = |why| Row {
                            family: Family::of(ip),
                            ..self.unknown_target(pair, Protocol::Tcp, Aim::Pod, why)
                        };
                        self.leave(pair, "no TCP port listens or is declared in", &who, row, draft);
                    }
                    Ok(ports) => draft.rows.extend(ports.into_iter().map(|dial| {
                        let probe = ProbeKind::Tcp {
                            to: SocketAddr::new(ip, dial.port),
                        };
                        self.row(
                            pair,
                            Aim::Pod,
                            vec![end(ip, dial.port)],
                            dial.name,
                            probe,
                            trouble.clone(),
                        )
                    })),
                    Err(why) => draft.rows.push(Row {
                        family: Family::of(ip),
                        ..self.unknown_target(pair, Protocol::Tcp, Aim::Pod, trouble.clone().unwrap_or(why))
                    }),
                }
            }
            if self.wish.protocols.contains(&Protocol::Icmp) {
                draft.rows.push(self.row(
                    pair,
                    Aim::Pod,
                    vec![end(ip, 0)],
                    None,
                    ProbeKind::Icmp { to: ip },
                    trouble.clone(),
                ));
            }
        }
    }

    /// Declared ports and those that listen. In a hostNetwork pod's namespace all of the node's sockets listen, so only declared ones count.
    pub(super) fn pod_ports(&self, pod: &Pod, ip: IpAddr) -> Result<Vec<Dial>, Absence> {
        let mut ports: BTreeMap<u16, Option<String>> = pod
            .ports
            .iter()
            .filter(|port| port.protocol == "TCP")
            .map(|port| (port.port, port.name.clone()))
            .collect();
        if !pod.host_network {
            match self.facts_of(&Subject::Pod(pod.uid.clone())) {
                Some(Ok(facts)) => {
                    for port in ports::open_ports(&facts.listeners, ip) {
                        ports.entry(port).or_default();
                    }
                }
                Some(Err(why)) if ports.is_empty() => {
                    let who = pod_name(pod);
                    return Err(why.reworded(|why| format!("which ports listen in {who} is not known: {why}")));
                }
                _ => {}
            }
        }
        Ok(ports.into_iter().map(|(port, name)| Dial { port, name }).collect())
    }
}
