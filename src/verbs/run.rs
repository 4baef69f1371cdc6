//! `run`: a shell or one command in a throw-away pod.

mod args;

use super::{
    Shared,
    session::{
        self,
        own_pod::{self, LONGEST},
    },
};
use crate::{
    agents::{
        Budget,
        gate::{self, Verdict},
        ladder::{Violator, violator},
        manifest::AgentSpec,
        node::{self, NoNodeAgents},
        permissions::{Place, Verb},
        run::holder,
    },
    debug::{Custom, Profile, Throwaway, Wanted, throwaway::CONTAINER},
    exit::{Exit, Failure},
    output::safe,
    terminal::Session,
};
use k8s_openapi::api::batch::v1::Job;

pub use args::{RunArgs, without_meaning};

type Request = session::Request<RunArgs>;

/// Starts the pod, connects the user with it, and removes it.
///
/// # Errors
/// If it does not come to a command that ends, or the command is not there.
pub async fn run(args: RunArgs, shared: Shared) -> Result<Exit, Failure> {
    if shared.flags.selector.is_some() {
        return Err(
            Failure::usage("-l selects objects, and run looks at none").hint("--labels gives the new pod its labels")
        );
    }
    if shared.flags.all_namespaces {
        return Err(Failure::usage("-A has no meaning for run: a pod is in one namespace").hint("-n names it"));
    }
    let io = session::io_of(&args.asked, &shared.printer);
    let asked = args.asked.clone();
    let request = Request::new(args, asked, Custom::default(), io, shared).await?;
    if let Some(node) = &request.args.node {
        own_pod::check_node(&request, node).await?;
    }
    let Planned {
        throwaway,
        spec,
        wanted,
        session,
    } = &plan(&request);
    if request.shared.flags.dry_run {
        let (profile, mut comments) = request.first_profile()?;
        let object = serde_json::to_value(throwaway.job(spec, wanted, session, profile)?)
            .map_err(|error| Failure::unknown(format!("cannot write the Job: {error}")))?;
        comments.push("removed when the session ends".to_owned());
        return request.print(comments, object);
    }
    let create = Box::pin(async {
        let (profile, job) = admitted(&request, throwaway, spec, wanted, session).await?;
        let started = node::start_guest(&request.cluster, spec, &job, request.printer()).await;
        started.map_err(|problem| match problem {
            NoNodeAgents::Failed(failure) => failure,
            NoNodeAgents::NotAllowed { why, .. } => refused(&request, spec, &why),
        })?;
        Ok((job.metadata.name.unwrap_or_default(), profile))
    });
    own_pod::hold(&request, spec, session, create, |pod, profile| {
        let network = throwaway.host_network.then_some(", in its node's network");
        format!(
            "in pod {}/{}, profile {}{}",
            safe(&spec.namespace),
            safe(pod),
            profile.word(),
            network.unwrap_or_default()
        )
    })
    .await
}

/// What will be created, but for the profile.
struct Planned {
    throwaway: Throwaway,
    spec: AgentSpec,
    wanted: Wanted,
    session: Session,
}

fn plan(request: &Request) -> Planned {
    let args = &request.args;
    let namespace = request.cluster.namespace.clone();
    let shown = args.name.as_deref().unwrap_or("run");
    Planned {
        throwaway: Throwaway {
            name: args.name.clone(),
            node: args.node.clone(),
            host_network: args.host_network,
            labels: args.labels.iter().cloned().collect(),
            service_account: args.serviceaccount.clone(),
        },
        wanted: request.wanted(holder(), format!("pod {namespace}/{shown}")),
        spec: AgentSpec {
            run: request.run.clone(),
            namespace,
            image: request.image.clone(),
            pull_secrets: request.asked.image_pull_secret.clone(),
            deadline: LONGEST,
            budget: Budget::PROBING,
        },
        session: request.session_named(CONTAINER.to_owned(), None),
    }
}

/// The pod with the highest profile that admission takes there.
async fn admitted(
    request: &Request,
    throwaway: &Throwaway,
    spec: &AgentSpec,
    wanted: &Wanted,
    session: &Session,
) -> Result<(Profile, Job), Failure> {
    let namespace = &spec.namespace;
    if let Some(missing) = gate::not_allowed(&request.cluster, Verb::Run, Place::Targets, namespace).await? {
        return Err(
            Failure::unknown(format!("you may not {missing} in namespace {:?}", safe(namespace)))
                .hint("an admin can allow it: kubectl netcheck rbac run prints the Role"),
        );
    }
    let profiles = request.profiles();
    let mut last = String::new();
    for (at, &profile) in profiles.iter().enumerate() {
        let job = throwaway.job(spec, wanted, session, profile)?;
        let refusal = match node::ask_admission_of_guest(&request.cluster, &job).await? {
            Verdict::Admitted => return Ok((profile, job)),
            Verdict::NamespaceGone => {
                return Err(node::gone(namespace));
            }
            Verdict::NameTaken => {
                let name = safe(throwaway.name.as_deref().unwrap_or_default());
                return Err(Failure::usage(format!(
                    "there is a Job {name:?} in namespace {:?} already",
                    safe(namespace)
                ))
                .hint("without a name the pod gets one that nobody has"));
            }
            Verdict::Refused(refusal) => safe(&refusal),
        };
        if let Some(account) = &throwaway.service_account
            && node::lacks_account(&refusal)
        {
            return Err(Failure::usage(format!(
                "there is no service account {:?} in namespace {:?}",
                safe(account),
                safe(namespace)
            ))
            .hint("kubectl get serviceaccounts lists them"));
        }
        // Of the pod itself the profile changes nothing.
        if violator(&refusal, &session.name) == Violator::ThePod {
            return Err(refused(request, spec, &refusal));
        }
        if let Some(&next) = profiles.get(at + 1) {
            request.tell_refused(profile, "is refused", &refusal, next);
        }
        last = refusal;
    }
    Err(refused(request, spec, &last))
}

/// The last word where nothing is admitted.
fn refused(request: &Request, spec: &AgentSpec, why: &str) -> Failure {
    let hint = if request.args.host_network {
        "without --host-network less is asked for; -n names another namespace"
    } else {
        "--profile says what the container may do; -n names another namespace"
    };
    Failure::unknown(format!(
        "the pod is not admitted in namespace {:?}: {}",
        safe(&spec.namespace),
        safe(why)
    ))
    .hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    #[test]
    fn a_command_comes_behind_the_dashes_and_labels_are_a_list() {
        let line = ["run", "probe", "--labels", "app=web,tier=", "--", "ping", "-c1", "db"];
        let args = Line::parse_from(line).args;
        assert_eq!(args.name.as_deref(), Some("probe"));
        assert_eq!(args.asked.command, ["ping", "-c1", "db"]);
        let labels = [("app", "web"), ("tier", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(args.labels, labels);
        for wrong in [
            &["run", "ping", "db"][..],
            &["run", "--labels", "netcheck.dev/run=x"],
            &["run", "-t"],
            &["run", "--node", ""],
            &["run", "--serviceaccount", "a/b"],
        ] {
            assert!(Line::try_parse_from(wrong).is_err(), "{wrong:?}");
        }
    }
}
