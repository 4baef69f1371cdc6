//! `netcheck-cni-daemon`.

use anyhow::Context as _;
use clap::Parser as _;
use netcheck_cni_daemon::{
    arguments::{Arguments, Instead},
    asked, daemon,
    uninstall::uninstall,
};
use std::{io::Write as _, process::ExitCode};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,kube=warn".into()),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    use_the_hosts_parameters();
    let outcome = match arguments.instead {
        Some(Instead::Uninstall { evict }) => uninstall(&arguments.places, evict),
        Some(Instead::Reconcile) => asked::ask_at(arguments.listen).and_then(|answer| say(&answer)),
        None => keep(arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn say(answer: &str) -> anyhow::Result<()> {
    std::io::stdout()
        .write_all(answer.as_bytes())
        .context("cannot write to stdout")
}

fn keep(arguments: Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.context("cannot start")?.block_on(daemon::run(arguments))
}

/// In a container `/proc/sys` is read-only; the host's may be mounted beside it, and is put in its place for this process alone.
fn use_the_hosts_parameters() {
    const HOSTS: &str = "/host/proc/sys/net";
    if std::path::Path::new(HOSTS).is_dir()
        && let Err(error) = rustix::mount::mount_bind(HOSTS, "/proc/sys/net")
    {
        // A parameter that must be changed then says so; most need not.
        tracing::warn!(%error, "cannot put {HOSTS} in the place of /proc/sys/net");
    }
}
