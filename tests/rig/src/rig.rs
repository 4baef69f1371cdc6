//! A rig that runs: its doors for tests, and in the rooms below how it comes up, changes and ends.

mod bring_up;
mod bundled_cni;
mod environment;
mod flannel;
pub(crate) mod machine;
mod membership;
mod state;
mod status;
mod take_down;
mod users;
mod workload;

pub use status::{NodeStatus, RigStatus};
/// Collected output of a command, with its exit status.
pub use std::process::Output;

use crate::{
    Addresses, Endpoint, Error, Node, Result, RigSpec,
    control_plane::{ControlPlane, PARTS, server_url},
    error::Context,
    kubectl::Kubectl,
    layout::Layout,
    node::command_of,
    processes,
    sandbox::{self, Sandbox},
};
use rustix::process::Signal;
use serde_json::Value;
use state::State;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// How long any one step of coming up may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);
/// The control plane's sandbox.
const HUB: &str = "hub";

/// A running rig. Dropping it leaves it running; [`Rig::down`] ends it.
#[derive(Debug, Clone)]
pub struct Rig {
    layout: Layout,
    state: State,
    kubectl: Kubectl,
}

impl Rig {
    /// Opens the rig that runs in `directory`.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when there is none.
    pub fn attach(directory: &Path) -> Result<Self> {
        let layout = layout(directory)?;
        match State::read(&layout)? {
            Some(state) if state.built && state.runs(&layout) => Ok(Self::of(&layout, state)),
            _ => Err(Error::NotRunning {
                directory: layout.directory().to_owned(),
            }),
        }
    }

    /// The rig's directory.
    pub fn directory(&self) -> &Path {
        self.layout.directory()
    }

    /// What it was asked to be.
    pub fn spec(&self) -> &RigSpec {
        &self.state.spec
    }

    /// Its networks.
    pub fn addresses(&self) -> Addresses {
        self.state.addresses
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The API server's URL, reachable from the root namespace.
    pub fn server_url(&self) -> String {
        server_url(self.state.addresses)
    }

    /// The cluster's certificate authority.
    pub fn certificate_authority(&self) -> PathBuf {
        self.layout.pki().join("ca.crt")
    }

    /// A file with the environment to work in: `. FILE` in a shell.
    pub fn environment_file(&self) -> PathBuf {
        self.layout.environment()
    }

    /// The API server's audit log: one JSON event a line (audit.k8s.io/v1), metadata only.
    pub fn audit_log(&self) -> PathBuf {
        self.layout.audit_log()
    }

    /// Name of the rig's folder in every cgroup hierarchy: whose a process of this machine is, its `/proc/PID/cgroup` tells.
    pub fn cgroup(&self) -> String {
        self.layout.cgroup()
    }

    /// The folder of the parts' logs.
    pub fn logs(&self) -> PathBuf {
        self.layout.logs()
    }

    /// kubectl as the administrator; fill in stdin and run.
    pub fn kubectl_command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        self.kubectl.command(arguments)
    }

    /// Runs kubectl as the administrator and gives its stdout.
    ///
    /// # Errors
    /// When it fails: with the end of its stderr.
    pub fn kubectl<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<String> {
        self.kubectl.run(arguments)
    }

