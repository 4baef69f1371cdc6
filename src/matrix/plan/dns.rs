//! Questions to cluster DNS.

use super::{Draft, Planner, Row};
use crate::{
    cluster::{dns, inventory::Service},
    matrix::{
        evidence::{Aim, Protocol},
        report::Untold,
        select::Pair,
    },
};
use netcheck_wire::probe::{ProbeKind, Record};
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

impl Planner<'_> {
    /// Cluster DNS, if it was to be tested and is not known. Who names destinations has not asked for it.
    pub(super) fn untold_dns(&self) -> Option<Untold> {
        let known = self.inventory.services.iter().any(|service| service.is_dns);
        if known || self.named.is_some() || !self.wish.protocols.contains(&Protocol::Dns) {
            return None;
        }
        let why = self.inventory.dns_missing.as_deref();
        Some(Untold {
            what: "cluster DNS".into(),
            why: why.unwrap_or("there is no DNS Service").into(),
            hint: "--protocol tcp leaves DNS out".into(),
        })
    }

    /// Asks each server that the source would ask, and the DNS Service itself, for the DNS Service's own name: the one name whose right
    /// answer netcheck knows in every cluster. A source that is not configured for cluster DNS is left out.
    pub(super) fn to_dns(&self, pair: &Pair, service: &Service, draft: &mut Draft) {
        let resolver = match self.facts_of(&pair.from) {
            Some(Ok(facts)) => facts.resolver.as_ref(),
            _ => None,
        };
        let domain = resolver.map(|resolver| dns::cluster_domain(&resolver.search));
        if domain == Some(None) {
            let row = |why| self.unknown_target(pair, Protocol::Dns, Aim::Resolver, why);
            return self.leave(
                pair,
                "not configured for cluster DNS:",
                &self.source_name(&pair.from),
                row,
                draft,
            );
        }
        let domain = domain.flatten().unwrap_or(dns::USUAL_DOMAIN);
        let mut servers: Vec<IpAddr> = resolver
            .map(|resolver| resolver.nameservers.clone())
            .unwrap_or_default();
        servers.extend(&service.cluster_ips);
        let mut seen = BTreeSet::new();
        servers.retain(|server| !server.is_loopback() && seen.insert(*server));
        let record = if service.cluster_ips.iter().any(IpAddr::is_ipv4) {
            Record::A
        } else {
            Record::Aaaa
        };
        let expects: Vec<IpAddr> = service
            .cluster_ips
            .iter()
            .copied()
            .filter(|ip| ip.is_ipv4() == (record == Record::A))
            .collect();
        let port = service
            .ports
            .iter()
            .find(|port| port.protocol == "UDP" && port.port == 53);
        let servers = self.addresses(&pair.from, &servers);
        if servers.is_empty() {
            let who = format!("cluster DNS {}/{}", service.namespace, service.name);
            self.leave_without_family(pair, Aim::Resolver, &who, draft);
        }
        for server in servers {
            let (aim, ends) = match port {
                Some(port) if service.cluster_ips.contains(&server) => {
                    let Some(found) = self.backends(&pair.from, service, port, server) else {
                        let row = |why| self.unknown_target(pair, Protocol::Dns, Aim::Resolver, why);
                        self.leave_without_local(pair, service, row, draft);
                        continue;
                    };
                    found
                }
                _ => (Aim::Resolver, Vec::new()),
            };
            let probe = ProbeKind::Dns {
                to: SocketAddr::new(server, 53),
                name: dns::own_name(service, domain),
                record,
            };
            let row = self.row(pair, aim, ends, Some("dns".into()), probe, None);
            draft.rows.push(Row {
                expects: expects.clone(),
                ..row
            });
        }
    }
}
