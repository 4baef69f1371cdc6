//! Nodes whose clocks are not ours: times in the file are by our clock, and the file says so.
//!
//! All nodes of a rig share the machine's one clock, so it is the plugin's that is put wrong: a library that is loaded before the C library takes
//! three seconds off what it says. To the plugin, every node is three seconds ahead.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Files},
    lab::Lab,
    tcpdump::{OneStamp, Recording},
    traffic::{ECHO, Inside, talkers},
    tshark::{described, frames},
};
use std::process::Command;

pub const CASES: &[Case] = &[(
    "capture clock: a node's clock that is ahead is measured, corrected and noted",
    ahead,
)];

/// `clock_gettime(2)`, three seconds late for everybody who asks for the time of day.
const LATE: &str = "\
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *time) {
    long result = syscall(SYS_clock_gettime, clock, time);
    if (result == 0 && clock == CLOCK_REALTIME) time->tv_sec -= 3;
    return (int)result;
}
";
const AHEAD_NS: u64 = 3_000_000_000;

fn ahead(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let ((source, source_name), (_, library)) = (files.path("late.c"), files.path("late.so"));
    std::fs::write(&source, LATE)?;
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", &library, &source_name])
        .status();
    ensure!(built.context("run cc")?.success(), "the library was not built");

    let (path, file) = files.path("late.pcapng");
    let mut command = lab.netcheck([
        "capture",
        "-n",
        &namespace.name,
        "one",
        "two",
        "-i",
        "eth0",
        "-w",
        &file,
    ]);
    command
        .env("LD_PRELOAD", &library)
        .args(["-o", "json", "--", "udp port 9999"]);
    let _stamp = OneStamp::start()?;
    let capture = Capture::of(command)?;
    let tcpdump = Recording::start(lab, &namespace, "one", "eth0", "udp port 9999")?;
    Inside::pod(lab, &namespace, "one")?.ask((namespace.address("two", false)?, ECHO).into(), b"what time is it?")?;
    let captured = capture.stop()?;
    let (ours, theirs) = (frames(&path)?, tcpdump.stop()?);
    ensure!(
        theirs.len() == 2 && ours.len() == 4,
        "{} and {}",
        theirs.len(),
        ours.len()
    );

    // The note says how wrong the measured offset may be.
    let report = captured.report()?;
    let notes: Vec<&str> = report["status"]["notes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|note| note.as_str())
        .collect();
    let note = notes.iter().find(|note| note.starts_with("node/n1: clock "));
    let note = note.with_context(|| format!("no word of n1's clock: {report:#}"))?;
    let number = |before: &str| -> Result<f64> {
        let rest = note.split_once(before).and_then(|(_, rest)| rest.split_once(" ms"));
        Ok(rest.with_context(|| (*note).to_owned())?.0.parse()?)
    };
    // As rounded as they are shown.
    let (measured, error) = (number("clock ")?, number("(+-")? + 0.1);
    ensure!((measured - AHEAD_NS as f64 / 1e6).abs() <= error, "{note}");
    ensure!(
        note.contains("ahead of ours") && note.contains("times are corrected"),
        "{note}"
    );
    for frame in &theirs {
        let corrected = ours
            .iter()
            .find(|ours| ours.bytes == frame.bytes)
            .context("a packet is missing")?;
        let off = corrected.at_ns.abs_diff(frame.at_ns - AHEAD_NS) as f64 / 1e6;
        ensure!(off <= error, "{off} ms off, at most {error} was to be expected");
    }
    let described = described(&path)?;
    ensure!(described.contains(note), "{note:?} is not in the file: {described}");
    Ok(())
}
