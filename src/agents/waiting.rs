//! What a pod's status says about a container of ours: running, still coming, or never going to. Pure.

use crate::findings::{Absence, Obstacle};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::time::Duration;
use tokio::time::Instant;

/// A kubelet that lives takes a pod or an ephemeral container up within a second or two.
pub const TAKEN_UP_WITHIN: Duration = Duration::from_secs(10);
/// From the request to the running agent, the image's way to the node included.
const RUNNING_WITHIN: Duration = Duration::from_secs(90);
/// A first failed pull may be an accident, and with a pull secret often is one: the kubelet may be refused the Secret until the node
/// authorizer has heard of the pod. It tries again after ten seconds (`MaxContainerBackOff`'s first step); later ones take too long.
const PULL_FAILED_FOR: Duration = Duration::from_secs(15);

/// A pod that just went may have left room that the scheduler does not know of yet; a node that is still to be made takes too long.
const NO_NODE_FOR: Duration = Duration::from_secs(8);

/// Reasons after which a container does not start by waiting longer, as the kubelet words them (pkg/kubelet/images/types.go and
/// pkg/kubelet/kuberuntime/kuberuntime_container.go).
const HOPELESS: [&str; 5] = [
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "PreStartHookError",
    "CrashLoopBackOff",
];

/// Those that the image is to blame for; nothing but another image helps.
const NO_IMAGE: [&str; 4] = [
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "SignatureValidationFailed",
];

/// Reasons between two attempts to pull an image; the kubelet changes from one to the other and back.
const PULL_FAILED: [&str; 2] = ["ErrImagePull", "ImagePullBackOff"];

/// How far a container is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// No kubelet has said anything about it.
    Unseen,
    /// It may still start; the kubelet's word for what it waits for.
    Coming(String),
    /// The scheduler finds no node for it, in its words; it tries again.
    NoNode(String),
    /// Its image could not be pulled, in the kubelet's words; the kubelet tries again.
    PullFailed(String),
    /// It will not run, as its image is not there or not acceptable, in the kubelet's words.
    NoImage(String),
    /// It runs.
    Running,
    /// It will not run (any more), in the kubelet's words.
    Hopeless(String),
}

impl Progress {
    /// Why it makes no sense to wait any longer; `waited` since the container was asked for, `unchanged` in this very state.
    pub fn overdue(&self, waited: Duration, unchanged: Duration) -> Option<Absence> {
        let late = |why: String| Some(Obstacle::NotStarted.because(why));
        match self {
            Self::Unseen if waited >= TAKEN_UP_WITHIN => late(format!(
                "the kubelet has not taken it up within {} s",
                TAKEN_UP_WITHIN.as_secs()
            )),
            Self::NoNode(why) if unchanged >= NO_NODE_FOR => late(why.clone()),
            Self::PullFailed(why) if unchanged >= PULL_FAILED_FOR => Some(Obstacle::ImagePull.because(why)),
            Self::Coming(why) if waited >= RUNNING_WITHIN => {
                late(format!("{why} (waited {} s)", RUNNING_WITHIN.as_secs()))
            }
            _ => None,
        }
    }

    /// Why it will not run whatever the patience, if the kubelet says so.
    pub fn final_word(&self) -> Option<Absence> {
        match self {
            Self::Hopeless(why) => Some(Obstacle::NotStarted.because(why)),
            Self::NoImage(why) => Some(Obstacle::ImagePull.because(why)),
            Self::Unseen | Self::Coming(_) | Self::NoNode(_) | Self::PullFailed(_) | Self::Running => None,
        }
    }
}

/// A state of progress and since when it lasts.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The state.
    pub progress: Progress,
    since: Instant,
}

impl Stage {
    /// Nothing seen, from now on.
    pub fn begin() -> Self {
        Self {
            progress: Progress::Unseen,
            since: Instant::now(),
        }
    }

    /// Takes note of what is seen now. Two failed pulls in a row are one state, whatever their words, and so are two vain searches for a node.
    pub fn note(&mut self, progress: Progress) {
        let is_the_same = match (&self.progress, &progress) {
            (Progress::PullFailed(_), Progress::PullFailed(_)) | (Progress::NoNode(_), Progress::NoNode(_)) => true,
            (before, now) => before == now,
        };
        if !is_the_same {
            self.since = Instant::now();
        }
        self.progress = progress;
    }

    /// As [`Progress::overdue`].
    pub fn overdue(&self, waited: Duration) -> Option<Absence> {
        self.progress.overdue(waited, self.since.elapsed())
    }
}

