//! A whole rig: up, opened again, changed while it runs, down.

use crate::{
    Addresses, Cni, Error, Families, Node, Part, Progress, Result, RigSpec,
    binaries::{self, Binaries},
    cgroups, cluster_dns,
    control_plane::{self, ControlPlane, TOKEN, TOKEN_USER, bootstrap_roles, server_url},
    error::Context,
    images::{self, Archives},
    kubeconfig::{self, Credentials},
    kubectl::Kubectl,
    layout::{DIRECTORY_VARIABLE, Layout, default_directory, target_directory},
    mounts, namespaces, network,
    node::command_of,
    pki::Authority,
    processes,
    sandbox::{self, Sandbox},
    wait_until, workloads,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::{
    env,
    ffi::OsStr,
    fs::{self, File, TryLockError},
    net::IpAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// How long any one step of coming up may take on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// The control plane's sandbox.
const HUB: &str = "hub";
/// Programs that must be installed; see `install-packages.sh`.
const PROGRAMS: [&str; 8] = [
    "etcd",
    "containerd",
    "ctr",
    "runc",
    "ip",
    "iptables",
    "nft",
    "conntrack",
];

/// Collected output of a command, with its exit status.
pub use std::process::Output;

/// What a rig writes down about itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    spec: RigSpec,
    addresses: Addresses,
    binaries: Binaries,
    /// Numbers of the nodes there are now.
    nodes: Vec<u8>,
    /// Number of the next node; numbers are not used twice.
    next_node: u8,
    /// Whether namespaces and links of all of it were made to the end.
    built: bool,
}

/// What runs of a rig.
#[derive(Debug, Clone, Serialize)]
pub struct RigStatus {
    /// The rig's directory.
    pub directory: PathBuf,
    /// Control plane parts and whether each runs.
    pub control_plane: Vec<(String, bool)>,
    /// Nodes, their addresses and whether each part of them runs.
    pub nodes: Vec<NodeStatus>,
}

/// What runs of a node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its parts and whether each runs.
    pub parts: Vec<(String, bool)>,
}

impl RigStatus {
    /// Whether every part of everything runs.
    pub fn is_whole(&self) -> bool {
        self.control_plane.iter().all(|part| part.1)
            && self.nodes.iter().all(|node| node.parts.iter().all(|part| part.1))
    }
}

/// A running rig. Dropping it leaves it running; [`Rig::down`] ends it.
#[derive(Debug, Clone)]
pub struct Rig {
    layout: Layout,
    state: State,
    kubectl: Kubectl,
}

impl Rig {
    /// Brings a rig up in its default directory, or finds it up already.
    ///
    /// # Errors
    /// When something needed is missing, or a part does not come up: the message says which, and where its log is.
    pub fn up(spec: &RigSpec, progress: &dyn Progress) -> Result<Self> {
        Self::up_in(&default_directory(&spec.name), spec, progress)
    }

    /// As [`Self::up`], in a directory of the caller's choice.
    ///
    /// # Errors
    /// As [`Self::up`].
    pub fn up_in(directory: &Path, spec: &RigSpec, progress: &dyn Progress) -> Result<Self> {
        check_machine(spec)?;
        fs::create_dir_all(directory).context(format!("create {}", directory.display()))?;
        let layout = layout(directory)?;
        let _lock = lock(&layout, progress)?;
        let binaries = binaries::build(progress)?;
        let archives = images::build(&binaries)?;

        let found = read_state(&layout)?;
        let anything_runs = !sandboxes(&layout).is_empty();
        if let Some(state) = &found
            && state.spec != *spec
            && anything_runs
        {
            return Err(Error::OtherSettings {
                directory: layout.directory().to_owned(),
            });
        }
        let rig = match found {
            Some(state) if state.built && all_sandboxes_run(&layout, &state) => {
                progress.step("the rig's namespaces are there");
                let rig = Self::of(&layout, State { binaries, ..state });
                rig.save()?;
                rig
            }
            found => {
                if anything_runs || found.is_some() {
                    progress.step("clearing the remains of a rig that did not end in order");
                }
                clear(&layout)?;
                Self::build(&layout, spec, binaries, progress)?
            }
        };
        rig.come_up(&archives, progress)?;
        Ok(rig)
    }

