//! From the process's arguments to its exit code.

use std::{
    ffi::OsString,
    io::{self, IsTerminal as _},
    path::Path,
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory as _, Parser as _, error::ErrorKind};
use tracing_subscriber::EnvFilter;

use crate::{
    agents,
    cli::{self, Cli, Connected, Offline, Verb},
    exit::{Exit, Failure},
    flags::{ConnectFlags, KubectlFlags, OutputFlags, With},
    output::{self, ColourChoice, Interrupt, Printer},
    verbs::{self, Shared},
};

/// How long background tasks may take to notice the end.
const WIND_DOWN: Duration = Duration::from_millis(200);

/// Parses, runs the verb, prints why it failed if it did, and says how the process ends.
pub fn start(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments
        .first()
        .is_some_and(|program| cli::is_completer(Path::new(program)))
    {
        return finish(&Printer::silent(), complete(arguments.get(1..).unwrap_or_default()));
    }
    let misplaced = arguments
        .get(1)
        .is_some_and(|first| first.to_string_lossy().starts_with('-'));
    let habit = cli::habits::hint(&arguments);
    match Cli::try_parse_from(arguments) {
        Ok(cli) => run(cli.verb),
        Err(error) => {
            // Help goes to stdout and is a success, complaints go to stderr; a closed stream leaves nobody to tell.
            let _ = error.print();
            if misplaced && error.kind() == ErrorKind::UnknownArgument {
                Printer::new(ColourChoice::Auto, false, false)
                    .hint("flags come after the verb: kubectl netcheck VERB …");
            }
            if let Some(habit) = habit.filter(|_| error.use_stderr()) {
                Printer::new(ColourChoice::Auto, false, false).hint(&habit);
            }
            ExitCode::from(if error.use_stderr() { Exit::Usage } else { Exit::Held }.code())
        }
    }
}

fn run(verb: Verb) -> ExitCode {
    match verb {
        Verb::Matrix(verb) => {
            let With { args, flags } = *verb;
            online("matrix", flags, |shared| verbs::matrix::run(args, shared))
        }
        Verb::Capture(verb) => {
            let With { args, flags } = *verb;
            online("capture", flags, |shared| verbs::capture::run(args, shared))
        }
        Verb::Verify(verb) => {
            let With { args, flags } = *verb;
            online("verify", flags, |shared| verbs::verify::run(args, shared))
        }
        Verb::Debug(verb) => {
            let With { args, flags } = *verb;
            online("debug", flags, |shared| verbs::debug::run(args, shared))
        }
        Verb::Run(verb) => {
            let With { args, flags } = *verb;
            online("run", flags, |shared| verbs::run::run(args, shared))
        }
        Verb::Doctor(verb) => {
            let With { args, flags } = *verb;
            online("doctor", flags, |shared| verbs::doctor::run(args, shared))
        }
        Verb::Cleanup(verb) => {
            let With { args, flags } = *verb;
            online("cleanup", flags, |shared| verbs::cleanup::run(args, shared))
        }
        Verb::Cni(args) => {
            let (name, flags) = args.action.split();
            online(name, flags, |shared| verbs::cni::run(args.action, shared))
        }
        Verb::Rbac(Offline { args, output }) => {
            let flags = KubectlFlags {
                output: output.clone(),
                ..KubectlFlags::default()
            };
            online("rbac", flags, async |shared: Shared| {
                verbs::rbac::run(&args, &output, &shared.printer).await
            })
        }
        Verb::Sentinel => watch_over_a_run(),
        Verb::Terminal => {
            output::put_back::watch();
            ExitCode::SUCCESS
        }
        Verb::Images(Offline { args, output }) => {
            online("images", flags_of(ConnectFlags::default(), output), |shared| {
                verbs::images::run(args, shared)
            })
        }
        Verb::Explain(Offline { args, output }) => {
            offline(&output, |printer| verbs::explain::run(&args, &output, printer))
        }
        Verb::Schema(Offline { args, output }) => {
            offline(&output, |printer| verbs::schema::run(&args, &output, printer))
        }
        Verb::Completion(args) => offline(&OutputFlags::default(), |printer| {
            verbs::completion::run(&args, Cli::command(), printer)
        }),
        Verb::Options => offline(&OutputFlags::default(), verbs::options::run),
        Verb::Version(verb) => {
            let Connected { args, connect, output } = *verb;
            online("version", flags_of(connect, output), |shared| {
                verbs::version::run(args, shared)
            })
        }
        Verb::Complete { words } => finish(&Printer::silent(), complete(&words)),
    }
}

/// The detached child: silent, whatever happens, for its terminal may be gone.
fn watch_over_a_run() -> ExitCode {
    let _ = rustls::crypto::ring::default_provider().install_default();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            runtime.block_on(agents::sentinel::watch());
            ExitCode::SUCCESS
        }
        Err(_) => ExitCode::from(Exit::Unknown.code()),
    }
}

fn flags_of(connect: ConnectFlags, output: OutputFlags) -> KubectlFlags {
    KubectlFlags {
        connect,
        output,
        ..KubectlFlags::default()
    }
}

fn complete(words: &[OsString]) -> Result<Exit, Failure> {
    Printer::silent().data(&cli::complete(words))?;
    Ok(Exit::Held)
}

fn offline(output: &OutputFlags, verb: impl FnOnce(&Printer) -> Result<Exit, Failure>) -> ExitCode {
    let printer = printer_for(output);
    let result = verb(&printer);
    finish(&printer, result)
}

fn online<V>(name: &str, flags: KubectlFlags, verb: impl FnOnce(Shared) -> V) -> ExitCode
where
    V: Future<Output = Result<Exit, Failure>>,
{
    let printer = printer_for(&flags.output);
    // An already installed provider is as good: the build has only this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return finish(
                &printer,
                Err(Failure::unknown(format!("cannot start the runtime: {error}"))),
            );
        }
    };
    let result = runtime.block_on(async {
        let interrupt = Interrupt::install(printer.clone())
            .map_err(|error| Failure::unknown(format!("cannot listen for Ctrl-C: {error}")))?;
        verb(Shared {
            flags,
            printer: printer.clone(),
            interrupt,
        })
        .await
    });
    runtime.shutdown_timeout(WIND_DOWN);
    finish(&printer, result.map_err(|failure| failure.of_verb(name)))
}

fn printer_for(output: &OutputFlags) -> Printer {
    start_logging(output.verbosity);
    Printer::new(output.color, output.quiet, output.verbosity > 0)
}

/// Logs are for finding faults in netcheck itself, so they are off unless asked for.
fn start_logging(verbosity: u8) {
    let filter = match verbosity {
        0 => return,
        1..=5 => "netcheck=debug",
        6..=7 => "netcheck=debug,kube_client=debug,tower_http=debug",
        _ => "netcheck=trace,kube_client=trace,tower_http=trace,hyper_util=debug,rustls=debug",
    };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal());
    if subscriber.try_init().is_err() {
        tracing::debug!("logging was already set up");
    }
}

fn finish(printer: &Printer, result: Result<Exit, Failure>) -> ExitCode {
    let exit = result.unwrap_or_else(|failure| {
        printer.failure(&failure);
        failure.exit
    });
    ExitCode::from(exit.code())
}
