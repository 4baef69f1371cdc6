//! The pod of a session on a node.

use super::{Profile, Wanted, container::container};
use crate::{
    agents::manifest::{self, AgentSpec},
    exit::Failure,
    terminal::Session,
};
use k8s_openapi::api::batch::v1::Job;
use serde_json::json;

/// Where the node's own files are seen, as kubectl has it.
const HOST: &str = "/host";

/// The Job: its pod is in the node's namespaces, with the node's files under `/host`, read-only but with the profile sysadmin.
///
/// # Errors
/// If the API has no place for something in it.
pub fn job(spec: &AgentSpec, node: &str, wanted: &Wanted, session: &Session, profile: Profile) -> Result<Job, Failure> {
    let mut container = container(wanted, session, profile, true);
    let mut mount = json!({ "name": "host", "mountPath": HOST, "readOnly": profile != Profile::Sysadmin });
    if profile != Profile::Sysadmin {
        // What is mounted below it too, where the runtime can (containerd 2.0, Kubernetes 1.30).
        mount["recursiveReadOnly"] = json!("IfPossible");
    }
    match container["volumeMounts"].as_array_mut() {
        Some(mounts) => mounts.push(mount),
        None => container["volumeMounts"] = json!([mount]),
    }
    let files = json!({ "name": "host", "hostPath": { "path": "/" } });
    let pod = manifest::host_pod(spec, node, container, files);
    manifest::job_of(spec, 0, &manifest::labels_of(&spec.run, "debug"), &pod)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::{Budget, run::RunId},
        debug::container::tests as of,
    };
    use std::time::Duration;

    #[test]
    fn a_session_on_a_node_goes_by_itself_and_changes_no_files_unasked() {
        let spec = AgentSpec {
            run: RunId::parse("0123bcdf").unwrap(),
            namespace: "netcheck".to_owned(),
            image: "toolbox:1".to_owned(),
            pull_secrets: Vec::new(),
            deadline: Duration::from_hours(1),
            budget: Budget::PROBING,
        };
        for profile in Profile::ALL.into_iter().filter(|profile| profile.is_for_nodes()) {
            let job = job(&spec, "n1", &of::wanted(), &of::session(), profile).unwrap();
            let job = serde_json::to_value(job).unwrap();
            assert_eq!(job["spec"]["ttlSecondsAfterFinished"], 0);
            assert_eq!(job["spec"]["activeDeadlineSeconds"], 3600);
            let pod = &job["spec"]["template"]["spec"];
            assert_eq!((&pod["hostPID"], &pod["hostNetwork"]), (&json!(true), &json!(true)));
            let mount = &pod["containers"][0]["volumeMounts"][0];
            assert_eq!(mount["readOnly"], profile != Profile::Sysadmin, "{profile:?}");
        }
    }
}
