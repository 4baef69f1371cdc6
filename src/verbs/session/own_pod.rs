//! A session in a pod of its own, by a Job that goes with it.

use super::{Request, first_answer, interrupted, outcome};
use crate::{
    agents::{
        arrival::{self, NotRunning},
        crew,
        manifest::AgentSpec,
        node,
        observe::Which,
        sweep::Agents,
        teardown::Teardown,
        waiting,
    },
    cluster::{
        inventory::Inventory,
        list::{convert, list},
        request::attempt,
        resolve::{self, Select},
    },
    exit::{Exit, Failure},
    findings::Obstacle,
    output::safe,
    terminal::{Attachment, Lifeline, Session},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use std::{pin::Pin, time::Duration};
use tokio::sync::watch;

/// A session that nobody ends by leaving is ended after this time.
pub const LONGEST: Duration = Duration::from_hours(12);

/// From nothing to the exit code: `create` makes the Job, of which it says the name, `introduce` says to the user what its pod, of this name, is. Whatever
/// happens, the pod goes with the session.
///
/// # Errors
/// If it does not come to a command that ends.
pub async fn hold<A, T>(
    request: &Request<A>,
    spec: &AgentSpec,
    session: &Session,
    create: Pin<Box<impl Future<Output = Result<(String, T), Failure>>>>,
    introduce: impl FnOnce(&str, T) -> String,
) -> Result<Exit, Failure> {
    let printer = request.printer();
    let teardown = Teardown::begin(&request.cluster, &request.shared.flags, spec, printer);
    let ended = async {
        let phase = printer.phase("starting the pod");
        let start = Box::pin(async {
            let (job, created) = create.await?;
            Ok((arrive(request, spec, &job, session).await?, created))
        });
        let ((pod, lifeline), created) = tokio::select! {
            started = start => started?,
            () = request.shared.interrupt.requested() => return Err(interrupted()),
        };
        drop(phase);
        printer.note(introduce(&pod, created));
        let attachment = attachment(request, spec, session, pod);
        let end = Box::pin(request.converse(&attachment, session, true, lifeline)).await?;
        Ok((attachment, end))
    }
    .await;
    let result = match ended {
        Ok((attachment, end)) => outcome::of(request, &attachment, session, end).await,
        Err(failure) => Err(failure),
    };
    for failure in teardown.finish(Agents::MayRun).await {
        printer.warn(failure.message);
    }
    result
}

fn attachment<A>(request: &Request<A>, spec: &AgentSpec, session: &Session, pod: String) -> Attachment {
    Attachment {
        pods: request.pods(&spec.namespace),
        pod,
        container: session.name.clone(),
        limit: request.limit(),
    }
}

/// Waits until the pod answers, or is said to run, which takes the kubelet up to a second longer: its name.
async fn arrive<A>(
    request: &Request<A>,
    spec: &AgentSpec,
    job: &str,
    session: &Session,
) -> Result<(String, Option<Lifeline>), Failure> {
    let which = Which::Labelled(spec.run.selector());
    let (seen, mut named) = watch::channel(String::new());
    let progress = |pod: &Pod| {
        let name = pod.metadata.name.clone().unwrap_or_default();
        seen.send_if_modified(|known| std::mem::replace(known, name) != *known);
        waiting::of_container(pod, &session.name)
    };
    let answer = async {
        // Not before there is a pod; then it is the only one.
        let name = match named.wait_for(|name| !name.is_empty()).await {
            Ok(name) => name.clone(),
            Err(_) => return std::future::pending().await,
        };
        let lifeline = first_answer(&attachment(request, spec, session, name.clone())).await;
        (name, lifeline)
    };
    let running = tokio::select! {
        running = arrival::running(request.pods(&spec.namespace), which, request.limit(), progress) => running,
        (name, lifeline) = answer => return Ok((name, Some(lifeline))),
    };
    match running {
        Ok(pod) => Ok((pod.metadata.name.unwrap_or_default(), None)),
        Err(NotRunning::Hopeless(why)) => Err(Failure::unknown(not_started(&why, &spec.image))),
        Err(NotRunning::WithAny(absence)) => {
            // What keeps a controller from creating a pod is admission: policies, quotas, webhooks.
            if let Some(refusal) = node::refusals(&request.cluster, &spec.namespace).await.remove(job) {
                return Err(Failure::unknown(format!(
                    "the cluster did not create the pod: {refusal}"
                )));
            }
            let why = format!("the pod did not start: {}", safe(&absence.why));
            Err(Failure::unknown(why).hint(hint_for(absence.obstacle)))
        }
    }
}

/// Whether there is such a node, and something of ours can run on it. Who may not read nodes finds out by trying.
pub async fn check_node<A>(request: &Request<A>, name: &str) -> Result<(), Failure> {
    let api: Api<Node> = Api::all(request.cluster.client.clone());
    match attempt(request.limit(), api.get(name)).await {
        Ok(node) => match convert::node(&node).as_ref().map(crew::can_host) {
            Some(Err(absence)) => Err(Failure::usage(format!(
                "no session can be on node {}: {}",
                safe(name),
                safe(&absence.why)
            ))),
            _ => Ok(()),
        },
        Err(problem) if problem.is_forbidden() => Ok(()),
        Err(problem) if problem.is_not_found() => {
            let others = list(&request.cluster, &api, None).await.unwrap_or_default();
            let inventory = Inventory {
                nodes: others.iter().filter_map(convert::node).collect(),
                ..Inventory::default()
            };
            let target = resolve::Target {
                label: format!("node/{name}"),
                namespace: None,
                select: Select::Node(name.to_owned()),
            };
            let missing = resolve::select(&inventory, &[target]).err();
            Err(missing.unwrap_or_else(|| problem.into_failure("find the node")))
        }
        Err(problem) => Err(problem.into_failure(&format!("read node {}", safe(name)))),
    }
}

/// What may help, where it is not the security context.
pub fn hint_for(obstacle: Obstacle) -> &'static str {
    match obstacle {
        Obstacle::ImagePull => {
            "--image or --image-prefix names one that the node can pull; kubectl netcheck images lists ours"
        }
        _ => "kubectl describe pod shows what the kubelet says",
    }
}

/// The kubelet's words, or clearer ones where they mean that the image has no shell.
pub fn not_started(why: &str, image: &str) -> String {
    if lacks_shell(why) {
        return format!(
            "image {} has no sh, without which no session can be started in it",
            safe(image)
        );
    }
    format!("the container did not start: {why}")
}

/// Whether that is the reason.
pub fn lacks_shell(why: &str) -> bool {
    why.contains("\"sh\"") && (why.contains("not found") || why.contains("no such file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_a_shell_is_named() {
        let why = "container ended (StartError, exit code 128): failed to create task: exec: \"sh\": executable file not found in $PATH";
        assert!(not_started(why, "scratch:1").starts_with("image scratch:1 has no sh"));
        assert!(not_started("container ended (StartError, exit code 128): cgroup", "x").contains("cgroup"));
    }
}
