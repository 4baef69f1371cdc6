//! Brings every node back to what it was: one Job each, which runs the daemon once to undo what it did.

use super::{
    manifest::{self, Undoing, uninstall_selector},
    names::{CORDONED, NAME, NETWORK_UNAVAILABLE, PREFIX, READY_REASON, REFUSALS},
    pods::{node_of, waiting_or_phase},
};
use crate::{
    agents::run::RunId,
    cluster::{
        Cluster,
        list::list,
        request::{self, attempt},
    },
    exit::Failure,
    output::{Phase, safe},
};
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Node, Pod},
};
use kube::{
    Api,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, time::Duration};
use tokio::time::{Instant, sleep};

/// How often to look.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How much longer than asked for to wait: the Job's own deadline says more than ours.
const GRACE: Duration = Duration::from_secs(5);

/// What became of each node: nothing is left there, or why that is not known.
pub type Outcomes = BTreeMap<String, Result<(), String>>;

/// Starts a Job on each node and waits for all of them.
///
/// # Errors
/// If Jobs can be made for no node. What goes wrong with one is its outcome.
pub async fn nodes(cluster: &Cluster, undoing: &Undoing, nodes: &[String], phase: &Phase) -> Result<Outcomes, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let api: Api<Job> = Api::namespaced(cluster.client.clone(), NAME);
    let pod_api: Api<Pod> = Api::namespaced(cluster.client.clone(), NAME);
    let run = RunId::new()?;
    let mut outcomes = Outcomes::new();
    let mut open: BTreeMap<String, String> = BTreeMap::new();
    for (index, node) in nodes.iter().enumerate() {
        let name = format!("{NAME}-uninstall-{run}-{index}");
        let job: Job = manifest_of(&manifest::uninstall_job(undoing, &name, node))?;
        match attempt(limit, api.create(&PostParams::default(), &job)).await {
            Ok(_) => drop(open.insert(name, node.clone())),
            Err(problem) => {
                let failure = problem.into_failure(&format!("create Job {NAME}/{name}"));
                outcomes.insert(node.clone(), Err(failure.message.clone()));
                if open.is_empty() && outcomes.len() == nodes.len() {
                    return Err(failure);
                }
            }
        }
    }
    let until = Instant::now() + Duration::from_secs(undoing.seconds) + GRACE;
    loop {
        let selector = uninstall_selector();
        let (jobs, pods) = tokio::join!(
            list(cluster, &api, Some(&selector)),
            list(cluster, &pod_api, Some(&selector))
        );
        let is_over = Instant::now() >= until;
        if let (Ok(jobs), Ok(pods)) = (jobs, pods) {
            let jobs: BTreeMap<&str, &Job> = jobs
                .iter()
                .filter_map(|job| Some((job.metadata.name.as_deref()?, job)))
                .collect();
            open.retain(|name, node| {
                let pods: Vec<&Pod> = pods.iter().filter(|pod| node_of(pod) == Some(node)).collect();
                let outcome = match (outcome(jobs.get(name.as_str()).copied(), &pods), is_over) {
                    (None, true) => Err(format!("did not end in time ({})", state(&pods))),
                    (None, false) => return true,
                    (Some(outcome), _) => outcome,
                };
                outcomes.insert(node.clone(), outcome);
                false
            });
        } else if is_over {
            let unknown = open
                .values()
                .map(|node| (node.clone(), Err("the API server does not answer".to_owned())));
            outcomes.extend(unknown);
            open.clear();
        }
        phase.set(outcomes.len(), nodes.len());
        if open.is_empty() {
            return Ok(outcomes);
        }
        sleep(LOOK_AGAIN).await;
    }
}

fn manifest_of(value: &Value) -> Result<Job, Failure> {
    serde_json::from_value(value.clone())
        .map_err(|error| Failure::unknown(format!("netcheck built an object the API has no place for: {error}")))
}

