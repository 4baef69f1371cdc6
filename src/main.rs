//! `kubectl netcheck`.

use std::process::ExitCode;

fn main() -> ExitCode {
    netcheck::start::start(std::env::args_os())
}
