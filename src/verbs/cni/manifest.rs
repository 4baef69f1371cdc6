//! The bundled CNI's objects, as data. Nothing here talks to a cluster, so `--dry-run` prints exactly what would be applied.

use super::{
    config::Data,
    names::{COMPONENT, DAEMON, HEALTH_PORT, LABEL, NAME, SYSCTLS},
};
use crate::output::Explained;
use serde_json::{Value, json};

/// What the daemon's container may do beyond what any process may: all else is dropped, and it is not `privileged`.
/// `SYS_RESOURCE` is not among them: kernels before 5.11 count BPF maps as locked memory and may then refuse them, which costs the
/// counters on such nodes (`BpfOff`) and no traffic.
const CAPABILITIES: [&str; 5] = [
    // Links, routes, neighbours, nftables, attaching BPF programs.
    "NET_ADMIN",
    // Entering pods' network namespaces, to change the MTU in their routes.
    "SYS_ADMIN",
    // Reaching those namespaces, and who holds them, through other users' /proc.
    "SYS_PTRACE",
    // Loading BPF programs and making maps,
    "BPF",
    // and the helpers that read packets.
    "PERFMON",
];

/// What is not the same in every cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Reference of the image.
    pub image: String,
    /// Names of the Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// The ConfigMap's data.
    pub data: Data,
    /// Host and port of the API server, where nodes cannot reach it by the Service `kubernetes`.
    pub api_server: Option<(String, u16)>,
}

/// All objects, in the order in which they are applied.
pub fn objects(settings: &Settings) -> Vec<Explained> {
    let mut objects = vec![namespace()];
    objects.extend(within(settings));
    objects
}

/// All but the namespace, in the order in which they are applied.
pub fn within(settings: &Settings) -> Vec<Explained> {
    let mut objects = vec![plain(service_account())];
    objects.extend(access());
    objects.push(Explained {
        comments: vec![
            "The configuration, followed live; keys and values: bundled-cni/SPEC.md, section 1.1".to_owned(),
            "NetworkPolicies are not enforced, whatever is set here".to_owned(),
        ],
        object: json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata(Some(NAME)),
            "data": settings.data,
        }),
    });
    objects.push(daemon_set(settings));
    objects
}

fn plain(object: Value) -> Explained {
    Explained {
        comments: Vec::new(),
        object,
    }
}

fn metadata(namespace: Option<&str>) -> Value {
    let mut metadata = json!({ "name": NAME, "labels": { LABEL: NAME } });
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    metadata
}

/// The namespace. The daemon needs the node's network and process ids: Pod Security's `privileged`.
pub fn namespace() -> Explained {
    let mut metadata = metadata(None);
    for mode in ["enforce", "audit", "warn"] {
        metadata["labels"][format!("pod-security.kubernetes.io/{mode}")] = json!("privileged");
    }
    plain(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": metadata }))
}

fn service_account() -> Value {
    json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata(Some(NAME)) })
}

/// What the daemon may do at the API server, and why: one rule each.
type Rule = (&'static str, &'static str, &'static [&'static str], &'static str);

const OF_THE_CLUSTER: [Rule; 3] = [
    (
        "",
        "nodes",
        &["get", "list", "watch", "patch"],
        "all nodes make the intent; patch for annotations on its own node, which RBAC cannot narrow to",
    ),
    ("", "nodes/status", &["patch"], "conditions of its own node"),
    (
        "",
        "pods",
        &["list", "watch"],
        "its own node's pods, by a field selector: an attachment whose pod is gone is collected",
    ),
];
/// Only this one object; RBAC allows list and watch of a named object to those who select it by its name.
const OF_ITS_NAMESPACE: [Rule; 1] = [(
    "",
    "configmaps",
    &["get", "list", "watch"],
    "the configuration, that object only",
)];
/// Events on Nodes, which are in no namespace, are kept in `default`.
const OF_DEFAULT: [Rule; 1] = [(
    "",
    "events",
    &["create"],
    "Events on its own Node, which the API keeps in namespace default",
)];

