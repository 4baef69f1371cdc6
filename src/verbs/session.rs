//! What verbs that give a shell have in common: from what was asked for to the conversation with a container and its end.

mod args;
pub mod outcome;
pub mod own_pod;

use super::Shared;
use crate::{
    agents::{ImageChoice, image, run},
    cluster::{
        Cluster,
        identity::whoami,
        request::{self, Problem},
    },
    debug::{Custom, Profile, Wanted},
    exit::{Exit, Failure},
    flags::duration,
    output::{Explained, Printer, objects},
    terminal::{Attachment, End, Io, Lifeline, Manner, Session, attach},
};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use serde_json::Value;
use std::{
    io::{self, IsTerminal as _},
    time::Duration,
};
use tokio::time::sleep;

pub use args::{CONTAINER, SessionArgs, profile_argument};

/// When a new container is asked for the first time whether it is there, and how often at last.
const FIRST_ASKED_AFTER: Duration = Duration::from_millis(150);
const ASKED_EVERY: Duration = Duration::from_secs(2);

/// What the user wants, understood as far as that goes without a cluster.
pub struct Request<A> {
    /// What only its verb knows.
    pub args: A,
    /// What every session's verb knows.
    pub asked: SessionArgs,
    /// What every verb gets.
    pub shared: Shared,
    /// Where.
    pub cluster: Cluster,
    /// Of this run: it names the container.
    pub run: run::RunId,
    /// Reference of the image.
    pub image: String,
    /// Changes of the container, from a file.
    pub custom: Custom,
    /// `None`: the first that is not refused.
    pub profile: Option<Profile>,
    /// What is connected.
    pub io: Io,
}

/// What is connected: as asked for; without a command, all that there is.
pub fn io_of(asked: &SessionArgs, printer: &Printer) -> Io {
    io_between(asked, (io::stdin().is_terminal(), io::stdout().is_terminal()), printer)
}

fn io_between(asked: &SessionArgs, (stdin, stdout): (bool, bool), printer: &Printer) -> Io {
    if asked.tty && !stdin {
        printer.warn("-t has no effect: stdin is no terminal");
    }
    let by_itself = asked.command.is_empty() && !asked.stdin && !asked.tty;
    Io {
        tty: stdin && (asked.tty || by_itself && stdout),
        stdin: asked.stdin || by_itself,
    }
}

/// The user does not want to go on.
pub fn interrupted() -> Failure {
    Failure::interrupted("interrupted")
}

impl<A> Request<A> {
    /// Understands what does not depend on the verb, and connects.
    ///
    /// # Errors
    /// If flags contradict each other, or the cluster is not known.
    pub async fn new(args: A, asked: SessionArgs, custom: Custom, io: Io, shared: Shared) -> Result<Self, Failure> {
        let word = shared.flags.connect.ignored.profile.as_deref();
        let profile = word.and_then(Profile::find);
        let image = ImageChoice {
            image: asked.image.clone(),
            prefix: asked.image_prefix.clone(),
            pull_secrets: Vec::new(),
        };
        Ok(Self {
            image: image.reference(&image::TOOLBOX)?,
            cluster: Cluster::connect(&shared.flags).await?,
            run: run::RunId::new()?,
            args,
            asked,
            shared,
            custom,
            profile,
            io,
        })
    }

    /// Profiles to try, in this order.
    pub fn profiles(&self) -> Vec<Profile> {
        self.profile
            .map_or_else(|| Profile::LADDER.to_vec(), |profile| vec![profile])
    }

    /// The first of them, and what is said of all before anything is created.
    ///
    /// # Errors
    /// If there is none.
    pub fn first_profile(&self) -> Result<(Profile, Vec<String>), Failure> {
        let [first, rest @ ..] = &self.profiles()[..] else {
            return Err(Failure::unknown("there is no profile to try"));
        };
        let words = |profile: &Profile| format!("profile {}: {}", profile.word(), profile.describe());
        let others = rest.iter().map(|next| format!("if refused, {}", words(next)));
        Ok((*first, std::iter::once(words(first)).chain(others).collect()))
    }

    /// Says that it is not as much as it could be.
    pub fn tell_refused(&self, refused: Profile, how: &str, why: &str, next: Profile) {
        self.printer().note(format!(
            "profile {} {how} ({why}): trying {}: {}",
            refused.word(),
            next.word(),
            next.describe()
        ));
    }

    /// How long one request may take.
    pub fn limit(&self) -> Duration {
        request::limit(self.cluster.request_timeout)
    }

    /// Where to print.
    pub fn printer(&self) -> &Printer {
        &self.shared.printer
    }

