//! What the user named: sources as arguments or by label, and destinations where a verb has them.

use crate::{
    cluster::{
        Cluster,
        inventory::Inventory,
        list::{Namespaces, Scope, list_metadata},
        resolve::{self, Chosen, Target},
    },
    exit::Failure,
    flags::KubectlFlags,
    matrix::select::Named,
    output::safe,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::collections::BTreeSet;

/// Namespaces and names of pods.
type PodNames = BTreeSet<(String, String)>;

/// Sources and destinations as the user named them, and what to list so that they are found.
pub struct Targets {
    sources: Vec<Target>,
    destinations: Vec<Target>,
    /// `-l`, if it is meant for the sources' pods. The inventory is listed without it: backends and destinations need not carry the label.
    selector: Option<String>,
    /// What to list.
    pub scope: Scope,
}

impl Targets {
    /// Understands the words of the command line.
    pub async fn resolve(
        cluster: &Cluster,
        flags: &KubectlFlags,
        sources: &[String],
        to: &[String],
    ) -> Result<Self, Failure> {
        let sources = match sources {
            [] => Vec::new(),
            words => resolve::targets(cluster, flags, words).await?,
        };
        let unlabelled = KubectlFlags {
            selector: None,
            ..flags.clone()
        };
        let mut destinations = Vec::new();
        for word in to {
            destinations.extend(resolve::targets(cluster, &unlabelled, std::slice::from_ref(word)).await?);
        }
        let selector = resolve::scope(&sources, cluster, flags).selector;
        let mut all = sources.clone();
        all.extend(destinations.iter().cloned());
        let mut scope = resolve::scope(&all, cluster, &unlabelled);
        // Sources without a name are those of the current namespace, wherever the destinations are.
        if let (true, Namespaces::These(names)) = (sources.is_empty() || destinations.is_empty(), &mut scope.namespaces)
            && !names.contains(&cluster.namespace)
        {
            names.push(cluster.namespace.clone());
        }
        Ok(Self {
            sources,
            destinations,
            selector,
            scope,
        })
    }

    /// Pods that carry the label, by the API server's own reading of the selector.
    pub async fn labelled(&self, cluster: &Cluster) -> Result<Option<PodNames>, Failure> {
        let Some(selector) = &self.selector else {
            return Ok(None);
        };
        let apis: Vec<Api<Pod>> = match &self.scope.namespaces {
            Namespaces::All => vec![Api::all(cluster.client.clone())],
            Namespaces::These(names) => names
                .iter()
                .map(|name| Api::namespaced(cluster.client.clone(), name))
                .collect(),
        };
        let mut found = PodNames::new();
        for api in apis {
            let pods = list_metadata(cluster, &api, Some(selector)).await;
            let pods = pods.map_err(|problem| problem.into_failure("list pods"))?;
            found.extend(
                pods.into_iter()
                    .filter_map(|pod| Some((pod.metadata.namespace?, pod.metadata.name?))),
            );
        }
        Ok(Some(found))
    }

    /// The sources; `None` if all in scope are meant.
    pub fn sources(&self, inventory: &Inventory, labelled: Option<&PodNames>) -> Result<Option<Named>, Failure> {
        let mut named = if self.sources.is_empty() {
            let Some(labelled) = labelled else { return Ok(None) };
            Named {
                pods: pods(inventory, labelled),
                ..Named::default()
            }
        } else {
            named(inventory, &self.sources)?
        };
        if let Some(labelled) = labelled {
            let labelled = pods(inventory, labelled);
            named.pods.retain(|uid| labelled.contains(uid));
        }
        // A Service speaks through its backends.
        for service in inventory.services.iter().filter(|service| {
            named
                .services
                .contains(&(service.namespace.clone(), service.name.clone()))
        }) {
            let backends = service
                .endpoints
                .iter()
                .filter_map(|endpoint| crate::matrix::select::backend_of(inventory, endpoint));
            named.pods.extend(backends.map(|pod| pod.uid.clone()));
        }
        if named.pods.is_empty() && named.nodes.is_empty() {
            let what = self.selector.as_deref().unwrap_or("the named sources");
            return Err(Failure::usage(format!("no pod matches {}", safe(what)))
                .hint("kubectl get pods --show-labels lists what is there"));
        }
        Ok(Some(named))
    }

    /// The destinations; `None` if all in scope are meant.
    pub fn destinations(&self, inventory: &Inventory) -> Result<Option<Named>, Failure> {
        if self.destinations.is_empty() {
            Ok(None)
        } else {
            named(inventory, &self.destinations).map(Some)
        }
    }
}

fn named(inventory: &Inventory, targets: &[Target]) -> Result<Named, Failure> {
    let Chosen { pods, nodes, services } = resolve::select(inventory, targets)?;
    Ok(Named { pods, nodes, services })
}

fn pods(inventory: &Inventory, wanted: &PodNames) -> BTreeSet<String> {
    let named = inventory
        .pods
        .iter()
        .filter(|pod| wanted.contains(&(pod.namespace.clone(), pod.name.clone())));
    named.map(|pod| pod.uid.clone()).collect()
}
