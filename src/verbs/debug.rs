//! `debug`: a shell or one command in a container beside a pod's own, or on a node.

mod args;
mod node;
mod pod;
mod target;

use super::{
    Shared,
    session::{self, interrupted},
};
use crate::{
    debug::{Custom, PREFIX},
    exit::{Exit, Failure},
    output::safe,
    terminal::Session,
};
use target::Target;

pub use args::DebugArgs;

/// What the user wants of this verb.
type Request = session::Request<DebugArgs>;

/// Finds the target, starts a container there and connects the user with it.
///
/// # Errors
/// If it does not come to a command that ends, or the command is not there.
pub async fn run(args: DebugArgs, shared: Shared) -> Result<Exit, Failure> {
    let io = session::io_of(&args.asked, &shared.printer);
    if args.keep.is_some() && !io.tty {
        return Err(Failure::usage("--keep leaves a terminal running, and there is none")
            .hint("on a terminal: kubectl netcheck debug TARGET --keep 1h, or -it before -- CMD"));
    }
    let custom = match &args.custom {
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::usage(format!("cannot read {}: {error}", safe(&file.to_string_lossy()))))?;
            Custom::parse(&text)?
        }
        None => Custom::default(),
    };
    let interrupt = shared.interrupt.clone();
    let asked = args.asked.clone();
    let request = Request::new(args, asked, custom, io, shared).await?;
    let target = tokio::select! {
        target = target::find(&request.cluster, &request.shared.flags, &request.args.targets) => target?,
        () = interrupt.requested() => return Err(interrupted()),
    };
    match target {
        Target::Pod { place, named } => pod::debug(&request, *place, named.as_deref()).await,
        Target::Node(name) => node::debug(&request, &name).await,
    }
}

impl Request {
    fn session(&self) -> Session {
        let name = self.args.container.clone();
        self.session_named(name.unwrap_or_else(|| format!("{PREFIX}{}", self.run)), self.args.keep)
    }
}
