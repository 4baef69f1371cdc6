//! A session on a node: a pod in its namespaces, which is removed when the user leaves.

use super::Request;
use crate::{
    agents::{
        Budget, gate,
        manifest::AgentSpec,
        node::{self, NoNodeAgents},
        permissions::{Place, Verb},
    },
    debug::{Profile, node::job},
    exit::{Exit, Failure},
    output::safe,
    verbs::session::own_pod::{self, LONGEST},
};
use k8s_openapi::api::batch::v1::Job;

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
    own_pod::check_node(request, name).await?;
    let session = request.session();
    let wanted = request.wanted(request.owner().await, format!("node {name}"));
    let spec = AgentSpec {
        run: request.run.clone(),
        namespace: request.args.agent_namespace.clone(),
        image: request.image.clone(),
        pull_secrets: request.asked.image_pull_secret.clone(),
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
    own_pod::hold(
        request,
        &spec,
        &session,
        Box::pin(create(request, &spec, &job)),
        |pod, ()| {
            format!(
                "on node {}, pod {}/{}, profile {}; its files are under /host",
                safe(name),
                safe(&spec.namespace),
                safe(pod),
                profile.word()
            )
        },
    )
    .await
}

/// Creates the Job, where that is allowed.
async fn create(request: &Request, spec: &AgentSpec, job: &Job) -> Result<(String, ()), Failure> {
    let refused = |why: String| {
        Failure::unknown(format!("no pod can be started on the node: {}", safe(&why)))
            .hint("an admin can allow it: kubectl netcheck rbac debug prints the Roles, and the namespace to use")
    };
    let missing = gate::not_allowed(&request.cluster, Verb::Debug, Place::Agents, &spec.namespace).await?;
    if let Some(missing) = missing {
        return Err(refused(format!(
            "you may not {missing} in namespace {:?}",
            spec.namespace
        )));
    }
    match node::start_one(&request.cluster, spec, job, request.printer()).await {
        Ok(()) => Ok((job.metadata.name.clone().unwrap_or_default(), ())),
        Err(NoNodeAgents::Failed(failure)) => Err(failure),
        Err(NoNodeAgents::NotAllowed { why, .. }) => Err(refused(why)),
    }
}
