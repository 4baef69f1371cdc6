//! Pod networks as people know them, and by what each is recognised: what the API shows of it, and what it leaves on nodes. The one list for
//! whoever asks: `cni install`, so that nobody breaks a working network by mistake, `verify`, and `doctor`. Pure.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{Node, Pod},
};
use netcheck_cni_intent::names::CONDITION_NETWORK_UNAVAILABLE;
use std::collections::BTreeMap;

/// The bundled network.
pub const BUNDLED: &str = "netcheck-cni";
/// Reason of the condition `NetworkUnavailable` when all is well with the bundled network.
pub const READY_REASON: &str = "NetcheckCniReady";
/// Why the bundled network refuses a node (`bundled-cni/SPEC.md`, section 3).
pub const REFUSALS: [&str; 7] = [
    "NoPodCIDR",
    "InvalidPodCIDR",
    "NoInternalIP",
    "DuplicateInternalIP",
    "DuplicatePodCIDR",
    "PodCIDRHoldsNodeAddress",
    "DuplicateVtepMAC",
];

/// How a network shows itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Its name, as people know it.
    pub name: &'static str,
    /// Its DaemonSets; one that ends in `*` stands for all that begin so.
    daemon_sets: &'static [&'static str],
    /// Values of the labels that DaemonSets of networks carry.
    labels: &'static [&'static str],
    /// Prefix of its annotations on nodes.
    annotations: &'static str,
    /// Words in the names of its agents' pods.
    words: &'static [&'static str],
    /// Its CNI plugins.
    plugins: &'static [&'static str],
    /// Names of its CNI configurations, where it calls plugins of others.
    configurations: &'static [&'static str],
    /// Its devices; a `*` at the end is a number.
    devices: &'static [&'static str],
    /// Networks that it is made of: their devices and plugins are its own.
    parts: &'static [&'static str],
    /// Each node's pods have addresses of its `podCIDRs`.
    pub uses_node_ranges: bool,
}

/// What most do not have.
const PLAIN: Known = Known {
    name: "",
    daemon_sets: &[],
    labels: &[],
    annotations: "",
    words: &[],
    plugins: &[],
    configurations: &[],
    devices: &[],
    parts: &[],
    uses_node_ranges: false,
};

/// Those in use. Policy-only and meta plugins (multus) are not here: they stand beside a network.
pub const KNOWN: [Known; 15] = [
    Known {
        name: BUNDLED,
        daemon_sets: &[BUNDLED],
        labels: &[BUNDLED],
        annotations: "cni.netcheck.dev/",
        words: &[BUNDLED],
        plugins: &[BUNDLED],
        devices: &["ncvx0"],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "canal",
        daemon_sets: &["canal", "rke2-canal"],
        labels: &["canal"],
        words: &["canal"],
        parts: &["flannel", "Calico"],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "flannel",
        daemon_sets: &["kube-flannel", "kube-flannel-ds*"],
        labels: &["flannel"],
        annotations: "flannel.alpha.coreos.com/",
        words: &["flannel"],
        plugins: &["flannel"],
        devices: &[
            "flannel.*",
            "flannel-v6.*",
            "flannel.ipip",
            "flannel-wg",
            "flannel-wg-v6",
        ],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "Calico",
        daemon_sets: &["calico-node"],
        labels: &["calico-node"],
        annotations: "projectcalico.org/",
        words: &["calico", "tigera"],
        plugins: &["calico"],
        devices: &["vxlan.calico", "vxlan-v6.calico", "wireguard.cali", "wg-v6.cali"],
        ..PLAIN
    },
    Known {
        name: "Cilium",
        daemon_sets: &["cilium", "anetd"],
        labels: &["cilium"],
        annotations: "network.cilium.io/",
        words: &["cilium", "anetd"],
        plugins: &["cilium-cni"],
        devices: &["cilium_host", "cilium_vxlan", "cilium_geneve", "cilium_wg0"],
        ..PLAIN
    },
    Known {
        name: "kindnet",
        daemon_sets: &["kindnet", "kindnetd"],
        labels: &["kindnet", "kindnetd"],
        words: &["kindnet"],
        configurations: &["kindnet"],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "Weave Net",
        daemon_sets: &["weave-net"],
        labels: &["weave-net"],
        words: &["weave"],
        plugins: &["weave-net"],
        devices: &["weave", "vxlan-6784"],
        ..PLAIN
    },
    Known {
        name: "Antrea",
        daemon_sets: &["antrea-agent"],
        labels: &["antrea"],
        annotations: "node.antrea.io/",
        words: &["antrea"],
        plugins: &["antrea"],
        devices: &["antrea-gw0"],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "kube-router",
        daemon_sets: &["kube-router"],
        labels: &["kube-router"],
        annotations: "kube-router.io/",
        words: &["kube-router"],
        plugins: &["kube-router"],
        devices: &["kube-bridge"],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "the AWS VPC CNI",
        daemon_sets: &["aws-node"],
        labels: &["aws-node"],
        words: &["aws-node"],
        plugins: &["aws-cni"],
        ..PLAIN
    },
    Known {
        name: "Azure CNI",
        daemon_sets: &["azure-cns", "azure-cni*"],
        labels: &["azure-cns"],
        words: &["azure-cn"],
        plugins: &["azure-vnet"],
        ..PLAIN
    },
    Known {
        name: "GKE's network",
        daemon_sets: &["netd"],
        labels: &["netd"],
        words: &["netd"],
        uses_node_ranges: true,
        ..PLAIN
    },
    Known {
        name: "OVN-Kubernetes",
        daemon_sets: &["ovnkube-node*", "ovs-node"],
        labels: &["ovnkube-node"],
        annotations: "k8s.ovn.org/",
        words: &["ovnkube"],
        plugins: &["ovn-k8s-cni-overlay"],
        devices: &["ovn-k8s-mp0"],
        ..PLAIN
    },
    Known {
        name: "Kube-OVN",
        daemon_sets: &["kube-ovn-cni"],
        labels: &["kube-ovn-cni"],
        annotations: "ovn.kubernetes.io/",
        words: &["kube-ovn", "ovs-ovn"],
        plugins: &["kube-ovn"],
        ..PLAIN
    },
    Known {
        name: "OpenShift SDN",
        daemon_sets: &["sdn"],
        labels: &["sdn"],
        plugins: &["openshift-sdn"],
        words: &["sdn-"],
        ..PLAIN
    },
];