    /// Opens the rig that runs in `directory`.
    ///
    /// # Errors
    /// [`Error::NotRunning`] when there is none.
    pub fn attach(directory: &Path) -> Result<Self> {
        let layout = layout(directory)?;
        match read_state(&layout)? {
            Some(state) if state.built && all_sandboxes_run(&layout, &state) => Ok(Self::of(&layout, state)),
            _ => Err(Error::NotRunning {
                directory: layout.directory().to_owned(),
            }),
        }
    }

    /// Ends a rig and everything it left, in whatever state it is; nothing to end is fine.
    ///
    /// # Errors
    /// [`Error::Leftovers`] names what could not be removed.
    pub fn down_in(directory: &Path, progress: &dyn Progress) -> Result<()> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::NotRoot);
        }
        let layout = layout(directory)?;
        if !layout.directory().exists() && sandboxes(&layout).is_empty() {
            return Ok(());
        }
        fs::create_dir_all(layout.directory()).context(format!("create {}", layout.directory().display()))?;
        let _lock = lock(&layout, progress)?;
        clear(&layout)?;
        progress.step("nothing of the rig is left but its logs");
        Ok(())
    }

    /// Ends the rig.
    ///
    /// # Errors
    /// As [`Self::down_in`].
    pub fn down(self) -> Result<()> {
        Self::down_in(self.layout.directory(), &crate::Silent)
    }

    /// What runs of it.
    pub fn status(&self) -> RigStatus {
        let hub = self.hub();
        RigStatus {
            directory: self.layout.directory().to_owned(),
            control_plane: control_plane::PARTS
                .map(|part| (part.to_owned(), hub.daemon(part).is_some()))
                .to_vec(),
            nodes: self
                .nodes()
                .iter()
                .map(|node| NodeStatus {
                    name: node.name.clone(),
                    addresses: node.addresses(),
                    parts: Part::ALL
                        .map(|part| (part.name().to_owned(), node.part_runs(part)))
                        .to_vec(),
                })
                .collect(),
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
    pub fn addresses(&self) -> &Addresses {
        &self.state.addresses
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.kubeconfig()
    }

    /// The API server's URL, reachable from the root namespace.
    pub fn server_url(&self) -> String {
        server_url(&self.state.addresses)
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
        let none = |why: &str| Error::NoPodProcess {
            namespace: namespace.into(),
            pod: pod.into(),
            why: why.into(),
        };
        let node = document["spec"]["nodeName"]
            .as_str()
            .ok_or_else(|| none("it has no node"))?;
        let node = self.node(node)?;
        if document["spec"]["hostNetwork"] == true {
            return node.spawn(command);
        }
        let uid = document["metadata"]["uid"]
            .as_str()
            .ok_or_else(|| none("it has no UID"))?;
        let cgroup = format!("{}/{}/", self.layout.cgroup(), node.name);
        let process = processes::in_cgroup(&cgroup, uid)
            .ok_or_else(|| none(&format!("it is {} on {}", document["status"]["phase"], node.name)))?;
        node.sandbox.spawn_on_network_of(process, command)
    }

    /// Loads an image archive (OCI layout or `docker save`) into every node.
    ///
    /// # Errors
    /// When a node's containerd refuses it.
    pub fn image_load(&self, archive: &Path) -> Result<()> {
        let archive = fs::canonicalize(archive).context(format!("find {}", archive.display()))?;
        in_parallel(&self.nodes(), |node| node.load_image(&archive))
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

    /// A kubeconfig for a plain user with a client certificate, in at most one group. It may do what RBAC gives it: nothing.
    ///
    /// # Errors
    /// When it cannot be made or written.
    pub fn kubeconfig_for_user(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        let file = file_name(user);
        let authority = Authority::open(&self.layout.pki())?;
        let pair = authority.client(&format!("user-{file}"), user, group)?;
        let path = self.layout.kubeconfigs().join(format!("user-{file}"));
        self.write_kubeconfig(&path, user, &Credentials::Certificate(&pair))?;
        Ok(path)
    }

    /// A kubeconfig with any bearer token, for example one of `kubectl create token`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn kubeconfig_with_token(&self, name: &str, token: &str) -> Result<PathBuf> {
        let path = self.layout.kubeconfigs().join(format!("token-{}", file_name(name)));
        self.write_kubeconfig(&path, name, &Credentials::Token(token))?;
        Ok(path)
    }

    /// The static token the API server knows and whose it is: `(user, token)`. The user may do nothing until RBAC says so.
    pub fn static_token(&self) -> (&'static str, &'static str) {
        (TOKEN_USER, TOKEN)
    }

    fn write_kubeconfig(&self, path: &Path, name: &str, credentials: &Credentials<'_>) -> Result<()> {
        kubeconfig::write(
            path,
            name,
            &self.server_url(),
            &self.certificate_authority(),
            credentials,
        )
    }

    /// Starts `count` plain pods `NAME-0` and on, serving TCP 8080, spread over the nodes, and waits until they are ready.
    ///
    /// # Errors
    /// When one does not become ready.
    pub fn start_plain_pods(&self, namespace: &str, name: &str, count: usize) -> Result<()> {
        let nodes: Vec<_> = self.nodes().iter().map(|node| node.name.clone()).collect();
        self.apply(&json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }).to_string())?;
        self.wait_for_default_service_account(namespace)?;
        self.apply(&workloads::plain_pods(namespace, name, count, &nodes))?;
        let selector = format!("app={name}");
        self.kubectl([
            "wait",
            "pod",
            "--for=condition=Ready",
            "--timeout=120s",
            "-n",
            namespace,
            "-l",
            &selector,
        ])
        .map(drop)
    }

    /// Applies the shop (namespace `shop`: web, api, db and their Services) and waits until it is available.
    ///
    /// # Errors
    /// When it does not become available.
    pub fn open_shop(&self) -> Result<()> {
        self.apply(workloads::SHOP)?;
        self.kubectl([
            "wait",
            "deployment",
            "--all",
            "--for=condition=Available",
            "--timeout=120s",
            "-n",
            "shop",
        ])
        .map(drop)
    }

    fn wait_for_default_service_account(&self, namespace: &str) -> Result<()> {
        wait_until(&format!("service account {namespace}/default"), PATIENCE, || {
            self.kubectl(["get", "serviceaccount", "default", "-n", namespace])
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }

    /// Adds a node and waits until it is ready.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn add_node(&mut self, progress: &dyn Progress) -> Result<Node> {
        let _lock = lock(&self.layout, progress)?;
        let number = self.state.next_node;
        let node = self.node_of(number);
        node.configure(&Authority::open(&self.layout.pki())?)?;
        self.state.nodes.push(number);
        self.state.next_node = number.saturating_add(1);
        // Written before the node is there: a crash in between must not hide it from the next `up` or `down`.
        self.state.built = false;
        self.save()?;
        self.build_node(&node)?;
        self.state.built = true;
        self.save()?;
        self.start_nodes(
            std::slice::from_ref(&node),
            &images::build(&self.state.binaries)?,
            progress,
        )?;
        self.join_pods(progress)?;
        self.wait_for_nodes(progress)?;
        Ok(node)
    }

    /// Removes a node: its object, its processes, its files, the others' routes to its pods.
    ///
    /// # Errors
    /// When something of it cannot be removed.
    pub fn remove_node(&mut self, name: &str) -> Result<()> {
        let _lock = lock(&self.layout, &crate::Silent)?;
        let node = self.node(name)?;
        let networks = pod_networks(&self.kubectl.json(&["get", "node", name])?);
        self.kubectl(["delete", "node", name])?;
        node.remove()?;
        self.state.nodes.retain(|number| *number != node.number);
        self.save()?;
        let sandboxes = self.nodes().into_iter().map(|node| node.sandbox).chain([self.hub()]);
        sandboxes
            .into_iter()
            .try_for_each(|sandbox| network::remove_routes(&sandbox, &networks))
    }

    // What follows is how a rig comes up.

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

    fn node_of(&self, number: u8) -> Node {
        let name = format!("n{number}");
        Node {
            sandbox: Sandbox::new(&self.layout, &name),
            name,
            number,
            layout: self.layout.clone(),
            addresses: self.state.addresses,
            proxy_mode: self.state.spec.proxy_mode,
            cni: self.state.spec.cni,
            binaries: self.state.binaries.clone(),
        }
    }

    fn save(&self) -> Result<()> {
        let path = self.layout.spec();
        let text = serde_json::to_string_pretty(&self.state).map_err(|source| Error::Json {
            what: "the rig's own state".into(),
            source,
        })?;
        let unfinished = path.with_extension("unfinished");
        fs::write(&unfinished, text).context(format!("write {}", unfinished.display()))?;
        fs::rename(&unfinished, &path).context(format!("put {} in place", path.display()))
    }

    /// Namespaces, links, certificates and configuration of a new rig; nothing of Kubernetes runs yet.
    fn build(layout: &Layout, spec: &RigSpec, binaries: Binaries, progress: &dyn Progress) -> Result<Self> {
        progress.step(&format!(
            "making namespaces for {} nodes in {}",
            spec.nodes,
            layout.directory().display()
        ));
        let addresses = Addresses {
            underlay: network::free_underlay(layout.underlay_hint())?,
            families: spec.families,
        };
        let state = State {
            spec: spec.clone(),
            addresses,
            binaries,
            nodes: (1..=spec.nodes).collect(),
            next_node: spec.nodes + 1,
            built: false,
        };
        let mut rig = Self::of(layout, state);
        rig.save()?;
        let logs = layout.logs();
        if logs.exists() {
            fs::remove_dir_all(&logs).context(format!("remove old logs in {}", logs.display()))?;
        }
        fs::create_dir_all(&logs).context(format!("create {}", logs.display()))?;
        fs::create_dir_all(layout.registries()).context(format!("create {}", layout.registries().display()))?;

        let hub = rig.hub();
        hub.start(mounts::isolate)?;
        let init = hub.init().ok_or_else(|| Error::NotRunning {
            directory: layout.directory().to_owned(),
        })?;
        network::build_hub(&hub, init, &addresses, layout)?;

        let authority = Authority::create(&layout.pki())?;
        let control_plane = rig.control_plane(&hub);
        control_plane.configure(&authority)?;
        let admin = authority.client("admin", "rig-admin", Some("system:masters"))?;
        let context = format!("rig-{}", spec.name);
        control_plane.write_kubeconfig(&layout.kubeconfig(), &context, &authority, &admin)?;

        let nodes = rig.nodes();
        nodes.iter().try_for_each(|node| node.configure(&authority))?;
        in_parallel(&nodes, |node| rig.build_node(node))?;
        rig.state.built = true;
        rig.save()?;
        Ok(rig)
    }

    fn build_node(&self, node: &Node) -> Result<()> {
        node.start_sandbox(self.hosts())?;
        let init = node.sandbox.init().ok_or_else(|| Error::NotRunning {
            directory: self.layout.directory().to_owned(),
        })?;
        network::attach_node(
            &self.hub(),
            &node.sandbox,
            init,
            &node.name,
            node.number,
            &self.state.addresses,
        )
    }

    /// `/etc/hosts` of every node; it knows nodes that may be added later, too.
    fn hosts(&self) -> String {
        let mut text = String::from("127.0.0.1 localhost\n::1 localhost\n");
        let nodes = (1..=32).map(|number| (format!("n{number}"), crate::Endpoint::Node(number)));
        for (name, endpoint) in nodes.chain([(HUB.to_owned(), crate::Endpoint::Hub)]) {
            for address in self.state.addresses.of(endpoint) {
                text.push_str(&format!("{address} {name}\n"));
            }
        }
        text
    }

    /// Starts what does not run and waits until the cluster is of use. Every step may find its work done.
    fn come_up(&self, archives: &Archives, progress: &dyn Progress) -> Result<()> {
        let authority = Authority::open(&self.layout.pki())?;
        let hub = self.hub();
        self.control_plane(&hub).start(&authority)?;
        progress.step("control plane started; starting nodes and loading their images");
        let nodes = self.nodes();
        thread::scope(|scope| {
            let starting = scope.spawn(|| self.start_nodes(&nodes, archives, progress));
            self.wait_for_api(progress)?;
            self.apply(&bootstrap_roles())?;
            starting
                .join()
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        })?;
        self.join_pods(progress)?;
        if self.state.spec.cni != Cni::None {
            self.wait_for_nodes(progress)?;
        }
        self.apply(&cluster_dns::manifests(&self.state.addresses))?;
        if self.state.spec.cni != Cni::None {
            self.wait_for_dns(progress)?;
        }
        self.write_environment()?;
        progress.step(&format!(
            "the cluster is up; for a shell: . {}",
            self.layout.environment().display()
        ));
        Ok(())
    }

    fn wait_for_api(&self, progress: &dyn Progress) -> Result<()> {
        let hub = self.hub();
        wait_until("the API server to be ready", PATIENCE, || {
            for part in control_plane::PARTS {
                if hub.daemon(part).is_none() {
                    return Err(format!("{part} has ended; see {}", hub.log_path(part).display()));
                }
            }
            self.kubectl(["get", "--raw", "/readyz"])
                .map(drop)
                .map_err(|error| error.to_string())
        })?;
        progress.step("the API server is ready");
        Ok(())
    }

    fn start_nodes(&self, nodes: &[Node], archives: &Archives, progress: &dyn Progress) -> Result<()> {
        in_parallel(nodes, |node| {
            let fresh = !node.part_runs(Part::Containerd);
            node.start_part(Part::Containerd)?;
            node.wait_for_containerd()?;
            if fresh {
                node.load_standard_images(archives)?;
            }
            node.start_part(Part::Kubelet)?;
            node.start_part(Part::KubeProxy)
        })?;
        progress.step("every node has its images, kubelet and kube-proxy");
        Ok(())
    }

    /// Waits until the controller manager has given every node its pod network, and joins these.
    fn join_pods(&self, progress: &dyn Progress) -> Result<()> {
        let nodes = self.nodes();
        let families = if self.state.spec.families == Families::Dual {
            2
        } else {
            1
        };
        let networks = wait_until("every node to be registered and have a pod network", PATIENCE, || {
            let list = self
                .kubectl
                .json(&["get", "nodes"])
                .map_err(|error| error.to_string())?;
            nodes
                .iter()
                .map(|node| {
                    let items = list["items"].as_array().map(Vec::as_slice).unwrap_or_default();
                    let networks = items
                        .iter()
                        .find(|item| item["metadata"]["name"] == node.name)
                        .map(pod_networks)
                        .unwrap_or_default();
                    if networks.len() == families {
                        Ok(networks)
                    } else {
                        Err(format!(
                            "{} has {networks:?}; see {}",
                            node.name,
                            node.log(Part::Kubelet).display()
                        ))
                    }
                })
                .collect::<std::result::Result<Vec<_>, _>>()
        })?;
        if self.state.spec.cni != Cni::Plain {
            return Ok(());
        }
        let routes_without = |name: &str| -> Vec<(String, IpAddr)> {
            let others = nodes.iter().zip(&networks).filter(|(node, _)| node.name != name);
            others
                .flat_map(|(node, networks)| {
                    let gateway = |network: &String| {
                        node.addresses()
                            .into_iter()
                            .find(|address| address.is_ipv6() == network.contains(':'))
                    };
                    networks
                        .iter()
                        .filter_map(|network| Some((network.clone(), gateway(network)?)))
                        .collect::<Vec<_>>()
                })
                .collect()
        };
        for (node, networks) in nodes.iter().zip(&networks) {
            network::set_routes(&node.sandbox, &routes_without(&node.name))?;
            node.configure_cni(networks)?;
            self.say_network_is_available(node)?;
        }
        network::set_routes(&self.hub(), &routes_without(HUB))?;
        progress.step("pods of all nodes have their network");
        Ok(())
    }

    /// What a network plugin's controller says of a node it has set up (`NodeNetworkUnavailable`).
    fn say_network_is_available(&self, node: &Node) -> Result<()> {
        let patch = json!({ "status": { "conditions": [{
            "type": "NetworkUnavailable",
            "status": "False",
            "reason": "RoutesSet",
            "message": "routes to all other nodes' pods are set",
        }] } });
        self.kubectl([
            "patch",
            "node",
            &node.name,
            "--subresource=status",
            "--patch",
            &patch.to_string(),
        ])
        .map(drop)
    }

    fn wait_for_nodes(&self, progress: &dyn Progress) -> Result<()> {
        wait_until("every node to be Ready", PATIENCE, || {
            for node in self.nodes() {
                let object = self
                    .kubectl
                    .json(&["get", "node", &node.name])
                    .map_err(|error| error.to_string())?;
                let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
                let ready = conditions
                    .iter()
                    .find(|condition| condition["type"] == "Ready")
                    .cloned()
                    .unwrap_or_default();
                if ready["status"] != "True" {
                    let log = node.log(Part::Kubelet);
                    return Err(format!("{}: {}; see {}", node.name, ready["message"], log.display()));
                }
                if object["spec"]["taints"]
                    .as_array()
                    .is_some_and(|taints| !taints.is_empty())
                {
                    return Err(format!("{} is tainted: {}", node.name, object["spec"]["taints"]));
                }
            }
            Ok(())
        })?;
        progress.step("every node is Ready");
        Ok(())
    }

    fn wait_for_dns(&self, progress: &dyn Progress) -> Result<()> {
        wait_until("cluster DNS to be available", PATIENCE, || {
            let deployment = self
                .kubectl
                .json(&["get", "deployment", "coredns", "-n", "kube-system"])
                .map_err(|error| error.to_string())?;
            let status = &deployment["status"];
            if status["observedGeneration"] == deployment["metadata"]["generation"]
                && status["readyReplicas"] == deployment["spec"]["replicas"]
                && status["updatedReplicas"] == deployment["spec"]["replicas"]
            {
                return Ok(());
            }
            let pods = self
                .kubectl(["get", "pods", "-n", "kube-system", "-o", "wide"])
                .unwrap_or_default();
            Err(format!("\n{pods}(kubectl describe pods -n kube-system says more)"))
        })?;
        progress.step("cluster DNS is available");
        Ok(())
    }

    /// The file to source, and the folder of programs it puts on the PATH.
    fn write_environment(&self) -> Result<()> {
        let bin = self.layout.bin();
        fs::create_dir_all(&bin).context(format!("create {}", bin.display()))?;
        let programs = [
            ("kubectl", self.state.binaries.kubernetes.clone()),
            ("kubectl-netcheck", newest_build("kubectl-netcheck")),
            ("netcheck-rig", newest_build("netcheck-rig")),
        ];
        for (name, target) in programs {
            let link = bin.join(name);
            let _ = fs::remove_file(&link);
            symlink(&target, &link).context(format!("link {}", link.display()))?;
        }
        let quoted = |path: &Path| format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"));
        let text = format!(
            "# Source me: . {}\nexport KUBECONFIG={}\nexport {DIRECTORY_VARIABLE}={}\nexport PATH={}:\"$PATH\"\n",
            self.layout.environment().display(),
            quoted(&self.layout.kubeconfig()),
            quoted(self.layout.directory()),
            quoted(&bin),
        );
        let path = self.layout.environment();
        fs::write(&path, text).context(format!("write {}", path.display()))
    }
}