/// Progress of a pod's regular container.
pub fn of_container(pod: &Pod, name: &str) -> Progress {
    let Some(status) = &pod.status else {
        return Progress::Unseen;
    };
    let found = status
        .container_statuses
        .iter()
        .flatten()
        .find(|status| status.name == name);
    match (found, status.phase.as_deref()) {
        (Some(found), Some("Failed")) if found.state.as_ref().is_none_or(|state| state.terminated.is_none()) => {
            pod_failure(pod)
        }
        (Some(found), _) => of_status(found),
        // A kubelet that refuses a pod (out of resources, no such OS, UnexpectedAdmissionError) fails it without container statuses.
        (None, Some("Failed")) => pod_failure(pod),
        (None, _) => match unschedulable(pod) {
            Some(why) => Progress::NoNode(why),
            None => Progress::Unseen,
        },
    }
}

/// Whether any regular container of a pod runs.
pub fn runs(pod: &Pod) -> bool {
    let statuses = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let mut statuses = statuses.into_iter().flatten();
    statuses.any(|status| of_status(status) == Progress::Running)
}

/// Progress of a pod's ephemeral container.
pub fn of_ephemeral_container(pod: &Pod, name: &str) -> Progress {
    let Some(status) = &pod.status else {
        return Progress::Unseen;
    };
    if let Some("Failed" | "Succeeded") = status.phase.as_deref() {
        return Progress::Hopeless("the pod has ended".to_owned());
    }
    let mut statuses = status.ephemeral_container_statuses.iter().flatten();
    statuses
        .find(|status| status.name == name)
        .map_or(Progress::Unseen, of_status)
}

/// Words for a container's state: `Waiting: ErrImagePull`, `Terminated: exit code 0`.
pub fn describe(status: &ContainerStatus) -> String {
    match of_status(status) {
        Progress::Unseen => "unknown".to_owned(),
        Progress::Running => "running".to_owned(),
        Progress::Coming(why)
        | Progress::NoNode(why)
        | Progress::PullFailed(why)
        | Progress::NoImage(why)
        | Progress::Hopeless(why) => why,
    }
}

fn of_status(status: &ContainerStatus) -> Progress {
    let Some(state) = &status.state else {
        return Progress::Unseen;
    };
    if state.running.is_some() {
        return Progress::Running;
    }
    if let Some(ended) = &state.terminated {
        let reason = ended.reason.as_deref().unwrap_or("ended");
        let message = with_message(ended.message.as_deref());
        return Progress::Hopeless(format!(
            "container ended ({reason}, exit code {}){message}",
            ended.exit_code
        ));
    }
    let Some(waiting) = &state.waiting else {
        return Progress::Unseen;
    };
    let reason = waiting.reason.as_deref().unwrap_or("Waiting");
    let text = format!("{reason}{}", with_message(waiting.message.as_deref()));
    if HOPELESS.contains(&reason) {
        Progress::Hopeless(text)
    } else if NO_IMAGE.contains(&reason) {
        Progress::NoImage(text)
    } else if PULL_FAILED.contains(&reason) {
        Progress::PullFailed(text)
    } else {
        Progress::Coming(text)
    }
}

fn pod_failure(pod: &Pod) -> Progress {
    let status = pod.status.as_ref();
    let reason = status.and_then(|status| status.reason.as_deref()).unwrap_or("Failed");
    let message = with_message(status.and_then(|status| status.message.as_deref()));
    Progress::Hopeless(format!("the node refuses the pod ({reason}){message}"))
}

fn unschedulable(pod: &Pod) -> Option<String> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    let condition = conditions
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    let reason = condition.reason.as_deref().unwrap_or("not scheduled");
    Some(format!("{reason}{}", with_message(condition.message.as_deref())))
}

