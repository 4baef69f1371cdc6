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
    debug::{Grievance, Place, Profile, Wanted, container, grievance, kept},
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
    let phase = printer.phase("starting the container");
    let started = tokio::select! {
        started = starting.climb(&attachment) => started,
        () = request.shared.interrupt.requested() => Err(interrupted()),
    };
    drop(phase);
    let Started {
        profile,
        session,
        lifeline,
    } = started?;
    printer.note(format!(
        "in {name}, container {}, profile {}",
        session.name,
        profile.word()
    ));
    let attachment = attachment(session.name.clone());
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

/// One that runs.
struct Started {
    profile: Profile,
    session: Session,
    lifeline: Option<Lifeline>,
}

/// Why a profile did not do.
enum Refusal {
    /// Another may.
    ByAdmission(String),
    /// The kubelet does not start it; another may, if this one's privileges are why.
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
    async fn climb(&self, attachment: &impl Fn(String) -> Attachment) -> Result<Started, Failure> {
        let mut profiles = self.request.profiles().into_iter();
        let mut session = self.session.clone();
        let mut next = profiles.next();
        while let Some(profile) = next {
            let refusal = match self.start(profile, &session, &attachment(session.name.clone())).await {
                Ok(lifeline) => {
                    return Ok(Started {
                        profile,
                        session,
                        lifeline,
                    });
                }
                Err(refusal) => refusal,
            };
            let (how, why) = match &refusal {
                Refusal::ByAdmission(why) => {
                    next = profiles.next();
                    ("is refused", why)
                }
                Refusal::AtStart(why) => {
                    // What --custom asks for, every profile does.
                    let asks = |profile: Profile, of: Grievance| {
                        let container = container::container(self.wanted, &session, profile, false);
                        container["securityContext"].pointer(of.pointer()).cloned()
                    };
                    next = profiles.find(|&lower| {
                        grievance(why).is_some_and(|of| lower.settles(of) && asks(lower, of) != asks(profile, of))
                    });
                    ("does not start", why)
                }
                Refusal::Final(_) => return Err(self.last_word(profile, &session, refusal)),
            };
            let Some(lower) = next else {
                return Err(self.last_word(profile, &session, refusal));
            };
            self.request.tell_refused(profile, how, why, lower);
            if matches!(refusal, Refusal::AtStart(_)) {
                // That one keeps its name for as long as the pod is there.
                session.name = format!("{}-{}", self.session.name, lower.word());
                if self.place.check_name(&session.name).is_err() {
                    return Err(self.last_word(profile, &session, refusal));
                }
            }
        }
        Err(Failure::unknown("there is no profile to try"))
    }

    /// Why nothing runs, when no profile is left to try.
    fn last_word(&self, profile: Profile, session: &Session, refusal: Refusal) -> Failure {
        let (absence, hint) = match refusal {
            Refusal::Final(failure) => return failure,
            Refusal::ByAdmission(why) => {
                let asked = format!("profile {}: {}", profile.word(), profile.describe());
                let absence = ladder::no_rung_left(Some(Refused {
                    container: &session.name,
                    asked: &asked,
                    message: &why,
                }));
                (absence, OTHER_WAYS)
            }
            Refusal::AtStart(why) => {
                let hint = if lacks_shell(&why) { OTHER_IMAGE } else { OTHER_WAYS };
                (
                    Obstacle::NotStarted.because(not_started(&why, &self.wanted.image)),
                    hint,
                )
            }
        };
        Failure::unknown(absence.why).hint(hint)
    }

    /// Adds the container and waits until it answers, or is said to run; that takes the kubelet up to a second longer.
    async fn start(
        &self,
        profile: Profile,
        session: &Session,
        attachment: &Attachment,
    ) -> Result<Option<Lifeline>, Refusal> {
        let patch = container::checked(container::patch(self.wanted, session, profile)).map_err(Refusal::Final)?;
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
                return Err(match ladder::violator(&message, &session.name) {
                    Violator::ThePod => Refusal::Final(
                        Failure::unknown(
                            ladder::no_rung_left(Some(Refused {
                                container: &session.name,
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
        let progress = |pod: &Pod| waiting::of_ephemeral_container(pod, &session.name);
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
