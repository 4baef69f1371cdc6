//! The objects a run creates, as data. Nothing here talks to a cluster, so `--dry-run` prints exactly what would be created.

use super::run::{COMPONENT_LABEL, KEEP_LABEL, LAST_RUN_ANNOTATION, MANAGED_BY_LABEL, MARGIN, NAME, RUN_LABEL, RunId};
use crate::exit::Failure;
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        batch::v1::Job,
        coordination::v1::Lease,
        core::v1::{Namespace, Pod},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// Name of the agent's container in a node agent's pod.
pub const CONTAINER: &str = "agent";
/// Path of the agent in its image.
pub const AGENT: &str = "/netcheck-agent";
/// An agent that lost its plugin ends itself after this time.
pub const IDLE: Duration = Duration::from_secs(30);
/// Capabilities of a node agent: raw sockets to watch, entering namespaces, and reaching them through other users' `/proc` (`SYS_ADMIN`
/// alone cannot open `/proc/PID/ns/net` of a process that has capabilities of its own). `NET_ADMIN` is for one thing: reading the sequence
/// number of its own sockets (`TCP_REPAIR`), which recognises a probe even where NAT in the source's namespace rewrites its ports. By `SYS_ADMIN` the
/// agent reads pinned BPF objects, too, and counts what the kernel drops, on kernels with and without `BPF` and `PERFMON`.
pub const NODE_CAPABILITIES: [&str; 4] = ["NET_ADMIN", "NET_RAW", "SYS_ADMIN", "SYS_PTRACE"];

/// What all node agents of a run have in common.
#[derive(Debug, Clone)]
pub struct AgentSpec {
    /// The run.
    pub run: RunId,
    /// Their namespace.
    pub namespace: String,
    /// Reference of their image.
    pub image: String,
    /// Names of the Secrets to pull it with.
    pub pull_secrets: Vec<String>,
    /// How long the run may take.
    pub deadline: Duration,
    /// What each may use.
    pub budget: Budget,
}

/// What a node agent may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Thousandths of a processor.
    pub milli_cpu: u32,
    /// Memory in bytes.
    pub memory: u64,
}

/// Enough to probe, to watch, and to hold what is not acknowledged yet.
const BASE_MEMORY: u64 = 64 << 20;

impl Budget {
    /// For probes and looks.
    pub const PROBING: Self = Self {
        milli_cpu: 200,
        memory: BASE_MEMORY,
    };

    /// For reading what a node holds: nft alone takes 130 MiB to list 15,000 rules as JSON.
    pub const RECORDING: Self = Self {
        milli_cpu: 1000,
        memory: 8 * BASE_MEMORY,
    };

    /// For captures with so many bytes of rings: packets are to be carried away as fast as they come, or they are lost.
    pub fn capturing(rings: u64) -> Self {
        Self {
            milli_cpu: 2000,
            memory: BASE_MEMORY + rings,
        }
    }
}

/// The namespace for node agents. `keep` is for one that an administrator applies: no run removes it.
pub fn namespace(name: &str, keep: bool) -> Result<Namespace, Failure> {
    let mut labels = json!({
        MANAGED_BY_LABEL: NAME,
        "app.kubernetes.io/name": NAME,
        "pod-security.kubernetes.io/enforce": "privileged",
        "pod-security.kubernetes.io/audit": "privileged",
        "pod-security.kubernetes.io/warn": "privileged",
    });
    if keep {
        labels[KEEP_LABEL] = json!("true");
    }
    typed(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": labels } }))
}

/// Marks a namespace as used by a run; see [`LAST_RUN_ANNOTATION`].
pub fn namespace_touch(run: &RunId) -> Value {
    json!({ "metadata": { "annotations": { LAST_RUN_ANNOTATION: run.to_string() } } })
}

/// The run's Lease: its expiry, by which others know what may be swept.
pub fn lease(spec: &AgentSpec, holder: &str, now: Timestamp) -> Result<Lease, Failure> {
    typed(json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": { "name": spec.run.lease_name(), "namespace": spec.namespace, "labels": labels(&spec.run) },
        "spec": {
            "holderIdentity": holder,
            "acquireTime": micro_time(now),
            "renewTime": micro_time(now),
            "leaseDurationSeconds": (spec.deadline + MARGIN).as_secs(),
        },
    }))
}