    /// Pods of a namespace.
    pub fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), namespace)
    }

    /// A session of this run, in a container of this name.
    pub fn session_named(&self, name: String, keep: Option<Duration>) -> Session {
        Session {
            name,
            token: self.run.to_string(),
            keep,
            stdin: self.io.stdin,
            command: self.asked.command.clone(),
        }
    }

    /// The container as it was asked for; it sees no other's processes.
    pub fn wanted(&self, owner: String, place: String) -> Wanted {
        let ours = self.asked.image.is_none().then(|| "IfNotPresent".to_owned());
        Wanted {
            image: self.image.clone(),
            pull_policy: self.asked.image_pull_policy.clone().or(ours),
            env: self.asked.env.clone(),
            target: None,
            custom: self.custom.clone(),
            tty: self.io.tty,
            owner,
            place,
        }
    }

    /// Who asks, as the API server knows them, and on which machine: that tells people apart who share a kubeconfig.
    pub async fn owner(&self) -> String {
        let user = match whoami(&self.cluster).await {
            Ok(user) => user.and_then(|user| user.username),
            // Servers before 1.28 do not tell.
            Err(_) => self.cluster.user.clone(),
        };
        format!("{} {}", user.as_deref().unwrap_or("unknown"), run::holder())
    }

    /// Prints what would be created.
    pub fn print(&self, comments: Vec<String>, object: Value) -> Result<Exit, Failure> {
        let explained = [Explained { comments, object }];
        let text = objects(self.shared.flags.output.format, &explained)?;
        self.printer().data(&text)?;
        Ok(Exit::Held)
    }

    /// Connects the user with a container that runs; what is to be said about how it ended is left to the caller. `lifeline` is one that was
    /// opened already.
    pub async fn converse(
        &self,
        attachment: &Attachment,
        session: &Session,
        fresh: bool,
        lifeline: Option<Lifeline>,
    ) -> Result<End, Failure> {
        let manner = Manner {
            io: self.io,
            fresh,
            token: session.token.clone(),
        };
        let opened = async {
            let lifeline = async {
                match (lifeline, session.keep) {
                    (Some(lifeline), _) => Ok(Some(lifeline)),
                    // One that is kept needs nobody's signs of life.
                    (None, Some(_)) => Ok(None),
                    (None, None) => match Lifeline::open(attachment, &session.name).await {
                        Ok(Some(lifeline)) => Ok(Some(lifeline)),
                        Ok(None) => Err(Failure::unknown("the session's container does not answer")),
                        Err(problem) => Err(no_stream(problem, "exec")),
                    },
                }
            };
            let attached = async {
                attachment
                    .open(self.io)
                    .await
                    .map_err(|problem| no_stream(problem, "attach"))
            };
            tokio::try_join!(attached, lifeline)
        };
        let (process, lifeline) = tokio::select! {
            opened = opened => opened?,
            () = self.shared.interrupt.requested() => return Err(interrupted()),
        };
        if self.io.tty {
            let stays = session
                .keep
                .map(|keep| format!(" and leaves it running, for {} at most", duration::words(keep)));
            self.printer()
                .note(format!("Ctrl-P Ctrl-Q leaves{}", stays.unwrap_or_default()));
        }
        let end = attach(process, &manner, &self.shared.interrupt).await;
        // One that has ended waits to hear that its last words arrived; one that was left without --keep is to end.
        let is_over = matches!(end, Ok(End::Said(_) | End::Missed(_)));
        let lifeline = match lifeline {
            None if is_over => Lifeline::open(attachment, &session.name).await.ok().flatten(),
            other => other,
        };
        if let Some(lifeline) = lifeline.filter(|_| is_over || session.keep.is_none()) {
            lifeline.end().await;
        }
        end
    }
}

/// Asks the container again and again, ever more rarely, until it answers.
pub async fn first_answer(attachment: &Attachment) -> Lifeline {
    let mut pause = FIRST_ASKED_AFTER;
    loop {
        sleep(pause).await;
        match Lifeline::open(attachment, &attachment.container).await {
            Ok(Some(lifeline)) => return lifeline,
            // Who may not hears of it when the container runs.
            Err(problem) if problem.code() == Some(403) => return std::future::pending().await,
            Ok(None) | Err(_) => pause = (pause * 9 / 8).min(ASKED_EVERY),
        }
    }
}

/// Why a stream to a container was not opened.
fn no_stream(problem: Problem, subresource: &str) -> Failure {
    if problem.code() == Some(403) {
        return Failure::unknown(format!(
            "cannot open the session: you may not get and create pods/{subresource} there"
        ))
        .hint("an admin can allow it: kubectl netcheck rbac VERB prints the Role");
    }
    problem.into_failure("open the session")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        targets: Vec<String>,
        #[command(flatten)]
        asked: SessionArgs,
    }

    fn io(line: &str, terminals: (bool, bool)) -> (bool, bool) {
        let words = std::iter::once("debug").chain(line.split_whitespace());
        let io = io_between(&Line::parse_from(words).asked, terminals, &Printer::silent());
        (io.stdin, io.tty)
    }

    #[test]
    fn without_a_command_all_is_connected_that_there_is() {
        for (line, terminals, expected) in [
            ("web", (true, true), (true, true)),
            ("web", (false, true), (true, false)),
            ("web", (true, false), (true, false)),
            ("web -- ls", (true, true), (false, false)),
            ("web -i -- cat", (false, false), (true, false)),
            ("web -it -- top", (true, true), (true, true)),
            ("web -it -- top", (false, true), (true, false)),
            ("web -i", (true, true), (true, false)),
        ] {
            assert_eq!(io(line, terminals), expected, "{line} {terminals:?}");
        }
    }

    #[test]
    fn a_terminal_without_input_is_refused_as_kubectl_does() {
        assert!(Line::try_parse_from(["debug", "web", "-t"]).is_err());
    }
}
