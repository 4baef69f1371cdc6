//! Kubernetes objects that tests create.

use serde_json::{Value, json};

/// The image that holds nothing but one static server.
pub const WORKLOAD: &str = "docker.io/rig/workload:1";

/// A namespace with a Pod Security level.
pub fn namespace(name: &str, pod_security: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "labels": { "pod-security.kubernetes.io/enforce": pod_security } }
    })
}

/// A pod bound to a node, running the workload image with these arguments and declaring one TCP port. It meets every Pod Security level, so that
/// what is refused later is ours and not its.
pub fn server_pod(namespace: &str, name: &str, node: &str, arguments: &[&str], port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "labels": { "app": name, "set": "lab" } },
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "securityContext": { "runAsNonRoot": true, "runAsUser": 1000, "seccompProfile": { "type": "RuntimeDefault" } },
            "containers": [{
                "name": "server",
                "image": WORKLOAD,
                "imagePullPolicy": "IfNotPresent",
                "args": arguments,
                "ports": [{ "containerPort": port }],
                "securityContext": { "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true }
            }]
        }
    })
}

/// A dual-stack Service on port 80 for pods of `server_pod` with this `app` label.
pub fn service(namespace: &str, name: &str, app: &str, target_port: u16) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": { "name": name, "namespace": namespace },
        "spec": {
            "ipFamilyPolicy": "PreferDualStack",
            "selector": { "app": app },
            "ports": [{ "port": 80, "targetPort": target_port }]
        }
    })
}

/// A policy that refuses pods which see the node's processes, in every namespace but kube-system.
pub fn policy_refusing_host_pid() -> [Value; 2] {
    [
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
            "metadata": { "name": "no-host-pid" },
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": { "resourceRules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"] }] },
                "validations": [{ "expression": "!has(object.spec.hostPID) || !object.spec.hostPID", "message": "hostPID is not for guests" }]
            }
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": { "name": "no-host-pid" },
            "spec": { "policyName": "no-host-pid", "validationActions": ["Deny"] }
        }),
    ]
}
