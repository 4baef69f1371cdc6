//! Targets found in an inventory. Pure.

use std::collections::BTreeSet;

use super::{Select, Target};
use crate::{
    cluster::{
        errors::ASK_AN_ADMIN,
        inventory::{Inventory, Pod, Unread},
    },
    exit::Failure,
    output::safe,
    suggest::closest,
};

/// What the targets turned out to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chosen {
    /// Pods, by UID.
    pub pods: BTreeSet<String>,
    /// Nodes, by name.
    pub nodes: BTreeSet<String>,
    /// Services, by namespace and name.
    pub services: BTreeSet<(String, String)>,
}

/// Finds the targets.
///
/// # Errors
/// If one of them does not exist, or stands for nothing.
pub fn select(inventory: &Inventory, targets: &[Target]) -> Result<Chosen, Failure> {
    let mut chosen = Chosen::default();
    for target in targets {
        let here = |namespace: &str| target.namespace.as_deref().is_none_or(|wanted| wanted == namespace);
        match &target.select {
            Select::Node(name) => {
                if !inventory.nodes.iter().any(|node| node.name == *name) {
                    return Err(missing_node(name, inventory));
                }
                chosen.nodes.insert(name.clone());
            }
            Select::AllNodes => {
                if let Some(failure) = cannot_tell("which nodes there are", inventory.unread_nodes()) {
                    return Err(failure);
                }
                chosen
                    .nodes
                    .extend(inventory.nodes.iter().map(|node| node.name.clone()));
            }
            Select::Service(name) => {
                let services = inventory.services.iter().filter(|service| here(&service.namespace));
                let found = services.clone().find(|service| service.name == *name);
                let service = found.ok_or_else(|| {
                    cannot_tell(
                        &format!("whether there is a Service {:?}", safe(name)),
                        inventory.unread_services(target.namespace.as_deref()),
                    )
                    .unwrap_or_else(|| missing("service", name, target, services.map(|service| service.name.as_str())))
                })?;
                chosen
                    .services
                    .insert((service.namespace.clone(), service.name.clone()));
            }
            Select::AllServices => {
                let unread = inventory.unread_services(target.namespace.as_deref());
                if let Some(failure) = cannot_tell("which Services there are", unread) {
                    return Err(failure);
                }
                let services = inventory.services.iter().filter(|service| here(&service.namespace));
                chosen
                    .services
                    .extend(services.map(|service| (service.namespace.clone(), service.name.clone())));
            }
            Select::Pod(_) | Select::AllPods | Select::PodsWith(_) | Select::PodsOf(..) => {
                let pods = inventory.pods.iter().filter(|pod| here(&pod.namespace));
                let before = chosen.pods.len();
                let found: Vec<&Pod> = pods.clone().filter(|pod| matches(&target.select, pod)).collect();
                chosen.pods.extend(found.iter().map(|pod| pod.uid.clone()));
                if found.is_empty() && chosen.pods.len() == before {
                    return Err(match &target.select {
                        Select::Pod(name) => missing("pod", name, target, pods.map(|pod| pod.name.as_str())),
                        _ => no_pods(target),
                    });
                }
            }
        }
    }
    Ok(chosen)
}

/// Whether a pod is among those that a target stands for, whatever their namespace; never, if it stands for nodes or Services.
pub fn matches(select: &Select, pod: &Pod) -> bool {
    match select {
        Select::Pod(name) => pod.name == *name,
        Select::AllPods => true,
        Select::PodsWith(selector) => {
            use kube::core::SelectorExt as _;
            selector.matches(&pod.labels)
        }
        Select::PodsOf(kind, name) => pod.workload.kind == *kind && pod.workload.name == *name,
        _ => false,
    }
}

fn missing<'a>(what: &str, name: &str, target: &Target, there: impl Iterator<Item = &'a str>) -> Failure {
    let place = target
        .namespace
        .as_deref()
        .map(|namespace| format!(" in namespace {}", safe(namespace)))
        .unwrap_or_default();
    let failure = Failure::usage(format!("there is no {what} {:?}{place}", safe(name)));
    match (closest(name, there), &target.namespace) {
        (Some(near), _) => failure.hint(format!("did you mean {}?", safe(near))),
        (None, Some(namespace)) => failure.hint(format!(
            "kubectl get {what}s -n {} lists them; -n chooses another namespace",
            safe(namespace)
        )),
        (None, None) => failure.hint(format!("kubectl get {what}s -A lists them")),
    }
}

fn missing_node(name: &str, inventory: &Inventory) -> Failure {
    let what = format!("whether there is a node {:?}", safe(name));
    if let Some(failure) = cannot_tell(&what, inventory.unread_nodes()) {
        return failure;
    }
    let failure = Failure::usage(format!("there is no node {:?}", safe(name)));
    match closest(name, inventory.nodes.iter().map(|node| node.name.as_str())) {
        Some(near) => failure.hint(format!("did you mean {}?", safe(near))),
        None => failure.hint("kubectl get nodes lists them"),
    }
}

/// What is not among what may be read may be there all the same.
fn cannot_tell(what: &str, unread: Option<&Unread>) -> Option<Failure> {
    let unread = unread?;
    let failure = Failure::unknown(format!("cannot tell {what}: {}", safe(&unread.to_string())));
    Some(failure.hint(ASK_AN_ADMIN))
}

