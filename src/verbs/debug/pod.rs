//! A session in a pod: an ephemeral container with as much as is admitted, or one that was kept.

use super::{Request, interrupted};
use crate::{
    agents::{
        arrival::{self, NotRunning},
        gate,
        ladder::{self, Refused, Violator},
        observe::Which,
        waiting,
    },
    cluster::request::attempt,
    debug::{Place, Profile, Wanted, container, kept},
    exit::{Exit, Failure},
    findings::Obstacle,
    flags::duration,
    output::safe,
    terminal::{Attachment, Lifeline, Session},
    verbs::session::{
        first_answer, outcome,
        own_pod::{hint_for, lacks_shell, not_started},
    },
};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;

/// What to do about a container that no rung starts.
const OTHER_WAYS: &str =
    "--profile and --custom say what it may do; from the node, without changing the pod: debug node/NAME";

/// What to do about an image without a shell.
const OTHER_IMAGE: &str = "--image names one that has; without it netcheck's toolbox is taken";

/// From the pod to the exit code.
pub(super) async fn debug(request: &Request, place: Place, named: Option<&str>) -> Result<Exit, Failure> {
    let printer = request.printer();
    place.check()?;
    if let Some(target) = &request.args.target {
        place.check_target(target)?;
    }
    if !request.asked.image_pull_secret.is_empty() {
        printer.warn("--image-pull-secret has no effect in a pod: it pulls with its own secrets");
    }
    let session = request.session();
    place.check_name(&session.name)?;
    let name = format!("pod {}/{}", safe(&place.namespace), safe(&place.name));
    if let Some(named) = named {
        printer.note(format!("{named}: {name}"));
    }
    let owner = request.owner().await;
    let attachment = |container: String| Attachment {
        pods: request.pods(&place.namespace),
        pod: place.name.clone(),
        container,
        limit: request.limit(),
    };
    let asks_for_more = request.args.new || request.args.container.is_some() || !request.asked.command.is_empty();
    let may_return = !asks_for_more && request.io.tty && !request.shared.flags.dry_run;
    if let Some(kept) = kept::find(&place, &owner).filter(|_| may_return) {
        printer.note(format!(
            "back in your session of before, container {} (--new starts another)",
            safe(&kept.container)
        ));
        let attachment = attachment(kept.container);
        let end = request.converse(&attachment, &kept.session, false, None).await?;
        return outcome::of(request, &attachment, &kept.session, end).await;
    }
    let wanted = Wanted {
        target: request.args.target.clone(),
        ..request.wanted(owner, format!("pod {}/{}", place.namespace, place.name))
    };
    let starting = Starting {
        request,
        place: &place,
        wanted: &wanted,
        session: &session,
    };
    if request.shared.flags.dry_run {
        return starting.print();
    }
    starting.tell();
    let attachment = attachment(session.name.clone());
    let phase = printer.phase("starting the container");
    let started = tokio::select! {
        started = starting.climb(&attachment) => started,
        () = request.shared.interrupt.requested() => Err(interrupted()),
    };
    drop(phase);
    let (profile, lifeline) = started?;
    printer.note(format!(
        "in {name}, container {}, profile {}",
        session.name,
        profile.word()
    ));
    let end = request.converse(&attachment, &session, true, lifeline).await?;
    outcome::of(request, &attachment, &session, end).await
}

/// A container on its way into a pod.
struct Starting<'a> {
    request: &'a Request,
    place: &'a Place,
    wanted: &'a Wanted,
    session: &'a Session,
}

/// Why a profile did not do.
enum Refusal {
    /// Another may.
    ByAdmission(String),
    /// The kubelet does not start it; another may.
    AtStart(String),
    /// None will.
    Final(Failure),
}

