//! A rig with the agent's image loaded, and the plugin as a user has it: found by real kubectl on PATH.

use crate::{manifests, matrix::Matrix};
use anyhow::{Context, Result, bail, ensure};
use netcheck_rig::{Rig, RigSpec, Stderr, wait_until};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

/// How long workloads may take to become ready.
const READY: Duration = Duration::from_mins(2);

/// A cluster to try the plugin on.
#[derive(Debug)]
pub struct Lab {
    /// The cluster.
    pub rig: Rig,
    folder: PathBuf,
}

/// Namespaces that this process has made, for their names.
static NAMESPACES: AtomicU32 = AtomicU32::new(0);

impl Lab {
    /// Brings up the rig and loads the agent's image.
    pub fn up(spec: &RigSpec) -> Result<Self> {
        let image = archive("agent", "image")?;
        let rig = Rig::up(spec, &Stderr::start()).context("bring up the rig")?;
        rig.image_load(&image).context("load the agent's image")?;
        let folder = target_directory().join("e2e").join(&spec.name);
        std::fs::create_dir_all(&folder).context("make a folder for kubeconfigs")?;
        Ok(Self { rig, folder })
    }

    /// Loads the toolbox's image, which is large and needed by few; where it is already, that is soon done.
    pub fn load_toolbox(&self) -> Result<()> {
        let image = archive("toolbox", "toolbox-image")?;
        self.rig.image_load(&image).context("load the toolbox's image")
    }

    /// The same cluster with the nodes that it has now.
    pub fn anew(&self) -> Result<Self> {
        Ok(Self {
            rig: Rig::attach(self.rig.directory()).context("look at the rig anew")?,
            folder: self.folder.clone(),
        })
    }

