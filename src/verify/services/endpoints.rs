//! Which endpoints a node must send to (`CategorizeEndpoints()`, pkg/proxy/topology.go of Kubernetes).

use super::object::{Endpoint, Policy, Readiness, ServiceObject, ServicePort, Services, SliceObject};
use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

/// Slices by their Service.
pub(super) struct Endpoints<'a> {
    by_service: HashMap<(&'a str, &'a str), Vec<&'a SliceObject>>,
}

/// Whose endpoints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scope<'a> {
    policy: Policy,
    node: &'a str,
}

/// Where packets must go.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// All of these, unless hinted.
    pub wanted: BTreeSet<SocketAddr>,
    /// And to none but these.
    pub known: BTreeSet<SocketAddr>,
    /// The control plane has shared them out between zones or nodes.
    pub is_hinted: bool,
}

impl Expected {
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }
}

impl<'a> Scope<'a> {
    pub fn new(policy: Policy, node: &'a str) -> Self {
        Self { policy, node }
    }

    fn contains(self, endpoint: &Endpoint) -> bool {
        self.policy == Policy::Cluster || endpoint.node.as_deref() == Some(self.node)
    }
}

impl<'a> Endpoints<'a> {
    pub fn of(services: &'a Services) -> Self {
        let mut by_service: HashMap<_, Vec<_>> = HashMap::new();
        for slice in &services.slices {
            let key = (slice.namespace.as_str(), slice.service.as_str());
            by_service.entry(key).or_default().push(slice);
        }
        Self { by_service }
    }

    pub fn of_port(&self, service: &ServiceObject, port: &ServicePort, is_v6: bool, scope: Scope<'_>) -> Expected {
        let slices = self
            .by_service
            .get(&(service.namespace.as_str(), service.name.as_str()));
        let (mut ready, mut leaving) = (Expected::default(), BTreeSet::new());
        for slice in slices.into_iter().flatten() {
            let mut ports = slice.ports.iter();
            let target = ports.find(|one| one.name == port.name && one.protocol == port.protocol);
            let Some(target) = target else { continue };
            for endpoint in slice.endpoints.iter().filter(|endpoint| scope.contains(endpoint)) {
                let Some(ip) = endpoint.ip.filter(|ip| ip.is_ipv6() == is_v6) else {
                    continue;
                };
                let address = SocketAddr::new(ip, target.port);
                match endpoint.readiness {
                    Readiness::Ready => {
                        ready.wanted.insert(address);
                        ready.is_hinted |= endpoint.hinted;
                    }
                    Readiness::Leaving => {
                        leaving.insert(address);
                    }
                    Readiness::Unready => {}
                }
            }
        }
        // Where none is ready, those that leave and still answer.
        if ready.wanted.is_empty() {
            ready.wanted = leaving;
        }
        ready.known.clone_from(&ready.wanted);
        ready
    }
}
