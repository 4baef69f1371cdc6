//! What the API says of pods, nodes and Services, reduced to what netcheck asks about. Plain data: everything that plans or judges takes
//! these types, so it can be tested without a cluster.

use std::{collections::BTreeMap, fmt, net::IpAddr};

/// Something that has a network namespace of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// A pod, by `metadata.uid`.
    Pod(String),
    /// A node, by name.
    Node(String),
}

/// The part of a cluster that a run looks at.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    /// Pods in the asked namespaces, sorted by namespace and name.
    pub pods: Vec<Pod>,
    /// All nodes, sorted by name.
    pub nodes: Vec<Node>,
    /// Services in the asked namespaces, and the cluster's DNS Service, sorted by namespace and name.
    pub services: Vec<Service>,
    /// Why the cluster's DNS Service is not among them; `None` if it is, or nobody looked.
    pub dns_missing: Option<String>,
    /// What there is of these is not known, because the API server refuses to tell it to this user.
    pub unread: Vec<Unread>,
    /// What is not there, or can be watched less well, one line each: nothing of it keeps a run from being called good.
    pub gaps: Vec<String>,
}

impl Inventory {
    /// What keeps from telling which nodes there are.
    pub fn unread_nodes(&self) -> Option<&Unread> {
        self.unread.iter().find(|unread| **unread == Unread::nodes())
    }

    /// What keeps from telling which Services a namespace holds (in any namespace: `None`).
    pub fn unread_services(&self, namespace: Option<&str>) -> Option<&Unread> {
        self.unread.iter().find(|unread| match namespace {
            Some(namespace) => unread.hides_services_in(namespace),
            None => **unread != Unread::nodes(),
        })
    }
}

/// Resources that may not be listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// As `kubectl auth can-i` names them: `nodes`, `endpointslices.discovery.k8s.io`.
    pub resources: Vec<&'static str>,
    /// Where; `None` for the whole cluster.
    pub namespace: Option<String>,
}

impl Unread {
    const NODES: &'static str = "nodes";

    /// Nodes.
    pub fn nodes() -> Self {
        Self {
            resources: vec![Self::NODES],
            namespace: None,
        }
    }

    /// Services, what is behind them, or both, in one namespace or in all.
    pub fn services(namespace: Option<&str>, services: bool, slices: bool) -> Self {
        let resources = [("services", services), ("endpointslices.discovery.k8s.io", slices)];
        Self {
            resources: resources
                .into_iter()
                .filter_map(|(name, unread)| unread.then_some(name))
                .collect(),
            namespace: namespace.map(str::to_owned),
        }
    }

    /// Whether Services of this namespace are among what is hidden.
    pub fn hides_services_in(&self, namespace: &str) -> bool {
        *self != Self::nodes() && self.namespace.as_deref().is_none_or(|hidden| hidden == namespace)
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "you may not list {}", self.resources.join(" or "))?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace {namespace}"),
            None if *self == Self::nodes() => Ok(()),
            None => f.write_str(" in all namespaces"),
        }
    }
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts of the API")]
pub struct Pod {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`; what `/proc/*/cgroup` shows: for static pods the config hash.
    pub uid: String,
    /// The node it is bound to.
    pub node: Option<String>,
    /// `status.podIPs`.
    pub ips: Vec<IpAddr>,
    /// It lives in its node's network namespace.
    pub host_network: bool,
    /// `Running` and not being deleted.
    pub running: bool,
    /// It is being deleted, and goes when its containers have ended.
    pub is_leaving: bool,
    /// How it ended, if it did: it will never run again.
    pub end: Option<End>,
    /// The `Ready` condition.
    pub ready: bool,
    /// Why it is not running or ready, in the kubelet's words: `CrashLoopBackOff`, `Pending: 0/3 nodes available …`.
    pub reason: Option<String>,
    /// The workload that owns it (a ReplicaSet's Deployment, a Job's CronJob), else the pod itself.
    pub workload: Workload,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Ports its containers declare.
    pub ports: Vec<Port>,
}

/// How a pod ended for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Phase `Succeeded`.
    Completed,
    /// Phase `Failed`: evicted, out of memory, or a container that failed and is not started again.
    Failed,
}

/// The object a user would name for a pod.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `Job`, … or `Pod`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// A declared port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// `name`, if it has one.
    pub name: Option<String>,
    /// Number.
    pub port: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its `InternalIP` addresses.
    pub ips: Vec<IpAddr>,
    /// The `Ready` condition.
    pub ready: bool,
    /// Why not, in the API's words.
    pub reason: Option<String>,
    /// `kubernetes.io/os`; agents run on `linux`.
    pub os: String,
    /// `spec.unschedulable`: only DaemonSets' pods, and pods bound to it by name, come to it.
    pub is_cordoned: bool,
    /// A virtual node (virtual-kubelet, Fargate): no agent can run there.
    pub is_virtual: bool,
    /// Port of the kubelet, the one TCP port that every node declares to the API.
    pub kubelet_port: Option<u16>,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.clusterIPs`, without `None`: empty for headless Services.
    pub cluster_ips: Vec<IpAddr>,
    /// Its ports.
    pub ports: Vec<Port>,
    /// Backends by its EndpointSlices.
    pub endpoints: Vec<Endpoint>,
    /// It is the cluster's DNS.
    pub is_dns: bool,
    /// `internalTrafficPolicy: Local`: it takes connections to backends on the source's own node, and drops those from nodes without one.
    pub local_only: bool,
}

/// One backend of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address.
    pub ip: IpAddr,
    /// Name of the Service port it serves, and its own port number.
    pub ports: Vec<Port>,
    /// UID of the pod behind it, if it is one.
    pub pod_uid: Option<String>,
    /// The pod's `namespace/name`, for messages.
    pub pod_name: Option<String>,
    /// The node it is on.
    pub node: Option<String>,
    /// Ready to take traffic.
    pub ready: bool,
}