    /// `kubectl netcheck ARGUMENTS…` as the cluster's administrator, without terminal or colour.
    pub fn netcheck<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        self.netcheck_as(&self.rig.kubeconfig(), arguments)
    }

    /// The same with another kubeconfig.
    pub fn netcheck_as<A: AsRef<OsStr>>(&self, kubeconfig: &Path, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = self.rig.kubectl_command(["netcheck"]);
        let path = env::join_paths([binaries(), PathBuf::from("/usr/bin"), PathBuf::from("/bin")]).unwrap_or_default();
        command
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .env("PATH", path)
            .env_remove("CI")
            .stdin(Stdio::null());
        command
    }

    /// The plugin itself, for tests that must know its process and not kubectl's.
    pub fn plugin<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(binaries().join("kubectl-netcheck"));
        command
            .args(arguments)
            .env("KUBECONFIG", self.rig.kubeconfig())
            .stdin(Stdio::null());
        command
    }

    /// `matrix … -o json`, parsed; a run that printed no report is an error.
    pub fn matrix<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Matrix> {
        let mut command = self.netcheck(["matrix", "-o", "json"]);
        command.args(arguments);
        Matrix::of(&command.output().context("run kubectl netcheck matrix")?)
    }

    /// kubectl to its end; a failure is an error.
    pub fn kubectl(&self, line: &str) -> Result<String> {
        Ok(self.rig.kubectl(line.split_whitespace())?)
    }

    /// Applies a document.
    pub fn apply(&self, document: &Value) -> Result<()> {
        Ok(self.rig.apply(&document.to_string())?)
    }

    /// Asks the API server, admission included, whether it would take a document.
    pub fn apply_dry_run(&self, document: &Value) -> Result<()> {
        let mut file = tempfile::NamedTempFile::new().context("make a file for a document")?;
        std::io::Write::write_all(&mut file, document.to_string().as_bytes()).context("write a document")?;
        self.kubectl(&format!("apply --dry-run=server -f {}", file.path().display()))
            .map(drop)
    }

    /// A namespace of its own for a test, gone when dropped.
    pub fn namespace(&self, pod_security: &str) -> Result<Namespace<'_>> {
        let number = NAMESPACES.fetch_add(1, Ordering::Relaxed);
        let name = format!("lab-{}-{number}", std::process::id());
        self.apply(&manifests::namespace(&name, pod_security))?;
        wait_until("the namespace's service account", READY, || {
            self.kubectl(&format!("-n {name} get serviceaccount default"))
                .map_err(|error| error.to_string())
        })?;
        Ok(Namespace { lab: self, name })
    }

    /// A kubeconfig of the cluster with another API server address, as a proxy in between needs it.
    pub fn kubeconfig_through(&self, address: std::net::SocketAddr) -> Result<PathBuf> {
        let text = std::fs::read_to_string(self.rig.kubeconfig()).context("read the kubeconfig")?;
        let server = self.server()?;
        let host = server.ip();
        let path = self.folder.join(format!("through-{}", address.port()));
        let text = text.replacen(&format!("https://{server}"), &format!("https://{address}"), 1);
        ensure!(
            text.contains(&address.to_string()),
            "the kubeconfig does not name https://{server}"
        );
        std::fs::write(&path, text).context("write a kubeconfig")?;
        self.rig.kubectl([
            "config",
            "set-cluster",
            &self.cluster()?,
            &format!("--tls-server-name={host}"),
            &format!("--kubeconfig={}", path.display()),
        ])?;
        Ok(path)
    }

    /// The administrator's kubeconfig, changed: its first cluster and its first user are what counts.
    pub fn kubeconfig_changed(&self, name: &str, change: impl FnOnce(&mut Value, &mut Value)) -> Result<PathBuf> {
        let text = self.kubectl("config view --raw -o json")?;
        let mut config: Value = serde_json::from_str(&text).context("read the kubeconfig")?;
        let (mut cluster, mut user) = (
            config["clusters"][0]["cluster"].take(),
            config["users"][0]["user"].take(),
        );
        change(&mut cluster, &mut user);
        config["clusters"][0]["cluster"] = cluster;
        config["users"][0]["user"] = user;
        let path = self.folder.join(name);
        std::fs::write(&path, config.to_string()).with_context(|| format!("write {}", path.display()))?;
        Ok(path)
    }

    /// Where the API server listens.
    pub fn server(&self) -> Result<std::net::SocketAddr> {
        let server = self.kubectl("config view -o jsonpath={.clusters[0].cluster.server}")?;
        server
            .trim_start_matches("https://")
            .parse()
            .with_context(|| format!("parse {server:?}"))
    }

    fn cluster(&self) -> Result<String> {
        self.kubectl("config view -o jsonpath={.clusters[0].name}")
    }

    /// Everything of netcheck's that the cluster holds: Jobs, pods, Leases, namespaces, by label; not a namespace that an administrator
    /// set up to stay.
    pub fn remains(&self) -> Result<Vec<String>> {
        let label = "app.kubernetes.io/managed-by=kubectl-netcheck";
        let objects = self.kubectl(&format!("get jobs,pods,leases -A -l {label} -o name"))?;
        let namespaces = self.kubectl(&format!("get namespaces -l {label},netcheck.dev/keep!=true -o name"))?;
        Ok(objects.lines().chain(namespaces.lines()).map(str::to_owned).collect())
    }

    /// The rig's agent processes with their command lines: what a kernel would still hold of us. Another rig's agents are not ours.
    pub fn agents(&self) -> Vec<(i32, String)> {
        let cgroup = format!(":/{}/", self.rig.cgroup());
        let of_the_rig =
            |process: &Path| std::fs::read_to_string(process.join("cgroup")).is_ok_and(|lines| lines.contains(&cgroup));
        let Ok(entries) = std::fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter(|entry| of_the_rig(&entry.path()))
            .filter_map(|entry| {
                let line = std::fs::read(entry.path().join("cmdline")).ok()?;
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                let pid = entry.file_name().to_str()?.parse().ok()?;
                line.starts_with("/netcheck-agent ").then_some((pid, line))
            })
            .collect()
    }

    /// The same, their command lines only.
    pub fn agent_processes(&self) -> Vec<String> {
        self.agents().into_iter().map(|(_, line)| line).collect()
    }

    /// Waits until nothing of netcheck's is left in the cluster or as a process.
    pub fn wait_until_clean(&self, deadline: Duration) -> Result<()> {
        Ok(wait_until("nothing of netcheck's is left", deadline, || {
            let mut left = self.remains().map_err(|error| error.to_string())?;
            left.extend(self.agent_processes());
            if left.is_empty() { Ok(()) } else { Err(left.join(", ")) }
        })?)
    }

    /// Takes the rig down.
    pub fn down(self) -> Result<()> {
        Ok(self.rig.down()?)
    }
}

/// A namespace that goes with its test.
#[derive(Debug)]
pub struct Namespace<'a> {
    lab: &'a Lab,
    /// Its name.
    pub name: String,
}

