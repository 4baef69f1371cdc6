//! Whether node agents are possible here: what RBAC allows in the agents' namespace, and what admission says of the agents.

use super::{
    manifest,
    permissions::{self, Place, Verb, Way},
};
use crate::{
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    exit::Failure,
    findings::Obstacle,
};
use k8s_openapi::api::{
    authorization::v1::{
        ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec, SelfSubjectRulesReview,
        SelfSubjectRulesReviewSpec,
    },
    batch::v1::Job,
    core::v1::Pod,
};
use kube::{Api, api::PostParams};

/// Names what is not allowed in a namespace that is this place to a verb: `create,list jobs.batch`. `None`: all is.
///
/// One request tells all rules of RBAC. Other authorizers (webhooks) may not be able to enumerate theirs: then each verb that is missing
/// in the rules is asked for by itself.
pub async fn not_allowed(
    cluster: &Cluster,
    verb: Verb,
    place: Place,
    namespace: &str,
) -> Result<Option<String>, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let reviews: Api<SelfSubjectRulesReview> = Api::all(cluster.client.clone());
    let answer = attempt(limit, reviews.create(&PostParams::default(), &review)).await;
    let status = answer
        .map_err(|problem| problem.into_failure("ask what is allowed"))?
        .status
        .unwrap_or_default();
    let grants = permissions::grants(verb, &[Way::Node]);
    let missing = permissions::missing(&status.resource_rules, &grants, place);
    let missing = if status.incomplete {
        let asked = missing.into_iter().map(|(grant, verb)| async move {
            let question = Question {
                namespace: Some(namespace.to_owned()),
                group: grant.group,
                resource: grant.resource,
                verb,
                name: None,
            };
            let allowed = may(cluster, &question).await?;
            Ok::<_, Failure>((!allowed).then_some((grant, verb)))
        });
        futures::future::try_join_all(asked)
            .await?
            .into_iter()
            .flatten()
            .collect()
    } else {
        missing
    };
    Ok((!missing.is_empty()).then(|| permissions::sentence(&missing)))
}

/// Whether one thing is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Question {
    /// In this namespace; `None` for the whole cluster, or for all namespaces.
    pub namespace: Option<String>,
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Resource, with its subresource: `pods/exec`.
    pub resource: &'static str,
    /// Verb.
    pub verb: &'static str,
    /// On the object of this name; `None` for any.
    pub name: Option<String>,
}

