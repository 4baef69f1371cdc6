//! A session on a node: a pod in its namespaces, which is removed when the user leaves.

use super::{
    Request, interrupted, outcome,
    pod::{hint_for, not_started},
};
use crate::{
    agents::{
        Budget,
        arrival::{self, NotRunning},
        crew, gate,
        manifest::AgentSpec,
        node::{self, NoNodeAgents},
        observe::Which,
        permissions,
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
    debug::{Profile, node::job},
    exit::{Exit, Failure},
    output::safe,
    terminal::{Attachment, Session},
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use std::time::Duration;

/// A session that nobody ends by leaving is ended after this time.
const LONGEST: Duration = Duration::from_hours(12);
/// From the node's name to the exit code.
pub(super) async fn debug(request: &Request, name: &str) -> Result<Exit, Failure> {
    let profile = request.profile.unwrap_or(Profile::Netadmin);
    if !profile.is_for_nodes() {
        return Err(
            Failure::usage(format!("profile {} has no meaning on a node", profile.word()))
                .hint("general, netadmin and sysadmin have"),
        );
    }
    if let Some(target) = &request.args.target {
        return Err(Failure::usage(format!(
            "--target {} has no meaning on a node: all processes are seen there",
            safe(target)
        )));
    }
    // Nothing finds such a session again yet, so that it would only linger.
    if request.args.keep.is_some() {
        return Err(Failure::usage(
            "--keep works in pods only: a session on a node ends when you leave",
        ));
    }
    check(request, name).await?;
    let session = request.session();
    let wanted = request.wanted(request.owner().await, format!("node {name}"));
    let spec = AgentSpec {
        run: request.run.clone(),
        namespace: request.args.agent_namespace.clone(),
        image: request.image.clone(),
        pull_secrets: request.args.image_pull_secret.clone(),
        deadline: LONGEST,
        budget: Budget::PROBING,
    };
    let job = job(&spec, name, &wanted, &session, profile)?;
    if request.shared.flags.dry_run {
        let object =
            serde_json::to_value(&job).map_err(|error| Failure::unknown(format!("cannot write the Job: {error}")))?;
        let comments = vec![
            format!(
                "a pod on node {}, profile {}: {}",
                safe(name),
                profile.word(),
                profile.describe()
            ),
            "removed when the session ends".to_owned(),
        ];
        return request.print(comments, object);
    }
    let printer = request.printer();
    let teardown = Teardown::begin(&request.cluster, &request.shared.flags, &spec, printer);
    let ended = async {
        let phase = printer.phase("starting the pod");
        let pod = tokio::select! {
            pod = start(request, &spec, &job, &session) => pod?,
            () = request.shared.interrupt.requested() => return Err(interrupted()),
        };
        drop(phase);
        printer.note(format!(
            "on node {}, pod {}/{pod}, profile {}; its files are under /host",
            safe(name),
            safe(&spec.namespace),
            profile.word()
        ));
        let attachment = Attachment {
            pods: request.pods(&spec.namespace),
            pod,
            container: session.name.clone(),
            limit: request.limit(),
        };
        let end = request.converse(&attachment, &session, true, None).await?;
        Ok((attachment, end))
    }
    .await;
    let result = match ended {
        Ok((attachment, end)) => outcome::of(request, &attachment, &session, end).await,
        Err(failure) => Err(failure),
    };
    for failure in teardown.finish(Agents::MayRun).await {
        printer.warn(failure.message);
    }
    result
}

/// Whether there is such a node, and something of ours can run on it. Who may not read nodes finds out by trying.
async fn check(request: &Request, name: &str) -> Result<(), Failure> {
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

/// Creates the Job and waits until its pod runs: its name.
async fn start(
    request: &Request,
    spec: &AgentSpec,
    job: &k8s_openapi::api::batch::v1::Job,
    session: &Session,
) -> Result<String, Failure> {
    let refused = |why: String| {
        Failure::unknown(format!("no pod can be started on the node: {}", safe(&why)))
            .hint("an admin can allow it: kubectl netcheck rbac debug prints the Roles, and the namespace to use")
    };
    if let Some(missing) = gate::not_allowed(&request.cluster, permissions::Verb::Debug, &spec.namespace).await? {
        return Err(refused(format!(
            "you may not {missing} in namespace {:?}",
            spec.namespace
        )));
    }
    match node::start_one(&request.cluster, spec, job, request.printer()).await {
        Ok(()) => {}
        Err(NoNodeAgents::Failed(failure)) => return Err(failure),
        Err(NoNodeAgents::NotAllowed { why, .. }) => return Err(refused(why)),
    }
    let which = Which::Labelled(spec.run.selector());
    let progress = |pod: &Pod| waiting::of_container(pod, &session.name);
    match arrival::running(request.pods(&spec.namespace), which, request.limit(), progress).await {
        Ok(pod) => Ok(pod.metadata.name.unwrap_or_default()),
        Err(NotRunning::Hopeless(why)) => Err(Failure::unknown(not_started(&why, &spec.image))),
        Err(NotRunning::WithAny(absence)) => {
            let why = format!("the pod did not start: {}", safe(&absence.why));
            Err(Failure::unknown(why).hint(hint_for(absence.obstacle)))
        }
    }
}
