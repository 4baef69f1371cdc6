//! The one pod or node that is meant.

use crate::{
    cluster::{
        Cluster,
        inventory::Inventory,
        list::{convert, list},
        request::{self, attempt},
        resolve::{self, Select},
    },
    debug::Place,
    exit::Failure,
    flags::KubectlFlags,
    output::safe,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;

/// Where a session shall be.
pub(super) enum Target {
    /// In a pod.
    Pod {
        /// The pod.
        place: Box<Place>,
        /// What the user named, if that is not the pod itself.
        named: Option<String>,
    },
    /// On a node.
    Node(String),
}

/// Finds it.
///
/// # Errors
/// If nothing is named, or several things are, or it does not exist.
pub(super) async fn find(cluster: &Cluster, flags: &KubectlFlags, words: &[String]) -> Result<Target, Failure> {
    let targets = match (words, &flags.selector) {
        ([], None) => {
            return Err(Failure::usage("debug needs a target")
                .hint("kubectl netcheck debug POD, deploy/NAME, svc/NAME or node/NAME"));
        }
        ([], Some(_)) => Vec::from([resolve::Target {
            label: "the selected pods".to_owned(),
            namespace: (!flags.all_namespaces).then(|| cluster.namespace.clone()),
            select: Select::AllPods,
        }]),
        _ => resolve::targets(cluster, flags, words).await?,
    };
    let [target] = &targets[..] else {
        let all: Vec<&str> = targets.iter().map(|target| target.label.as_str()).collect();
        return Err(
            Failure::usage(format!("debug takes one target, not {}", all.join(" and ")))
                .hint("a command comes after --"),
        );
    };
    let (selected, named) = match &target.select {
        Select::Node(name) => return Ok(Target::Node(name.clone())),
        Select::AllNodes | Select::AllServices => {
            return Err(Failure::usage(format!("debug takes one target, not {}", target.label)));
        }
        Select::Pod(name) => return pod(cluster, target, name).await,
        Select::Service(name) => (resolve::backends(cluster, target, name).await?, target.label.clone()),
        _ => (target.clone(), target.label.clone()),
    };
    let api = api(cluster, selected.namespace.as_deref());
    let labels = match &selected.select {
        Select::PodsWith(selector) => Some(selector.to_string()),
        Select::AllPods => flags.selector.clone(),
        _ => None,
    };
    let pods = list(cluster, &api, labels.as_deref()).await;
    let pods = pods.map_err(|problem| problem.into_failure("list pods"))?;
    let of_target = |pod: &Pod| convert::pod(pod).is_some_and(|pod| resolve::matches(&selected.select, &pod));
    let places = pods.into_iter().filter(of_target).filter_map(Place::new).collect();
    match Place::best(places) {
        Some(place) => Ok(Target::Pod {
            place: Box::new(place),
            named: Some(named),
        }),
        None => Err(Failure::usage(match &flags.selector {
            Some(selector) => format!("no pod matches {}", safe(selector)),
            None => format!("{named} has no pods"),
        })
        .hint("kubectl get pods --show-labels lists what is there")),
    }
}

fn api(cluster: &Cluster, namespace: Option<&str>) -> Api<Pod> {
    match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

async fn pod(cluster: &Cluster, target: &resolve::Target, name: &str) -> Result<Target, Failure> {
    let api = api(cluster, target.namespace.as_deref());
    match attempt(request::limit(cluster.request_timeout), api.get(name)).await {
        Ok(pod) => Place::new(pod)
            .map(|place| Target::Pod {
                place: Box::new(place),
                named: None,
            })
            .ok_or_else(|| Failure::unknown(format!("pod {:?} has no name", safe(name)))),
        Err(problem) if problem.is_not_found() => {
            // With those that are there, the same words as every verb's, and perhaps a suggestion.
            let others = list(cluster, &api, None).await.unwrap_or_default();
            let inventory = Inventory {
                pods: others.iter().filter_map(convert::pod).collect(),
                ..Inventory::default()
            };
            let missing = resolve::select(&inventory, std::slice::from_ref(target)).err();
            Err(missing.unwrap_or_else(|| problem.into_failure(&format!("find pod {}", safe(name)))))
        }
        Err(problem) => Err(problem.into_failure(&format!("read pod {}", safe(name)))),
    }
}
