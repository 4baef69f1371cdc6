//! `capture` beside tcpdump: the same packets, byte for byte; and of many pods into one file.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    audit::Audit,
    capture::{Capture, Files},
    lab::{Lab, Namespace},
    manifests,
    tcpdump::{OneStamp, Recording},
    traffic::{ECHO, Inside, everything, talkers},
    tshark::{Frame, capinfos, described, fields, frames, show},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub const CASES: &[Case] = &[
    (
        "capture exact: TCP, UDP, DNS and ICMP of both families are byte for byte what tcpdump beside it has",
        exact,
    ),
    (
        "capture exact: twenty pods on three nodes in one file, in order, with names, one stream a node",
        twenty,
    ),
];

fn exact(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (path, file) = files.path("one.pcapng");
    let _stamp = OneStamp::start()?;
    let capture = Capture::start(lab, &namespace, ["one", "-i", "eth0", "-w", &file, "-o", "json"])?;
    let tcpdump = Recording::start(lab, &namespace, "one", "eth0", "")?;
    everything(lab, &namespace, "one", "two")?;
    let theirs = tcpdump.stop()?;
    let captured = capture.stop()?;

    let ours = frames(&path)?;
    let own: Vec<u8> = own_address(&namespace, "one")?
        .split(':')
        .map(|byte| u8::from_str_radix(byte, 16))
        .collect::<Result<_, _>>()?;
    same(
        &ours,
        &theirs,
        own.try_into()
            .map_err(|own| anyhow::anyhow!("{own:?} is no hardware address"))?,
    )?;
    let protocols: BTreeSet<String> = fields(&path, &["_ws.col.Protocol"], &[])?
        .into_iter()
        .flatten()
        .collect();
    for protocol in ["TCP", "UDP", "DNS", "ICMP", "ICMPv6"] {
        ensure!(protocols.contains(protocol), "no {protocol}: {protocols:?}");
    }
    directions(&namespace, &path)?;
    let report = captured.report()?;
    let total = &report["status"]["total"];
    ensure!(
        total["written"] == ours.len() && total["accepted"] == ours.len(),
        "{} packets in the file, the report says {total}",
        ours.len()
    );
    ensure!(report["status"]["complete"] == true, "{report:#}");
    Ok(())
}

/// The two have the same packets between tcpdump's first and its last: ours began earlier and ended later. A packet's time is the same too, unless it
/// is an inbound one of TCP: that one still carries the time at which its sender wanted it sent, so each listener reads the clock for itself.
fn same(ours: &[Frame], theirs: &[Frame], own: [u8; 6]) -> Result<()> {
    ensure!(theirs.len() > 40, "tcpdump saw {} packets only", theirs.len());
    let mut left: BTreeMap<(u32, &[u8]), VecDeque<u64>> = BTreeMap::new();
    for frame in ours {
        left.entry((frame.original_length, &frame.bytes))
            .or_default()
            .push_back(frame.at_ns);
    }
    let (mut times, mut stamped_alike) = (Vec::new(), 0);
    for frame in theirs {
        let key = (frame.original_length, frame.bytes.as_slice());
        let time = left.get_mut(&key).and_then(VecDeque::pop_front);
        let time = time.with_context(|| format!("only tcpdump has {frame:?}"))?;
        times.push(time);
        let is_tcp = [(12, 23, [8, 0]), (12, 20, [0x86, 0xdd])]
            .iter()
            .any(|(at, next, kind)| frame.bytes.get(*at..at + 2) == Some(kind) && frame.bytes.get(*next) == Some(&6));
        if !is_tcp || frame.bytes.get(6..12) == Some(&own) {
            ensure!(time == frame.at_ns, "{time} instead of {}: {frame:?}", frame.at_ns);
            stamped_alike += 1;
        }
    }
    ensure!(
        stamped_alike > 30,
        "times of {stamped_alike} packets only could be compared"
    );
    let between = times.iter().min().zip(times.iter().max()).context("no packets")?;
    let more: Vec<_> = left
        .values()
        .flatten()
        .filter(|time| between.0 < time && *time < between.1)
        .collect();
    ensure!(more.is_empty(), "only we have packets at {more:?}");
    Ok(())
}

/// A hardware address of a pod's eth0.
fn own_address(namespace: &Namespace<'_>, pod: &str) -> Result<String> {
    let link = namespace.in_pod(pod, "ip -j link show eth0")?;
    let link: serde_json::Value = serde_json::from_str(&link)?;
    Ok(link[0]["address"].as_str().context("no hardware address")?.to_owned())
}

/// What the pod's own hardware address sent is outbound, everything else inbound.
fn directions(namespace: &Namespace<'_>, path: &std::path::Path) -> Result<()> {
    let own = own_address(namespace, "one")?;
    for packet in fields(
        path,
        &["eth.src", "frame.packet_flags_direction", "frame.interface_name"],
        &[],
    )? {
        let [source, direction, interface] = &packet[..] else {
            anyhow::bail!("tshark gave {packet:?}")
        };
        let expected = if *source == own { "2" } else { "1" };
        ensure!(
            direction.trim_start_matches("0x").trim_start_matches('0') == expected,
            "a packet from {source} has direction {direction}, {own} is the pod's"
        );
        ensure!(*interface == format!("{}/one/eth0", namespace.name), "{interface}");
    }
    Ok(())
}

