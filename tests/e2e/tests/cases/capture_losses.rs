//! Packets that come faster than they can be carried away: each is in the file or in a column.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Captured},
    lab::Lab,
    traffic::{Inside, talkers},
    tshark::{blocks, count},
    wireshark::StandIn,
};
use std::net::SocketAddr;

pub const CASES: &[Case] = &[(
    "capture losses: a flood that nobody takes away is accounted for to the packet, and --strict makes it exit 1",
    flood,
)];

/// Packets of the flood: far more bytes than a ring and all queues hold.
const PACKETS: u32 = 60_000;
/// Bytes of one datagram.
const LENGTH: usize = 1400;

fn flood(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let inside = Inside::pod(lab, &namespace, "one")?;
    for (strict, code) in [(&["--strict"][..], 1), (&[], 0)] {
        // Nobody serves that port, and what the other pod says of it does not pass the filter.
        let to: SocketAddr = (namespace.address("two", false)?, 7).into();
        let reader = StandIn::new()?;
        let mut command = lab.netcheck(["capture", "-n", &namespace.name, "one", "-i", "eth0", "--wireshark"]);
        command
            .args(["-o", "json", "--duration", "10s", "--max-bytes", "0"])
            .args(strict);
        command.args(["--", "udp dst port 7"]);
        let capture = Capture::of(reader.on_path_of(command))?;
        let before = transmitted(&namespace)?;
        let sent = inside.datagrams(to, PACKETS, LENGTH)?;
        let after = transmitted(&namespace)?;
        reader.go_on()?;
        let captured = capture.end()?;
        captured.expect(code).with_context(|| format!("{strict:?}"))?;
        adds_up(&captured, sent, &reader)?;
        ensure!(
            after - before >= sent,
            "the interface counts {} of {sent}",
            after - before
        );
    }
    Ok(())
}

fn transmitted(namespace: &netcheck_e2e::lab::Namespace<'_>) -> Result<u64> {
    let link = namespace.in_pod("one", "ip -s -j link show eth0")?;
    let link: serde_json::Value = serde_json::from_str(&link)?;
    link[0]["stats64"]["tx"]["packets"]
        .as_u64()
        .context("no count of packets")
}

fn adds_up(captured: &Captured, sent: u64, reader: &StandIn) -> Result<()> {
    let report = captured.report()?;
    let total = &report["status"]["total"];
    let number = |key: &str| total[key].as_u64().unwrap_or_default();
    let lost = ["lostInRing", "lostInAgent", "lostInStream", "lostAtOutput"].map(number);
    ensure!(number("accepted") == sent, "{sent} were sent: {total:#}");
    ensure!(
        number("lostInRing") > 0,
        "nothing was lost, so nothing was tried: {total:#}"
    );
    ensure!(
        number("written") + lost.iter().sum::<u64>() + number("beyondLimit") == sent,
        "{total:#}"
    );
    ensure!(total["unsettled"].is_null(), "{total:#}");
    for words in [
        format!("of {sent} packets that passed the filter are lost"),
        "ring full".to_owned(),
    ] {
        ensure!(
            captured.stderr.contains(&words),
            "{words:?} is not said: {}",
            captured.stderr
        );
    }
    ensure!(
        count(&reader.seen())? == number("written"),
        "the file has {} packets: {total:#}",
        count(&reader.seen())?
    );
    let statistics = blocks(&reader.seen())?;
    let dropped: u64 = statistics.interface_drops.iter().sum();
    ensure!(
        dropped == lost.iter().sum::<u64>(),
        "the file says {statistics:?}, the report {total:#}"
    );
    ensure!(
        statistics
            .comments
            .iter()
            .any(|comment| comment.contains("lost") && comment.contains("ring full")),
        "{statistics:?}"
    );
    Ok(())
}
