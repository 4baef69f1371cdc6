//! Probes to Services, and the backends that may get them.

use super::{Draft, EndPoint, Planner};
use crate::{
    cluster::inventory::{Port, Service, Subject},
    matrix::{
        evidence::{Aim, Protocol},
        select::{Pair, backend_of},
        words::pod_name,
    },
};
use netcheck_wire::probe::ProbeKind;
use std::net::{IpAddr, SocketAddr};

impl Planner<'_> {
    pub(super) fn to_service(&self, pair: &Pair, service: &Service, draft: &mut Draft) {
        if !self.wish.protocols.contains(&Protocol::Tcp) {
            return;
        }
        let who = format!("Service {}/{}", service.namespace, service.name);
        let aim = Aim::Service {
            ready_endpoints: service.endpoints.iter().filter(|endpoint| endpoint.ready).count(),
        };
        let row = |why| self.unknown_target(pair, Protocol::Tcp, aim, why);
        let addresses = self.addresses(&pair.from, &service.cluster_ips);
        let ports: Vec<&Port> = service.ports.iter().filter(|port| port.protocol == "TCP").collect();
        if service.cluster_ips.is_empty() {
            return self.leave(pair, "no cluster IP (headless or ExternalName):", &who, row, draft);
        }
        if ports.is_empty() && service.is_dns && self.wish.protocols.contains(&Protocol::Dns) {
            return; // It is asked for names.
        }
        if ports.is_empty() {
            return self.leave(pair, "no TCP port is offered by", &who, row, draft);
        }
        if addresses.is_empty() {
            return self.leave_without_family(pair, aim, &who, draft);
        }
        for port in ports {
            for ip in &addresses {
                let Some((aim, ends)) = self.backends(&pair.from, service, port, *ip) else {
                    self.leave_without_local(pair, service, row, draft);
                    continue;
                };
                let probe = ProbeKind::Tcp {
                    to: SocketAddr::new(*ip, port.port),
                };
                draft
                    .rows
                    .push(self.row(pair, aim, ends, port.name.clone(), probe, None));
            }
        }
    }

    /// Backends that may get what is sent to a Service's port at an address of its own. `None` if all are on nodes to which the Service's
    /// policy sends nothing from this source.
    pub(super) fn backends(
        &self,
        from: &Subject,
        service: &Service,
        port: &Port,
        ip: IpAddr,
    ) -> Option<(Aim, Vec<EndPoint>)> {
        let home = self.home(from).filter(|_| service.local_only);
        let mut elsewhere = false;
        let mut ends: Vec<EndPoint> = Vec::new();
        let mut ready_endpoints = 0;
        for endpoint in service
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.ip.is_ipv4() == ip.is_ipv4())
        {
            let Some(target) = endpoint
                .ports
                .iter()
                .find(|target| target.name == port.name && target.protocol == port.protocol)
            else {
                continue;
            };
            let pod = backend_of(self.inventory, endpoint);
            let node = self.inventory.nodes.iter().find(|node| node.ips.contains(&endpoint.ip));
            let its_node = (endpoint.node.as_deref())
                .or_else(|| pod?.node.as_deref())
                .or_else(|| node.map(|node| node.name.as_str()));
            if home.is_some_and(|home| its_node.is_some_and(|its_node| its_node != home)) {
                elsewhere = true;
                continue;
            }
            ready_endpoints += usize::from(endpoint.ready);
            let (who, subject) = match (pod, node) {
                (Some(pod), _) => (pod_name(pod), Some(Subject::Pod(pod.uid.clone()))),
                (None, Some(node)) => (format!("node {}", node.name), Some(Subject::Node(node.name.clone()))),
                (None, None) => match &endpoint.pod_name {
                    Some(name) => (format!("pod {name}"), None),
                    None => (format!("endpoint {}", endpoint.ip), None),
                },
            };
            let shares = match (pod, node) {
                (Some(pod), _) => pod.node.clone().filter(|_| pod.host_network),
                (None, node) => node.map(|node| node.name.clone()),
            };
            ends.push(EndPoint {
                who,
                subject,
                ip: endpoint.ip,
                port: target.port,
                shares,
            });
        }
        (!ends.is_empty() || !elsewhere).then_some((Aim::Service { ready_endpoints }, ends))
    }
}
