//! What only the API server knows of a name: types it serves, objects a label selects, pods a workload selects.

use futures::future::try_join_all;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::{
    Api,
    api::DynamicObject,
    core::{ApiResource, GroupVersionKind, Selector, discovery::v2::APIGroupDiscovery},
};
use serde_json::Value;

use super::{Select, Target, kinds::Kind, words::Named};
use crate::{
    cluster::{
        Cluster,
        list::list,
        request::{self, attempt},
    },
    exit::Failure,
    flags::KubectlFlags,
    output::safe,
    suggest::closest,
};

pub(super) async fn resolve(
    cluster: &Cluster,
    flags: &KubectlFlags,
    named: Vec<Named>,
) -> Result<Vec<Target>, Failure> {
    let only_pods = named.iter().all(|one| one.kind == Some(Kind::Pod));
    // `-l` with nothing but pods is left to the list of pods itself.
    let selector = flags.selector.as_deref().filter(|_| !only_pods);
    let all = try_join_all(named.into_iter().map(|one| resolve_one(cluster, flags, selector, one))).await?;
    Ok(all.into_iter().flatten().collect())
}

/// What a name of a workload stands for before the workload exists: pods that belong to one of this name.
pub(super) fn to_come(cluster: &Cluster, flags: &KubectlFlags, named: &Named) -> Option<Target> {
    let select = match (named.kind?, named.name.clone()?) {
        (Kind::Deployment, name) => Select::PodsOf("Deployment", name),
        (Kind::StatefulSet, name) => Select::PodsOf("StatefulSet", name),
        (Kind::DaemonSet, name) => Select::PodsOf("DaemonSet", name),
        (Kind::ReplicaSet, name) => Select::PodsOf("ReplicaSet", name),
        (Kind::Job, name) => Select::PodsOf("Job", name),
        _ => return None,
    };
    Some(Target {
        label: named.label(),
        namespace: (!flags.all_namespaces).then(|| cluster.namespace.clone()),
        select,
    })
}

/// The pods that a Service selects.
pub(super) async fn backends(cluster: &Cluster, service: &Target, name: &str) -> Result<Target, Failure> {
    let wanted = Wanted {
        kind: None,
        resource: Kind::Service.resource(),
        label: service.label.clone(),
        namespace: service.namespace.clone(),
        name: Some(name.to_owned()),
    };
    let pods = objects(cluster, wanted, None).await?.pop();
    pods.ok_or_else(|| Failure::usage(format!("{} selects no pods", service.label)))
}

async fn resolve_one(
    cluster: &Cluster,
    flags: &KubectlFlags,
    selector: Option<&str>,
    named: Named,
) -> Result<Vec<Target>, Failure> {
    let label = named.label();
    let namespace = (!flags.all_namespaces).then(|| cluster.namespace.clone());
    let one = |namespace: Option<String>, select| {
        Ok(vec![Target {
            label: label.clone(),
            namespace,
            select,
        }])
    };
    match (named.kind, named.name.clone(), selector) {
        (Some(Kind::Pod), Some(name), _) => one(namespace, Select::Pod(name)),
        (Some(Kind::Pod), None, None) => one(namespace, Select::AllPods),
        (Some(Kind::Node), Some(name), _) => one(None, Select::Node(name)),
        (Some(Kind::Node), None, None) => one(None, Select::AllNodes),
        (Some(Kind::Service), Some(name), _) => one(namespace, Select::Service(name)),
        (Some(Kind::Service), None, None) => one(namespace, Select::AllServices),
        (Some(Kind::CronJob), Some(name), _) => one(namespace, Select::PodsOf("CronJob", name)),
        (Some(Kind::Namespace), Some(name), _) => one(Some(name), Select::AllPods),
        (Some(kind), name, _) => {
            objects(
                cluster,
                Wanted {
                    kind: Some(kind),
                    resource: kind.resource(),
                    label,
                    namespace,
                    name,
                },
                selector,
            )
            .await
        }
        (None, name, _) => {
            let resource = discover(cluster, &named).await?;
            objects(
                cluster,
                Wanted {
                    kind: None,
                    resource,
                    label,
                    namespace,
                    name,
                },
                selector,
            )
            .await
        }
    }
}