fn twenty(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    let pods: Vec<(String, String)> = (0..20)
        .map(|n| (format!("pod-{n}"), format!("n{}", n % 3 + 1)))
        .collect();
    let named: Vec<(&str, &str)> = pods.iter().map(|(pod, node)| (pod.as_str(), node.as_str())).collect();
    talkers(lab, &namespace, &named)?;
    lab.apply(&manifests::service(&namespace.name, "front", "pod-1", 8080))?;
    let files = Files::new()?;
    let (path, file) = files.path("all.pcapng");
    let audit = Audit::from_now(&lab.rig.audit_log())?;
    let capture = Capture::start(
        lab,
        &namespace,
        ["-l", "set=lab", "-i", "eth0", "-w", &file, "-o", "json"],
    )?;
    for (number, (pod, _)) in pods.iter().enumerate() {
        let inside = Inside::pod(lab, &namespace, pod)?;
        let next = &pods[(number + 1) % pods.len()].0;
        inside.datagrams((namespace.address(next, number % 2 == 1)?, ECHO).into(), 20, 200)?;
    }
    let front = lab.kubectl(&format!(
        "-n {} get service front -o jsonpath={{.spec.clusterIP}}",
        namespace.name
    ))?;
    let front = std::net::SocketAddr::new(front.parse()?, 80);
    Inside::pod(lab, &namespace, "pod-0")?.connection(front, "to the Service")?;
    let captured = capture.stop()?;
    let report = captured.report()?;
    ensure!(
        report["status"]["sources"].as_array().map_or(0, Vec::len) == 20,
        "{report:#}"
    );
    ensure!(report["status"]["outOfOrder"] == 0, "{report:#}");

    let infos = capinfos(&path)?;
    let info = |key: &str| infos.get(key).map_or("", String::as_str);
    ensure!(info("Strict time order") == "True", "{infos:#?}");
    ensure!(info("File encapsulation") == "ether", "{infos:#?}");
    ensure!(info("File timestamp precision").contains("nanoseconds"), "{infos:#?}");
    ensure!(
        info("Number of packets").parse().ok() == report["status"]["total"]["written"].as_u64(),
        "{infos:#?}"
    );
    interfaces(lab, &namespace, &pods, &path)?;
    let shown = show(&path, &["-N", "n"])?;
    for name in [
        format!("pod-0.{}.pod", namespace.name),
        format!("front.{}.svc", namespace.name),
    ] {
        ensure!(
            shown.contains(&name),
            "{name} is nowhere: {}",
            &shown[..shown.len().min(3000)]
        );
    }

    let streams = audit.streams()?;
    ensure!(
        streams.len() == 3 && streams.values().all(|count| *count == 1),
        "not one stream a node: {streams:?}"
    );
    Ok(())
}

/// Each pod has an interface with its name and node, its packets are the ones it sent or got, and nothing is dropped.
fn interfaces(lab: &Lab, namespace: &Namespace<'_>, pods: &[(String, String)], path: &std::path::Path) -> Result<()> {
    let mut addresses = BTreeMap::new();
    for (pod, _) in pods {
        addresses.insert(
            format!("{}/{pod}/eth0", namespace.name),
            [
                namespace.address(pod, false)?.to_string(),
                namespace.address(pod, true)?.to_string(),
            ],
        );
    }
    let mut seen = BTreeSet::new();
    let names = [
        "frame.interface_name",
        "frame.interface_description",
        "ip.addr",
        "ipv6.addr",
    ];
    for packet in fields(path, &names, &["-Y", "udp.port == 9999 && !icmp && !icmpv6"])? {
        let [interface, description, v4, v6] = &packet[..] else {
            anyhow::bail!("tshark gave {packet:?}")
        };
        let own = addresses
            .get(interface)
            .with_context(|| format!("{interface} is no pod's"))?;
        ensure!(
            v4.split(',')
                .chain(v6.split(','))
                .any(|address| own.iter().any(|one| one == address)),
            "{interface} has a packet of {v4}{v6}, its addresses are {own:?}"
        );
        let (pod, node) = pods
            .iter()
            .find(|(pod, _)| *interface == format!("{}/{pod}/eth0", namespace.name))
            .context("no such pod")?;
        ensure!(
            description.contains(&format!("pod {}/{pod} on node {node}", namespace.name)),
            "{description}"
        );
        seen.insert(interface.clone());
    }
    ensure!(
        seen.len() == pods.len(),
        "packets of {} interfaces only: {seen:?}",
        seen.len()
    );
    let blocks = capinfos(path)?;
    ensure!(
        blocks.get("Number of interfaces in file").map(String::as_str) == Some("20"),
        "{blocks:#?}"
    );
    let described = described(path)?;
    let server = lab.server()?.to_string();
    for words in ["kubectl netcheck capture", "-l set=lab", &server, "kubectl-netcheck "] {
        ensure!(described.contains(words), "{words:?} is not in the file: {described}");
    }
    Ok(())
}
