//! An agent of another version. There is no such agent yet, so it is imitated: an image whose agent speaks the wire's frames, with another
//! protocol number in them.

use crate::Case;
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{lab::Lab, matrix::Matrix};
use netcheck_oci::{ImageSpec, Layer};
use netcheck_wire::{AgentHello, Frame, Kind, PROTOCOL};

pub const CASES: &[Case] = &[
    (
        "versions: an agent with another protocol is named with both numbers, exit code 3",
        other_hello,
    ),
    (
        "versions: an agent that refuses this plugin is quoted, exit code 3",
        refusal,
    ),
];

/// `serve` waits; `join` says what it was given and listens until it is left alone.
const AGENT: &str = "#!/bin/busybox sh\ncase $1 in\nserve) exec /bin/busybox sleep 600 ;;\njoin) /bin/busybox cat /said; exec /bin/busybox cat >/dev/null ;;\nesac\n";

/// A matrix with an agent that answers every stream with this frame.
fn matrix_with(lab: &Lab, name: &str, kind: Kind, payload: Vec<u8>) -> Result<Matrix> {
    let frame = Frame {
        kind,
        number: 0,
        acknowledged: 0,
        payload: payload.into(),
    };
    let layer = Layer::new()
        .file("/bin/busybox", std::fs::read("/bin/busybox")?, 0o755)
        .file("/netcheck-agent", AGENT, 0o755)
        .file("/said", frame.encode()?, 0o644);
    let image = format!("docker.io/rig/{name}:1");
    let mut spec = ImageSpec::new(&image, "amd64");
    spec.layers = vec![layer];
    let folder = tempfile::tempdir()?;
    let archive = folder.path().join("image.tar");
    spec.write_archive(&archive).context("write the image")?;
    lab.rig.image_load(&archive)?;
    let namespace = lab.namespace("privileged")?;
    namespace.pod_per_node(&["n1", "n2"])?;
    let matrix = lab.matrix([
        "-n",
        &namespace.name,
        "--protocol",
        "tcp",
        "--via",
        "node",
        "--image",
        &image,
    ])?;
    matrix.expect_exit(3)?;
    ensure!(!matrix.rows.is_empty(), "no rows: {:#}", matrix.report);
    ensure!(
        matrix.rows.iter().all(|row| row.class == "not-tested"),
        "{:#?}",
        matrix.rows
    );
    Ok(matrix)
}

fn other_hello(lab: &Lab) -> Result<()> {
    let hello = AgentHello {
        protocol: PROTOCOL + 1,
        version: "9.9.9".into(),
        received: 0,
        kernel: "6.0".into(),
        capabilities: 0,
        uid: 0,
    };
    let matrix = matrix_with(lab, "other-hello", Kind::Hello, serde_json::to_vec(&hello)?)?;
    let (theirs, ours) = (format!("protocol {}", PROTOCOL + 1), format!("this plugin {PROTOCOL}"));
    for row in &matrix.rows {
        ensure!(
            row.says("9.9.9") && row.says(&theirs) && row.says(&ours) && row.says("image"),
            "{row:#?}"
        );
        ensure!(row.finding.as_deref() == Some("agent-version-mismatch"), "{row:#?}");
    }
    Ok(())
}

fn refusal(lab: &Lab) -> Result<()> {
    let words = "the agent (version 9.9.9) speaks protocol 9, the plugin (version 0.1.0) 1";
    let matrix = matrix_with(lab, "other-refusal", Kind::Refusal, words.into())?;
    for row in &matrix.rows {
        ensure!(row.says(words), "{row:#?}");
    }
    Ok(())
}
