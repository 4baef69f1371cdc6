//! What the end of a session means to the user.

use super::{Request, interrupted};
use crate::{
    agents::waiting,
    cluster::request::attempt,
    exit::{Exit, Failure},
    flags::duration,
    output::safe,
    terminal::{Attachment, ENDED, End, SILENCE, Said, Session},
};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the kubelet may take to say how a container ended.
const TOLD_WITHIN: Duration = Duration::from_secs(3);
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// Says it, and with which code the program ends.
pub(in crate::verbs) async fn of<A>(
    request: &Request<A>,
    attachment: &Attachment,
    session: &Session,
    end: End,
) -> Result<Exit, Failure> {
    let printer = request.printer();
    let place = format!("{}/{}", safe(&attachment.pod), safe(&attachment.container));
    let was_torn = !matches!(end, End::Said(_) | End::Missed(_) | End::ReaderLeft);
    if was_torn && request.io.tty {
        // Whatever stood on the last line of the screen.
        printer.note("");
    }
    let back = session.keep.map(|keep| {
        let words = duration::words(keep);
        format!("it runs for {words} from its start; the same command comes back to it")
    });
    match end {
        End::Said(Said { code, word }) => said(request, code, &word),
        End::Missed(Said { code, .. }) => Err(Failure::unknown(format!(
            "the command in {place} ended with code {code}, but the beginning of its output did not arrive"
        ))
        .hint("it has run: look at what it did before you run it again")),
        End::Silent => Err(Failure::unknown(format!(
            "the session in {place} ended: {}",
            why_silent(attachment).await
        ))),
        End::Cut => {
            let ends = || format!("it ends by itself within {} s", 2 * SILENCE.as_secs());
            Err(Failure::unknown(format!(
                "the stream to {place} was cut: what became of the command is not known"
            ))
            .hint(back.unwrap_or_else(ends)))
        }
        End::NotBegun => Err(
            Failure::unknown(format!("nothing began in {place}, though its container runs"))
                .hint("kubectl logs shows what it said; is its shell one of POSIX?"),
        ),
        End::Detached => {
            let left = back.map_or_else(
                || "left: the session is ended".to_owned(),
                |back| format!("left: {back}"),
            );
            printer.note(left);
            Ok(Exit::Held)
        }
        End::Interrupted => Err(interrupted()),
        End::ReaderLeft => Ok(Exit::Held),
    }
}

fn said<A>(request: &Request<A>, code: u8, word: &str) -> Result<Exit, Failure> {
    match word {
        ENDED => Ok(Exit::Command(code)),
        "missing" => {
            let command = request.asked.command.first().map_or("a shell", String::as_str);
            Err(Failure {
                exit: Exit::Command(code),
                message: format!("there is no {} in image {}", safe(command), safe(&request.image)),
                hint: Some("--image names another; a shell's own words need one: -- sh -c '…'".to_owned()),
            })
        }
        "stopped" => Err(Failure::unknown("the session was stopped before its command ended")),
        _ => Err(Failure::unknown(
            "the session cannot keep its notes: a folder under /dev/shm of the container cannot be made",
        )),
    }
}

/// Why a container ended without a word, so far as the API server knows.
async fn why_silent(attachment: &Attachment) -> String {
    let until = Instant::now() + TOLD_WITHIN;
    loop {
        let pod = match attempt(attachment.limit, attachment.pods.get(&attachment.pod)).await {
            Ok(pod) => pod,
            Err(problem) if problem.is_not_found() => return "the pod was deleted".to_owned(),
            Err(problem) => return problem.into_failure("read the pod").message,
        };
        if pod.metadata.deletion_timestamp.is_some() {
            return "the pod is being deleted".to_owned();
        }
        match status_of(&pod, &attachment.container) {
            Some(status) if status.state.as_ref().is_some_and(|state| state.terminated.is_some()) => {
                return safe(&waiting::describe(status));
            }
            _ if Instant::now() >= until => return "the kubelet does not say why".to_owned(),
            _ => sleep(LOOK_AGAIN).await,
        }
    }
}

fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = status
        .ephemeral_container_statuses
        .iter()
        .chain(&status.container_statuses);
    all.flatten().find(|status| status.name == container)
}
