//! Images the rig's pods run from: written by our own `netcheck-oci`, loaded by file into every node, kept beside the programs
//! they are made of.

use crate::{Binaries, Error, Result, binaries::cache, error::Context, fingerprint::Fingerprint};
use netcheck_oci::{ImageSpec, Layer};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The static busybox of Debian's `busybox-static`.
const BUSYBOX: &str = "/bin/busybox";
/// Raised whenever the images below change in a way that their programs do not show.
const RECIPE: &[u8] = b"3";

/// Archives of the images every node gets.
#[derive(Debug, Clone)]
pub struct Archives {
    /// `docker.io/rig/pause:1`: what holds a pod's namespaces.
    pub pause: PathBuf,
    /// `docker.io/rig/workload:1`: `rig-workload` and nothing else, as a distroless image.
    pub workload: PathBuf,
    /// `docker.io/rig/busybox:1`: a shell and its tools.
    pub busybox: PathBuf,
    /// `docker.io/rig/coredns:1`.
    pub coredns: PathBuf,
}

impl Archives {
    /// All of them, in the order nodes need them.
    pub fn all(&self) -> [&Path; 4] {
        [&self.pause, &self.coredns, &self.workload, &self.busybox]
    }
}

/// Writes the archives that are not there yet.
pub fn build(binaries: &Binaries) -> Result<Archives> {
    let workload = read(&binaries.workload)?;
    let busybox = read(Path::new(BUSYBOX)).map_err(|_| Error::MissingProgram {
        program: "busybox (static)".into(),
    })?;
    // The path names what CoreDNS was built from; reading its 54 MB would cost more than it tells.
    let coredns = binaries.coredns.as_os_str().as_encoded_bytes();
    let key = Fingerprint::default()
        .add(RECIPE)
        .add(&workload)
        .add(&busybox)
        .add(coredns)
        .hex(8);
    let folder = cache().join(format!("images-{key}"));
    fs::create_dir_all(&folder).context(format!("create {}", folder.display()))?;

    let archives = Archives {
        pause: folder.join("pause.tar"),
        workload: folder.join("workload.tar"),
        busybox: folder.join("busybox.tar"),
        coredns: folder.join("coredns.tar"),
    };
    write_if_missing(&archives.pause, || {
        let layer = Layer::new().file("/rig-workload", workload.clone(), 0o755);
        let mut image = ImageSpec::new("docker.io/rig/pause:1", architecture());
        image.entrypoint = vec!["/rig-workload".into(), "pause".into()];
        image.user = "65535:65535".into();
        image.layers = vec![layer];
        Ok(image)
    })?;
    write_if_missing(&archives.workload, || {
        let layer = Layer::new().file("/rig-workload", workload.clone(), 0o755);
        let mut image = ImageSpec::new("docker.io/rig/workload:1", architecture());
        image.entrypoint = vec!["/rig-workload".into()];
        image.cmd = vec!["sleep".into()];
        image.layers = vec![layer];
        Ok(image)
    })?;
    write_if_missing(&archives.busybox, || {
        let mut image = ImageSpec::new("docker.io/rig/busybox:1", architecture());
        image.cmd = vec!["/bin/sh".into()];
        image.env.insert("PATH".into(), "/bin".into());
        image.layers = vec![busybox_layer(&busybox)?];
        Ok(image)
    })?;
    write_if_missing(&archives.coredns, || {
        let layer = Layer::new().file("/coredns", read(&binaries.coredns)?, 0o755);
        let mut image = ImageSpec::new("docker.io/rig/coredns:1", architecture());
        image.entrypoint = vec!["/coredns".into()];
        image.layers = vec![layer];
        Ok(image)
    })?;
    Ok(archives)
}

fn busybox_layer(busybox: &[u8]) -> Result<Layer> {
    let output = Command::new(BUSYBOX)
        .arg("--list")
        .output()
        .context(format!("run {BUSYBOX} --list"))?;
    let mut layer = Layer::new()
        .file("/bin/busybox", busybox, 0o755)
        .file("/etc/passwd", "root:x:0:0:root:/:/bin/sh\n", 0o644)
        .dir("/tmp", 0o1777);
    for applet in String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|name| *name != "busybox")
    {
        layer = layer.symlink(format!("/bin/{applet}"), "busybox");
    }
    Ok(layer)
}

fn write_if_missing(path: &Path, image: impl FnOnce() -> Result<ImageSpec>) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    image()?.write_archive(path).map(drop).map_err(|cause| Error::Image {
        path: path.to_owned(),
        cause,
    })
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(format!("read {}", path.display()))
}

/// This machine's architecture by Go's name.
fn architecture() -> &'static str {
    match env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