fn with_message(message: Option<&str>) -> String {
    match message.map(str::trim) {
        Some(message) if !message.is_empty() => format!(": {message}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({ "status": status })).unwrap()
    }

    fn container(state: &Value) -> Pod {
        pod(&json!({ "containerStatuses": [{
            "name": "agent", "state": state, "ready": false, "restartCount": 0, "image": "", "imageID": "",
        }] }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_vain_search_for_a_node_ends_whatever_its_words() {
        let searching = |words: &str| {
            let condition =
                json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words });
            of_container(&pod(&json!({ "phase": "Pending", "conditions": [condition] })), "agent")
        };
        let mut stage = Stage::begin();
        stage.note(searching("0/2 nodes are available"));
        tokio::time::advance(NO_NODE_FOR / 2).await;
        stage.note(searching("0/3 nodes are available"));
        assert_eq!(stage.overdue(NO_NODE_FOR / 2), None);
        tokio::time::advance(NO_NODE_FOR / 2).await;
        let why = stage.overdue(NO_NODE_FOR).unwrap();
        assert!(why.why.contains("0/3 nodes are available"), "{why}");
    }

    #[test]
    fn the_kubelets_words_are_read() {
        for (state, expected) in [
            (json!({ "running": {} }), Progress::Running),
            (
                json!({ "waiting": { "reason": "ContainerCreating" } }),
                Progress::Coming("ContainerCreating".to_owned()),
            ),
            (
                json!({ "waiting": { "reason": "ErrImagePull", "message": "no route" } }),
                Progress::PullFailed("ErrImagePull: no route".to_owned()),
            ),
            (
                json!({ "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling" } }),
                Progress::PullFailed("ImagePullBackOff: Back-off pulling".to_owned()),
            ),
            (
                json!({ "waiting": { "reason": "CreateContainerConfigError" } }),
                Progress::Hopeless("CreateContainerConfigError".to_owned()),
            ),
            (
                json!({ "waiting": { "reason": "ErrImageNeverPull", "message": "not present" } }),
                Progress::NoImage("ErrImageNeverPull: not present".to_owned()),
            ),
            (
                json!({ "terminated": { "reason": "Error", "exitCode": 127 } }),
                Progress::Hopeless("container ended (Error, exit code 127)".to_owned()),
            ),
        ] {
            assert_eq!(of_container(&container(&state), "agent"), expected, "{state}");
        }
    }

    #[test]
    fn waiting_ends_with_a_reason() {
        let second = Duration::from_secs(1);
        assert_eq!(Progress::Unseen.overdue(TAKEN_UP_WITHIN / 2, second), None);
        assert!(
            Progress::Unseen
                .overdue(TAKEN_UP_WITHIN, second)
                .unwrap()
                .why
                .contains("kubelet")
        );
        let creating = Progress::Coming("ContainerCreating".to_owned());
        assert_eq!(
            creating.overdue(TAKEN_UP_WITHIN * 2, TAKEN_UP_WITHIN * 2),
            None,
            "an image may take a while"
        );
        assert!(
            creating
                .overdue(RUNNING_WITHIN, second)
                .unwrap()
                .why
                .contains("ContainerCreating")
        );
        let failed = Progress::PullFailed("ErrImagePull: no route".to_owned());
        assert_eq!(
            failed.overdue(TAKEN_UP_WITHIN, second),
            None,
            "the second pull may succeed"
        );
        assert_eq!(
            failed.overdue(TAKEN_UP_WITHIN, PULL_FAILED_FOR),
            Some(Obstacle::ImagePull.because("ErrImagePull: no route"))
        );
        assert_eq!(Progress::Running.overdue(RUNNING_WITHIN * 2, RUNNING_WITHIN), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pull_that_fails_twice_is_one_wait_whatever_the_kubelet_calls_it() {
        let mut stage = Stage::begin();
        stage.note(Progress::PullFailed("ErrImagePull: 401".to_owned()));
        tokio::time::advance(PULL_FAILED_FOR / 2).await;
        stage.note(Progress::PullFailed("ImagePullBackOff: 401".to_owned()));
        assert_eq!(stage.overdue(PULL_FAILED_FOR / 2), None);
        tokio::time::advance(PULL_FAILED_FOR / 2).await;
        assert_eq!(
            stage.overdue(PULL_FAILED_FOR),
            Some(Obstacle::ImagePull.because("ImagePullBackOff: 401"))
        );
    }

    #[test]
    fn a_final_word_says_what_is_to_blame() {
        let of = |progress: Progress| progress.final_word().map(|absence| absence.obstacle);
        assert_eq!(of(Progress::NoImage(String::new())), Some(Obstacle::ImagePull));
        assert_eq!(of(Progress::Hopeless(String::new())), Some(Obstacle::NotStarted));
        for goes_on in [Progress::Unseen, Progress::Running, Progress::PullFailed(String::new())] {
            assert_eq!(of(goes_on), None);
        }
    }

    #[test]
    fn a_pod_no_kubelet_has_seen_is_unseen_and_a_refused_one_hopeless() {
        assert_eq!(
            of_container(&pod(&json!({ "phase": "Pending" })), "agent"),
            Progress::Unseen
        );
        let refused =
            pod(&json!({ "phase": "Failed", "reason": "OutOfpods", "message": "Node didn't have enough resource" }));
        assert_eq!(
            of_container(&refused, "agent"),
            Progress::Hopeless("the node refuses the pod (OutOfpods): Node didn't have enough resource".to_owned())
        );
    }

    #[test]
    fn an_ephemeral_container_of_an_ended_pod_never_starts() {
        let ended = pod(&json!({ "phase": "Succeeded" }));
        assert_eq!(
            of_ephemeral_container(&ended, "x"),
            Progress::Hopeless("the pod has ended".to_owned())
        );
    }
}
