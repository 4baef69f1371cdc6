//! From the API's objects to the inventory's. Pure; everything may be missing in what a server sends.

use crate::cluster::inventory::{End, Endpoint, Node, Pod, Port, Service, Workload};
use k8s_openapi::api::{
    core::v1::{ContainerState, ContainerStatus, Node as ApiNode, Pod as ApiPod, Service as ApiService},
    discovery::v1::EndpointSlice,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Annotation of a mirror pod: the static pod's own UID, which its cgroup carries.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";

/// The UID by which the node knows the pod. Anybody may annotate a pod of theirs, so the annotation counts only in the form a kubelet
/// gives it (an MD5 sum, `applyDefaults` of pkg/kubelet/config), which no other pod's UID has: a pod can't pose as another one.
pub fn pod_uid(pod: &ApiPod) -> Option<String> {
    let annotations = pod.metadata.annotations.as_ref();
    let hash = annotations.and_then(|annotations| annotations.get(CONFIG_HASH));
    hash.filter(|hash| is_md5(hash)).or(pod.metadata.uid.as_ref()).cloned()
}

fn is_md5(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A pod; `None` without name or UID.
pub fn pod(pod: &ApiPod) -> Option<Pod> {
    let uid = pod_uid(pod)?;
    let spec = pod.spec.as_ref();
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("Unknown");
    let leaving = pod.metadata.deletion_timestamp.is_some();
    let ready = condition(pod, "Ready").is_some_and(|(status, _)| status == "True") && !leaving;
    let ips = status.and_then(|status| status.pod_ips.as_ref());
    let ports = spec
        .into_iter()
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.ports.iter().flatten());
    Some(Pod {
        namespace: pod.metadata.namespace.clone().unwrap_or_default(),
        name: pod.metadata.name.clone()?,
        uid,
        node: spec
            .and_then(|spec| spec.node_name.clone())
            .filter(|name| !name.is_empty()),
        ips: ips.into_iter().flatten().filter_map(|ip| ip.ip.parse().ok()).collect(),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or(false),
        running: phase == "Running" && !leaving,
        is_leaving: leaving,
        end: match phase {
            "Succeeded" => Some(End::Completed),
            "Failed" => Some(End::Failed),
            _ => None,
        },
        ready,
        reason: if ready {
            None
        } else {
            Some(why_not_ready(pod, phase, leaving))
        },
        workload: workload(pod),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        ports: ports
            .filter_map(|port| {
                Some(Port {
                    name: port.name.clone(),
                    port: u16::try_from(port.container_port).ok()?,
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                })
            })
            .collect(),
    })
}

fn condition<'a>(pod: &'a ApiPod, kind: &str) -> Option<(&'a str, Option<&'a str>)> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let found = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((&found.status, found.message.as_deref()))
}

fn why_not_ready(pod: &ApiPod, phase: &str, leaving: bool) -> String {
    let status = pod.status.as_ref();
    match phase {
        "Succeeded" => return "Completed".to_owned(),
        "Failed" => {
            let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or("Failed");
            let message = status.and_then(|status| status.message.as_deref());
            return message.map_or(reason.to_owned(), |message| format!("{reason}: {message}"));
        }
        _ if leaving => return "Terminating".to_owned(),
        _ => {}
    }
    let all = |of: fn(&k8s_openapi::api::core::v1::PodStatus) -> &Option<Vec<ContainerStatus>>| {
        status.and_then(|status| of(status).as_ref()).into_iter().flatten()
    };
    if let Some(reason) = all(|status| &status.init_container_statuses).find_map(stuck) {
        return format!("Init:{reason}");
    }
    if let Some(reason) = all(|status| &status.container_statuses).find_map(stuck) {
        return reason;
    }
    if phase == "Pending" {
        return match condition(pod, "PodScheduled") {
            Some(("False", Some(message))) => format!("Pending: {message}"),
            _ => "Pending".to_owned(),
        };
    }
    match condition(pod, "Ready") {
        Some((_, Some(message))) => format!("not ready: {message}"),
        _ => phase.to_owned(),
    }
}

