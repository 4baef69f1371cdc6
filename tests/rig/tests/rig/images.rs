//! Images: by file into every node, and from a registry on the underlay.

use crate::{Outcome, ensure, shared};
use netcheck_oci::{ImageSpec, Layer, Reference, registry};
use netcheck_rig::{Endpoint, Rig, wait_until};
use serde_json::json;
use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// An image unlike any other: it holds a file with `name` in it, and the workload.
fn image(name: &str, workload: &[u8]) -> ImageSpec {
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    let mut image = ImageSpec::new(name, architecture);
    image.entrypoint = vec!["/rig-workload".into()];
    image.cmd = vec!["sleep".into()];
    image.layers = vec![
        Layer::new()
            .file("/name", name.as_bytes(), 0o644)
            .file("/rig-workload", workload, 0o755),
    ];
    image
}

/// The image that is loaded by file.
pub const LOADED: &str = "example.test/rig/loaded:1";

pub fn loaded_by_file() -> Outcome {
    load(&*shared()?)
}

/// Loads the image and looks for it on every node.
pub fn load(rig: &Rig) -> Outcome {
    // Kept beside the rig: nodes that come later get it, too.
    let archive = rig.directory().join("loaded.tar");
    image(LOADED, b"nothing to run").write_archive(&archive)?;
    rig.image_load(&archive)?;
    for node in rig.nodes() {
        let images = node.run(["ctr", "--namespace", "k8s.io", "images", "list", "--quiet"])?;
        ensure!(
            images.lines().any(|line| line == LOADED),
            "{} has only:\n{images}",
            node.name()
        );
    }
    Ok(())
}

/// A registry that ends with the test.
struct Registry(Child);

impl Drop for Registry {
    fn drop(&mut self) {
        // It may have ended by itself: then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn pulled_from_a_registry() -> Outcome {
    let rig = shared()?;
    // On the root namespace's end of the rig's own link: nobody else can reach it.
    let host = format!("{}:5000", rig.addresses().primary(Endpoint::Root));
    let folder = tempfile::tempdir()?;
    let configuration = folder.path().join("registry.yml");
    let storage = folder.path().join("storage");
    let text = json!({
        "version": "0.1",
        "storage": { "filesystem": { "rootdirectory": storage } },
        "http": { "addr": host },
    });
    fs::write(&configuration, text.to_string())?;
    let _registry = Registry(
        Command::new("docker-registry")
            .arg("serve")
            .arg(&configuration)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?,
    );
    wait_until("the registry to answer", Duration::from_secs(20), || {
        TcpStream::connect(&host).map(drop).map_err(|error| error.to_string())
    })?;

    let name = format!("{host}/rig/pulled:1");
    let reference: Reference = name.parse()?;
    let workload = fs::read(rig.workload_program())?;
    registry::push(
        &image(&name, &workload).assemble()?,
        &reference,
        &registry::Options {
            scheme: Some(registry::Scheme::Http),
            ..Default::default()
        },
    )?;
    rig.allow_plain_http_registry(&host)?;
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "pulled", "namespace": "default" },
        "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "main", "image": name, "imagePullPolicy": "Always" }],
        },
    });
    rig.apply(&pod.to_string())?;
    let ready = rig.kubectl(["wait", "pod", "pulled", "--for=condition=Ready", "--timeout=60s"]);
    let events = rig.kubectl(["get", "events", "--field-selector=involvedObject.name=pulled"])?;
    rig.kubectl(["delete", "pod", "pulled", "--wait=false"])?;
    ensure!(ready.is_ok(), "{ready:?}\n{events}");
    Ok(())
}