/// Objects to ask the API server for.
struct Wanted {
    kind: Option<Kind>,
    resource: ApiResource,
    label: String,
    /// `None`: all.
    namespace: Option<String>,
    /// `None`: all that the selector matches.
    name: Option<String>,
}

async fn objects(cluster: &Cluster, wanted: Wanted, selector: Option<&str>) -> Result<Vec<Target>, Failure> {
    let namespaced = wanted.kind.is_none_or(Kind::is_namespaced);
    let api: Api<DynamicObject> = match &wanted.namespace {
        Some(namespace) if namespaced => Api::namespaced_with(cluster.client.clone(), namespace, &wanted.resource),
        _ => Api::all_with(cluster.client.clone(), &wanted.resource),
    };
    let objects = if let Some(name) = &wanted.name {
        match attempt(request::limit(cluster.request_timeout), api.get(name)).await {
            Ok(object) => vec![object],
            Err(problem) if problem.is_not_found() => return Err(missing(&wanted, name)),
            Err(problem) => return Err(problem.into_failure(&format!("look up {}", wanted.label))),
        }
    } else {
        let listed = list(cluster, &api, selector).await;
        listed.map_err(|problem| problem.into_failure(&format!("list {}", wanted.resource.plural)))?
    };
    if objects.is_empty() {
        let by = selector
            .map(|selector| format!(" with labels {}", safe(selector)))
            .unwrap_or_default();
        let place = wanted
            .namespace
            .as_deref()
            .filter(|_| namespaced)
            .map(|namespace| format!(" in namespace {}", safe(namespace)))
            .unwrap_or_default();
        return Err(Failure::usage(format!(
            "there are no {}{by}{place}",
            wanted.resource.plural
        )));
    }
    objects.into_iter().map(|object| target(&wanted, object)).collect()
}

fn missing(wanted: &Wanted, name: &str) -> Failure {
    let kind = wanted.resource.kind.to_lowercase();
    match &wanted.namespace {
        Some(namespace) => {
            let namespace = safe(namespace);
            Failure::usage(format!("there is no {kind} {name:?} in namespace {namespace}")).hint(format!(
                "kubectl get {} -n {namespace} lists them; -n chooses another namespace",
                wanted.resource.plural
            ))
        }
        None => Failure::usage(format!("there is no {kind} {name:?}")),
    }
}

fn target(wanted: &Wanted, object: DynamicObject) -> Result<Target, Failure> {
    let name = object.metadata.name.unwrap_or_default();
    let label = format!(
        "{}/{}",
        wanted
            .kind
            .map_or_else(|| wanted.resource.kind.to_lowercase(), |kind| kind.word().to_owned()),
        safe(&name)
    );
    let namespace = object.metadata.namespace;
    let select = match wanted.kind {
        Some(Kind::Pod) => Select::Pod(name),
        Some(Kind::Node) => Select::Node(name),
        Some(Kind::Service) => Select::Service(name),
        Some(Kind::CronJob) => Select::PodsOf("CronJob", name),
        Some(Kind::Namespace) => {
            return Ok(Target {
                label,
                namespace: Some(name),
                select: Select::AllPods,
            });
        }
        _ => Select::PodsWith(pod_selector(&label, &object.data)?),
    };
    Ok(Target {
        label,
        namespace,
        select,
    })
}

/// `spec.selector`, be it a LabelSelector or, as in a ReplicationController, a plain map.
fn pod_selector(label: &str, object: &Value) -> Result<Selector, Failure> {
    let none = || {
        Failure::usage(format!("{label} selects no pods"))
            .hint("name the pods themselves, or a workload that owns them")
    };
    let selector = object
        .pointer("/spec/selector")
        .and_then(Value::as_object)
        .filter(|selector| !selector.is_empty())
        .ok_or_else(none)?;
    let is_plain = selector.values().all(Value::is_string);
    if is_plain {
        return Ok(selector
            .iter()
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect());
    }
    let parsed: LabelSelector = serde_json::from_value(Value::Object(selector.clone())).map_err(|_| none())?;
    Selector::try_from(parsed).map_err(|error| {
        Failure::unknown(format!(
            "{label} has a selector that cannot be understood: {}",
            safe(&error.to_string())
        ))
    })
}