fn no_pods(target: &Target) -> Failure {
    let place = target
        .namespace
        .as_deref()
        .map(|namespace| format!(" in namespace {}", safe(namespace)))
        .unwrap_or_default();
    Failure::usage(format!("{} stands for no pods{place}", target.label))
        .hint("is it scaled to zero, or are its pods in another namespace?")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::inventory::{Node, Service, Workload};

    fn inventory() -> Inventory {
        let pod = |namespace: &str, name: &str, app: &str, kind: &str, owner: &str| Pod {
            namespace: namespace.into(),
            name: name.into(),
            uid: format!("{namespace}-{name}"),
            labels: [("app".to_owned(), app.to_owned())].into(),
            workload: Workload {
                kind: kind.into(),
                name: owner.into(),
            },
            ..Pod::default()
        };
        Inventory {
            pods: vec![
                pod("shop", "web-1", "web", "Deployment", "web"),
                pod("shop", "web-2", "web", "Deployment", "web"),
                pod("shop", "backup-3", "backup", "CronJob", "backup"),
                pod("other", "web-1", "web", "Deployment", "web"),
            ],
            nodes: vec![Node {
                name: "worker-1".into(),
                ..Node::default()
            }],
            services: vec![Service {
                namespace: "shop".into(),
                name: "web".into(),
                ..Service::default()
            }],
            ..Inventory::default()
        }
    }

    fn target(namespace: Option<&str>, select: Select) -> Target {
        Target {
            label: "it".into(),
            namespace: namespace.map(str::to_owned),
            select,
        }
    }

    fn pods(namespace: Option<&str>, what: Select) -> Vec<String> {
        select(&inventory(), &[target(namespace, what)])
            .unwrap()
            .pods
            .into_iter()
            .collect()
    }

    #[test]
    fn pods_are_found_by_name_selector_owner_and_namespace() {
        let web = kube::core::Selector::from_iter([("app", "web")]);
        assert_eq!(pods(Some("shop"), Select::Pod("web-1".into())), ["shop-web-1"]);
        assert_eq!(
            pods(Some("shop"), Select::PodsWith(web.clone())),
            ["shop-web-1", "shop-web-2"]
        );
        assert_eq!(pods(None, Select::PodsWith(web)).len(), 3);
        assert_eq!(
            pods(Some("shop"), Select::PodsOf("CronJob", "backup".into())),
            ["shop-backup-3"]
        );
        assert_eq!(pods(Some("other"), Select::AllPods), ["other-web-1"]);
    }

    #[test]
    fn the_same_pod_named_twice_is_one() {
        let twice = [
            target(Some("shop"), Select::Pod("web-1".into())),
            target(Some("shop"), Select::AllPods),
        ];
        assert_eq!(select(&inventory(), &twice).unwrap().pods.len(), 3);
        let reversed: Vec<Target> = twice.into_iter().rev().collect();
        assert_eq!(select(&inventory(), &reversed).unwrap().pods.len(), 3);
    }

    #[test]
    fn nodes_and_services() {
        let all = [
            target(None, Select::Node("worker-1".into())),
            target(Some("shop"), Select::Service("web".into())),
        ];
        let chosen = select(&inventory(), &all).unwrap();
        assert!(chosen.nodes.contains("worker-1") && chosen.services.contains(&("shop".into(), "web".into())));
    }

    #[test]
    fn what_does_not_exist_is_said_with_a_suggestion() {
        let failure = |namespace, what| select(&inventory(), &[target(namespace, what)]).unwrap_err();
        let pod = failure(Some("shop"), Select::Pod("wbe-1".into()));
        assert_eq!(
            (pod.message.as_str(), pod.hint.as_deref()),
            (
                "there is no pod \"wbe-1\" in namespace shop",
                Some("did you mean web-1?")
            )
        );
        assert_eq!(
            failure(None, Select::Node("worker-9".into())).hint.as_deref(),
            Some("did you mean worker-1?")
        );
        assert!(
            failure(Some("shop"), Select::Service("nope".into()))
                .message
                .contains("no service")
        );
        assert!(
            failure(Some("empty"), Select::AllPods)
                .message
                .contains("stands for no pods")
        );
    }

    #[test]
    fn what_may_not_be_read_is_not_called_missing() {
        let inventory = Inventory {
            unread: vec![Unread::nodes(), Unread::services(Some("shop"), true, false)],
            ..inventory()
        };
        let shop = Some("shop");
        for (namespace, what, words) in [
            (None, Select::Node("worker-9".into()), "may not list nodes"),
            (None, Select::AllNodes, "may not list nodes"),
            (
                shop,
                Select::Service("nope".into()),
                "may not list services in namespace shop",
            ),
            (shop, Select::AllServices, "may not list services in namespace shop"),
        ] {
            let failure = select(&inventory, &[target(namespace, what.clone())]).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Unknown, "{what:?}");
            assert!(failure.message.contains(words), "{}", failure.message);
        }
        let elsewhere = select(&inventory, &[target(Some("other"), Select::Service("web".into()))]);
        assert_eq!(
            elsewhere.unwrap_err().exit,
            crate::exit::Exit::Usage,
            "there it may be read"
        );
    }
}