/// The daemon's roles and their bindings.
pub fn access() -> Vec<Explained> {
    let places: [(Option<&str>, &[Rule]); 3] = [
        (None, &OF_THE_CLUSTER),
        (Some(NAME), &OF_ITS_NAMESPACE),
        (Some("default"), &OF_DEFAULT),
    ];
    places
        .into_iter()
        .flat_map(|(namespace, rules)| role(namespace, rules))
        .collect()
}

fn role(namespace: Option<&str>, rules: &[Rule]) -> [Explained; 2] {
    let group = "rbac.authorization.k8s.io";
    let api_version = format!("{group}/v1");
    let kind = if namespace.is_some() { "Role" } else { "ClusterRole" };
    let granted: Vec<_> = rules
        .iter()
        .map(|(api_group, resource, verbs, _)| {
            let mut rule = json!({ "apiGroups": [api_group], "resources": [resource], "verbs": verbs });
            if *resource == "configmaps" {
                rule["resourceNames"] = json!([NAME]);
            }
            rule
        })
        .collect();
    let comments = rules
        .iter()
        .map(|(_, resource, verbs, why)| format!("{} {resource}: {why}", verbs.join(",")));
    [
        Explained {
            comments: comments.collect(),
            object: json!({ "apiVersion": api_version, "kind": kind, "metadata": metadata(namespace), "rules": granted }),
        },
        plain(json!({
            "apiVersion": api_version,
            "kind": format!("{kind}Binding"),
            "metadata": metadata(namespace),
            "roleRef": { "apiGroup": group, "kind": kind, "name": NAME },
            "subjects": [{ "kind": "ServiceAccount", "namespace": NAME, "name": NAME }],
        })),
    ]
}

fn labels(component: &str) -> Value {
    json!({ LABEL: NAME, COMPONENT: component })
}

/// Selects the daemon's pods.
pub fn daemon_selector() -> String {
    format!("{LABEL}={NAME},{COMPONENT}=daemon")
}

/// Selects the pods and Jobs of an uninstall.
pub fn uninstall_selector() -> String {
    format!("{LABEL}={NAME},{COMPONENT}=uninstall")
}

fn daemon_set(settings: &Settings) -> Explained {
    let mut pod = pod(&settings.image, &settings.pull_secrets, &["--node", "$(NODE_NAME)"]);
    // A pod that is replaced leaves traffic as it is, so many at once may be.
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": "10%" } });
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "httpGet": { "host": "127.0.0.1", "port": HEALTH_PORT, "path": path },
            "periodSeconds": period, "timeoutSeconds": 2, "failureThreshold": failures,
        })
    };
    let container = &mut pod["containers"][0];
    container["readinessProbe"] = probe("/readyz", 5, 2);
    container["livenessProbe"] = probe("/healthz", 10, 6);
    if let Some((host, port)) = &settings.api_server
        && let Some(environment) = container["env"].as_array_mut()
    {
        environment.push(json!({ "name": "KUBERNETES_SERVICE_HOST", "value": host }));
        environment.push(json!({ "name": "KUBERNETES_SERVICE_PORT", "value": port.to_string() }));
    }
    pod["priorityClassName"] = json!("system-node-critical");
    pod["serviceAccountName"] = json!(NAME);
    pod["nodeSelector"] = json!({ "kubernetes.io/os": "linux" });
    pod["terminationGracePeriodSeconds"] = json!(5);
    Explained {
        comments: vec![
            "hostPID: which processes hold a network namespace decides whether an address may be given to another pod".to_owned(),
            "Not privileged: NET_ADMIN for links, routes and nftables; SYS_ADMIN and SYS_PTRACE to enter pods' network namespaces;".to_owned(),
            "BPF and PERFMON for the counters. Traffic needs neither of the last two".to_owned(),
        ],
        object: json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata(Some(NAME)),
            "spec": {
                "selector": { "matchLabels": labels("daemon") },
                "updateStrategy": strategy,
                "template": { "metadata": { "labels": labels("daemon") }, "spec": pod },
            },
        }),
    }
}

/// How nodes are undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undoing {
    /// Reference of the image.
    pub image: String,
    /// Names of the Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// Although pods are attached.
    pub force: bool,
    /// How long it may take.
    pub seconds: u64,
}

