//! What the user named: sources as arguments or by label, and destinations where a verb has them.

use crate::{
    cluster::{
        Cluster,
        inventory::{Inventory, Pod as PodOf},
        list::{Namespaces, Scope, list_metadata},
        resolve::{self, Chosen, Target},
    },
    exit::{Exit, Failure},
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
        Self::of(cluster, flags, sources, to).await
    }

    /// Sources that need not exist yet.
    pub async fn to_come(cluster: &Cluster, flags: &KubectlFlags, sources: &[String]) -> Result<Self, Failure> {
        let sources = match sources {
            [] => Vec::new(),
            words => resolve::targets_to_come(cluster, flags, words).await?,
        };
        Self::of(cluster, flags, sources, &[]).await
    }

    async fn of(cluster: &Cluster, flags: &KubectlFlags, sources: Vec<Target>, to: &[String]) -> Result<Self, Failure> {
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

    /// As [`Targets::sources`], of those that are there by now: pods that are not are no error, nodes are.
    pub fn present(&self, inventory: &Inventory, labelled: Option<&PodNames>) -> Result<Option<Named>, Failure> {
        let is_of_pods = |target: &Target| {
            use resolve::Select::{AllPods, Pod, PodsOf, PodsWith};
            matches!(target.select, Pod(_) | AllPods | PodsOf(..) | PodsWith(_))
        };
        let mut there = Vec::new();
        for target in &self.sources {
            match resolve::select(inventory, std::slice::from_ref(target)) {
                Ok(_) => there.push(target.clone()),
                Err(failure) if failure.exit == Exit::Usage && is_of_pods(target) => {}
                Err(failure) => return Err(failure),
            }
        }
        if there.is_empty() && !self.sources.is_empty() {
            return Ok(Some(Named::default()));
        }
        let there = Self {
            sources: there,
            destinations: Vec::new(),
            selector: self.selector.clone(),
            scope: self.scope.clone(),
        };
        match there.sources(inventory, labelled) {
            // What stands for pods stands for none at this moment.
            Err(failure) if failure.exit == Exit::Usage => Ok(Some(Named::default())),
            named => named,
        }
    }

    /// Which pods the sources stand for, now and later.
    ///
    /// # Errors
    /// If a Service among them cannot be read, or selects no pods.
    pub async fn wanted(&self, cluster: &Cluster) -> Result<Wanted, Failure> {
        let mut targets = Vec::new();
        for target in &self.sources {
            match &target.select {
                resolve::Select::Node(_) | resolve::Select::AllNodes => {}
                resolve::Select::Service(name) => targets.push(resolve::backends(cluster, target, name).await?),
                resolve::Select::AllServices => {
                    return Err(Failure::usage("--wait and --follow keep to Services by their names")
                        .hint("name each one: svc/NAME"));
                }
                _ => targets.push(target.clone()),
            }
        }
        if self.sources.is_empty() {
            targets.push(Target {
                label: "all pods".to_owned(),
                namespace: None,
                select: resolve::Select::AllPods,
            });
        }
        Ok(Wanted {
            targets,
            selector: self.selector.clone(),
        })
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

/// Which pods are wanted, whenever they come.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    targets: Vec<Target>,
    /// `-l` for pods: the API server reads it, so pods come by a watch that has it.
    pub selector: Option<String>,
}

impl Wanted {
    /// Whether a pod that carries the label, if one is asked for, is wanted.
    pub fn has(&self, pod: &PodOf) -> bool {
        self.targets.iter().any(|target| {
            let is_here = target
                .namespace
                .as_ref()
                .is_none_or(|namespace| *namespace == pod.namespace);
            is_here && resolve::matches(&target.select, pod)
        })
    }

    /// One target's.
    #[cfg(test)]
    pub fn only(target: Target) -> Self {
        Self {
            targets: vec![target],
            selector: None,
        }
    }

    /// Whether pods are wanted at all, and not nodes only.
    pub fn is_of_pods(&self) -> bool {
        !self.targets.is_empty()
    }

    /// In words.
    pub fn words(&self) -> String {
        match &self.selector {
            Some(selector) => format!("-l {selector}"),
            None => self
                .targets
                .iter()
                .map(|target| target.label.as_str())
                .collect::<Vec<_>>()
                .join(", "),
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