/// Asks the API server's authorizers one question.
///
/// # Errors
/// If they cannot be asked.
pub async fn may(cluster: &Cluster, question: &Question) -> Result<bool, Failure> {
    let (resource, subresource) = match question.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (question.resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: question.namespace.clone(),
                group: Some(question.group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(question.verb.to_owned()),
                name: question.name.clone(),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = attempt(
        request::limit(cluster.request_timeout),
        reviews.create(&PostParams::default(), &review),
    )
    .await;
    let answer = answer.map_err(|problem| problem.into_failure("ask what is allowed"))?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// What admission says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing against it.
    Admitted,
    /// No, in its own words.
    Refused(String),
    /// The namespace has just been removed, or is being removed.
    NamespaceGone,
    /// There is a Job of this name.
    NameTaken,
}

/// Asks admission about a Job without creating it: about the Job, and about its pod itself, because Pod Security and policies on pods only
/// warn about a Job.
pub async fn ask_admission(cluster: &Cluster, job: &Job) -> Result<Verdict, Failure> {
    let limit = request::limit(cluster.request_timeout);
    let dry_run = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let jobs: Api<Job> = Api::namespaced(cluster.client.clone(), namespace);
    let pods: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let pod = manifest::pod_of(job);
    let (job, pod) = tokio::join!(
        attempt(limit, jobs.create(&dry_run, job)),
        attempt(limit, pods.create(&dry_run, &pod))
    );
    if job.as_ref().is_err_and(Problem::is_taken) {
        return Ok(Verdict::NameTaken);
    }
    for (answer, what) in [(job.map(drop), "Job"), (pod.map(drop), "pod")] {
        match answer {
            Ok(()) => {}
            // One of this name is there, which is looked at last. The Job's own pod gets another.
            Err(problem) if problem.is_taken() => {}
            Err(problem) if problem.is_namespace_ending() || problem.is_not_found() => {
                return Ok(Verdict::NamespaceGone);
            }
            // A webhook that has not said it is free of side effects cannot be asked; then only the attempt tells.
            Err(problem)
                if problem
                    .status()
                    .is_some_and(|s| s.code == 400 && s.message.contains("dry run")) => {}
            Err(problem) if problem.is_admission() => return Ok(Verdict::Refused(message(&problem))),
            Err(problem) => {
                let doing = format!("ask admission about the {what} in namespace {namespace:?}");
                return Err(problem.into_failure(&doing));
            }
        }
    }
    Ok(Verdict::Admitted)
}

/// What stands in an agent's way when the server does not do what is asked for it.
pub fn obstacle(problem: &Problem) -> Obstacle {
    if problem.is_admission() || problem.is_forbidden() {
        Obstacle::Forbidden
    } else {
        Obstacle::NotStarted
    }
}

/// The server's own words.
pub fn message(problem: &Problem) -> String {
    problem
        .status()
        .map_or_else(|| "no answer".to_owned(), |status| status.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agents::{manifest::AgentSpec, run::RunId},
        cluster::fake::{self, Asked},
    };
    use serde_json::{Value, json};
    use std::time::Duration;

    const REFUSAL: &str =
        r#"pods "x" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostPID=true)"#;

    /// Nothing but Leases may be touched, says RBAC.
    fn rules(incomplete: bool) -> Value {
        json!({ "metadata": {}, "spec": {}, "status": {
            "incomplete": incomplete, "nonResourceRules": [],
            "resourceRules": [{ "verbs": ["*"], "apiGroups": ["coordination.k8s.io"], "resources": ["leases"] }],
        } })
    }

    #[tokio::test]
    async fn one_request_tells_what_is_missing() {
        let (cluster, asked) = fake::cluster(|_| (201, rules(false)));
        let missing = not_allowed(&cluster, Verb::Matrix, Place::Agents, "netcheck")
            .await
            .unwrap()
            .unwrap();
        assert!(
            missing.starts_with("create,list,deletecollection jobs.batch; "),
            "{missing}"
        );
        assert!(!missing.contains("leases"), "{missing}");
        assert_eq!(asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn authorizers_that_cannot_enumerate_are_asked_verb_by_verb() {
        let answer = |asked: &Asked| {
            if asked.line.contains("selfsubjectrulesreviews") {
                return (201, rules(true));
            }
            let attributes = &asked.body["spec"]["resourceAttributes"];
            let allowed = attributes["resource"] != "jobs" || attributes["verb"] != "create";
            (
                201,
                json!({ "metadata": {}, "spec": {}, "status": { "allowed": allowed } }),
            )
        };
        let (cluster, _) = fake::cluster(answer);
        let missing = not_allowed(&cluster, Verb::Matrix, Place::Agents, "netcheck")
            .await
            .unwrap();
        assert_eq!(missing.as_deref(), Some("create jobs.batch"));
    }

    #[tokio::test]
    async fn admission_is_asked_about_the_pod_itself_and_only_as_a_dry_run() {
        let answer = |asked: &Asked| {
            if asked.line.contains("/pods") {
                return fake::status(403, "Forbidden", REFUSAL);
            }
            (201, asked.body.clone())
        };
        let (cluster, asked) = fake::cluster(answer);
        let spec = AgentSpec {
            run: RunId::parse("0123abcd").unwrap(),
            namespace: "netcheck".to_owned(),
            image: "agent".to_owned(),
            pull_secrets: Vec::new(),
            deadline: Duration::from_secs(30),
            budget: crate::agents::Budget::PROBING,
        };
        let verdict = ask_admission(&cluster, &manifest::job(&spec, "n1", 0).unwrap())
            .await
            .unwrap();
        assert!(
            matches!(&verdict, Verdict::Refused(words) if words.contains("hostPID=true")),
            "{verdict:?}"
        );
        assert!(
            asked
                .lock()
                .unwrap()
                .iter()
                .all(|asked| asked.line.contains("dryRun=All")),
            "{asked:?}"
        );
    }
}