/// The Job that undoes on one node what the daemon and the plugin did there. It removes itself a while after its end, however that came.
pub fn uninstall_job(undoing: &Undoing, name: &str, node: &str) -> Value {
    let arguments: &[&str] = if undoing.force {
        &["uninstall", "--evict"]
    } else {
        &["uninstall"]
    };
    let mut pod = pod(&undoing.image, &undoing.pull_secrets, arguments);
    pod["nodeName"] = json!(node);
    pod["restartPolicy"] = json!("Never");
    pod["automountServiceAccountToken"] = json!(false);
    pod["terminationGracePeriodSeconds"] = json!(1);
    // Its last lines say why, where it fails.
    pod["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": name, "namespace": NAME, "labels": labels("uninstall") },
        "spec": {
            "activeDeadlineSeconds": undoing.seconds.max(1),
            "ttlSecondsAfterFinished": 600,
            "backoffLimit": 1,
            "template": { "metadata": { "labels": labels("uninstall") }, "spec": pod },
        },
    })
}

/// What the daemon's pods and those of an uninstall have in common: where they stand on the node, and what they may do there.
fn pod(image: &str, pull_secrets: &[String], arguments: &[&str]) -> Value {
    let secrets: Vec<_> = pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    let mounts: Vec<_> = MOUNTS
        .iter()
        .map(|mount| {
            let mut mounted = json!({ "name": mount.name, "mountPath": mount.inside });
            if mount.follows {
                mounted["mountPropagation"] = json!("HostToContainer");
            }
            mounted
        })
        .collect();
    let volumes: Vec<_> = MOUNTS
        .iter()
        .map(|mount| json!({ "name": mount.name, "hostPath": { "path": mount.host, "type": mount.kind } }))
        .collect();
    let mut pod = json!({
        "hostNetwork": true,
        "hostPID": true,
        "dnsPolicy": "Default",
        "enableServiceLinks": false,
        "tolerations": [{ "operator": "Exists" }],
        "securityContext": {
            "runAsUser": 0,
            "runAsNonRoot": false,
            "seccompProfile": { "type": "Unconfined" },
        },
        "containers": [{
            "name": "daemon",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": [DAEMON],
            "args": arguments,
            "env": [{ "name": "NODE_NAME", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "spec.nodeName" } } }],
            "securityContext": {
                "privileged": false,
                "allowPrivilegeEscalation": true,
                "readOnlyRootFilesystem": true,
                "appArmorProfile": { "type": "Unconfined" },
                "capabilities": { "drop": ["ALL"], "add": CAPABILITIES },
            },
            "resources": {
                "requests": { "cpu": "20m", "memory": "32Mi" },
                "limits": { "memory": "128Mi" },
            },
            "volumeMounts": mounts,
        }],
        "volumes": volumes,
    });
    if !secrets.is_empty() {
        pod["imagePullSecrets"] = json!(secrets);
    }
    pod
}

/// A folder of the node's.
struct Mount {
    name: &'static str,
    host: &'static str,
    inside: &'static str,
    kind: &'static str,
    /// What is mounted there later is to be seen: network namespaces, the BPF filesystem.
    follows: bool,
}

const fn mount(
    name: &'static str,
    host: &'static str,
    inside: &'static str,
    kind: &'static str,
    follows: bool,
) -> Mount {
    Mount {
        name,
        host,
        inside,
        kind,
        follows,
    }
}

const MOUNTS: [Mount; 7] = [
    mount("plugins", "/opt/cni/bin", "/opt/cni/bin", "DirectoryOrCreate", false),
    mount(
        "configurations",
        "/etc/cni/net.d",
        "/etc/cni/net.d",
        "DirectoryOrCreate",
        false,
    ),
    mount(
        "state",
        "/run/netcheck-cni",
        "/run/netcheck-cni",
        "DirectoryOrCreate",
        false,
    ),
    // Runtimes name a sandbox's network namespace by either path.
    mount("netns", "/run/netns", "/run/netns", "DirectoryOrCreate", true),
    mount(
        "var-netns",
        "/var/run/netns",
        "/var/run/netns",
        "DirectoryOrCreate",
        true,
    ),
    mount("bpf", "/sys/fs/bpf", "/sys/fs/bpf", "Directory", true),
    mount("sysctls", "/proc/sys/net", SYSCTLS, "Directory", false),
];

#[cfg(test)]
mod tests;
