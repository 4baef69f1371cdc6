//! Fills an [`Inventory`] from the API, in few and paged requests.

pub mod convert;

use super::{
    Cluster,
    inventory::{Inventory, Node, Service, Unread},
    request::{self, Problem, attempt},
};
use crate::exit::Failure;
use futures::future::try_join_all;
use k8s_openapi::api::{
    core::v1::{Namespace, Node as ApiNode, Pod as ApiPod, Service as ApiService},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Resource,
    api::{ListParams, ObjectList},
    core::{NamespaceResourceScope, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use std::{collections::BTreeMap, fmt::Debug};

/// Objects per page: what kubectl asks for.
const PAGE: u32 = 500;
/// Where a distribution keeps the cluster's DNS, and by which labels it is found there.
struct DnsHome {
    namespace: &'static str,
    services: Option<&'static str>,
    pods: &'static str,
}

/// (Nearly) every distribution.
const USUAL_DNS: DnsHome = DnsHome {
    namespace: "kube-system",
    services: Some("k8s-app=kube-dns"),
    pods: "k8s-app=kube-dns",
};
/// OpenShift.
const OPENSHIFT_DNS: DnsHome = DnsHome {
    namespace: "openshift-dns",
    services: None,
    pods: "dns.operator.openshift.io/daemonset-dns=default",
};

/// Which namespaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Namespaces {
    /// `-A`.
    All,
    /// These.
    These(Vec<String>),
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// Namespaces of pods and Services.
    pub namespaces: Namespaces,
    /// Label selector for pods, as `-l` takes it.
    pub selector: Option<String>,
}

/// Reads pods, nodes, Services and their endpoints. What the user may not read besides the pods is told in the inventory, and no error.
pub async fn inventory(cluster: &Cluster, scope: &Scope) -> Result<Inventory, Failure> {
    let names: Vec<Option<&str>> = match &scope.namespaces {
        Namespaces::All => vec![None],
        Namespaces::These(names) => names.iter().map(|name| Some(name.as_str())).collect(),
    };
    let pods = try_join_all(names.iter().map(|name| pods(cluster, *name, scope.selector.as_deref())));
    let services = try_join_all(names.iter().map(|name| services(cluster, *name, None)));
    let (pods, nodes, services, dns) = tokio::join!(pods, nodes(cluster), services, dns(cluster, scope, &USUAL_DNS));
    let mut raw_pods: Vec<ApiPod> = pods?.into_iter().flatten().collect();
    let empty = empty_namespaces(cluster, scope, &raw_pods).await?;

    let mut inventory = Inventory::default();
    let nodes = nodes?.unwrap_or_else(|| {
        inventory.unread.push(Unread::nodes());
        nodes_of(&raw_pods)
    });
    let mut raw_services = Vec::new();
    for listed in services? {
        match listed {
            Ok(listed) => raw_services.push(listed),
            Err(unread) => inventory.unread.push(unread),
        }
    }
    let usual = dns?;
    let mut dns_unread: Vec<Unread> = usual.unread.iter().cloned().collect();
    if usual.covered {
        dns_unread.extend(
            inventory
                .unread
                .iter()
                .filter(|unread| unread.hides_services_in(USUAL_DNS.namespace))
                .cloned(),
        );
    }
    let mut dns = vec![usual];
    if !has_dns(raw_services.iter().chain(dns.iter().map(|dns| &dns.listed))) {
        let elsewhere = self::dns(cluster, scope, &OPENSHIFT_DNS).await?;
        // Most clusters have no such namespace, and say "forbidden" of it to most users: that alone is no gap.
        if has_dns([&elsewhere.listed]) {
            dns.push(elsewhere);
        } else {
            inventory.dns_missing = Some(dns_missing(&dns_unread, elsewhere.unread.as_ref()));
        }
    }
    for dns in dns {
        raw_pods.extend(dns.backends);
        raw_services.push(dns.listed);
        inventory.gaps.extend(dns.gaps);
    }
    inventory.gaps.extend(empty.iter().map(|name| match &scope.selector {
        Some(selector) => format!("no pods that match {selector} in namespace {name}"),
        None => format!("no pods in namespace {name}"),
    }));
    let uids: BTreeMap<_, _> = raw_pods
        .iter()
        .filter_map(|pod| Some((pod.metadata.uid.clone()?, convert::pod_uid(pod)?)))
        .collect();
    let mut services: Vec<Service> = raw_services
        .iter()
        .flat_map(|(services, slices)| convert::services(services, slices, &uids))
        .collect();
    services.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    services.dedup_by(|a, b| (&a.namespace, &a.name) == (&b.namespace, &b.name));
    let mut pods: Vec<_> = raw_pods.iter().filter_map(convert::pod).collect();
    pods.sort_by(|a, b| (&a.namespace, &a.name, &a.uid).cmp(&(&b.namespace, &b.name, &b.uid)));
    pods.dedup_by(|a, b| a.uid == b.uid);
    Ok(Inventory {
        pods,
        nodes,
        services,
        ..inventory
    })
}

async fn pods(cluster: &Cluster, namespace: Option<&str>, selector: Option<&str>) -> Result<Vec<ApiPod>, Failure> {
    let doing = format!("list pods{}", in_namespace(namespace));
    list(cluster, &scoped(cluster, namespace), selector)
        .await
        .map_err(|problem| problem.into_failure(&doing))
}

/// `None` if they may not be listed.
async fn nodes(cluster: &Cluster) -> Result<Option<Vec<Node>>, Failure> {
    let nodes: Option<Vec<ApiNode>> = allowed(
        list(cluster, &Api::all(cluster.client.clone()), None).await,
        "list nodes",
    )?;
    Ok(nodes.map(|nodes| {
        let mut nodes: Vec<_> = nodes.iter().filter_map(convert::node).collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }))
}

type ServicesAndSlices = (Vec<ApiService>, Vec<EndpointSlice>);

/// The inner error says which of them may not be listed.
async fn services(
    cluster: &Cluster,
    namespace: Option<&str>,
    selector: Option<&str>,
) -> Result<Result<ServicesAndSlices, Unread>, Failure> {
    let (service_api, slice_api) = (scoped(cluster, namespace), scoped(cluster, namespace));
    let (services, slices) = tokio::join!(list(cluster, &service_api, selector), list(cluster, &slice_api, None));
    let services = allowed(services, &format!("list Services{}", in_namespace(namespace)))?;
    let slices = allowed(slices, &format!("list EndpointSlices{}", in_namespace(namespace)))?;
    Ok(match (services, slices) {
        (Some(services), Some(slices)) => Ok((services, slices)),
        (services, slices) => Err(Unread::services(namespace, services.is_none(), slices.is_none())),
    })
}

/// The cluster's DNS Service and the pods behind it, where the scope does not contain them anyway.
#[derive(Default)]
struct Dns {
    listed: ServicesAndSlices,
    /// The scope contains its namespace.
    covered: bool,
    /// Why it could not be looked for.
    unread: Option<Unread>,
    backends: Vec<ApiPod>,
    gaps: Vec<String>,
}

/// Why cluster DNS is not known: a right or the object is missing.
fn dns_missing(usual: &[Unread], openshift: Option<&Unread>) -> String {
    if let Some(unread) = usual.first() {
        return format!(
            "{unread}, so the cluster's DNS Service cannot be looked for (kubectl netcheck rbac matrix prints the Role that allows it, on OpenShift with --dns-namespace {})",
            OPENSHIFT_DNS.namespace
        );
    }
    let (namespace, label) = (USUAL_DNS.namespace, USUAL_DNS.services.unwrap_or_default());
    let elsewhere = match openshift {
        None => format!("nor dns-default in {}", OPENSHIFT_DNS.namespace),
        Some(unread) => format!(
            "and {unread} (on OpenShift, kubectl netcheck rbac matrix --dns-namespace {} prints the Role that allows it)",
            OPENSHIFT_DNS.namespace
        ),
    };
    format!(
        "there is no DNS Service: none named kube-dns or labelled {label} on UDP port 53 in namespace {namespace}, {elsewhere}"
    )
}

/// The cluster's DNS Service with what is behind it. The inner error says why it is not known.
///
/// # Errors
/// If the API server does not answer.
pub async fn cluster_dns(cluster: &Cluster) -> Result<Result<Service, String>, Failure> {
    let mut unread = Vec::new();
    for home in [&USUAL_DNS, &OPENSHIFT_DNS] {
        match services(cluster, Some(home.namespace), home.services).await? {
            Ok((listed, slices)) => {
                let found = convert::services(&listed, &slices, &BTreeMap::new());
                if let Some(service) = found.into_iter().find(|service| service.is_dns) {
                    return Ok(Ok(service));
                }
                unread.push(None);
            }
            Err(why) => unread.push(Some(why)),
        }
    }
    let usual: Vec<Unread> = unread.first().cloned().flatten().into_iter().collect();
    Ok(Err(dns_missing(&usual, unread.get(1).and_then(Option::as_ref))))
}

async fn dns(cluster: &Cluster, scope: &Scope, home: &DnsHome) -> Result<Dns, Failure> {
    let namespace = home.namespace;
    let covered = match &scope.namespaces {
        Namespaces::All => true,
        Namespaces::These(names) => names.iter().any(|name| name == namespace),
    };
    let mut dns = Dns {
        covered,
        ..Dns::default()
    };
    if !covered {
        match services(cluster, Some(namespace), home.services).await? {
            Ok(listed) => dns.listed = listed,
            Err(unread) => dns.unread = Some(unread),
        }
    }
    if !covered || scope.selector.is_some() {
        let pods = list(cluster, &scoped(cluster, Some(namespace)), Some(home.pods)).await;
        match allowed(pods, "list the pods of the cluster's DNS")? {
            Some(pods) => dns.backends = pods,
            None if has_dns([&dns.listed]) => dns.gaps.push(format!(
                "pods in namespace {namespace} may not be listed: the backends of cluster DNS cannot be watched"
            )),
            None => {}
        }
    }
    Ok(dns)
}

fn has_dns<'a>(listed: impl IntoIterator<Item = &'a ServicesAndSlices>) -> bool {
    listed
        .into_iter()
        .any(|(services, _)| services.iter().any(convert::is_dns))
}

