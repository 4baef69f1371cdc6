//! `debug`: a shell or one command in a container beside a pod's own, or on a node.

mod args;
mod node;
mod outcome;
mod pod;
mod target;

use super::Shared;
use crate::{
    agents::{ImageChoice, image, run},
    cluster::{
        Cluster,
        request::{self, Problem, attempt},
    },
    debug::{Custom, PREFIX, Profile, Wanted},
    exit::{Exit, Failure},
    flags::duration,
    output::{Explained, Printer, objects, safe},
    terminal::{Attachment, End, Io, Lifeline, Manner, Session, attach},
};
use k8s_openapi::api::{authentication::v1::SelfSubjectReview, core::v1::Pod};
use kube::{Api, api::PostParams};
use serde_json::Value;
use std::io::{self, IsTerminal as _};
use target::Target;

pub use args::{DebugArgs, profile_argument};

/// What the user wants, understood as far as that goes without a cluster.
struct Request {
    args: DebugArgs,
    shared: Shared,
    cluster: Cluster,
    /// Of this run: it names the container.
    run: run::RunId,
    image: String,
    custom: Custom,
    /// `None`: the first that is not refused.
    profile: Option<Profile>,
    io: Io,
}

/// Finds the target, starts a container there and connects the user with it.
///
/// # Errors
/// If it does not come to a command that ends, or the command is not there.
pub async fn run(args: DebugArgs, shared: Shared) -> Result<Exit, Failure> {
    let terminals = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let io = io_of(&args, terminals, &shared.printer);
    if args.keep.is_some() && !io.tty {
        return Err(Failure::usage("--keep leaves a terminal running, and there is none")
            .hint("on a terminal: kubectl netcheck debug TARGET --keep 1h, or -it before -- CMD"));
    }
    let word = shared.flags.connect.ignored.profile.as_deref();
    let profile = word.and_then(Profile::find);
    let image = ImageChoice {
        image: args.image.clone(),
        prefix: args.image_prefix.clone(),
        pull_secrets: Vec::new(),
    };
    let image = image.reference(&image::TOOLBOX)?;
    let custom = match &args.custom {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", safe(&file.to_string_lossy()))))?;
            Custom::parse(&text)?
        }
        None => Custom::default(),
    };
    let cluster = Cluster::connect(&shared.flags).await?;
    let interrupt = shared.interrupt.clone();
    let request = Request {
        args,
        shared,
        cluster,
        run: run::RunId::new()?,
        image,
        custom,
        profile,
        io,
    };
    let target = tokio::select! {
        target = target::find(&request.cluster, &request.shared.flags, &request.args.targets) => target?,
        () = interrupt.requested() => return Err(interrupted()),
    };
    match target {
        Target::Pod { place, named } => pod::debug(&request, *place, named.as_deref()).await,
        Target::Node(name) => node::debug(&request, &name).await,
    }
}

/// What is connected: as asked for; without a command, all that there is.
fn io_of(args: &DebugArgs, (stdin, stdout): (bool, bool), printer: &Printer) -> Io {
    if args.tty && !stdin {
        printer.warn("-t has no effect: stdin is no terminal");
    }
    let by_itself = args.command.is_empty() && !args.stdin && !args.tty;
    Io {
        tty: stdin && (args.tty || by_itself && stdout),
        stdin: args.stdin || by_itself,
    }
}

fn interrupted() -> Failure {
    Failure {
        exit: Exit::Interrupted,
        message: "interrupted".to_owned(),
        hint: None,
    }
}

impl Request {
    fn limit(&self) -> std::time::Duration {
        request::limit(self.cluster.request_timeout)
    }

    fn printer(&self) -> &Printer {
        &self.shared.printer
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.cluster.client.clone(), namespace)
    }

    fn session(&self) -> Session {
        let name = self.args.container.clone();
        Session {
            name: name.unwrap_or_else(|| format!("{PREFIX}{}", self.run)),
            token: self.run.to_string(),
            keep: self.args.keep,
            stdin: self.io.stdin,
            command: self.args.command.clone(),
        }
    }

    fn wanted(&self, owner: String, place: String) -> Wanted {
        let ours = self.args.image.is_none().then(|| "IfNotPresent".to_owned());
        Wanted {
            image: self.image.clone(),
            pull_policy: self.args.image_pull_policy.clone().or(ours),
            env: self.args.env.clone(),
            target: self.args.target.clone(),
            custom: self.custom.clone(),
            tty: self.io.tty,
            owner,
            place,
        }
    }

    /// Who asks, as the API server knows them, and on which machine: that tells people apart who share a kubeconfig.
    async fn owner(&self) -> String {
        let reviews: Api<SelfSubjectReview> = Api::all(self.cluster.client.clone());
        let (params, review) = (PostParams::default(), SelfSubjectReview::default());
        let user = match attempt(self.limit(), reviews.create(&params, &review)).await {
            Ok(review) => review.status.and_then(|status| status.user_info?.username),
            // Servers before 1.28 do not tell.
            Err(_) => self.cluster.user.clone(),
        };
        format!("{} {}", user.as_deref().unwrap_or("unknown"), run::holder())
    }

    /// Prints what would be created.
    fn print(&self, comments: Vec<String>, object: Value) -> Result<Exit, Failure> {
        let explained = [Explained { comments, object }];
        let text = objects(self.shared.flags.output.format, &explained)?;
        self.printer().data(&text)?;
        Ok(Exit::Held)
    }

    /// Connects the user with a container that runs; what is to be said about how it ended is left to the caller. `lifeline` is one that was
    /// opened already.
    async fn converse(
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
        let is_over = matches!(end, Ok(End::Said(_)));
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

/// Why a stream to a container was not opened.
fn no_stream(problem: Problem, subresource: &str) -> Failure {
    if problem.code() == Some(403) {
        return Failure::unknown(format!(
            "cannot open the session: you may not get and create pods/{subresource} there"
        ))
        .hint("an admin can allow it: kubectl netcheck rbac debug prints the Role");
    }
    problem.into_failure("open the session")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DebugArgs,
    }

    fn io(line: &str, terminals: (bool, bool)) -> (bool, bool) {
        let words = std::iter::once("debug").chain(line.split_whitespace());
        let io = io_of(&Line::parse_from(words).args, terminals, &Printer::silent());
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
