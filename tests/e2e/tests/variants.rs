//! Clusters of another make: of one IP family, over an IPv6 underlay, with kube-proxy in its other mode, with another network plugin. The same
//! health, the same fault in the right class, and packets of the right size. And `debug`, `run` and their
//! toolbox, which ask for no particular network.

#![allow(clippy::print_stdout, reason = "figures are to be seen beside the verdicts")]

#[path = "cases/cni_refused.rs"]
mod cni_refused;
#[path = "cases/debug.rs"]
mod debug;
#[path = "cases/debug_containers.rs"]
mod debug_containers;
#[path = "cases/flannel.rs"]
mod flannel;
#[path = "cases/run.rs"]
mod run;
#[path = "cases/toolbox.rs"]
mod toolbox;

use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    catalogue::plain,
    doctor::Doctor,
    effect::Probes,
    fault::Fault,
    lab::Lab,
    runner::{self, Case},
    shop,
    verify::Verify,
    victim::Victim,
};
use netcheck_rig::{Cni, Families, ProxyMode, RigSpec};
use std::{collections::BTreeMap, process::ExitCode, time::Duration};

/// How long a network may take to settle.
const READY: Duration = Duration::from_mins(2);
/// MTU of the rig's underlay, and what the tunnel takes of it (RFC 7348 section 5).
const UNDERLAY_MTU: u32 = 1500;
const TAKEN_ON_IPV4: u32 = 50;
const TAKEN_ON_IPV6: u32 = 70;

const V6: &[Case] = &[
    ("v6 nftables: the shop is reached by tcp, dns and icmp", healthy),
    ("v6 nftables: verify has no findings", verified),
    ("v6 nftables: packets are as large as the tunnel takes", |lab| {
        largest_packets(lab, UNDERLAY_MTU - TAKEN_ON_IPV6)
    }),
    ("v6 nftables: a lost route is rejected where it is missing", |lab| {
        route_lost(lab, true)
    }),
];
const V4: &[Case] = &[
    ("v4 nftables: the shop is reached by tcp, dns and icmp", healthy),
    ("v4 nftables: verify has no findings", verified),
    ("v4 nftables: packets are as large as the tunnel takes", |lab| {
        largest_packets(lab, UNDERLAY_MTU - TAKEN_ON_IPV4)
    }),
    ("v4 nftables: a lost route is rejected where it is missing", |lab| {
        route_lost(lab, false)
    }),
];
const DUAL: &[Case] = &[
    (
        "dual-stack over IPv6, nftables: the shop is reached by tcp, dns and icmp",
        healthy,
    ),
    ("dual-stack over IPv6: verify has no findings", verified),
    (
        "dual-stack over IPv6: packets are as large as the tunnel takes",
        |lab| largest_packets(lab, UNDERLAY_MTU - TAKEN_ON_IPV6),
    ),
    ("dual-stack over IPv6: a lost IPv6 route touches no IPv4 row", |lab| {
        route_lost(lab, true)
    }),
];
const PLAIN: &[Case] = &[
    ("plain: the shop is reached by tcp, dns and icmp", healthy),
    (
        "plain: doctor knows it, in fact, and a node that does not forward",
        doctor,
    ),
    ("plain: nothing is found but what was broken", broken),
    ("plain: packets are as large as the underlay takes", |lab| {
        largest_packets(lab, UNDERLAY_MTU)
    }),
    ("plain: a lost route is rejected where it is missing", |lab| {
        route_lost(lab, false)
    }),
];

fn main() -> ExitCode {
    let clusters = [(Families::V6, V6), (Families::V4, V4), (Families::Dual, DUAL)];
    let bundled = clusters.map(|(families, cases)| {
        // With both families the underlay's would be IPv4.
        let underlay = [("underlay".to_owned(), "ipv6".to_owned())];
        let settings = (families == Families::Dual).then(|| BTreeMap::from(underlay));
        let spec = RigSpec {
            name: "variants".into(),
            nodes: 2,
            families,
            proxy_mode: ProxyMode::Nftables,
            cni_settings: settings.unwrap_or_default(),
            ..RigSpec::default()
        };
        (runner::named(spec), cases.to_vec())
    });
    let plain = RigSpec {
        name: "variants".into(),
        nodes: 2,
        cni: Cni::Plain,
        ..RigSpec::default()
    };
    let plain = (
        runner::named(plain),
        [
            PLAIN,
            cni_refused::CASES,
            debug::CASES,
            debug_containers::CASES,
            run::CASES,
            toolbox::CASES,
        ]
        .concat(),
    );
    let flannel = flannel::BACKENDS.map(|(backend, cases)| {
        let spec = RigSpec {
            name: "variants".into(),
            nodes: 2,
            cni: Cni::Flannel,
            cni_settings: BTreeMap::from([("backend".to_owned(), backend.to_owned())]),
            ..RigSpec::default()
        };
        (runner::named(spec), cases.to_vec())
    });
    runner::run(bundled.into_iter().chain([plain]).chain(flannel))
}

