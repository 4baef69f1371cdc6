//! What the rig's pods run. Static and small, so that an image of it holds nothing else: no shell, no libraries, as the
//! distroless images of real workloads.

mod server;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use rustix::process::{WaitOptions, wait};
use signal_hook::{
    consts::{SIGCHLD, SIGINT, SIGTERM},
    iterator::Signals,
};
use std::{
    io::{Read, Write},
    net::{IpAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

/// Plays a pod's workload.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Hold a pod's namespaces: collect orphans until told to end
    Pause,
    /// Answer each line on TCP with this host's name, and each datagram with itself
    Serve {
        /// TCP ports to listen on
        #[arg(long, value_name = "PORT", num_args = 1..)]
        tcp: Vec<u16>,
        /// UDP ports to echo on
        #[arg(long, value_name = "PORT", num_args = 1..)]
        udp_echo: Vec<u16>,
        /// Address to listen on; every address of both families if not given
        #[arg(long, value_name = "ADDRESS")]
        bind: Option<IpAddr>,
    },
    /// Do nothing until told to end
    Sleep,
    /// End at once with code 1
    Crash,
    /// Connect to a TCP port, send a line, print the answer
    Connect {
        /// Name or address
        host: String,
        /// TCP port
        port: u16,
    },
}

fn main() -> ExitCode {
    match play(Arguments::parse().role) {
        Ok(code) => code,
        Err(error) => {
            // Nothing is left to do for who closed stderr.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn play(role: Role) -> Result<ExitCode> {
    match role {
        Role::Pause | Role::Sleep => until_told_to_end(),
        Role::Serve { tcp, udp_echo, bind } => {
            server::start(bind, &tcp, &udp_echo)?;
            until_told_to_end()
        }
        Role::Crash => Ok(ExitCode::FAILURE),
        Role::Connect { host, port } => connect(&host, port),
    }
}

/// As a container's PID 1 a program must handle the signals that shall end it, and collect what is re-parented to it.
fn until_told_to_end() -> Result<ExitCode> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGCHLD]).context("listen for signals")?;
    for signal in signals.forever() {
        if signal != SIGCHLD {
            break;
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
    Ok(ExitCode::SUCCESS)
}

fn connect(host: &str, port: u16) -> Result<ExitCode> {
    let mut stream = TcpStream::connect((host, port)).with_context(|| format!("connect to {host} port {port}"))?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .context("set a read timeout")?;
    stream.write_all(b"hello\n").context("send a line")?;
    stream.shutdown(std::net::Shutdown::Write).context("end what we send")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .with_context(|| format!("read the answer of {host} port {port}"))?;
    std::io::stdout()
        .write_all(answer.as_bytes())
        .context("print the answer")?;
    Ok(ExitCode::SUCCESS)
}