/// Labels by which DaemonSets of networks are known.
const LABEL_KEYS: [&str; 5] = [
    "k8s-app",
    "app",
    "name",
    "app.kubernetes.io/name",
    "app.kubernetes.io/part-of",
];

/// Reasons that cloud providers' route controllers give (k8s.io/cloud-provider, `controllers/route`): routes, not a network on nodes.
const OF_ROUTE_CONTROLLERS: [&str; 2] = ["RouteCreated", "NoRouteCreated"];

/// A network by its name.
pub fn named(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

impl Known {
    /// Whether a pod of this name, in its node's network namespace, is one of its agents.
    pub fn is_agent(&self, pod: &str) -> bool {
        self.words.iter().any(|word| pod.contains(word))
    }

    /// Whether it has devices of this name.
    pub fn owns_device(&self, device: &str) -> bool {
        self.devices.iter().any(|pattern| fits(pattern, device))
    }

    /// Whether one of these plugins is its own.
    pub fn has_plugin<'a>(&self, mut kinds: impl Iterator<Item = &'a str>) -> bool {
        kinds.any(|kind| self.plugins.contains(&kind))
    }

    /// Whether its CNI configuration has something by which it is known.
    pub fn tells_itself(&self) -> bool {
        let parts = self.parts.iter().filter_map(|part| named(part));
        !self.plugins.is_empty() || !self.configurations.is_empty() || parts.count() > 0
    }

    /// Whether it is that one, or one of the two is made of the other.
    pub fn goes_with(&self, other: &str) -> bool {
        self.name == other
            || self.parts.contains(&other)
            || named(other).is_some_and(|other| other.parts.contains(&self.name))
    }
}

fn fits(pattern: &str, device: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => device
            .strip_prefix(start)
            .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit())),
        None => pattern == device,
    }
}

/// Whose a CNI configuration is, by its name and all plugins that it needs.
pub fn of_configuration<'a>(
    name: &str,
    kinds: impl Iterator<Item = &'a str> + Clone,
) -> impl Iterator<Item = &'static Known> {
    KNOWN
        .iter()
        .filter(move |known| known.configurations.contains(&name) || known.has_plugin(kinds.clone()))
}

/// What a network shows of itself in the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trace {
    /// Its name.
    pub name: String,
    /// By what it was recognised.
    pub evidence: String,
    /// It is at work: a DaemonSet of it has pods. Otherwise it has only left something behind, or hides from the API.
    pub is_active: bool,
}

/// Networks that show themselves, those at work first, each once.
pub fn recognise(daemon_sets: &[DaemonSet], nodes: &[Node]) -> Vec<Trace> {
    united(daemon_sets.iter().filter_map(of_daemon_set), nodes)
}

