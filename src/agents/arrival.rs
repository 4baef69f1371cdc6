//! Waits until a container runs, or says that it will not.

use super::{
    observe::{self, Seen, Which},
    waiting::{Progress, Stage},
};
use crate::{
    findings::{Absence, Obstacle},
    output::safe,
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often it is looked whether a container is overdue.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Why a container that was asked for does not run.
#[derive(Debug)]
pub enum NotRunning {
    /// The kubelet says it will not, with this security context.
    Hopeless(String),
    /// No other security context helps against this.
    WithAny(Absence),
}

/// Waits for a container of a pod; `progress` reads how far it is. The pod with the container running.
pub async fn running(
    pods: Api<Pod>,
    which: Which,
    limit: Duration,
    progress: impl Fn(&Pod) -> Progress,
) -> Result<Box<Pod>, NotRunning> {
    let mut seen = observe::pods(pods, which, limit);
    let begun = Instant::now();
    let unseen = |why: &str| Err(NotRunning::WithAny(Obstacle::NotStarted.because(why)));
    let mut stage = Stage::begin();
    loop {
        let mut last = None;
        tokio::select! {
            change = seen.recv() => match change {
                Some(Seen::Is(pod)) => {
                    stage.note(progress(&pod));
                    last = Some(pod);
                }
                Some(Seen::Gone(_)) => return unseen("the pod was deleted"),
                // Reading is tried again until it is too late.
                Some(Seen::Trouble(_) | Seen::Listed(_)) => {}
                None => return unseen("the pod cannot be observed"),
            },
            () = sleep(LOOK_EVERY) => {}
        }
        if let Some(why) = stage.overdue(begun.elapsed()) {
            return Err(NotRunning::WithAny(why));
        }
        match (&stage.progress, last) {
            (Progress::Running, Some(pod)) => return Ok(pod),
            (Progress::Hopeless(why), _) => return Err(NotRunning::Hopeless(safe(why))),
            (Progress::NoImage(why), _) => return Err(NotRunning::WithAny(Obstacle::ImagePull.because(why))),
            _ => {}
        }
    }
}