/// Ties the Lease to the Jobs: when the last of them has vanished, the garbage collector removes it.
pub fn lease_owners(jobs: &[Job]) -> Value {
    let owners: Vec<OwnerReference> = jobs
        .iter()
        .filter_map(|job| {
            Some(OwnerReference {
                api_version: "batch/v1".to_owned(),
                kind: "Job".to_owned(),
                name: job.metadata.name.clone()?,
                uid: job.metadata.uid.clone()?,
                ..OwnerReference::default()
            })
        })
        .collect();
    json!({ "metadata": { "ownerReferences": owners } })
}

/// The Job that runs the agent with this index on a node. It removes itself once the agent has ended, however that came.
pub fn job(spec: &AgentSpec, node: &str, index: usize) -> Result<Job, Failure> {
    job_of(spec, index, &labels(&spec.run), &pod_spec(spec, node, index))
}

/// A Job of the run's with this index, for one pod, which is removed when that has ended.
pub fn job_of(spec: &AgentSpec, index: usize, labels: &Value, pod_spec: &Value) -> Result<Job, Failure> {
    typed(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": spec.run.job_name(index),
            "namespace": spec.namespace,
            "labels": labels,
        },
        "spec": {
            "activeDeadlineSeconds": seconds(spec.deadline),
            "ttlSecondsAfterFinished": 0,
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "template": { "metadata": { "labels": labels }, "spec": pod_spec },
        },
    }))
}

/// The pod of a Job, to ask admission about: policies on Jobs often only warn.
pub fn pod_of(job: &Job) -> Pod {
    let template = job.spec.as_ref().map(|spec| &spec.template);
    Pod {
        metadata: ObjectMeta {
            name: job.metadata.name.clone(),
            namespace: job.metadata.namespace.clone(),
            labels: template.and_then(|template| template.metadata.as_ref()?.labels.clone()),
            ..ObjectMeta::default()
        },
        spec: template.and_then(|template| template.spec.clone()),
        status: None,
    }
}

/// What the container runs: it serves exactly one session.
pub fn serve_command(session: &str, deadline: Duration) -> Vec<String> {
    let idle = IDLE.as_secs().to_string();
    let deadline = seconds(deadline).to_string();
    [
        AGENT,
        "serve",
        "--session",
        session,
        "--deadline",
        &deadline,
        "--idle",
        &idle,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// What the plugin executes in it: relays between the stream and the session.
pub fn join_command(session: &str) -> Vec<String> {
    [AGENT, "join", "--session", session].map(str::to_owned).to_vec()
}

fn pod_spec(spec: &AgentSpec, node: &str, index: usize) -> Value {
    let container = json!({
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": "IfNotPresent",
        "command": serve_command(&spec.run.session(index), spec.deadline),
        "securityContext": {
            "privileged": false,
            "allowPrivilegeEscalation": true,
            "readOnlyRootFilesystem": true,
            "appArmorProfile": { "type": "Unconfined" },
            "capabilities": { "drop": ["ALL"], "add": NODE_CAPABILITIES },
        },
        "resources": {
            "requests": { "cpu": "10m", "memory": "16Mi" },
            "limits": {
                "cpu": format!("{}m", spec.budget.milli_cpu),
                "memory": format!("{}Mi", spec.budget.memory.div_ceil(1 << 20)),
            },
        },
        "volumeMounts": [{ "name": "run", "mountPath": "/run/netcheck" }],
    });
    let run = json!({ "name": "run", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } });
    host_pod(spec, node, container, run)
}

/// A pod on a node, in the node's own namespaces, with one container and one volume.
#[expect(clippy::needless_pass_by_value, reason = "they become part of it")]
pub fn host_pod(spec: &AgentSpec, node: &str, container: Value, volume: Value) -> Value {
    let mut pod = short_lived_pod(spec, container);
    pod["nodeName"] = json!(node);
    pod["hostNetwork"] = json!(true);
    pod["hostPID"] = json!(true);
    pod["dnsPolicy"] = json!("Default");
    pod["tolerations"] = json!([{ "operator": "Exists" }]);
    pod["securityContext"] = json!({
        "runAsUser": 0,
        "runAsNonRoot": false,
        "seccompProfile": { "type": "Unconfined" },
    });
    pod["volumes"] = json!([volume]);
    pod
}

/// A pod with one container that is not to come again, and with nothing of the cluster's in it.
#[expect(clippy::needless_pass_by_value, reason = "it becomes part of it")]
pub fn short_lived_pod(spec: &AgentSpec, container: Value) -> Value {
    let pull_secrets: Vec<_> = spec.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "activeDeadlineSeconds": seconds(spec.deadline),
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        "imagePullSecrets": pull_secrets,
        "containers": [container],
    })
}