/// The same for whoever may list pods, and no DaemonSets: pods tell which ones they are of.
pub fn recognise_by_pods(pods: &[Pod], nodes: &[Node]) -> Vec<Trace> {
    let of_pod = |pod: &Pod| {
        let owner = pod.metadata.owner_references.iter().flatten();
        let owner = owner.into_iter().find(|owner| owner.kind == "DaemonSet")?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        of_daemons(namespace, &owner.name, pod.metadata.labels.as_ref())
    };
    united(pods.iter().filter_map(of_pod), nodes)
}

fn united(daemons: impl Iterator<Item = Trace>, nodes: &[Node]) -> Vec<Trace> {
    let mut found: BTreeMap<String, Trace> = BTreeMap::new();
    for trace in daemons.chain(nodes.iter().flat_map(of_node)) {
        found.entry(trace.name.clone()).or_insert(trace);
    }
    let mut traces: Vec<_> = found.into_values().collect();
    traces.sort_by_key(|trace| !trace.is_active);
    traces
}

fn of_daemon_set(set: &DaemonSet) -> Option<Trace> {
    // One without pods has been switched off by a node selector that nothing fits.
    let desired = set.status.as_ref().map(|status| status.desired_number_scheduled);
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let trace = of_daemons(namespace, set.metadata.name.as_deref()?, set.metadata.labels.as_ref());
    trace.filter(|_| desired.is_some_and(|desired| desired > 0))
}

fn of_daemons(namespace: &str, name: &str, labels: Option<&BTreeMap<String, String>>) -> Option<Trace> {
    let label = |key: &&str| labels.and_then(|labels| labels.get(*key)).map(String::as_str);
    let fits = |pattern: &&str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *pattern,
    };
    let known = KNOWN.iter().find(|known| {
        let mut values = LABEL_KEYS.iter().filter_map(label);
        known.daemon_sets.iter().any(&fits) || values.any(|value| known.labels.contains(&value))
    })?;
    Some(Trace {
        name: known.name.to_owned(),
        evidence: format!("DaemonSet {namespace}/{name}"),
        is_active: true,
    })
}

fn of_node(node: &Node) -> Vec<Trace> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    let annotations: Vec<&String> = node.metadata.annotations.iter().flatten().map(|(key, _)| key).collect();
    let annotated = KNOWN
        .iter()
        .filter(|known| !known.annotations.is_empty())
        .filter_map(|known| {
            let key = annotations.iter().find(|key| key.starts_with(known.annotations))?;
            Some(Trace {
                name: known.name.to_owned(),
                evidence: format!("annotation {key} of node {name}"),
                is_active: false,
            })
        });
    let said = reason(node).map(|reason| Trace {
        // FlannelIsUp, CalicoIsUp, CiliumIsUp, WeaveIsUp …
        name: by_reason(reason),
        evidence: format!("condition {CONDITION_NETWORK_UNAVAILABLE} of node {name}, reason {reason}"),
        is_active: false,
    });
    annotated.chain(said).collect()
}

fn by_reason(reason: &str) -> String {
    if reason == READY_REASON || REFUSALS.contains(&reason) {
        return BUNDLED.to_owned();
    }
    let start = reason.to_lowercase();
    let known = KNOWN.iter().find(|known| {
        let word = known.name.split(' ').next().unwrap_or_default().to_lowercase();
        start.starts_with(&word)
    });
    known.map_or_else(
        || format!("the network that says {reason}"),
        |known| known.name.to_owned(),
    )
}