/// A namespace without a single pod may not exist at all: that is a mistake of the user, not an empty result.
async fn empty_namespaces<'a>(cluster: &Cluster, scope: &'a Scope, pods: &[ApiPod]) -> Result<Vec<&'a str>, Failure> {
    let Namespaces::These(names) = &scope.namespaces else {
        return Ok(Vec::new());
    };
    let api: Api<Namespace> = Api::all(cluster.client.clone());
    let mut empty = Vec::new();
    for name in names {
        let seen = pods.iter().any(|pod| pod.metadata.namespace.as_deref() == Some(name));
        if seen {
            continue;
        }
        match attempt(request::limit(cluster.request_timeout), api.get_metadata(name)).await {
            Err(problem) if problem.is_not_found() => {
                return Err(Failure::usage(format!("namespace {name:?} does not exist"))
                    .hint("kubectl get namespaces lists those that do"));
            }
            // Whoever may not read namespaces cannot be told more.
            Err(problem) if problem.is_forbidden() => {}
            Err(problem) => return Err(problem.into_failure(&format!("look up namespace {name:?}"))),
            Ok(_) => {}
        }
        empty.push(name.as_str());
    }
    Ok(empty)
}

/// What pods tell of their nodes, for users who may not list nodes.
fn nodes_of(pods: &[ApiPod]) -> Vec<Node> {
    let mut names: Vec<_> = pods
        .iter()
        .filter_map(|pod| pod.spec.as_ref()?.node_name.clone())
        .collect();
    names.sort();
    names.dedup();
    let node = |name| Node {
        name,
        ready: true,
        os: "linux".to_owned(),
        ..Node::default()
    };
    names.into_iter().map(node).collect()
}