/// Why a container does not run, in the kubelet's word.
fn stuck(status: &ContainerStatus) -> Option<String> {
    match status.state.as_ref()? {
        ContainerState {
            waiting: Some(waiting), ..
        } => waiting.reason.clone(),
        ContainerState {
            terminated: Some(ended),
            ..
        } if ended.exit_code != 0 => Some(
            ended
                .reason
                .clone()
                .unwrap_or_else(|| format!("exit code {}", ended.exit_code)),
        ),
        _ => None,
    }
}

/// The object a user would name. Owners' names tell it, so no further request is needed: a Deployment's ReplicaSet carries the hash of
/// the pod template, a CronJob's Job the scheduled minute since 1970.
fn workload(pod: &ApiPod) -> Workload {
    let own_name = pod.metadata.name.clone().unwrap_or_default();
    let owners = pod.metadata.owner_references.iter().flatten();
    let Some(owner) = owners
        .filter(|owner| owner.controller == Some(true))
        .find(|owner| owner.kind != "Node")
    else {
        return Workload {
            kind: "Pod".to_owned(),
            name: own_name,
        };
    };
    let label = |name| pod.metadata.labels.as_ref()?.get(name);
    let owner_of_set = |hash| {
        let of_set = owner.name.strip_suffix(label(hash)?.as_str())?;
        of_set.strip_suffix('-')
    };
    let (kind, name) = match owner.kind.as_str() {
        "ReplicaSet" => {
            let deployment = owner_of_set("pod-template-hash").map(|name| ("Deployment", name));
            // Argo Rollouts: https://argo-rollouts.readthedocs.io/en/stable/ ("rollouts-pod-template-hash").
            let rollout = || owner_of_set("rollouts-pod-template-hash").map(|name| ("Rollout", name));
            deployment.or_else(rollout).unwrap_or(("ReplicaSet", &owner.name))
        }
        "Job" => match owner.name.rsplit_once('-') {
            Some((cron_job, minute)) if minute.len() == 8 && minute.bytes().all(|byte| byte.is_ascii_digit()) => {
                ("CronJob", cron_job)
            }
            _ => ("Job", owner.name.as_str()),
        },
        kind => (kind, owner.name.as_str()),
    };
    Workload {
        kind: kind.to_owned(),
        name: name.to_owned(),
    }
}

/// A node; `None` without a name.
pub fn node(node: &ApiNode) -> Option<Node> {
    let status = node.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.type_ == "Ready");
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let reason = match ready {
        _ if is_ready => None,
        Some(condition) => {
            let words = [condition.reason.as_deref(), condition.message.as_deref()];
            Some(words.into_iter().flatten().collect::<Vec<_>>().join(": "))
        }
        None => Some("the node has never reported its state".to_owned()),
    };
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let label = |name: &str| labels.get(name).map(String::as_str);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    let is_virtual = label("type") == Some("virtual-kubelet")
        || label("eks.amazonaws.com/compute-type") == Some("fargate")
        || taints
            .into_iter()
            .flatten()
            .any(|taint| taint.key == "virtual-kubelet.io/provider");
    let addresses = status
        .and_then(|status| status.addresses.as_ref())
        .into_iter()
        .flatten();
    let os = status
        .and_then(|status| status.node_info.as_ref())
        .map(|info| info.operating_system.clone());
    Some(Node {
        name: node.metadata.name.clone()?,
        ips: addresses
            .filter(|address| address.type_ == "InternalIP")
            .filter_map(|address| address.address.parse().ok())
            .collect(),
        ready: is_ready,
        reason,
        is_cordoned: node.spec.as_ref().and_then(|spec| spec.unschedulable).unwrap_or(false),
        os: label("kubernetes.io/os")
            .map(str::to_owned)
            .or(os)
            .unwrap_or_else(|| "linux".to_owned()),
        is_virtual,
        kubelet_port: status
            .and_then(|status| status.daemon_endpoints.as_ref()?.kubelet_endpoint.as_ref())
            .and_then(|endpoint| u16::try_from(endpoint.port).ok()),
    })
}