/// The reason of a node's condition `NetworkUnavailable`, if a network gives it.
fn reason(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == CONDITION_NETWORK_UNAVAILABLE)?;
    let reason = condition.reason.as_deref().filter(|reason| !reason.is_empty())?;
    (!OF_ROUTE_CONTROLLERS.contains(&reason)).then_some(reason)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(name: &str, labels: &Value, desired: i32) -> DaemonSet {
        serde_json::from_value(json!({
            "metadata": { "namespace": "kube-system", "name": name, "labels": labels },
            "status": { "desiredNumberScheduled": desired, "currentNumberScheduled": desired, "numberMisscheduled": 0, "numberReady": 0 },
        }))
        .unwrap()
    }

    pub(crate) fn node(annotation: &str, reason: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "n1", "annotations": { annotation: "x" } },
            "status": { "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "NetworkUnavailable", "status": "False", "reason": reason },
            ] },
        }))
        .unwrap()
    }

    #[test]
    fn networks_at_work_are_known_by_their_daemon_sets_or_by_the_pods_of_these() {
        for (name, labels, expected) in [
            ("kube-flannel-ds", json!({}), Some("flannel")),
            ("kube-flannel-ds-amd64", json!({}), Some("flannel")),
            ("my-own-name", json!({ "k8s-app": "calico-node" }), Some("Calico")),
            (
                "cilium",
                json!({ "app.kubernetes.io/part-of": "cilium" }),
                Some("Cilium"),
            ),
            ("kindnet", json!({ "app": "kindnet" }), Some("kindnet")),
            ("weave-net", json!({}), Some("Weave Net")),
            ("antrea-agent", json!({}), Some("Antrea")),
            ("canal", json!({}), Some("canal")),
            ("kube-router", json!({}), Some("kube-router")),
            ("aws-node", json!({}), Some("the AWS VPC CNI")),
            ("azure-cns", json!({}), Some("Azure CNI")),
            ("netd", json!({}), Some("GKE's network")),
            ("ovnkube-node", json!({}), Some("OVN-Kubernetes")),
            ("kube-proxy", json!({ "k8s-app": "kube-proxy" }), None),
            ("kube-multus-ds", json!({ "app": "multus" }), None),
            (
                "netcheck-cni",
                json!({ "app.kubernetes.io/name": "netcheck-cni" }),
                Some(BUNDLED),
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({ "metadata": {
                "namespace": "kube-system", "name": "x", "labels": labels,
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": name, "uid": "u" }],
            } }))
            .unwrap();
            let found = recognise(&[set(name, &labels, 3)], &[]);
            assert_eq!(found.first().map(|trace| trace.name.as_str()), expected, "{name}");
            assert!(found.iter().all(|trace| trace.is_active));
            assert_eq!(found, recognise_by_pods(&[pod], &[]));
        }
        assert_eq!(
            recognise(&[set("kube-flannel-ds", &json!({}), 0)], &[]),
            [],
            "switched off"
        );
    }

    #[test]
    fn what_nodes_say_is_remembered_but_is_not_at_work() {
        for (annotation, reason, expected) in [
            ("flannel.alpha.coreos.com/backend-type", "", Some("flannel")),
            ("x", "FlannelIsUp", Some("flannel")),
            ("x", "CalicoIsUp", Some("Calico")),
            ("x", "CiliumIsUp", Some("Cilium")),
            ("x", "WeaveIsUp", Some("Weave Net")),
            ("x", "NobodyKnows", Some("the network that says NobodyKnows")),
            ("x", "RouteCreated", None),
            ("x", "NetcheckCniReady", Some(BUNDLED)),
            ("x", "DuplicatePodCIDR", Some(BUNDLED)),
            ("cni.netcheck.dev/schema", "", Some(BUNDLED)),
        ] {
            let found = recognise(&[], &[node(annotation, reason)]);
            assert_eq!(
                found.first().map(|trace| trace.name.as_str()),
                expected,
                "{annotation} {reason}"
            );
            assert!(found.iter().all(|trace| !trace.is_active));
        }
    }

    #[test]
    fn a_daemon_set_outweighs_what_nodes_say_and_comes_first() {
        let found = recognise(
            &[set("kube-flannel-ds", &json!({}), 1)],
            &[node("projectcalico.org/IPv4Address", "FlannelIsUp")],
        );
        let names: Vec<_> = found
            .iter()
            .map(|trace| (trace.name.as_str(), trace.is_active))
            .collect();
        assert_eq!(names, [("flannel", true), ("Calico", false)]);
    }

    #[test]
    fn a_configuration_tells_its_network_by_its_plugins_or_its_name() {
        for (name, kinds, expected) in [
            (
                "cbr0",
                &["flannel", "bridge", "host-local", "portmap"][..],
                &["flannel"][..],
            ),
            ("kindnet", &["ptp", "host-local", "portmap"], &["kindnet"]),
            ("aws-cni", &["aws-cni", "cilium-cni"], &["Cilium", "the AWS VPC CNI"]),
            ("plain", &["ptp", "host-local"], &[]),
        ] {
            let found: Vec<_> = of_configuration(name, kinds.iter().copied())
                .map(|known| known.name)
                .collect();
            assert_eq!(found, expected, "{name}");
        }
    }

    #[test]
    fn what_a_network_is_made_of_goes_with_it() {
        let known = |name| named(name).unwrap();
        assert!(known("canal").goes_with("Calico") && known("flannel").goes_with("canal"));
        assert!(!known("flannel").goes_with("Calico"));
        assert!(known("flannel").owns_device("flannel.1") && !known("flannel").owns_device("flannel.x"));
    }
}