async fn discover(cluster: &Cluster, named: &Named) -> Result<ApiResource, Failure> {
    let groups = request::call(
        request::limit(cluster.request_timeout),
        "ask which resource types there are",
        cluster.client.list_api_groups_aggregated(),
    )
    .await?;
    find(&groups.items, &named.type_word, named.group.as_deref()).ok_or_else(|| {
        let failure = Failure::usage(format!(
            "there is no resource type {:?} that stands for pods",
            safe(&named.type_word)
        ));
        match closest(&named.type_word.to_lowercase(), Kind::names()) {
            Some(near) => failure.hint(format!("did you mean {near}?")),
            None => failure.hint("name a pod, a workload, a Service or a node"),
        }
    })
}

/// The type of this name (plural, singular, short or kind), in the preferred version of the first group that has it.
fn find(groups: &[APIGroupDiscovery], word: &str, group: Option<&str>) -> Option<ApiResource> {
    groups
        .iter()
        .map(|entry| {
            (
                entry
                    .metadata
                    .as_ref()
                    .and_then(|metadata| metadata.name.as_deref())
                    .unwrap_or_default(),
                entry,
            )
        })
        .filter(|(name, _)| group.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name)))
        .find_map(|(name, entry)| {
            // The API server lists a group's versions in its order of preference.
            entry.versions.iter().find_map(|version| {
                version.resources.iter().find_map(|resource| {
                    let plural = resource.resource.as_deref()?;
                    let kind = resource.response_kind.as_ref()?.kind.as_deref()?;
                    let names = [Some(plural), resource.singular_resource.as_deref(), Some(kind)];
                    let short = resource.short_names.iter().map(String::as_str);
                    let fits = names
                        .into_iter()
                        .flatten()
                        .chain(short)
                        .any(|name| name.eq_ignore_ascii_case(word));
                    let version = version.version.as_deref()?;
                    fits.then(|| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(name, version, kind), plural))
                })
            })
        })
}

#[cfg(test)]
mod tests {
    use kube::core::SelectorExt as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_of_both_kinds_are_read() {
        let labels = [("app".to_owned(), "web".to_owned())].into();
        for selector in [
            json!({"matchLabels": {"app": "web"}}),
            json!({"app": "web"}),
            json!({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "api"]}]}),
        ] {
            let read = pod_selector("it", &json!({"spec": {"selector": selector}})).unwrap();
            assert!(read.matches(&labels), "{selector}");
            assert!(
                !read.matches(&[("app".to_owned(), "db".to_owned())].into()),
                "{selector}"
            );
        }
        for object in [
            json!({}),
            json!({"spec": {"selector": {}}}),
            json!({"spec": {"selector": {"matchExpressions": 7}}}),
        ] {
            assert!(pod_selector("it", &object).is_err(), "{object}");
        }
    }

    #[test]
    fn types_are_found_by_all_their_names() {
        let groups: Vec<APIGroupDiscovery> = serde_json::from_value(json!([{
            "metadata": {"name": "argoproj.io"},
            "versions": [{"version": "v1alpha1", "resources": [{
                "resource": "rollouts", "singularResource": "rollout", "shortNames": ["ro"], "scope": "Namespaced",
                "responseKind": {"group": "argoproj.io", "version": "v1alpha1", "kind": "Rollout"}
            }]}]
        }]))
        .unwrap();
        for (word, group, found) in [
            ("rollouts", None, true),
            ("ro", None, true),
            ("Rollout", Some("argoproj.io"), true),
            ("rollouts", Some("apps"), false),
            ("rollo", None, false),
        ] {
            let resource = find(&groups, word, group);
            assert_eq!(resource.is_some(), found, "{word} {group:?}");
            if let Some(resource) = resource {
                assert_eq!(
                    (resource.api_version.as_str(), resource.plural.as_str()),
                    ("argoproj.io/v1alpha1", "rollouts")
                );
            }
        }
    }
}
