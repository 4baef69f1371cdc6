//! The bundled CNI on a real cluster, as its manifests bring it there.

use anyhow::{Result, ensure};
use netcheck_e2e::{
    lab::{Lab, said},
    runner::{self, Case},
    shop,
};
use netcheck_rig::{Cni, RigSpec};
use std::process::ExitCode;

const CASES: &[Case] = &[("bundled: the shop is reached by tcp, dns and icmp", healthy)];

fn main() -> ExitCode {
    let spec = RigSpec {
        name: "bundled".into(),
        nodes: 2,
        cni: Cni::Bundled,
        ..RigSpec::default()
    };
    runner::run([(runner::named(spec), CASES.to_vec())])
}

fn healthy(lab: &Lab) -> Result<()> {
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])?;
    // The network says of itself what the matrix has shown.
    let output = lab.plugin(["cni", "status", "-o", "json"]).output()?;
    ensure!(output.status.success(), "{}", said(&output));
    Ok(())
}