/// How a Job ended, if it has.
fn outcome(job: Option<&Job>, pods: &[&Pod]) -> Option<Result<(), String>> {
    let Some(job) = job else {
        return Some(Err("its Job was removed by somebody".to_owned()));
    };
    let status = job.status.as_ref()?;
    if status.succeeded.unwrap_or_default() > 0 {
        return Some(Ok(()));
    }
    let conditions = status.conditions.as_ref()?;
    let failed = conditions
        .iter()
        .find(|condition| condition.type_ == "Failed" && condition.status == "True")?;
    let why = pods.iter().find_map(|pod| last_words(pod));
    let reason = failed.reason.clone().unwrap_or_default();
    Some(Err(why.unwrap_or_else(|| match reason.as_str() {
        "DeadlineExceeded" => format!("did not end in time ({})", state(pods)),
        reason => format!("failed: {reason}"),
    })))
}

/// The last line of what a container said before it ended badly.
fn last_words(pod: &Pod) -> Option<String> {
    let containers = pod.status.as_ref()?.container_statuses.as_ref()?;
    let ended = containers
        .iter()
        .find_map(|container| container.state.as_ref()?.terminated.as_ref())?;
    if ended.exit_code == 0 {
        return None;
    }
    let said = ended.message.as_deref().unwrap_or_default();
    let line = said.lines().map(str::trim).rfind(|line| !line.is_empty()).map(safe);
    Some(line.unwrap_or_else(|| format!("ended with code {}", ended.exit_code)))
}

/// Where a pod stands, in the kubelet's word.
fn state(pods: &[&Pod]) -> String {
    let Some(pod) = pods.first() else {
        return "its pod was not made".to_owned();
    };
    match waiting_or_phase(pod) {
        Some(phase) if phase == "Pending" => "no kubelet took its pod up".to_owned(),
        Some(word) => safe(&word),
        None => "unknown".to_owned(),
    }
}

/// Takes back what the Node object carries of us: annotations, conditions, and the cordon of an uninstall.
///
/// # Errors
/// If the Node cannot be written to.
pub async fn node_object(cluster: &Cluster, node: &Node) -> Result<(), Failure> {
    let name = node.metadata.name.clone().unwrap_or_default();
    let api: Api<Node> = Api::all(cluster.client.clone());
    let limit = request::limit(cluster.request_timeout);
    let gone_is_fine = |answer: Result<Node, request::Problem>, doing: &str| match answer {
        Err(problem) if !problem.is_not_found() => Err(problem.into_failure(doing)),
        _ => Ok(()),
    };
    if let Some(patch) = conditions_patch(node) {
        let answer = attempt(
            limit,
            api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)),
        )
        .await;
        gone_is_fine(answer, &format!("remove our conditions of node {name}"))?;
    }
    if let Some(patch) = annotations_patch(node) {
        let answer = attempt(limit, api.patch(&name, &PatchParams::default(), &Patch::Merge(patch))).await;
        gone_is_fine(answer, &format!("remove our annotations of node {name}"))?;
    }
    Ok(())
}

/// Removes every annotation of ours (RFC 7396: null removes), and the cordon if it was ours.
fn annotations_patch(node: &Node) -> Option<Value> {
    let ours: Map<String, Value> = node
        .metadata
        .annotations
        .iter()
        .flatten()
        .filter(|(key, _)| key.starts_with(PREFIX))
        .map(|(key, _)| (key.clone(), Value::Null))
        .collect();
    if ours.is_empty() {
        return None;
    }
    let mut patch = json!({ "metadata": { "annotations": ours } });
    if ours.contains_key(CORDONED) {
        patch["spec"] = json!({ "unschedulable": null });
    }
    Some(patch)
}