fn healthy(lab: &Lab) -> Result<()> {
    let RigSpec {
        families, proxy_mode, ..
    } = *lab.rig.spec();
    for (family, there) in [("ip", families.has_v4()), ("ip6", families.has_v6())] {
        if there && proxy_mode == ProxyMode::Nftables {
            let table = lab.rig.node("n1")?.run(["nft", "list", "table", family, "kube-proxy"]);
            table.context("kube-proxy is not in nftables mode")?;
        }
    }
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])
}

fn verified(lab: &Lab) -> Result<()> {
    Verify::wait_until_held(lab, READY)
}

/// Nothing in the API tells of reference plugins.
fn doctor(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let doctor = Doctor::run(lab, [] as [&str; 0])?;
    doctor.expect_exit(0)?;
    doctor.expect("network", "pod network", "ok", "reference plugins (ptp), in fact")?;
    let n1 = lab.rig.node("n1")?;
    let forward = |value: &str| {
        n1.run(["sysctl", "-qw", &format!("net.ipv4.ip_forward={value}")])
            .map(drop)
    };
    let fault = Fault::inject(
        "a node that does not forward",
        || Ok(forward("0")?),
        || Ok(forward("1")?),
    )?;
    let doctor = Doctor::run(lab, [] as [&str; 0])?;
    fault.mend()?;
    doctor.expect_exit(1)?;
    doctor.expect(
        "network",
        "forwarding",
        "failed",
        "node/n1 sysctl net.ipv4.ip_forward: 0",
    )?;
    Doctor::run(lab, [] as [&str; 0])?.expect_exit(0)
}

/// What holds for every network is all that can be asked of reference plugins.
fn broken(lab: &Lab) -> Result<()> {
    const NETWORK: &str = "reference plugins (ptp)";
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    Verify::run(lab, [] as [&str; 0])?.expect_healthy(NETWORK, "at the start")?;
    let known = [
        ("POD4", namespace.address("on-n1", false)?.to_string()),
        ("VETH", namespace.host_veth("on-n1", "n1")?),
    ];
    let victim = Victim::new(lab, "n1", "n2", &known, &plain::VARIABLES)?;
    let wrong = victim.each_alone(lab, &plain::faults(), &Probes::new(lab, &namespace)?)?;
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Verify::run(lab, [] as [&str; 0])?.expect_healthy(NETWORK, "after everything was mended")
}

/// Pods of different nodes send each other packets of exactly this size in every family, not to be fragmented, and larger ones do not leave.
fn largest_packets(lab: &Lab, mtu: u32) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let families = lab.rig.spec().families;
    for (v6, is_there, headers) in [(false, families.has_v4(), 20 + 8), (true, families.has_v6(), 40 + 8)] {
        if !is_there {
            continue;
        }
        let to = namespace.address("on-n2", v6)?;
        let ping = |size: u32| namespace.in_pod("on-n1", &format!("ping -c 1 -W 5 -M do -s {} {to}", size - headers));
        ping(mtu).with_context(|| format!("{mtu} bytes to {to}"))?;
        ensure!(ping(mtu + 1).is_err(), "{} bytes left for {to}", mtu + 1);
    }
    Ok(())
}

fn route_lost(lab: &Lab, v6: bool) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let fault = Fault::route_lost(lab, "n1", "n2", v6)?;
    let matrix = lab.matrix(["-n", &namespace.name, "--full", "--protocol", "tcp"])?;
    fault.mend()?;
    let family = if v6 { "ipv6" } else { "ipv4" };
    for (source, destination, class) in [("on-n1", "on-n2", "rejected"), ("on-n2", "on-n1", "reply-lost")] {
        let rows = matrix.between(source, destination);
        let row = rows
            .into_iter()
            .find(|row| row.family == family)
            .context("no such row")?;
        ensure!(row.class == class, "{row:#?}");
    }
    let touched = |name: &str| name.ends_with("n1") || name.ends_with("n2");
    matrix.others_reached(|row| row.family == family && touched(&row.source.name) && touched(&row.destination.name))?;
    matrix.expect_exit(1)?;
    lab.matrix(["-n", &namespace.name, "--full", "--protocol", "tcp"])?
        .expect_exit(0)
}
