//! Where packets can go: files by pod, pipes, Wireshark, lines, JSON.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Files, in_bash},
    lab::Lab,
    traffic::{ECHO, Inside, everything, query, talkers},
    tshark::{count, described, fields, frames},
    wireshark::StandIn,
};
use serde_json::Value;
use std::path::Path;

pub const CASES: &[Case] = &[
    (
        "capture output: a file for each pod, and classic pcap for one interface",
        files,
    ),
    ("capture output: through a pipe into tshark", pipe),
    (
        "capture output: --wireshark feeds a program of that name (a stand-in that keeps its stdin)",
        wireshark,
    ),
    ("capture output: JSON lines say what tshark says", json),
    (
        "capture output: lines show names and DNS, and no control characters of a hostile name",
        lines,
    ),
    ("capture output: reports match their schemas", schema),
];

fn files(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (folder, argument) = files.path("by-pod");
    let (path, file) = files.path("one.pcap");
    let by_pod = Capture::start(
        lab,
        &namespace,
        ["one", "two", "--per-pod", &argument, "--", "udp port 9999"],
    )?;
    let classic = Capture::start(
        lab,
        &namespace,
        ["one", "-i", "eth0", "-w", &file, "--", "udp port 9999"],
    )?;
    let two = (namespace.address("two", false)?, ECHO).into();
    Inside::pod(lab, &namespace, "one")?.ask(two, b"hello")?;
    by_pod.stop()?;
    classic.stop()?;
    let mut names: Vec<_> = std::fs::read_dir(&folder)?
        .flatten()
        .map(|entry| entry.file_name().display().to_string())
        .collect();
    names.sort();
    let expected = ["one", "two"].map(|pod| format!("{}_{pod}.pcapng", namespace.name));
    ensure!(names == expected, "{names:?}");
    for name in &expected {
        ensure!(
            count(&folder.join(name))? == 2,
            "{name}: {}",
            described(&folder.join(name))?
        );
    }
    let infos = described(&path)?;
    ensure!(infos.contains("nanosecond") && infos.contains("pcap"), "{infos}");
    let bytes =
        |path: &Path| -> Result<Vec<Vec<u8>>> { Ok(frames(path)?.into_iter().map(|frame| frame.bytes).collect()) };
    ensure!(
        bytes(&path)? == bytes(&folder.join(&expected[0]))?,
        "two captures of one pod differ"
    );
    Ok(())
}

fn pipe(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let mut command = lab.netcheck([
        "capture",
        "-n",
        &namespace.name,
        "one",
        "-i",
        "eth0",
        "-w",
        "-",
        "--count",
        "8",
    ]);
    command.args(["--", "udp port 9999"]);
    let capture = Capture::of(in_bash(
        &command,
        "set -o pipefail; run | tshark -r - -T fields -e udp.dstport",
    ))?;
    let two = (namespace.address("two", false)?, ECHO).into();
    let inside = Inside::pod(lab, &namespace, "one")?;
    for _ in 0..4 {
        inside.ask(two, b"into a pipe")?;
    }
    let captured = capture.end()?;
    captured.expect(0)?;
    let lines = String::from_utf8_lossy(&captured.stdout).into_owned();
    ensure!(
        lines.lines().filter(|port| *port == "9999").count() == 4,
        "{}",
        captured.all()
    );
    ensure!(lines.lines().count() == 8, "{}", captured.all());
    Ok(())
}

