//! Real flannel: nothing to say of a healthy cluster, and each fault by its name.

use anyhow::{Result, ensure};
use netcheck_e2e::{
    catalogue::{Injection, flannel},
    doctor::Doctor,
    effect::Probes,
    lab::Lab,
    runner::Case,
    verify::Verify,
    victim::Victim,
};
use netcheck_rig::Part;

/// Its backends, each on a cluster of its own.
pub const BACKENDS: [(&str, &[Case]); 3] = [
    (
        "vxlan",
        &[
            ("flannel vxlan: doctor knows it, in fact", known),
            ("flannel vxlan: nothing is found but what was broken", |lab| {
                broken(lab, &flannel::VXLAN, &flannel::vxlan())
            }),
        ],
    ),
    (
        "host-gw",
        &[("flannel host-gw: nothing is found but what was broken", |lab| {
            broken(lab, &flannel::HOST_GW, &flannel::host_gw())
        })],
    ),
    (
        "udp",
        &[("flannel udp: nothing is found but what was broken", |lab| {
            broken(lab, &flannel::UDP, &flannel::udp())
        })],
    ),
];

/// Its daemon is no DaemonSet here: annotations let one guess it, and nodes tell.
fn known(lab: &Lab) -> Result<()> {
    let doctor = Doctor::run(lab, [] as [&str; 0])?;
    doctor.expect_exit(0)?;
    ensure!(doctor.report["status"]["network"] == "flannel", "{}", doctor.told());
    doctor.expect("network", "pod network", "ok", "flannel, in fact")
}

fn broken(lab: &Lab, variables: &[(&str, &str)], injections: &[Injection]) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    Verify::run(lab, [] as [&str; 0])?.expect_healthy("flannel", "at the start")?;
    let victim = Victim::new(lab, "n1", "n2", &[], variables)?;
    let probes = Probes::new(lab, &namespace)?;
    let has_proxy = variables == flannel::UDP;
    if !has_proxy {
        // Its daemon would put some of it right by and by.
        victim.node.stop_part(Part::Flanneld)?;
    }
    let wrong = victim.each_alone(lab, injections, &probes);
    victim.node.start_part(Part::Flanneld)?;
    let wrong = wrong?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Verify::run(lab, [] as [&str; 0])?.expect_healthy("flannel", "after everything was mended")
}
