//! `netcheck-cni-daemon`.

use anyhow::Context as _;
use clap::Parser as _;
use netcheck_cni_daemon::{arguments::Arguments, daemon};
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info,kube=warn".into()),
        )
        .with_ansi(false)
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = runtime.context("cannot start");
    match outcome.and_then(|runtime| runtime.block_on(daemon::run(arguments))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
