//! Clusters of one IP family, and kube-proxy in its other mode: the same health, the same fault in the right class.

use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    fault::Fault,
    lab::Lab,
    runner::{self, Case},
    shop,
};
use netcheck_rig::{Families, ProxyMode, RigSpec};
use std::process::ExitCode;

const V6: &[Case] = &[
    ("v6 nftables: the shop is reached by tcp, dns and icmp", healthy),
    ("v6 nftables: a removed route is rejected where it is missing", |lab| {
        route_removed(lab, true)
    }),
];
const V4: &[Case] = &[
    ("v4 nftables: the shop is reached by tcp, dns and icmp", healthy),
    ("v4 nftables: a removed route is rejected where it is missing", |lab| {
        route_removed(lab, false)
    }),
];
const DUAL: &[Case] = &[
    ("dual-stack nftables: the shop is reached by tcp, dns and icmp", healthy),
    ("dual-stack nftables: a removed IPv6 route touches no IPv4 row", |lab| {
        route_removed(lab, true)
    }),
];

fn main() -> ExitCode {
    let clusters = [(Families::V6, V6), (Families::V4, V4), (Families::Dual, DUAL)];
    runner::run(clusters.map(|(families, cases)| {
        let spec = RigSpec {
            name: "families".into(),
            nodes: 2,
            families,
            proxy_mode: ProxyMode::Nftables,
            ..RigSpec::default()
        };
        (runner::named(spec), cases.to_vec())
    }))
}

fn healthy(lab: &Lab) -> Result<()> {
    let families = lab.rig.spec().families;
    for (family, there) in [("ip", families.has_v4()), ("ip6", families.has_v6())] {
        if there {
            let table = lab.rig.node("n1")?.run(["nft", "list", "table", family, "kube-proxy"]);
            table.context("kube-proxy is not in nftables mode")?;
        }
    }
    shop::expect_healthy(lab, &["--protocol", "tcp,dns,icmp"], &["tcp", "dns", "icmp"])
}

fn route_removed(lab: &Lab, v6: bool) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let fault = Fault::route_removed(lab, "n1", "n2", v6)?;
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
