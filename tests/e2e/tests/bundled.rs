//! The bundled CNI on a real cluster, as its manifests bring it there, and as `cni install` does.

#![allow(clippy::print_stdout, reason = "figures are to be seen beside the verdicts")]

#[path = "bundled/churn.rs"]
mod churn;
#[path = "cases/doctor.rs"]
mod doctor;
#[path = "bundled/healthy.rs"]
mod healthy;
#[path = "bundled/host_port.rs"]
mod host_port;
#[path = "bundled/install.rs"]
mod install;
#[path = "bundled/membership.rs"]
mod membership;
#[path = "bundled/mended.rs"]
mod mended;
#[path = "bundled/overlap.rs"]
mod overlap;
#[path = "bundled/verify.rs"]
mod verify;

use netcheck_e2e::runner;
use netcheck_rig::{Cni, RigSpec};
use std::process::ExitCode;

fn main() -> ExitCode {
    let spec = |cni| {
        runner::named(RigSpec {
            name: "bundled".into(),
            nodes: 2,
            cni,
            containerd2: ["n2".to_owned()].into(),
            ..RigSpec::default()
        })
    };
    let installed = [
        healthy::CASES,
        doctor::CASES,
        verify::CASES,
        overlap::CASES,
        host_port::CASES,
        mended::CASES,
        churn::CASES,
        membership::CASES,
    ]
    .concat();
    runner::run([
        (spec(Cni::Bundled), installed),
        (spec(Cni::None), install::CASES.to_vec()),
    ])
}