/// Removes every condition of ours. `NetworkUnavailable` is Kubernetes' own type: ours only if it carries a reason of ours.
fn conditions_patch(node: &Node) -> Option<Value> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    let ours: Vec<_> = conditions
        .iter()
        .filter(|condition| {
            let reason = condition.reason.as_deref().unwrap_or_default();
            condition.type_.starts_with(PREFIX)
                || condition.type_ == NETWORK_UNAVAILABLE && (reason == READY_REASON || REFUSALS.contains(&reason))
        })
        .map(|condition| json!({ "$patch": "delete", "type": condition.type_ }))
        .collect();
    (!ours.is_empty()).then(|| json!({ "status": { "conditions": ours } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(status: &Value) -> Job {
        serde_json::from_value(json!({ "metadata": { "name": "j" }, "status": status })).unwrap()
    }

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "p" }, "status": status })).unwrap()
    }

    fn container(state: &Value) -> Value {
        json!({ "containerStatuses": [{ "name": "daemon", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state }] })
    }

    #[test]
    fn how_a_node_ended_is_said_in_its_own_words() {
        let failed = |reason: &str| json!({ "conditions": [{ "type": "Failed", "status": "True", "reason": reason }] });
        let said =
            container(&json!({ "terminated": { "exitCode": 1, "message": "cleaning\ncannot delete ncvx0: EBUSY\n" } }));
        let pulling = container(&json!({ "waiting": { "reason": "ImagePullBackOff" } }));
        for (status, pods, expected) in [
            (json!({ "active": 1 }), vec![], None),
            (json!({ "succeeded": 1 }), vec![], Some(Ok(()))),
            (
                failed("BackoffLimitExceeded"),
                vec![pod(&said)],
                Some(Err("cannot delete ncvx0: EBUSY")),
            ),
            (
                failed("BackoffLimitExceeded"),
                vec![],
                Some(Err("failed: BackoffLimitExceeded")),
            ),
            (
                failed("DeadlineExceeded"),
                vec![pod(&pulling)],
                Some(Err("did not end in time (ImagePullBackOff)")),
            ),
            (
                failed("DeadlineExceeded"),
                vec![pod(&json!({ "phase": "Pending" }))],
                Some(Err("did not end in time (no kubelet took its pod up)")),
            ),
        ] {
            let pods: Vec<&Pod> = pods.iter().collect();
            let expected = expected.map(|outcome: Result<(), &str>| outcome.map_err(str::to_owned));
            assert_eq!(outcome(Some(&job(&status)), &pods), expected);
        }
        assert!(outcome(None, &[]).unwrap().is_err());
    }

    #[test]
    fn a_node_keeps_what_is_not_ours() {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "n1", "annotations": {
                "cni.netcheck.dev/schema": "1", "cni.netcheck.dev/config": "x", "node.alpha.kubernetes.io/ttl": "0",
            } },
            "status": { "conditions": [
                { "type": "Ready", "status": "True" },
                { "type": "NetworkUnavailable", "status": "False", "reason": "NetcheckCniReady" },
                { "type": "cni.netcheck.dev/Degraded", "status": "False" },
            ] },
        }))
        .unwrap();
        assert_eq!(
            annotations_patch(&node),
            Some(
                json!({ "metadata": { "annotations": { "cni.netcheck.dev/schema": null, "cni.netcheck.dev/config": null } } })
            )
        );
        let removed = conditions_patch(&node).unwrap();
        let types: Vec<_> = removed["status"]["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["type"].clone())
            .collect();
        assert_eq!(types, ["NetworkUnavailable", "cni.netcheck.dev/Degraded"]);
    }

    #[test]
    fn a_cordon_and_a_condition_of_others_stay() {
        let node = |annotation: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": { "name": "n1", "annotations": { annotation: "" } },
                "spec": { "unschedulable": true },
                "status": { "conditions": [{ "type": "NetworkUnavailable", "status": "False", "reason": "RouteCreated" }] },
            }))
            .unwrap()
        };
        assert_eq!(conditions_patch(&node("x")), None);
        assert_eq!(
            annotations_patch(&node("cni.netcheck.dev/schema")).unwrap().get("spec"),
            None
        );
        let cordoned = annotations_patch(&node(CORDONED)).unwrap();
        assert_eq!(cordoned["spec"], json!({ "unschedulable": null }));
    }
}