/// Services with their endpoints. `uids` maps pods' API UIDs to those by which nodes know them.
pub fn services(services: &[ApiService], slices: &[EndpointSlice], uids: &BTreeMap<String, String>) -> Vec<Service> {
    let mut endpoints: BTreeMap<(&str, &str), Vec<Endpoint>> = BTreeMap::new();
    for slice in slices {
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get("kubernetes.io/service-name")) else {
            continue;
        };
        endpoints
            .entry((namespace, service))
            .or_default()
            .extend(endpoints_of(slice, uids));
    }
    services
        .iter()
        .filter_map(|service| {
            let namespace = service.metadata.namespace.as_deref().unwrap_or_default();
            let name = service.metadata.name.as_deref()?;
            let mut backends = endpoints.remove(&(namespace, name)).unwrap_or_default();
            let mut seen = BTreeSet::new();
            backends.retain(|backend| seen.insert((backend.ip, format!("{:?}", backend.ports))));
            Some(convert_service(service, namespace, name, backends))
        })
        .collect()
}

fn convert_service(service: &ApiService, namespace: &str, name: &str, endpoints: Vec<Endpoint>) -> Service {
    let spec = service.spec.as_ref();
    let external_name = spec.is_some_and(|spec| spec.type_.as_deref() == Some("ExternalName"));
    let cluster_ips = spec.and_then(|spec| spec.cluster_ips.clone()).unwrap_or_default();
    let ports = spec.and_then(|spec| spec.ports.as_ref()).into_iter().flatten();
    Service {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        // A headless Service has the word "None" there, which is no address.
        cluster_ips: if external_name {
            Vec::new()
        } else {
            cluster_ips.iter().filter_map(|ip| ip.parse().ok()).collect()
        },
        ports: ports
            .filter_map(|port| {
                Some(Port {
                    name: port.name.clone(),
                    port: u16::try_from(port.port).ok()?,
                    protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                })
            })
            .collect(),
        endpoints,
        is_dns: is_dns(service),
        local_only: spec.is_some_and(|spec| spec.internal_traffic_policy.as_deref() == Some("Local")),
    }
}

/// Whether pods are told to ask it. Metrics Services carry the same label; only what answers on UDP port 53 of an address is meant.
pub fn is_dns(service: &ApiService) -> bool {
    let (metadata, Some(spec)) = (&service.metadata, service.spec.as_ref()) else {
        return false;
    };
    let name = metadata.name.as_deref();
    let labelled = || {
        let labels = metadata.labels.as_ref();
        labels
            .and_then(|labels| labels.get("k8s-app"))
            .is_some_and(|app| app == "kube-dns")
    };
    let named_so = match metadata.namespace.as_deref() {
        Some("kube-system") => name == Some("kube-dns") || labelled(),
        Some("openshift-dns") => name == Some("dns-default"),
        _ => false,
    };
    let mut addresses = spec.cluster_ips.iter().flatten();
    let mut ports = spec.ports.iter().flatten();
    named_so
        && addresses.any(|ip| ip.parse::<IpAddr>().is_ok())
        && ports.any(|port| port.port == 53 && port.protocol.as_deref() == Some("UDP"))
}

