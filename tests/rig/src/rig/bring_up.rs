//! How a rig comes up: what runs already is left alone, so coming up again mends what is missing.

use super::{
    HUB, PATIENCE, Rig, bundled_cni, flannel, in_parallel, layout, machine,
    state::{State, lock, sandboxes},
    take_down::clear,
};
use crate::{
    Addresses, Binaries, Cni, Endpoint, Error, Families, Node, Part, Progress, Result, RigSpec,
    binaries::{self, Extra},
    cluster_dns,
    control_plane::{self, bootstrap_roles},
    error::Context,
    images::{self, Archives},
    layout::{Layout, default_directory},
    mounts,
    network::{self, Table},
    pki::Authority,
    wait_until,
};
use serde_json::{Value, json};
use std::{fs, net::IpAddr, path::Path, thread};

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
        machine::check(spec)?;
        fs::create_dir_all(directory).context(format!("create {}", directory.display()))?;
        let layout = layout(directory)?;
        let _lock = lock(&layout, progress)?;
        let binaries = binaries::build(
            Extra {
                containerd2: !spec.containerd2.is_empty(),
                flanneld: spec.cni == Cni::Flannel,
            },
            progress,
        )?;
        let archives = images::build(&binaries)?;

        let found = State::read(&layout)?;
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
            Some(state) if state.built && state.runs(&layout) => {
                progress.step("the rig's namespaces are there");
                let rig = Self::of(&layout, State { binaries, ..state });
                rig.state.write(&layout)?;
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

    /// Namespaces, links, certificates and configuration of a new rig; nothing of Kubernetes runs yet.
    pub(super) fn build(layout: &Layout, spec: &RigSpec, binaries: Binaries, progress: &dyn Progress) -> Result<Self> {
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
            moved: Vec::new(),
            built: false,
        };
        let mut rig = Self::of(layout, state);
        rig.state.write(layout)?;
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
        network::build_hub(&hub, init, addresses, layout)?;

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
        rig.state.write(layout)?;
        Ok(rig)
    }

    pub(super) fn build_node(&self, node: &Node) -> Result<()> {
        node.start_sandbox(self.hosts())?;
        let init = node.sandbox.init().ok_or_else(|| Error::NotRunning {
            directory: self.layout.directory().to_owned(),
        })?;
        network::attach_node(&self.hub(), node, init, self.state.addresses)
    }

    /// `/etc/hosts` of every node; it knows nodes that may be added later, too.
    pub(super) fn hosts(&self) -> String {
        let mut lines = vec!["127.0.0.1 localhost".to_owned(), "::1 localhost".to_owned()];
        let nodes = (1..=32).map(|number| (format!("n{number}"), self.endpoint(number)));
        for (name, endpoint) in nodes.chain([(HUB.to_owned(), Endpoint::Hub)]) {
            lines.extend(
                self.state
                    .addresses
                    .of(endpoint)
                    .iter()
                    .map(|address| format!("{address} {name}")),
            );
        }
        lines.join("\n") + "\n"
    }

    /// Starts what does not run and waits until the cluster is of use. Every step may find its work done.
    pub(super) fn come_up(&self, archives: &Archives, progress: &dyn Progress) -> Result<()> {
        let authority = Authority::open(&self.layout.pki())?;
        let hub = self.hub();
        let control_plane = self.control_plane(&hub);
        control_plane.start_api(&authority)?;
        progress.step("API server started; starting nodes and loading their images");
        let nodes = self.nodes();
        thread::scope(|scope| {
            let starting = scope.spawn(|| self.start_nodes(&nodes, archives, progress));
            self.wait_for_api(progress)?;
            control_plane.start_all(&authority)?;
            self.apply(&bootstrap_roles())?;
            starting
                .join()
                .unwrap_or_else(|payload| std::panic::resume_unwind(payload))
        })?;
        self.join_pods(progress)?;
        if self.state.spec.cni == Cni::Bundled {
            bundled_cni::install(self, progress)?;
        }
        if self.state.spec.cni != Cni::None {
            self.wait_for_nodes(progress)?;
        }
        self.apply(&cluster_dns::manifests(self.state.addresses))?;
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

    pub(super) fn wait_for_api(&self, progress: &dyn Progress) -> Result<()> {
        let hub = self.hub();
        wait_until("the API server to be ready", PATIENCE, || {
            for part in control_plane::API_PARTS {
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

    /// Starts containerd with its images, then kubelet and kube-proxy, on each node.
    pub(super) fn start_nodes(&self, nodes: &[Node], archives: &Archives, progress: &dyn Progress) -> Result<()> {
        let mut images = archives.all().map(Path::to_owned).to_vec();
        images.extend(self.loaded_images());
        in_parallel(nodes, |node| {
            node.start_part(Part::Containerd)?;
            node.wait_for_containerd()?;
            node.load_images_once(&images)?;
            node.start_part(Part::Kubelet)?;
            node.start_part(Part::KubeProxy)
        })?;
        progress.step("every node has its images, kubelet and kube-proxy");
        Ok(())
    }

    /// Waits until the controller manager has given every node its pod network, and joins these.
    pub(super) fn join_pods(&self, progress: &dyn Progress) -> Result<()> {
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
        if self.state.spec.cni == Cni::None {
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
        let plain = nodes
            .iter()
            .zip(&networks)
            .filter(|_| self.state.spec.cni == Cni::Plain);
        for (node, networks) in plain {
            network::set_routes(&node.sandbox, Table::Main, &routes_without(&node.name))?;
            node.configure_cni(networks)?;
            self.say_network_is_available(node)?;
        }
        network::set_routes(&self.hub(), Table::OwnTraffic, &routes_without(HUB))?;
        if self.state.spec.cni == Cni::Flannel {
            flannel::install(self, progress)?;
        }
        if self.state.spec.cni == Cni::Plain {
            progress.step("pods of all nodes have their network");
        }
        Ok(())
    }

    /// What a network plugin's controller says of a node it has set up (`NodeNetworkUnavailable`).
    pub(super) fn say_network_is_available(&self, node: &Node) -> Result<()> {
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

    pub(super) fn wait_for_nodes(&self, progress: &dyn Progress) -> Result<()> {
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

    pub(super) fn wait_for_dns(&self, progress: &dyn Progress) -> Result<()> {
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
}

/// `spec.podCIDRs` of a Node object.
pub(super) fn pod_networks(node: &Value) -> Vec<String> {
    let networks = node["spec"]["podCIDRs"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    networks
        .iter()
        .filter_map(|network| network.as_str().map(str::to_owned))
        .collect()
}