/// All pages of a list.
pub(crate) async fn list<K>(cluster: &Cluster, api: &Api<K>, selector: Option<&str>) -> Result<Vec<K>, Problem>
where
    K: Clone + DeserializeOwned + Debug,
{
    let page = |params: ListParams| async move { api.list(&params).await };
    pages(cluster, selector, page).await
}

/// All pages of a list of which only the objects' metadata are wanted.
pub(crate) async fn list_metadata<K>(
    cluster: &Cluster,
    api: &Api<K>,
    selector: Option<&str>,
) -> Result<Vec<PartialObjectMeta<K>>, Problem>
where
    K: Clone + DeserializeOwned + Debug,
{
    let page = |params: ListParams| async move { api.list_metadata(&params).await };
    pages(cluster, selector, page).await
}

/// Asks for page after page. When the server has forgotten a continuation (HTTP 410), the list starts again without pages.
async fn pages<K, P>(
    cluster: &Cluster,
    selector: Option<&str>,
    page: impl Fn(ListParams) -> P,
) -> Result<Vec<K>, Problem>
where
    K: Clone,
    P: Future<Output = kube::Result<ObjectList<K>>>,
{
    let limit = request::limit(cluster.request_timeout);
    let mut params = ListParams {
        label_selector: selector.map(str::to_owned),
        limit: Some(PAGE),
        ..ListParams::default()
    };
    let mut items = Vec::new();
    loop {
        let page = match attempt(limit, page(params.clone())).await {
            Err(problem) if params.continue_token.is_some() && problem.status().is_some_and(|s| s.code == 410) => {
                items.clear();
                params.continue_token = None;
                params.limit = None;
                continue;
            }
            page => page?,
        };
        items.extend(page.items);
        params.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
        if params.continue_token.is_none() {
            return Ok(items);
        }
    }
}

