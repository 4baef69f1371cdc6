//! kubectl's way to name things: `POD`, `TYPE/NAME`, `TYPE NAME…`, `TYPE` alone, short names, `TYPE.group/NAME`, `-l`, `-A`.
//!
//! Words become [`Target`]s with as few requests as possible: what the inventory will show anyway (pods, nodes, Services, CronJobs'
//! pods) is looked up there, only other workloads are asked for their selector.

mod chosen;
mod kinds;
mod lookup;
mod words;

pub use words::object_name;

use std::collections::BTreeSet;

use kube::core::Selector;

use super::{
    Cluster,
    list::{Namespaces, Scope},
};
use crate::{
    exit::{Exit, Failure},
    flags::KubectlFlags,
};

pub use chosen::{Chosen, matches, select};

/// Something the user named.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// How to call it in messages: `deployment/web`.
    pub label: String,
    /// Where it is; `None` for nodes, and for everything with `-A`.
    pub namespace: Option<String>,
    /// What it stands for.
    pub select: Select,
}

/// What a target stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Select {
    /// The pod of this name.
    Pod(String),
    /// All pods.
    AllPods,
    /// Pods that a workload's selector matches.
    PodsWith(Selector),
    /// Pods that belong to a workload, for kinds without a selector: kind and name.
    PodsOf(&'static str, String),
    /// The node of this name.
    Node(String),
    /// All nodes.
    AllNodes,
    /// The Service of this name.
    Service(String),
    /// All Services.
    AllServices,
}

/// Turns words of the command line into targets.
///
/// # Errors
/// If they cannot be understood, name an unknown type, or name a workload that does not exist.
pub async fn targets(cluster: &Cluster, flags: &KubectlFlags, words: &[String]) -> Result<Vec<Target>, Failure> {
    let named = parse(flags, words)?;
    lookup::resolve(cluster, flags, named).await
}

/// As [`targets`], but a workload that does not exist yet stands for the pods that will belong to it.
///
/// # Errors
/// If they cannot be understood, or name an unknown type.
pub async fn targets_to_come(
    cluster: &Cluster,
    flags: &KubectlFlags,
    words: &[String],
) -> Result<Vec<Target>, Failure> {
    let mut targets = Vec::new();
    for named in parse(flags, words)? {
        let to_come = lookup::to_come(cluster, flags, &named);
        match (lookup::resolve(cluster, flags, vec![named]).await, to_come) {
            (Ok(found), _) => targets.extend(found),
            (Err(failure), Some(to_come)) if failure.exit == Exit::Usage => targets.push(to_come),
            (Err(failure), _) => return Err(failure),
        }
    }
    Ok(targets)
}

/// The pods that a Service of this name selects, now and later.
///
/// # Errors
/// If it cannot be read, or selects no pods.
pub async fn backends(cluster: &Cluster, service: &Target, name: &str) -> Result<Target, Failure> {
    lookup::backends(cluster, service, name).await
}

fn parse(flags: &KubectlFlags, words: &[String]) -> Result<Vec<words::Named>, Failure> {
    let named = words::parse(words)?;
    if flags.all_namespaces
        && let Some(one) = named
            .iter()
            .find(|one| one.name.is_some() && one.kind.is_none_or(kinds::Kind::is_namespaced))
    {
        return Err(
            Failure::usage(format!("{} names one object, -A all namespaces", one.label()))
                .hint("give its namespace with -n, or leave out its name"),
        );
    }
    if flags.selector.is_some()
        && let Some(one) = named.iter().find(|one| one.name.is_some())
    {
        return Err(
            Failure::usage(format!("{} names one object, -l selects by label", one.label()))
                .hint("give one or the other"),
        );
    }
    Ok(named)
}

/// What to list so that [`select`] finds the targets: their namespaces and the current one, or all with `-A`; and `-l` for the pods,
/// unless it was meant for objects of other kinds.
pub fn scope(targets: &[Target], cluster: &Cluster, flags: &KubectlFlags) -> Scope {
    let namespaces = if flags.all_namespaces {
        Namespaces::All
    } else {
        let mut names: BTreeSet<&str> = targets
            .iter()
            .filter_map(|target| target.namespace.as_deref())
            .collect();
        if targets.iter().all(|target| target.namespace.is_none()) {
            names.insert(&cluster.namespace);
        }
        Namespaces::These(names.into_iter().map(str::to_owned).collect())
    };
    let is_for_pods = targets.iter().all(|target| target.select == Select::AllPods);
    Scope {
        namespaces,
        selector: flags.selector.clone().filter(|_| is_for_pods),
    }
}
