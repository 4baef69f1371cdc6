//! What bounds a capture, and what it leaves out on purpose.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    capture::{Capture, Captured, Files},
    lab::Lab,
    traffic::{ECHO, Inside, everything, talkers},
    tshark::{Frame, count, fields, frames, show},
};
use std::time::{Duration, Instant};

pub const CASES: &[Case] = &[
    ("capture limits: a count to the packet, bytes, and time", bounds),
    (
        "capture limits: payload that is not to leave the node is not in the file",
        payload,
    ),
    (
        "capture limits: a snap length keeps what was cut in the lengths",
        snap_length,
    ),
];

/// Ended by itself, whole, for this reason.
fn ended_by(captured: &Captured, reason: &str) -> Result<()> {
    captured.expect(0)?;
    let report = captured.report()?;
    ensure!(report["status"]["endedBy"] == reason, "{report:#}");
    ensure!(report["status"]["complete"] == true, "{report:#}");
    let total = &report["status"]["total"];
    let number = |key: &str| total[key].as_u64().unwrap_or_default();
    ensure!(
        number("accepted") == number("written") + number("beyondLimit"),
        "{report:#}"
    );
    Ok(())
}

fn bounds(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let inside = Inside::pod(lab, &namespace, "one")?;
    let two = (namespace.address("two", false)?, ECHO).into();
    let files = Files::new()?;
    let (path, file) = files.path("bounds.pcapng");
    let start = |arguments: &[&str]| {
        let line = [
            &["one", "two", "-i", "eth0", "-w", &file, "-o", "json"],
            arguments,
            &["--", "udp port 9999"],
        ];
        Capture::start(lab, &namespace, line.concat())
    };

    let capture = start(&["--count", "777"])?;
    ensure!(
        capture.said().contains("777 packets"),
        "the limit is not shown: {}",
        capture.said()
    );
    inside.datagrams(two, 1000, 100)?;
    ended_by(&capture.end()?, "--count is reached")?;
    ensure!(count(&path)? == 777, "{} packets instead of 777", count(&path)?);

    let capture = start(&["--max-bytes", "100k"])?;
    ensure!(
        capture.said().contains("100.0 kB"),
        "the limit is not shown: {}",
        capture.said()
    );
    inside.datagrams(two, 1000, 958)?;
    ended_by(&capture.end()?, "--max-bytes is reached")?;
    let bytes: usize = frames(&path)?.iter().map(|frame| frame.bytes.len()).sum();
    // Datagrams of 958 bytes are packets of 1000: the hundredth is the last.
    ensure!(bytes == 100_000, "{bytes} bytes instead of 100 packets of 1000");

    let capture = start(&["--duration", "2s"])?;
    let began = Instant::now();
    inside.datagrams(two, 5, 100)?;
    ended_by(&capture.end()?, "--duration is over")?;
    ensure!(
        began.elapsed() >= Duration::from_millis(1500),
        "over after {:?}",
        began.elapsed()
    );
    ensure!(
        count(&path)? == 20,
        "{} packets instead of 5 there and back, at both ends",
        count(&path)?
    );
    Ok(())
}

fn payload(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let paths = ["whole", "headers", "redacted"].map(|name| files.path(&format!("{name}.pcapng")));
    let start = |file: &str, more: &[&str]| {
        Capture::start(lab, &namespace, [&["one", "-i", "eth0", "-w", file], more].concat())
    };
    let whole = start(&paths[0].1, &[])?;
    let headers = start(&paths[1].1, &["--headers-only"])?;
    let redacted = start(&paths[2].1, &["--redact"])?;
    everything(lab, &namespace, "one", "two")?;
    for capture in [redacted, headers, whole] {
        capture.stop()?;
    }
    let [whole, headers, redacted] = paths.map(|(path, _)| path);
    for secret in ["hello hello", "are you there"] {
        ensure!(holds(&whole, secret)?, "{secret:?} was never sent");
        for path in [&headers, &redacted] {
            ensure!(!holds(path, secret)?, "{secret:?} is in {}", path.display());
        }
    }
    // Addresses, ports, flags, lengths: what every header says is the same in all three.
    let names = [
        "ip.src",
        "ip.dst",
        "ipv6.src",
        "ipv6.dst",
        "tcp.flags",
        "tcp.seq_raw",
        "udp.srcport",
        "udp.length",
    ];
    let of = |path| {
        fields(
            path,
            &names,
            &["-Y", "(tcp.port == 8080 || udp.port == 9999) && !icmp && !icmpv6"],
        )
    };
    let expected = of(&whole)?;
    ensure!(expected.len() > 20, "{} packets only", expected.len());
    ensure!(of(&headers)? == expected, "--headers-only changed headers");
    ensure!(of(&redacted)? == expected, "--redact changed headers");
    let udp = |path: &std::path::Path| -> Result<Vec<Frame>> {
        let mut all = frames(path)?;
        // Datagrams to or from the echo port over IPv4 without options.
        all.retain(|frame| {
            let port = |at: usize| frame.bytes.get(at..at + 2) == Some(&ECHO.to_be_bytes());
            frame.bytes.get(12..15) == Some(&[8, 0, 0x45]) && frame.bytes.get(23) == Some(&17) && (port(34) || port(36))
        });
        Ok(all)
    };
    for (kept, zeroed) in [(udp(&whole)?, udp(&redacted)?), (udp(&whole)?, udp(&headers)?)] {
        ensure!(
            kept.len() == 2 && zeroed.len() == 2,
            "{} and {}",
            kept.len(),
            zeroed.len()
        );
        for (kept, zeroed) in kept.iter().zip(&zeroed) {
            ensure!(kept.bytes[..42] == zeroed.bytes[..42], "headers differ");
            ensure!(
                kept.original_length == zeroed.original_length,
                "the length on the wire is lost"
            );
            ensure!(
                zeroed.bytes[42..].iter().all(|byte| *byte == 0),
                "payload: {:?}",
                zeroed.bytes
            );
        }
    }
    ensure!(
        udp(&redacted)?.iter().all(|frame| frame.bytes.len() == 42 + 14),
        "--redact keeps lengths"
    );
    ensure!(
        udp(&headers)?.iter().all(|frame| frame.bytes.len() == 42),
        "--headers-only cuts"
    );
    let shown = show(&redacted, &["-V", "-Y", "udp.port == 9999"])?;
    ensure!(shown.contains("User Datagram Protocol"), "{shown}");
    Ok(())
}

fn holds(path: &std::path::Path, text: &str) -> Result<bool> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

fn snap_length(lab: &Lab) -> Result<()> {
    let namespace = lab.namespace("privileged")?;
    talkers(lab, &namespace, &[("one", "n1"), ("two", "n2")])?;
    let files = Files::new()?;
    let (path, file) = files.path("short.pcapng");
    let line = [
        "one",
        "-i",
        "eth0",
        "--snaplen",
        "64",
        "-w",
        &file,
        "--",
        "udp port 9999",
    ];
    let capture = Capture::start(lab, &namespace, line)?;
    let two = (namespace.address("two", false)?, ECHO).into();
    Inside::pod(lab, &namespace, "one")?.ask(two, &[b'x'; 1000])?;
    capture.stop()?;
    let lengths: Vec<_> = frames(&path)?
        .iter()
        .map(|frame| (frame.bytes.len(), frame.original_length))
        .collect();
    ensure!(lengths == [(64, 1042), (64, 1042)], "{lengths:?}");
    Ok(())
}
