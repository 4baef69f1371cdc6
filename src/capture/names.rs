//! Names for addresses, in the form of DNS names: `web-1.shop.pod`, `api.shop.svc`, `n1.node`. They hold no blank and can be typed into a
//! display filter. Pure.

use crate::cluster::inventory::Inventory;
use netcheck_filter::{Kind, Name};
use std::{borrow::Cow, collections::BTreeMap, net::IpAddr};

/// Owners of addresses by the API, and addresses of pods and Services by name.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// A node's address is also that of its hostNetwork pods: the node's name then comes first.
    by_address: BTreeMap<IpAddr, Vec<String>>,
    by_name: BTreeMap<(Object, String, String), Vec<IpAddr>>,
    namespace: String,
}

/// [`Kind`], with an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Object {
    Pod,
    Service,
}

impl From<Kind> for Object {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Pod => Self::Pod,
            Kind::Service => Self::Service,
        }
    }
}

impl Names {
    /// Of everything in the inventory; `namespace` is where a name without one is looked for.
    pub fn new(inventory: &Inventory, namespace: &str) -> Self {
        let mut names = Self {
            namespace: namespace.to_owned(),
            ..Self::default()
        };
        for node in &inventory.nodes {
            names.own(&node.ips, &format!("{}.node", node.name));
        }
        for pod in &inventory.pods {
            let key = (Object::Pod, pod.namespace.clone(), pod.name.clone());
            names.by_name.insert(key, pod.ips.clone());
            if !pod.host_network && pod.end.is_none() {
                names.own(&pod.ips, &format!("{}.{}.pod", pod.name, pod.namespace));
            }
        }
        for service in &inventory.services {
            let key = (Object::Service, service.namespace.clone(), service.name.clone());
            names.by_name.insert(key, service.cluster_ips.clone());
            names.own(
                &service.cluster_ips,
                &format!("{}.{}.svc", service.name, service.namespace),
            );
        }
        names
    }

    fn own(&mut self, addresses: &[IpAddr], name: &str) {
        for address in addresses {
            self.by_address.entry(*address).or_default().push(name.to_owned());
        }
    }

    /// Every address with its names, in the order of addresses.
    pub fn all(&self) -> impl Iterator<Item = (IpAddr, &[String])> {
        self.by_address
            .iter()
            .map(|(address, names)| (*address, names.as_slice()))
    }
}

impl netcheck_decode::Names for Names {
    fn name(&self, address: IpAddr) -> Option<Cow<'_, str>> {
        let names = self.by_address.get(&address.to_canonical())?;
        names.first().map(|name| Cow::Borrowed(name.as_str()))
    }
}

impl netcheck_filter::Names for Names {
    fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, String> {
        let namespace = name.namespace.as_deref().unwrap_or(&self.namespace);
        let key = (name.kind.into(), namespace.to_owned(), name.name.clone());
        match self.by_name.get(&key) {
            None => Err(format!("there is none in namespace {namespace}, or it may not be read")),
            Some(addresses) if addresses.is_empty() => Err("it has no address".to_owned()),
            Some(addresses) => Ok(addresses.clone()),
        }
    }
}