fn scoped<K>(cluster: &Cluster, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(cluster.client.clone(), namespace),
        None => Api::all(cluster.client.clone()),
    }
}

fn in_namespace(namespace: Option<&str>) -> String {
    namespace.map_or(" in all namespaces".to_owned(), |name| {
        format!(" in namespace {name:?}")
    })
}

/// Turns "you may not" into `None`.
pub(crate) fn allowed<T>(answer: Result<T, Problem>, doing: &str) -> Result<Option<T>, Failure> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(problem) if problem.is_forbidden() => Ok(None),
        Err(problem) => Err(problem.into_failure(doing)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::fake, exit::Exit};
    use serde_json::{Value, json};

    fn pod(name: &str) -> Value {
        json!({
            "metadata": { "namespace": "shop", "name": name, "uid": name },
            "spec": { "nodeName": "n1", "containers": [] },
            "status": { "phase": "Running" },
        })
    }

    fn forbidden() -> (u16, Value) {
        fake::status(
            403,
            "Forbidden",
            r#"nodes is forbidden: User "ada" cannot list resource "nodes""#,
        )
    }

    fn shop() -> Scope {
        Scope {
            namespaces: Namespaces::These(vec!["shop".to_owned()]),
            selector: None,
        }
    }

    #[tokio::test]
    async fn what_may_not_be_read_is_told_and_not_the_end() {
        let (cluster, _) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.contains("/namespaces/shop/pods") => fake::list(&json!([pod("web")])),
            _ => forbidden(),
        });
        let inventory = inventory(&cluster, &shop()).await.unwrap();
        assert_eq!(inventory.pods.len(), 1);
        assert_eq!(inventory.nodes[0].name, "n1", "pods tell of their nodes");
        let unread: Vec<_> = inventory.unread.iter().map(ToString::to_string).collect();
        assert_eq!(
            unread,
            [
                "you may not list nodes",
                "you may not list services or endpointslices.discovery.k8s.io in namespace shop",
            ]
        );
        assert!(inventory.gaps.is_empty(), "{:?}", inventory.gaps);
        let missing = inventory.dns_missing.unwrap();
        assert!(missing.contains("you may not list services"), "{missing}");
    }

    #[tokio::test]
    async fn services_of_one_namespace_that_hides_them_hide_no_others() {
        let service = json!({
            "metadata": { "namespace": "shop", "name": "web" },
            "spec": { "clusterIPs": ["10.96.0.9"], "ports": [{ "port": 80, "protocol": "TCP" }] },
        });
        let (cluster, _) = fake::cluster(move |asked| match asked.line.as_str() {
            line if line.contains("/namespaces/bank/endpointslices") => forbidden(),
            line if line.contains("/namespaces/shop/services") => fake::list(&json!([service])),
            line if line.contains("/pods") => fake::list(&json!([pod("web")])),
            _ => fake::list(&json!([])),
        });
        let both = Scope {
            namespaces: Namespaces::These(vec!["bank".to_owned(), "shop".to_owned()]),
            selector: None,
        };
        let inventory = inventory(&cluster, &both).await.unwrap();
        assert_eq!(inventory.services.len(), 1, "{:?}", inventory.services);
        assert_eq!(inventory.unread, [Unread::services(Some("bank"), false, true)]);
    }

    #[tokio::test]
    async fn a_cluster_without_dns_is_told_from_one_that_hides_it() {
        let (cluster, _) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.contains("/namespaces/shop/pods") => fake::list(&json!([pod("web")])),
            line if line.contains("/namespaces/openshift-dns/") => forbidden(),
            _ => fake::list(&json!([])),
        });
        let missing = inventory(&cluster, &shop()).await.unwrap().dns_missing.unwrap();
        assert!(missing.contains("there is no DNS Service"), "{missing}");
        assert!(
            missing.contains("rbac matrix --dns-namespace openshift-dns"),
            "{missing}"
        );

        let (cluster, _) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.contains("/services") => forbidden(),
            line if line.contains("/pods") => fake::list(&json!([pod("web")])),
            _ => fake::list(&json!([])),
        });
        let everywhere = Scope {
            namespaces: Namespaces::All,
            selector: None,
        };
        let missing = inventory(&cluster, &everywhere).await.unwrap().dns_missing.unwrap();
        assert!(missing.contains("you may not list services"), "{missing}");
    }

    #[tokio::test]
    async fn cluster_dns_is_looked_for_where_openshift_has_it() {
        let service = json!({
            "metadata": { "namespace": "openshift-dns", "name": "dns-default" },
            "spec": { "clusterIPs": ["172.30.0.10"], "ports": [{ "name": "dns", "port": 53, "protocol": "UDP" }] },
        });
        let (cluster, _) = fake::cluster(move |asked| match asked.line.as_str() {
            line if line.contains("/namespaces/shop/pods") => fake::list(&json!([pod("web")])),
            line if line.contains("/namespaces/openshift-dns/services") => fake::list(&json!([service])),
            line if line.contains("/namespaces/openshift-dns/pods") => forbidden(),
            _ => fake::list(&json!([])),
        });
        let inventory = inventory(&cluster, &shop()).await.unwrap();
        assert!(inventory.services[0].is_dns);
        assert_eq!(inventory.dns_missing, None);
        assert_eq!(
            inventory.gaps,
            ["pods in namespace openshift-dns may not be listed: the backends of cluster DNS cannot be watched"]
        );
    }

    #[tokio::test]
    async fn pods_that_may_not_be_read_are_the_end() {
        let (cluster, _) = fake::cluster(|_| forbidden());
        let failure = inventory(&cluster, &shop()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Unknown);
    }

    #[tokio::test]
    async fn a_namespace_that_does_not_exist_is_a_mistake_of_the_user() {
        let (cluster, _) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.ends_with("/namespaces/shop") || line.contains("/namespaces/shop?") => {
                fake::status(404, "NotFound", r#"namespaces "shop" not found"#)
            }
            _ => fake::list(&json!([])),
        });
        let failure = inventory(&cluster, &shop()).await.unwrap_err();
        assert_eq!(
            (failure.exit, failure.message.as_str()),
            (Exit::Usage, r#"namespace "shop" does not exist"#)
        );
    }

    #[tokio::test]
    async fn a_namespace_without_pods_is_said_to_have_none() {
        let (cluster, _) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.ends_with("/namespaces/shop") || line.contains("/namespaces/shop?") => (
                200,
                json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }),
            ),
            _ => fake::list(&json!([])),
        });
        let inventory = inventory(&cluster, &shop()).await.unwrap();
        assert_eq!(inventory.gaps, ["no pods in namespace shop"]);
    }

    #[tokio::test]
    async fn a_list_comes_in_pages_and_starts_again_when_the_server_forgot_it() {
        let (cluster, asked) = fake::cluster(|asked| match asked.line.as_str() {
            line if line.contains("continue=") => fake::status(410, "Expired", "too old"),
            line if line.contains("limit=") => (
                200,
                json!({ "metadata": { "continue": "next" }, "items": [pod("one")] }),
            ),
            _ => fake::list(&json!([pod("one"), pod("two")])),
        });
        let api: Api<ApiPod> = Api::namespaced(cluster.client.clone(), "shop");
        let pods = list(&cluster, &api, None).await.unwrap();
        assert_eq!(pods.len(), 2);
        assert_eq!(asked.lock().unwrap().len(), 3);
    }
}