    /// Runs `kubectl … -o json`.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn kubectl_json(&self, arguments: &[&str]) -> Result<Value> {
        self.kubectl.json(arguments)
    }

    /// Applies a YAML or JSON document.
    ///
    /// # Errors
    /// As [`Self::kubectl`].
    pub fn apply(&self, document: &str) -> Result<()> {
        self.kubectl.apply(document)
    }

    /// The nodes, in the order of their numbers.
    pub fn nodes(&self) -> Vec<Node> {
        self.state.nodes.iter().map(|number| self.node_of(*number)).collect()
    }

    /// A node by its name.
    ///
    /// # Errors
    /// [`Error::UnknownNode`].
    pub fn node(&self, name: &str) -> Result<Node> {
        let nodes = self.nodes();
        let known = nodes.iter().map(Node::name).collect::<Vec<_>>().join(", ");
        nodes
            .into_iter()
            .find(|node| node.name == name)
            .ok_or(Error::UnknownNode {
                name: name.into(),
                known,
            })
    }

    /// The eight hexadecimal digits in the names of link and cgroups of the rig in `directory`, running or not.
    ///
    /// # Errors
    /// When the directory's path cannot be made absolute.
    pub fn mark(directory: &Path) -> Result<String> {
        Ok(layout(directory)?.id().to_owned())
    }

    /// The program that pods of `docker.io/rig/workload:1` run, as a file.
    pub fn workload_program(&self) -> &Path {
        &self.state.binaries.workload
    }

    /// Process number, in the root namespace, of the hub's PID 1.
    pub fn hub_init_pid(&self) -> Option<i32> {
        self.hub().init().map(|pid| pid.as_raw_nonzero().get())
    }

    /// Kills etcd, API server, controller manager and scheduler; [`Rig::up`] starts them again.
    ///
    /// # Errors
    /// When one does not end.
    pub fn kill_control_plane(&self) -> Result<()> {
        let hub = self.hub();
        PARTS.iter().try_for_each(|part| hub.end_daemon(part, Signal::KILL))
    }

    /// Runs a command in the hub's namespaces (those of the control plane and of the underlay's bridge).
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn hub_exec<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Result<Output> {
        self.hub().output(command_of(command))
    }

    /// Runs a command in a pod's network namespace, with the machine's programs, and collects its output.
    ///
    /// # Errors
    /// [`Error::NoPodProcess`] when the pod does not run.
    pub fn pod_exec<A: AsRef<OsStr>>(
        &self,
        namespace: &str,
        pod: &str,
        command: impl IntoIterator<Item = A>,
    ) -> Result<Output> {
        let mut command = command_of(command);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let shown = sandbox::show(&command);
        self.pod_spawn(namespace, pod, command)?
            .wait_with_output()
            .context(format!("collect the output of `{shown}`"))
    }

    /// Starts a prepared command in a pod's network namespace, with the machine's programs.
    ///
    /// # Errors
    /// As [`Self::pod_exec`].
    pub fn pod_spawn(&self, namespace: &str, pod: &str, command: Command) -> Result<Child> {
        let document = self.kubectl.json(&["get", "pod", "--namespace", namespace, pod])?;
        let missing = |why: &str| Error::NoPodProcess {
            namespace: namespace.into(),
            pod: pod.into(),
            why: why.into(),
        };
        let node_name = document["spec"]["nodeName"]
            .as_str()
            .ok_or_else(|| missing("it has no node"))?;
        let node = self.node(node_name)?;
        if document["spec"]["hostNetwork"] == true {
            return node.spawn(command);
        }
        let uid = document["metadata"]["uid"]
            .as_str()
            .ok_or_else(|| missing("it has no UID"))?;
        let cgroup = format!("{}/{}/", self.layout.cgroup(), node.name);
        let process = processes::in_cgroup(&cgroup, uid)
            .ok_or_else(|| missing(&format!("it is {} on {}", document["status"]["phase"], node.name)))?;
        node.sandbox.spawn_on_network_of(process, command)
    }

    /// Loads an image archive (OCI layout or `docker save`) into every node there is, and into every node added later.
    ///
    /// # Errors
    /// When a node's containerd refuses it.
    pub fn image_load(&self, archive: &Path) -> Result<()> {
        let archive = fs::canonicalize(archive).context(format!("find {}", archive.display()))?;
        in_parallel(&self.nodes(), |node| node.load_image(&archive))?;
        let mut loaded = self.loaded_images();
        if !loaded.contains(&archive) {
            loaded.push(archive);
        }
        let lines: Vec<_> = loaded.iter().map(|path| path.to_string_lossy()).collect();
        let list = self.layout.loaded_images();
        fs::write(&list, lines.join("\n")).context(format!("write {}", list.display()))
    }

    /// Archives that were loaded before and are still there.
    fn loaded_images(&self) -> Vec<PathBuf> {
        let list = fs::read_to_string(self.layout.loaded_images()).unwrap_or_default();
        list.lines()
            .map(PathBuf::from)
            .filter(|archive| archive.is_file())
            .collect()
    }

    /// Lets every node pull from a registry that speaks plain HTTP, as `198.18.1.254:5000`.
    ///
    /// # Errors
    /// When its `hosts.toml` cannot be written.
    pub fn allow_plain_http_registry(&self, host: &str) -> Result<()> {
        let folder = self.layout.registries().join(host);
        fs::create_dir_all(&folder).context(format!("create {}", folder.display()))?;
        let path = folder.join("hosts.toml");
        let text = format!(
            "server = \"http://{host}\"\n\n[host.\"http://{host}\"]\n  capabilities = [\"pull\", \"resolve\"]\n"
        );
        fs::write(&path, text).context(format!("write {}", path.display()))
    }

    fn of(layout: &Layout, state: State) -> Self {
        let kubectl = Kubectl::new(&state.binaries.kubernetes, &layout.kubeconfig());
        Self {
            layout: layout.clone(),
            state,
            kubectl,
        }
    }

    fn hub(&self) -> Sandbox {
        Sandbox::new(&self.layout, HUB)
    }

    fn control_plane<'a>(&'a self, hub: &'a Sandbox) -> ControlPlane<'a> {
        ControlPlane {
            layout: &self.layout,
            addresses: self.state.addresses,
            hub,
            kubernetes: &self.state.binaries.kubernetes,
        }
    }

    /// Where on the underlay the node of this number is now.
    fn endpoint(&self, number: u8) -> Endpoint {
        if self.state.moved.contains(&number) {
            Endpoint::MovedNode(number)
        } else {
            Endpoint::Node(number)
        }
    }

    fn node_of(&self, number: u8) -> Node {
        let name = format!("n{number}");
        Node {
            sandbox: Sandbox::new(&self.layout, &name),
            number,
            endpoint: self.endpoint(number),
            layout: self.layout.clone(),
            addresses: self.state.addresses,
            proxy_mode: self.state.spec.proxy_mode,
            cni: self.state.spec.cni,
            containerd2: (self.state.spec.containerd2.contains(&name))
                .then(|| self.state.binaries.containerd2.clone())
                .flatten(),
            name,
            binaries: self.state.binaries.clone(),
        }
    }
}

fn layout(directory: &Path) -> Result<Layout> {
    Layout::new(directory).context(format!("find {}", directory.display()))
}

/// Does the same to every node at once; the first error counts.
fn in_parallel(nodes: &[Node], work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = nodes.iter().map(|node| scope.spawn(move || work(node))).collect();
        let results: Vec<_> = running
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
            })
            .collect();
        results.into_iter().collect()
    })
}