impl Starting<'_> {
    fn print(&self) -> Result<Exit, Failure> {
        let (first, rungs) = self.request.first_profile()?;
        let patch = container::checked(container::patch(self.wanted, self.session, first))?;
        let mut comments = vec![format!(
            "added to pod {} as a patch of its subresource ephemeralcontainers",
            safe(&self.place.name)
        )];
        comments.extend(rungs);
        comments.push(match self.session.keep {
            Some(keep) => format!("ends after {}", duration::words(keep)),
            None => "ends with the session".to_owned(),
        });
        let mut object = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": { "name": self.place.name, "namespace": self.place.namespace },
        });
        object["spec"] = patch["spec"].clone();
        self.request.print(comments, object)
    }

    /// That what comes stays: nobody can remove it. Of a pod that has several already also with --quiet.
    fn tell(&self) {
        let there = self.place.ephemeral().len();
        let printer = self.request.printer();
        if there == 0 {
            printer
                .note("adding an ephemeral container: it ends with the session, and stays listed until the pod goes");
        } else {
            printer.warn(format!(
                "pod {} gets its ephemeral container number {}: {there} of before stay listed until the pod goes",
                safe(&self.place.name),
                there + 1
            ));
        }
    }

    /// Tries profile after profile; the one that runs.
    async fn climb(&self, attachment: &Attachment) -> Result<(Profile, Option<Lifeline>), Failure> {
        let profiles = self.request.profiles();
        let mut last = None;
        for (at, &profile) in profiles.iter().enumerate() {
            let refusal = match self.start(profile, attachment).await {
                Ok(lifeline) => return Ok((profile, lifeline)),
                Err(Refusal::Final(failure)) => return Err(failure),
                Err(other) => other,
            };
            let (why, by_admission) = match refusal {
                Refusal::AtStart(why) => (why, false),
                Refusal::ByAdmission(why) => (why, true),
                Refusal::Final(failure) => return Err(failure),
            };
            if let Some(&next) = profiles.get(at + 1).filter(|_| by_admission) {
                self.request.tell_refused(profile, &why, next);
            }
            last = Some((profile, why, by_admission));
            if !by_admission {
                break;
            }
        }
        let Some((profile, why, by_admission)) = last else {
            return Err(Failure::unknown("there is no profile to try"));
        };
        let asked = format!("profile {}: {}", profile.word(), profile.describe());
        let absence = if by_admission {
            ladder::no_rung_left(Some(Refused {
                container: &self.session.name,
                asked: &asked,
                message: &why,
            }))
        } else {
            Obstacle::NotStarted.because(not_started(&why, &self.wanted.image))
        };
        let hint = if lacks_shell(&why) { OTHER_IMAGE } else { OTHER_WAYS };
        Err(Failure::unknown(absence.why).hint(hint))
    }

    /// Adds the container and waits until it answers, or is said to run; that takes the kubelet up to a second longer.
    async fn start(&self, profile: Profile, attachment: &Attachment) -> Result<Option<Lifeline>, Refusal> {
        let patch = container::checked(container::patch(self.wanted, self.session, profile)).map_err(Refusal::Final)?;
        let patch = Patch::Strategic(patch);
        let pods = self.request.pods(&self.place.namespace);
        // The dry run costs no container in a pod that would keep it for good.
        for dry_run in [true, false] {
            let params = PatchParams {
                dry_run,
                ..PatchParams::default()
            };
            let patched = pods.patch_ephemeral_containers(&self.place.name, &params, &patch);
            if let Err(problem) = attempt(self.request.limit(), patched).await {
                if !problem.is_admission() {
                    let failure = problem.into_failure(&format!("add a container to pod {}", safe(&self.place.name)));
                    return Err(Refusal::Final(failure));
                }
                let message = safe(&gate::message(&problem));
                return Err(match ladder::violator(&message, &self.session.name) {
                    Violator::ThePod => Refusal::Final(
                        Failure::unknown(
                            ladder::no_rung_left(Some(Refused {
                                container: &self.session.name,
                                asked: profile.describe(),
                                message: &message,
                            }))
                            .why,
                        )
                        .hint(OTHER_WAYS),
                    ),
                    Violator::OurContainer | Violator::Unknown => Refusal::ByAdmission(message),
                });
            }
        }
        let which = Which::Named(self.place.name.clone());
        let progress = |pod: &Pod| waiting::of_ephemeral_container(pod, &self.session.name);
        let running = tokio::select! {
            running = arrival::running(pods, which, self.request.limit(), progress) => running,
            lifeline = first_answer(attachment) => return Ok(Some(lifeline)),
        };
        match running {
            Ok(_) => Ok(None),
            Err(NotRunning::Hopeless(why)) => Err(Refusal::AtStart(why)),
            Err(NotRunning::WithAny(absence)) => Err(Refusal::Final(
                Failure::unknown(format!("the container did not start: {}", safe(&absence.why)))
                    .hint(hint_for(absence.obstacle)),
            )),
        }
    }
}