/// The newest of cargo's builds of a program; where a release build would be if there is none.
fn newest_build(name: &str) -> PathBuf {
    let candidates = ["release", "debug"].map(|profile| target_directory().join(profile).join(name));
    let modified = |path: &PathBuf| fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
    let [release, _] = &candidates;
    candidates
        .iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| modified(path))
        .unwrap_or(release)
        .clone()
}

fn layout(directory: &Path) -> Result<Layout> {
    Layout::new(directory).context(format!("find {}", directory.display()))
}

fn read_state(layout: &Layout) -> Result<Option<State>> {
    let path = layout.spec();
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).context(format!("read {}", path.display()))?;
    // Written by another version of this program: as good as none, the rig is built anew.
    Ok(serde_json::from_str(&text).ok())
}

/// One command at a time changes a rig.
fn lock(layout: &Layout, progress: &dyn Progress) -> Result<File> {
    let path = layout.lock();
    let file = File::create(&path).context(format!("open {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => progress.step("waiting for another command to finish with this rig"),
        Err(TryLockError::Error(source)) => {
            return Err(Error::Io {
                what: format!("lock {}", path.display()),
                source,
            });
        }
    }
    file.lock().context(format!("lock {}", path.display()))?;
    Ok(file)
}

/// Names of the sandboxes that run, found in the process table alone.
fn sandboxes(layout: &Layout) -> Vec<String> {
    let directory = layout.directory().to_string_lossy();
    processes::all()
        .into_iter()
        .filter_map(|process| match process.arguments.as_slice() {
            [_, subcommand, rig, name] if subcommand == crate::init::SUBCOMMAND && *rig == directory => {
                Some(name.clone())
            }
            _ => None,
        })
        .collect()
}

fn all_sandboxes_run(layout: &Layout, state: &State) -> bool {
    let running = sandboxes(layout);
    let wanted = state
        .nodes
        .iter()
        .map(|number| format!("n{number}"))
        .chain([HUB.to_owned()]);
    wanted.into_iter().all(|name| running.contains(&name))
}

/// Ends all of a rig in whatever state it is, without stopping at the first failure; only logs stay.
fn clear(layout: &Layout) -> Result<()> {
    let mut leftovers = Vec::new();
    let mut note = |result: Result<()>| {
        if let Err(error) = result {
            leftovers.push(error.to_string());
        }
    };
    for name in sandboxes(layout) {
        note(Sandbox::new(layout, &name).stop());
    }
    note(network::remove_root_link(layout));
    if cgroups::exists(&layout.cgroup()) {
        note(cgroups::remove(&layout.cgroup()));
    }
    for folder in [
        layout.nodes(),
        layout.etcd(),
        layout.pki(),
        layout.config(),
        layout.kubeconfigs(),
        layout.registries(),
        layout.bin(),
    ] {
        if folder.exists() {
            note(fs::remove_dir_all(&folder).context(format!("remove {}", folder.display())));
        }
    }
    for file in [layout.kubeconfig(), layout.environment(), layout.spec()] {
        if file.exists() {
            note(fs::remove_file(&file).context(format!("remove {}", file.display())));
        }
    }
    if leftovers.is_empty() {
        Ok(())
    } else {
        Err(Error::Leftovers(leftovers))
    }
}

/// Root, and everything that is started must be installed; said before anything is made.
fn check_machine(spec: &RigSpec) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    if !(1..=32).contains(&spec.nodes) {
        return Err(Error::Usage(format!("a rig has 1 to 32 nodes, not {}", spec.nodes)));
    }
    let path = env::var("PATH").unwrap_or_default();
    let folders: Vec<_> = path.split(':').chain(sandbox::PATH.split(':')).map(Path::new).collect();
    for program in PROGRAMS {
        if !folders.iter().any(|folder| folder.join(program).is_file()) {
            return Err(Error::MissingProgram {
                program: program.into(),
            });
        }
    }
    if !Path::new(mounts::CNI_PLUGINS).join("ptp").is_file() {
        return Err(Error::MissingProgram {
            program: format!("{}/ptp", mounts::CNI_PLUGINS),
        });
    }
    // The one thing no package brings; asked for in advance, as its failure later would be hard to read.
    namespaces::in_new(namespaces::NEW_NODE, || Ok(()))
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

/// `spec.podCIDRs` of a Node object.
fn pod_networks(node: &Value) -> Vec<String> {
    let networks = node["spec"]["podCIDRs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    networks
        .iter()
        .filter_map(|network| network.as_str().map(str::to_owned))
        .collect()
}

/// A user's name as a file's: users may be called anything.
fn file_name(user: &str) -> String {
    user.chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() || letter == '-' {
                letter
            } else {
                '_'
            }
        })
        .collect()
}