fn wireshark(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let reader = StandIn::new()?;
    reader.go_on()?;
    let mut command = lab.netcheck(["capture", "-n", &namespace.name, "one", "--wireshark", "-i", "eth0"]);
    command.args(["--", "udp port 9999"]);
    let capture = Capture::of(reader.on_path_of(command))?;
    let two = (namespace.address("two", false)?, ECHO).into();
    Inside::pod(lab, &namespace, "one")?.ask(two, b"to a desk")?;
    capture.stop()?;
    netcheck_rig::wait_until(
        "the stand-in has the packets",
        std::time::Duration::from_secs(10),
        || match count(&reader.seen()) {
            Ok(2) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    )?;
    let arguments = reader.arguments()?;
    ensure!(arguments.trim() == "-k -i -", "{arguments}");
    Ok(())
}

fn json(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (path, file) = files.path("beside.pcapng");
    let beside = Capture::start(lab, &namespace, ["one", "-i", "eth0", "-w", &file])?;
    let capture = Capture::start(lab, &namespace, ["one", "-i", "eth0", "-o", "json"])?;
    everything(lab, &namespace, "one", "two")?;
    let captured = capture.stop()?;
    beside.stop()?;
    let text = String::from_utf8(captured.stdout.clone())?;
    let packets: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    ensure!(packets.len() > 40, "{} packets only", packets.len());
    let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut ours: Vec<Vec<String>> = packets
        .iter()
        .filter(|packet| matches!(packet["transport"]["protocol"].as_str(), Some("tcp" | "udp")))
        .map(|packet| {
            let (network, transport) = (&packet["network"], &packet["transport"]);
            let sequence = transport.get("sequence").map_or_else(String::new, text_of);
            let values = [
                &packet["length"],
                &network["source"],
                &network["destination"],
                &transport["sourcePort"],
                &transport["destinationPort"],
            ];
            values.into_iter().map(text_of).chain([sequence]).collect()
        })
        .collect();
    let names = [
        "frame.len",
        "_ws.col.Source",
        "_ws.col.Destination",
        "_ws.col.SrcPort",
        "_ws.col.DstPort",
        "tcp.seq_raw",
    ];
    let columns = r#"gui.column.format:"Source","%us","Destination","%ud","SrcPort","%uS","DstPort","%uD""#;
    // Not those that an ICMP error quotes.
    let filter = ["-o", columns, "-Y", "(tcp || udp) && !icmp && !icmpv6"];
    let mut theirs = fields(&path, &names, &filter)?;
    ours.sort();
    theirs.sort();
    ensure!(ours == theirs, "{ours:?} instead of {theirs:?}");
    let is_named = packets
        .iter()
        .any(|packet| packet["destinationName"] == format!("two.{}.pod", namespace.name));
    ensure!(is_named, "no name of pod two: {text}");
    Ok(())
}

fn lines(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let capture = Capture::start(lab, &namespace, ["one", "-i", "eth0"])?;
    everything(lab, &namespace, "one", "two")?;
    let two = std::net::SocketAddr::new(namespace.address("two", false)?, 53);
    let inside = Inside::pod(lab, &namespace, "one")?;
    let hostile: [&[u8]; 2] = [b"\x1b[2J\x1b]0;owned\x07\r\nfake line", b"\xff\x00evil"];
    inside.run(|| {
        let socket = std::net::UdpSocket::bind(("0.0.0.0", 0))?;
        socket
            .send_to(&query(9, &hostile), two)
            .map(drop)
            .context("send a hostile query")
    })?;
    let captured = capture.stop()?;
    let text = String::from_utf8(captured.stdout.clone()).context("lines are UTF-8")?;
    let control = text.chars().find(|letter| letter.is_control() && *letter != '\n');
    ensure!(control.is_none(), "{control:?} in {text:?}");
    ensure!(!text.lines().any(|line| line.starts_with("fake line")), "{text}");
    let (one, two) = (
        format!("one.{}.pod", namespace.name),
        format!("two.{}.pod", namespace.name),
    );
    for words in [
        one.as_str(),
        &two,
        "kube-dns.kube-system.svc",
        "kubernetes.default.svc.cluster.local",
        "[S]",
        "owned",
    ] {
        ensure!(text.contains(words), "{words:?} is in no line: {text}");
    }
    Ok(())
}

/// Judged by the schema that the plugin prints, field by field: required ones are there, others are none.
fn schema(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1")])?;
    let files = Files::new()?;
    let (_, file) = files.path("report.pcapng");
    for (kind, more) in [
        ("CaptureReport", &["--duration", "1s"][..]),
        ("CapturePlan", &["--dry-run"]),
    ] {
        let mut command = lab.netcheck(["capture", "-n", &namespace.name, "one", "-w", &file, "-o", "json"]);
        let report = command.args(more).output()?;
        let schema = lab.netcheck(["schema", kind]).output()?;
        let (report_file, schema_file) = (files.path("report.json"), files.path("schema.json"));
        std::fs::write(&report_file.0, &report.stdout)?;
        std::fs::write(&schema_file.0, &schema.stdout)?;
        conforms(&report_file.0, &schema_file.0).with_context(|| netcheck_e2e::lab::said(&report))?;
    }
    Ok(())
}

fn conforms(report: &Path, schema: &Path) -> Result<()> {
    let read = |path: &Path| -> Result<Value> { Ok(serde_json::from_slice(&std::fs::read(path)?)?) };
    let (report, schema) = (read(report)?, read(schema)?);
    fits("", &report, &schema, &schema)
}

fn fits(place: &str, value: &Value, schema: &Value, root: &Value) -> Result<()> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root
            .pointer(reference.trim_start_matches('#'))
            .context("a reference to nothing")?;
        return fits(place, value, target, root);
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        let known = schema["properties"].get(name);
        fits(
            &format!("{place}/{name}"),
            field,
            known.with_context(|| format!("{place}/{name} is not in the schema"))?,
            root,
        )?;
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        let name = required.as_str().unwrap_or_default();
        ensure!(value.get(name).is_some(), "{place}/{name} is missing");
    }
    for item in value.as_array().into_iter().flatten() {
        fits(&format!("{place}[]"), item, &schema["items"], root)?;
    }
    Ok(())
}
