//! A healthy cluster: everything is reached, and what was asked of the API server stays small.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    audit::Audit,
    lab::{Lab, said},
    manifests,
};
use serde_json::Value;
use std::collections::BTreeSet;

pub const CASES: &[Case] = &[
    ("healthy: the shop is reached in both families, and exit code 0", shop),
    (
        "healthy: thirty pods, all ordered pairs, one stream a node",
        thirty_pods,
    ),
    ("healthy: icmp is echoed", icmp),
    (
        "limits: --full that ports nobody declared carry over --max-probes is inconclusive, sampling is not",
        cut_by_limit,
    ),
    (
        "output: the table fits eighty columns and ends with coverage",
        narrow_table,
    ),
    ("output: JUnit has every case once and is well-formed", junit),
];

/// The committed shop stays up for later cases; applying it twice changes nothing.
pub fn apply_shop(lab: &Lab) -> Result<()> {
    Ok(lab.rig.open_shop()?)
}

fn shop(lab: &Lab) -> Result<()> {
    netcheck_e2e::shop::expect_healthy(lab, &[], &["tcp", "dns"])
}

fn thirty_pods(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    lab.rig.start_plain_pods(&namespace.name, "pod", 30)?;
    namespace.wait_ready()?;
    let audit = Audit::from_now(&lab.rig.audit_log())?;
    let matrix = lab.matrix([
        "-n",
        &namespace.name,
        "--full",
        "--protocol",
        "tcp",
        "--max-probes",
        "10000",
    ])?;
    matrix.others_reached(|_| false)?;
    matrix.expect_exit(0)?;
    for family in ["ipv4", "ipv6"] {
        let pairs: BTreeSet<_> = matrix
            .rows
            .iter()
            .filter(|row| row.family == family && row.source.kind == "Pod" && row.destination.kind == "Pod")
            .map(|row| (&row.source.name, &row.destination.name))
            .collect();
        ensure!(pairs.len() == 30 * 29, "{} ordered pairs over {family}", pairs.len());
    }
    let streams = audit.streams()?;
    ensure!(
        streams.len() == 3 && streams.values().all(|&count| count == 1),
        "streams by pod: {streams:?}"
    );
    Ok(())
}

fn icmp(lab: &Lab) -> Result<()> {
    apply_shop(lab)?;
    let matrix = lab.matrix(["-n", "shop", "--protocol", "icmp"])?;
    matrix.others_reached(|_| false)?;
    ensure!(
        !matrix.rows.is_empty() && matrix.rows.iter().all(|row| row.protocol == "icmp"),
        "{:?}",
        matrix.rows
    );
    matrix.expect_exit(0)
}

fn cut_by_limit(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    for node in ["n1", "n2"] {
        let serve = ["serve", "--tcp", "8080", "--tcp", "9090"];
        lab.apply(&manifests::server_pod(
            &namespace.name,
            &format!("on-{node}"),
            node,
            &serve,
            8080,
        ))?;
    }
    namespace.wait_ready()?;
    let arguments = ["-n", &namespace.name, "--protocol", "tcp", "--full"];
    let foreseen = lab
        .netcheck(["matrix", "--dry-run", "-o", "json"].iter().chain(&arguments))
        .output()?;
    let foreseen: Value = serde_json::from_slice(&foreseen.stdout).with_context(|| said(&foreseen))?;
    let limit = foreseen["probesAtLeast"].to_string();
    let full = lab.matrix(arguments.iter().chain(&["--max-probes", &limit]))?;
    full.others_reached(|_| false)?;
    full.expect_exit(3)?;
    let coverage = &full.report["status"]["coverage"];
    let over = coverage["probesOverLimit"]
        .as_u64()
        .context("a number over the limit")?;
    let untold = coverage["untold"].to_string();
    ensure!(
        over > 0 && untold.contains(&format!("{over} more than --max-probes {limit}")),
        "{over} over the limit, untold: {untold}"
    );
    let sampled = lab.matrix(arguments[..4].iter().chain(&["--max-probes", "3"]))?;
    sampled.expect_exit(0)?;
    let coverage = &sampled.report["status"]["coverage"];
    ensure!(
        coverage["sampling"].to_string().contains("--max-probes"),
        "{coverage:#}"
    );
    Ok(())
}

fn narrow_table(lab: &Lab) -> Result<()> {
    apply_shop(lab)?;
    let output = lab.netcheck(["matrix", "-n", "shop"]).env("COLUMNS", "80").output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.code() == Some(0), "{}", said(&output));
    ensure!(!text.contains('\x1b'), "colour in a pipe: {text}");
    // The grid and its legend; the lines below it are prose, which a terminal wraps.
    let (grid, _prose) = text.split_once("\ncoverage:").unwrap_or((&text, ""));
    let widest = grid.lines().map(|line| line.chars().count()).max().unwrap_or(0);
    ensure!(widest <= 80, "a line of {widest} columns: {text}");
    ensure!(text.to_lowercase().contains("coverage"), "no coverage line: {text}");
    Ok(())
}

fn junit(lab: &Lab) -> Result<()> {
    apply_shop(lab)?;
    let file = tempfile::Builder::new().suffix(".xml").tempfile()?;
    let path = file.path().display().to_string();
    let matrix = lab.matrix(["-n", "shop", "--junit", &path])?;
    let xml = std::fs::read_to_string(file.path())?;
    let cases: BTreeSet<_> = matrix.rows.iter().map(|row| &row.case).collect();
    ensure!(
        xml.matches("<testcase").count() == cases.len(),
        "{} cases, JUnit: {xml}",
        cases.len()
    );
    let parsed = std::process::Command::new("python3")
        .args([
            "-c",
            "import sys, xml.etree.ElementTree as t; t.parse(sys.argv[1])",
            &path,
        ])
        .output()?;
    ensure!(parsed.status.success(), "{}", said(&parsed));
    Ok(())
}