impl Namespace<'_> {
    /// One pod a node, named after it (`on-n1` …), serving TCP 8080; waits until all are ready.
    pub fn pod_per_node(&self, nodes: &[&str]) -> Result<()> {
        for node in nodes {
            self.lab.apply(&manifests::server_pod(
                &self.name,
                &format!("on-{node}"),
                node,
                &["serve", "--tcp", "8080"],
                8080,
            ))?;
        }
        self.wait_ready()
    }

    /// `kubectl -n NAMESPACE LINE`.
    pub fn kubectl(&self, line: &str) -> Result<String> {
        self.lab.kubectl(&format!("-n {} {line}", self.name))
    }

    /// Applies a document of the namespace's.
    pub fn apply(&self, document: &Value) -> Result<()> {
        self.lab.apply(document)
    }

    /// Waits until every pod of the namespace is ready.
    pub fn wait_ready(&self) -> Result<()> {
        let seconds = READY.as_secs();
        self.lab.kubectl(&format!(
            "-n {} wait --for=condition=Ready pod --all --timeout={seconds}s",
            self.name
        ))?;
        Ok(())
    }

    /// netcheck's ephemeral containers in the namespace's pods by `POD/CONTAINER`, each with the reason it has ended for; `None` while it runs.
    pub fn ephemeral_containers(&self) -> Result<BTreeMap<String, Option<String>>> {
        let pods = self.lab.kubectl(&format!("-n {} get pods -o json", self.name))?;
        let pods: Value = serde_json::from_str(&pods).context("read the pods")?;
        let mut found = BTreeMap::new();
        for pod in pods["items"].as_array().into_iter().flatten() {
            let name = |value: &Value| value["name"].as_str().unwrap_or_default().to_owned();
            let statuses = pod["status"]["ephemeralContainerStatuses"].as_array();
            for container in pod["spec"]["ephemeralContainers"].as_array().into_iter().flatten() {
                let container = name(container);
                let status = statuses.into_iter().flatten().find(|status| name(status) == container);
                let reason = status.and_then(|status| status["state"]["terminated"]["reason"].as_str());
                found.insert(
                    format!("{}/{container}", name(&pod["metadata"])),
                    reason.map(str::to_owned),
                );
            }
        }
        Ok(found)
    }

    /// Waits until none of them runs any more.
    pub fn wait_until_ephemeral_ended(&self, deadline: Duration) -> Result<()> {
        Ok(wait_until("every ephemeral container has ended", deadline, || {
            let all = self.ephemeral_containers().map_err(|error| error.to_string())?;
            let running: Vec<_> = all
                .into_iter()
                .filter(|(_, ended)| ended.is_none())
                .map(|(name, _)| name)
                .collect();
            if running.is_empty() {
                Ok(())
            } else {
                Err(running.join(", "))
            }
        })?)
    }

    /// What of ours is in it, by kubectl: of throw-away pods, nothing is elsewhere.
    pub fn remains(&self) -> Result<String> {
        self.kubectl("get job,pod,lease -l app.kubernetes.io/managed-by=kubectl-netcheck -o name")
    }

    /// Waits until that is nothing.
    pub fn wait_until_clean(&self, deadline: Duration) -> Result<()> {
        Ok(wait_until("nothing of ours is left in it", deadline, || {
            match self.remains() {
                Ok(left) if left.trim().is_empty() => Ok(()),
                Ok(left) => Err(left),
                Err(error) => Err(format!("{error:#}")),
            }
        })?)
    }

    /// Runs a command in a pod's network namespace with the machine's tools; a failure is an error.
    pub fn in_pod(&self, pod: &str, line: &str) -> Result<String> {
        let output = self.lab.rig.pod_exec(&self.name, pod, line.split_whitespace())?;
        ensure!(output.status.success(), "`{line}` in {pod}: {}", said(&output));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The node's end of a pod's veth: the device that the way to the pod leads to.
    pub fn host_veth(&self, pod: &str, node: &str) -> Result<String> {
        let ip = self.address(pod, false)?.to_string();
        let way = self.lab.rig.node(node)?.run(["ip", "route", "get", &ip])?;
        let mut words = way.split_whitespace().skip_while(|word| *word != "dev");
        Ok(words
            .nth(1)
            .with_context(|| format!("no device in {way:?}"))?
            .to_owned())
    }

    /// An address of a pod in one family.
    pub fn address(&self, pod: &str, v6: bool) -> Result<std::net::IpAddr> {
        let text = self.lab.kubectl(&format!(
            "-n {} get pod {pod} -o jsonpath={{.status.podIPs[*].ip}}",
            self.name
        ))?;
        for word in text.split_whitespace() {
            let address: std::net::IpAddr = word.parse().with_context(|| format!("parse {word:?}"))?;
            if address.is_ipv6() == v6 {
                return Ok(address);
            }
        }
        bail!("{pod} has no such address: {text}")
    }
}

impl Drop for Namespace<'_> {
    fn drop(&mut self) {
        // The next test does not wait for it; whatever is left goes down with the rig.
        let _gone = self
            .lab
            .kubectl(&format!("delete namespace {} --wait=false", self.name));
    }
}

/// The archive of an image of ours, which this target of make builds.
fn archive(name: &str, target: &str) -> Result<PathBuf> {
    let archive = target_directory().join(format!("{name}-image/netcheck-{name}.tar"));
    ensure!(
        archive.exists(),
        "the image of the {name} is missing: run `make {target}`"
    );
    Ok(archive)
}

/// Where cargo puts things.
pub fn target_directory() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| manifest.join("../../target"), PathBuf::from)
}

/// The folder with the plugin: beside the running test or benchmark, so that it is the same build.
pub fn binaries() -> PathBuf {
    let profile = env::current_exe().ok().and_then(|path| {
        path.ancestors()
            .find(|folder| folder.join("kubectl-netcheck").exists())
            .map(Path::to_owned)
    });
    profile.unwrap_or_else(|| target_directory().join("debug"))
}

/// What a finished command said, for messages.
pub fn said(output: &Output) -> String {
    format!(
        "{}\nstdout: {}\nstderr: {}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
