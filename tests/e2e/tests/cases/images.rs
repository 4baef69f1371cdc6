//! The agent's image from a registry of the user's own, with a pull secret; and a pull that fails.

use crate::{Case, healthy};
use anyhow::{Context, Result, ensure};
use netcheck_e2e::{
    fault::Fault,
    lab::{self, Lab, said},
    manifests,
};
use netcheck_rig::{Endpoint, wait_until};
use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

pub const CASES: &[Case] = &[
    (
        "images: agents are pulled from a private registry with a prefix and a pull secret",
        private_registry,
    ),
    ("images: a failed pull is a reason in seconds, not a hang", failed_pull),
];

/// A Debian docker-registry on the rig's underlay that wants a password; ends when dropped.
struct Registry {
    process: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

const USER: &str = "user";
/// With its hash, a published test vector of crypt_blowfish.
const PASSWORD: &str = "U*U";
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

impl Registry {
    fn start(lab: &Lab) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = SocketAddr::new(lab.rig.addresses().primary(Endpoint::Root), 5000);
        std::fs::write(folder.path().join("htpasswd"), format!("{USER}:{HASH}\n"))?;
        let config = format!(
            "version: 0.1\nstorage: {{filesystem: {{rootdirectory: {0}/data}}}}\nhttp: {{addr: '{address}', secret: s}}\nauth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("config.yml"), config)?;
        let process = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry")?;
        let registry = Self {
            process,
            address,
            _folder: folder,
        };
        wait_until("the registry listens", Duration::from_secs(20), || {
            TcpStream::connect(address).map(drop).map_err(|error| error.to_string())
        })?;
        Ok(registry)
    }

    fn push(&self, archive: &std::path::Path, repository: &str) -> Result<()> {
        let mut child = Command::new(lab::binaries().join("netcheck-image"))
            .args(["push", "--scheme", "http", "--username", USER, "--archive"])
            .arg(archive)
            .arg(format!("{}/{repository}", self.address))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start netcheck-image")?;
        child.stdin.take().context("stdin")?.write_all(PASSWORD.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ended = self.process.kill().and_then(|()| self.process.wait());
    }
}

fn private_registry(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let registry = Registry::start(lab)?;
    let host = registry.address.to_string();
    lab.rig.allow_plain_http_registry(&host)?;
    let version = lab.netcheck(["version", "-o", "json"]).output()?;
    let version: serde_json::Value = serde_json::from_slice(&version.stdout).with_context(|| said(&version))?;
    let image = version["client"]["agentImage"]
        .as_str()
        .with_context(|| format!("no image in {version:#}"))?;
    let name = image
        .rsplit('/')
        .next()
        .and_then(|name| name.split('@').next())
        .context("a name")?;
    registry.push(
        &lab::target_directory().join("agent-image/netcheck-agent.tar"),
        &format!("mirror/{name}"),
    )?;

    let agents = "pull-test";
    lab.apply(&manifests::namespace(agents, "privileged"))?;
    let fault = Fault::inject(
        "a namespace for agents",
        || Ok(()),
        || lab.kubectl(&format!("delete namespace {agents}")).map(drop),
    )?;
    lab.kubectl(&format!(
        "-n {agents} create secret docker-registry pull --docker-server={host} --docker-username={USER} --docker-password={PASSWORD}"
    ))?;
    let prefix = format!("{host}/mirror");
    let common = ["-n", "shop", "--agent-namespace", agents, "--image-prefix", &prefix];
    let without = lab.matrix(common)?;
    ensure!(
        without
            .rows
            .iter()
            .any(|row| row.class == "not-tested" && row.says("Pull")),
        "{:?} {}",
        without.classes(),
        without.stderr
    );
    let matrix = lab.matrix(common.into_iter().chain(["--image-pull-secret", "pull"]))?;
    matrix.others_reached(|_| false)?;
    matrix.expect_exit(0)?;
    fault.mend()
}

fn failed_pull(lab: &Lab) -> Result<()> {
    healthy::apply_shop(lab)?;
    let matrix = lab.matrix(["-n", "shop", "--via", "node", "--image", "registry.invalid/no/such:1"])?;
    matrix.expect_exit(3)?;
    let row = matrix.rows.first().context("no rows")?;
    ensure!(row.class == "not-tested" && row.says("Pull"), "{row:#?}");
    // The kubelet's own words come within its first attempts; waiting for an agent's deadline would take minutes.
    let agents = matrix.report["status"]["timing"]["agentsMs"]
        .as_u64()
        .context("agentsMs")?;
    ensure!(agents < 30_000, "it took {agents} ms to say so");
    Ok(())
}