fn endpoints_of(slice: &EndpointSlice, uids: &BTreeMap<String, String>) -> Vec<Endpoint> {
    let ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            Some(Port {
                name: port.name.clone().filter(|name| !name.is_empty()),
                port: u16::try_from(port.port?).ok()?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
            })
        })
        .collect();
    let mut endpoints = Vec::new();
    for endpoint in &slice.endpoints {
        let pod = endpoint
            .target_ref
            .as_ref()
            .filter(|target| target.kind.as_deref() == Some("Pod"));
        let uid = pod.and_then(|pod| pod.uid.clone());
        let namespace = pod
            .and_then(|pod| pod.namespace.as_deref())
            .or(slice.metadata.namespace.as_deref());
        let name = pod.and_then(|pod| Some(format!("{}/{}", namespace?, pod.name.as_deref()?)));
        // Unknown readiness counts as ready, so says the API.
        let ready = endpoint
            .conditions
            .as_ref()
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true);
        endpoints.extend(
            endpoint
                .addresses
                .iter()
                .filter_map(|address| address.parse().ok())
                .map(|ip| Endpoint {
                    ip,
                    ports: ports.clone(),
                    pod_uid: uid.as_ref().map(|uid| uids.get(uid).unwrap_or(uid).clone()),
                    pod_name: name.clone(),
                    node: endpoint.node_name.clone(),
                    ready,
                }),
        );
    }
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn api_pod(value: Value) -> ApiPod {
        serde_json::from_value(value).unwrap()
    }

    fn owned(kind: &str, name: &str, hash: Option<&str>) -> Workload {
        let labels = hash.map_or(json!({}), |hash| json!({ "pod-template-hash": hash }));
        workload(&api_pod(
            json!({ "metadata": { "name": "p", "labels": labels, "ownerReferences": [
            { "apiVersion": "v1", "kind": kind, "name": name, "uid": "u", "controller": true },
        ] } }),
        ))
    }

    #[test]
    fn the_workload_is_what_a_user_would_name() {
        for (kind, name, hash, expected) in [
            ("ReplicaSet", "web-5d4f8c7b9", Some("5d4f8c7b9"), ("Deployment", "web")),
            ("ReplicaSet", "bare", None, ("ReplicaSet", "bare")),
            ("StatefulSet", "db", None, ("StatefulSet", "db")),
            ("Job", "backup-29012345", None, ("CronJob", "backup")),
            ("Job", "import-2024", None, ("Job", "import-2024")),
            ("Node", "node-1", None, ("Pod", "p")),
        ] {
            let workload = owned(kind, name, hash);
            assert_eq!(
                (workload.kind.as_str(), workload.name.as_str()),
                expected,
                "{kind}/{name}"
            );
        }
    }

    #[test]
    fn a_rollout_owns_its_pods_as_a_deployment_does() {
        let pod = api_pod(json!({ "metadata": {
            "name": "p",
            "labels": { "rollouts-pod-template-hash": "5d4f8c7b9" },
            "ownerReferences": [
                { "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "u", "controller": true },
            ],
        } }));
        let Workload { kind, name } = workload(&pod);
        assert_eq!((kind.as_str(), name.as_str()), ("Rollout", "web"));
    }

    #[test]
    fn a_static_pod_is_known_by_its_config_hash_also_as_an_endpoint() {
        const HASH: &str = "0cc175b9c0f1b6a831c399e269772661";
        let mirror =
            api_pod(json!({ "metadata": { "name": "p", "uid": "api", "annotations": { CONFIG_HASH: HASH } } }));
        assert_eq!(pod(&mirror).unwrap().uid, HASH);
        let other = "0d3dd2cf-2a0c-4bd5-a3cf-0b1e7a5ea9d4";
        let impostor =
            api_pod(json!({ "metadata": { "name": "p", "uid": "own", "annotations": { CONFIG_HASH: other } } }));
        assert_eq!(pod(&impostor).unwrap().uid, "own", "a pod may not pose as another one");
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": { "namespace": "n", "labels": { "kubernetes.io/service-name": "s" } },
            "addressType": "IPv4",
            "endpoints": [{ "addresses": ["10.0.0.1"], "nodeName": "n1",
                "targetRef": { "kind": "Pod", "name": "p", "uid": "api" } }],
            "ports": [{ "name": "", "port": 80 }],
        }))
        .unwrap();
        let uids = BTreeMap::from([("api".to_owned(), HASH.to_owned())]);
        let endpoint = &endpoints_of(&slice, &uids)[0];
        assert_eq!(endpoint.pod_uid.as_deref(), Some(HASH));
        assert_eq!(endpoint.pod_name.as_deref(), Some("n/p"));
        assert_eq!(endpoint.node.as_deref(), Some("n1"));
        assert!(endpoint.ready);
        assert_eq!(
            endpoint.ports,
            [Port {
                name: None,
                port: 80,
                protocol: "TCP".to_owned()
            }]
        );
    }

    #[test]
    fn why_a_pod_is_not_ready_is_said_in_the_kubelets_words() {
        let waiting = |reason: &str| {
            json!([{ "name": "c", "state": { "waiting": { "reason": reason } }, "ready": false,
            "restartCount": 3, "image": "", "imageID": "" }])
        };
        for (status, expected) in [
            (
                json!({ "phase": "Running", "containerStatuses": waiting("CrashLoopBackOff") }),
                "CrashLoopBackOff",
            ),
            (
                json!({ "phase": "Pending", "initContainerStatuses": waiting("ErrImagePull") }),
                "Init:ErrImagePull",
            ),
            (json!({ "phase": "Succeeded" }), "Completed"),
            (
                json!({ "phase": "Failed", "reason": "Evicted", "message": "disk" }),
                "Evicted: disk",
            ),
            (
                json!({ "phase": "Pending", "conditions": [
                    { "type": "PodScheduled", "status": "False", "message": "0/3 nodes are available" },
                ] }),
                "Pending: 0/3 nodes are available",
            ),
            (json!({}), "Unknown"),
        ] {
            let pod = pod(&api_pod(
                json!({ "metadata": { "name": "p", "uid": "u" }, "status": status }),
            ))
            .unwrap();
            assert_eq!(pod.reason.as_deref(), Some(expected));
            assert!(!pod.ready);
            let end = match expected {
                "Completed" => Some(End::Completed),
                "Evicted: disk" => Some(End::Failed),
                _ => None,
            };
            assert_eq!(pod.end, end, "{expected}");
        }
    }

    #[test]
    fn headless_and_external_services_have_no_cluster_ip() {
        let convert = |spec: Value| {
            let service: ApiService =
                serde_json::from_value(json!({ "metadata": { "namespace": "n", "name": "s" }, "spec": spec })).unwrap();
            services(&[service], &[], &BTreeMap::new()).remove(0)
        };
        assert!(convert(json!({ "clusterIPs": ["None"] })).cluster_ips.is_empty());
        assert!(
            convert(json!({ "type": "ExternalName", "externalName": "example.com" }))
                .cluster_ips
                .is_empty()
        );
        let usual = convert(json!({ "clusterIPs": ["10.96.0.10", "fd00::a"], "internalTrafficPolicy": "Cluster" }));
        assert_eq!((usual.cluster_ips.len(), usual.local_only), (2, false));
        assert!(convert(json!({ "internalTrafficPolicy": "Local" })).local_only);
    }

    #[test]
    fn cluster_dns_answers_on_udp_port_53_of_an_address() {
        let dns = |namespace: &str, name: &str, label: &str, ip: &str, port: u16, protocol: &str| {
            let service = json!({
                "metadata": { "namespace": namespace, "name": name, "labels": { "k8s-app": label } },
                "spec": { "clusterIPs": [ip], "ports": [{ "port": port, "protocol": protocol }] },
            });
            is_dns(&serde_json::from_value(service).unwrap())
        };
        for (found, expected, what) in [
            (
                dns("kube-system", "kube-dns", "", "10.0.0.10", 53, "UDP"),
                true,
                "by name",
            ),
            (
                dns("kube-system", "coredns", "kube-dns", "fd00::a", 53, "UDP"),
                true,
                "by label",
            ),
            (
                dns("openshift-dns", "dns-default", "", "172.30.0.10", 53, "UDP"),
                true,
                "OpenShift's",
            ),
            (
                dns("kube-system", "metrics", "kube-dns", "10.0.0.11", 9153, "TCP"),
                false,
                "metrics",
            ),
            (
                dns("kube-system", "pods", "kube-dns", "None", 53, "UDP"),
                false,
                "headless",
            ),
            (
                dns("shop", "kube-dns", "kube-dns", "10.0.0.12", 53, "UDP"),
                false,
                "somebody's own",
            ),
        ] {
            assert_eq!(found, expected, "{what}");
        }
    }

    #[test]
    fn a_node_says_why_it_is_not_ready() {
        let api: ApiNode = serde_json::from_value(json!({
            "metadata": { "name": "n" },
            "status": {
                "conditions": [{ "type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped" }],
                "addresses": [{ "type": "InternalIP", "address": "10.0.0.1" }, { "type": "Hostname", "address": "n" }],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            },
        }))
        .unwrap();
        let node = node(&api).unwrap();
        assert_eq!(node.reason.as_deref(), Some("NodeStatusUnknown: Kubelet stopped"));
        assert_eq!(
            (node.ready, node.ips.len(), node.kubelet_port, node.os.as_str()),
            (false, 1, Some(10250), "linux")
        );
    }
}