fn labels(run: &RunId) -> Value {
    labels_of(run, "agent")
}

/// What all objects of a run are found by.
pub fn labels_of(run: &RunId, component: &str) -> Value {
    json!({
        "app.kubernetes.io/name": NAME,
        MANAGED_BY_LABEL: NAME,
        COMPONENT_LABEL: component,
        RUN_LABEL: run.to_string(),
    })
}

/// The API wants whole seconds, at least one.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs().max(1)
}

fn micro_time(now: Timestamp) -> String {
    format!("{now:.6}")
}

/// Checks a manifest against the API's types, so that a typo is found here and not by a server that drops unknown fields.
pub fn typed<T: DeserializeOwned>(manifest: Value) -> Result<T, Failure> {
    serde_json::from_value(manifest)
        .map_err(|error| Failure::unknown(format!("netcheck built an object the API has no place for: {error}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn spec() -> AgentSpec {
        AgentSpec {
            run: RunId::parse("0123bcdf").unwrap(),
            namespace: "netcheck".to_owned(),
            image: "agent:dev".to_owned(),
            pull_secrets: vec!["regcred".to_owned()],
            deadline: Duration::from_mins(5),
            budget: Budget::PROBING,
        }
    }

    /// Nothing of what was written may get lost on the way through the API's types.
    pub(crate) fn assert_kept(written: &Value, kept: &Value, path: &str) {
        match written {
            Value::Object(fields) => {
                for (name, value) in fields {
                    assert_kept(value, &kept[name], &format!("{path}.{name}"));
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    assert_kept(value, &kept[index], &format!("{path}[{index}]"));
                }
            }
            value => assert_eq!(value, kept, "{path}"),
        }
    }

    #[test]
    fn the_api_knows_every_field_of_the_pod() {
        let kept = serde_json::to_value(pod_of(&job(&spec(), "node-1", 0).unwrap())).unwrap();
        assert_kept(&pod_spec(&spec(), "node-1", 0), &kept["spec"], "spec");
    }

    #[test]
    fn a_node_agent_is_not_privileged_and_cannot_stay() {
        let job = serde_json::to_value(job(&spec(), "node-1", 2).unwrap()).unwrap();
        assert_eq!(job["metadata"]["name"], "netcheck-0123bcdf-2");
        assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 0);
        assert_eq!(job["spec"]["activeDeadlineSeconds"], 300);
        let pod = &job["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["nodeName"], "node-1");
        let security = &pod["containers"][0]["securityContext"];
        assert_eq!(security["privileged"], false);
        assert_eq!(security["readOnlyRootFilesystem"], true);
        assert_eq!(security["capabilities"]["drop"], json!(["ALL"]));
        assert_eq!(
            pod["containers"][0]["command"],
            json!([
                "/netcheck-agent",
                "serve",
                "--session",
                "0123bcdf-2",
                "--deadline",
                "300",
                "--idle",
                "30"
            ])
        );
    }

    /// Every privilege of it is what users are told of in `README.md`: whoever changes one sees it here.
    #[test]
    fn all_of_a_node_agents_job() {
        insta::assert_json_snapshot!(job(&spec(), "node-1", 0).unwrap());
    }

    #[test]
    fn the_lease_outlives_the_deadline_and_ends_with_the_jobs() {
        let lease = lease(&spec(), "ada@laptop", "2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(lease.spec.unwrap().lease_duration_seconds, Some(360));
        let mut job = job(&spec(), "node-1", 0).unwrap();
        job.metadata.uid = Some("u-1".to_owned());
        let owners = &lease_owners(&[job])["metadata"]["ownerReferences"];
        assert_eq!(owners[0]["uid"], "u-1");
        assert_eq!(owners[0]["kind"], "Job");
    }

    #[test]
    fn only_an_administrators_namespace_is_kept() {
        let labels = |keep| namespace("netcheck", keep).unwrap().metadata.labels.unwrap();
        assert_eq!(labels(true).get(KEEP_LABEL).map(String::as_str), Some("true"));
        assert!(!labels(false).contains_key(KEEP_LABEL));
        assert_eq!(labels(false)["pod-security.kubernetes.io/enforce"], "privileged");
    }
}
