//! One node: a sandbox with containerd, kubelet and kube-proxy in it.

use crate::{
    Addresses, Cni, Endpoint, ProxyMode, Result,
    binaries::{Binaries, Containerd},
    cgroups,
    control_plane::{flags, server_url},
    error::Context,
    kubeconfig::{self, Credentials},
    layout::Layout,
    mounts::{self, NodeFiles},
    network::NODE_LINK,
    pki::Authority,
    sandbox::Sandbox,
};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
};

/// A lasting program of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The container runtime; its shims, and so the containers, outlive it.
    Containerd,
    /// The node's agent.
    Kubelet,
    /// The Service proxy; the rules it made outlive it.
    KubeProxy,
    /// flannel's daemon, where that is the network; what it made outlives it.
    Flanneld,
}

impl Part {
    /// All that every node has, in the order they start.
    pub const ALL: [Self; 3] = [Self::Containerd, Self::Kubelet, Self::KubeProxy];

    /// The program's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Kubelet => "kubelet",
            Self::KubeProxy => "kube-proxy",
            Self::Flanneld => "flanneld",
        }
    }
}

/// A node of a rig, opened for working on it.
#[derive(Debug, Clone)]
pub struct Node {
    pub(crate) name: String,
    pub(crate) number: u8,
    /// Who it is on the underlay.
    pub(crate) endpoint: Endpoint,
    pub(crate) layout: Layout,
    pub(crate) addresses: Addresses,
    pub(crate) proxy_mode: ProxyMode,
    pub(crate) cni: Cni,
    pub(crate) sandbox: Sandbox,
    pub(crate) binaries: Binaries,
    /// Its container runtime, where it is not the machine's.
    pub(crate) containerd2: Option<Containerd>,
}

impl Node {
    /// Its name in the cluster.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its addresses on the underlay, primary family first.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.addresses.of(self.endpoint)
    }

    /// Process number, in the root namespace, of the node's PID 1: a handle on its namespaces for `nsenter -t`.
    pub fn init_pid(&self) -> Option<i32> {
        self.sandbox.init().map(|pid| pid.as_raw_nonzero().get())
    }

    /// Runs a command in all of the node's namespaces with the machine's programs and collects its output.
    ///
    /// # Errors
    /// When it cannot be started; its exit code is the caller's to judge.
    pub fn exec<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Result<Output> {
        self.sandbox.output(command_of(command))
    }

    /// As [`Self::exec`], but gives stdout, and a command that fails is an error.
    pub fn run<A: AsRef<OsStr>>(&self, command: impl IntoIterator<Item = A>) -> Result<String> {
        self.sandbox.run(command_of(command))
    }

    /// Starts a prepared command (with its own stdin, stdout, stderr) in all of the node's namespaces. Wait for the child: a
    /// node cannot end while a process of its is not collected.
    pub fn spawn(&self, command: Command) -> Result<Child> {
        self.sandbox.spawn(command)
    }

    /// Whether a part runs.
    pub fn part_runs(&self, part: Part) -> bool {
        self.sandbox.daemon(part.name()).is_some()
    }

    /// Asks a part to end and waits until it has.
    pub fn stop_part(&self, part: Part) -> Result<()> {
        self.sandbox.end_daemon(part.name(), Signal::TERM)
    }

    /// Kills a part and waits until it is gone.
    pub fn kill_part(&self, part: Part) -> Result<()> {
        self.sandbox.end_daemon(part.name(), Signal::KILL)
    }

    /// Starts a part, if it does not run.
    pub fn start_part(&self, part: Part) -> Result<()> {
        if self.part_runs(part) {
            return Ok(());
        }
        let config = |name: &str| self.home().join(name).display().to_string();
        let (program, arguments) = match part {
            Part::Containerd => (
                self.containerd2
                    .as_ref()
                    .map_or_else(|| PathBuf::from("containerd"), |runtime| runtime.daemon.clone()),
                flags(&[("config", config("containerd.toml"))]),
            ),
            Part::Kubelet => {
                let addresses: Vec<_> = self.addresses().iter().map(ToString::to_string).collect();
                let arguments = flags(&[
                    ("config", config("kubelet.json")),
                    ("kubeconfig", config("kubelet.kubeconfig")),
                    ("hostname-override", self.name.clone()),
                    ("node-ip", addresses.join(",")),
                ]);
                (self.binaries.kubernetes.clone(), arguments)
            }
            Part::KubeProxy => (
                self.binaries.kubernetes.clone(),
                flags(&[("config", config("kube-proxy.json"))]),
            ),
            Part::Flanneld => {
                let file = |name: &str| self.flannel_file(name).display().to_string();
                let arguments = flags(&[
                    ("kube-subnet-mgr", "true".to_owned()),
                    ("kubeconfig-file", file("kubeconfig")),
                    ("net-config-path", file("net-conf.json")),
                    ("iface", NODE_LINK.to_owned()),
                    ("ip-masq", "true".to_owned()),
                ]);
                let program = self
                    .binaries
                    .flanneld
                    .clone()
                    .unwrap_or_else(|| PathBuf::from("flanneld"));
                (program, arguments)
            }
        };
        // flannel's daemon looks there for its Node; the others do not look.
        let environment = [("NODE_NAME", self.name.as_str())];
        self.sandbox
            .start_daemon(part.name(), &program, &arguments, &environment)
    }

    /// Where a part writes what it has to say.
    pub fn log(&self, part: Part) -> PathBuf {
        self.sandbox.log_path(part.name())
    }

    fn home(&self) -> PathBuf {
        self.layout.node(&self.name)
    }

    pub(crate) fn cgroup(&self) -> String {
        format!("{}/{}", self.layout.cgroup(), self.name)
    }

    /// Writes the node's certificates and configuration.
    pub(crate) fn configure(&self, authority: &Authority) -> Result<()> {
        let home = self.home();
        fs::create_dir_all(&home).context(format!("create {}", home.display()))?;
        let user = format!("system:node:{}", self.name);
        let file = format!("node-{}", self.name);
        let client = authority.client(&file, &user, Some("system:nodes"))?;
        let serving = authority.server(&format!("{file}-serving"), &user, &[&self.name], &self.addresses())?;
        kubeconfig::write(
            &home.join("kubelet.kubeconfig"),
            &self.name,
            &server_url(self.addresses),
            &authority.certificate(),
            &Credentials::Certificate(&client),
        )?;
        write(
            &home.join("resolv.conf"),
            "# The rig has no resolver outside the cluster.\n",
        )?;
        write(
            &home.join("kubelet.json"),
            &format!("{:#}\n", self.kubelet_configuration(authority, &serving)),
        )?;
        write(
            &home.join("kube-proxy.json"),
            &format!("{:#}\n", self.proxy_configuration()),
        )?;
        let shim = self.containerd2.as_ref().map(|runtime| runtime.shim.as_path());
        write(&home.join("containerd.toml"), &containerd_configuration(shim))
    }

    fn kubelet_configuration(&self, authority: &Authority, serving: &crate::pki::Pair) -> Value {
        json!({
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": { "enabled": false },
                "webhook": { "enabled": true, "cacheTTL": "2s" },
                "x509": { "clientCAFile": authority.certificate() },
            },
            "authorization": { "mode": "Webhook", "webhook": { "cacheAuthorizedTTL": "2s", "cacheUnauthorizedTTL": "1s" } },
            "tlsCertFile": serving.certificate,
            "tlsPrivateKeyFile": serving.key,
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "clusterDomain": "cluster.local",
            "clusterDNS": self.addresses.cluster_dns(),
            "resolvConf": self.home().join("resolv.conf"),
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": format!("/{}", self.cgroup()),
            "failSwapOn": false,
            "localStorageCapacityIsolation": false,
            // The machine's disk and memory are shared by all nodes; a nearly full one must not empty the cluster.
            "evictionHard": { "memory.available": "20Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%", "imagefs.available": "1%" },
            "imageGCHighThresholdPercent": 100,
            // Raising one's own priority before the OOM killer needs CAP_SYS_RESOURCE, which not every machine gives.
            "oomScoreAdj": 0,
            "nodeLeaseDurationSeconds": 8,
            "nodeStatusUpdateFrequency": "3s",
            "registryPullQPS": 0,
            "eventRecordQPS": 0,
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "serializeImagePulls": false,
            "maxPods": 110,
        })
    }

    fn proxy_configuration(&self) -> Value {
        let mode = match self.proxy_mode {
            ProxyMode::Iptables => "iptables",
            ProxyMode::Nftables => "nftables",
        };
        json!({
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "clientConnection": { "kubeconfig": self.layout.kubeconfigs().join("kube-proxy") },
            "hostnameOverride": self.name,
            "mode": mode,
            "clusterCIDR": self.addresses.pod_networks().join(","),
            // Limits of connection tracking belong to the initial network namespace: leave them alone.
            "conntrack": { "maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s" },
            "oomScoreAdj": 0,
            "iptables": { "minSyncPeriod": "100ms" },
            "nftables": { "minSyncPeriod": "100ms" },
        })
    }

    /// Makes the node's cgroups and namespaces, if they are not there.
    pub(crate) fn start_sandbox(&self, hosts: String) -> Result<()> {
        cgroups::create(&self.cgroup())?;
        let files = NodeFiles {
            home: self.home(),
            registries: self.layout.registries(),
            hosts,
            hostname: format!("{}\n", self.name),
        };
        self.sandbox.start(|| {
            mounts::isolate()?;
            mounts::furnish(&files)
        })
    }

    /// Ends everything on the node and removes what it kept.
    pub(crate) fn remove(&self) -> Result<()> {
        self.sandbox.stop()?;
        cgroups::remove(&self.cgroup())?;
        let home = self.home();
        if home.exists() {
            fs::remove_dir_all(&home).context(format!("remove {}", home.display()))?;
        }
        Ok(())
    }

    /// Loads an image archive into the node's containerd.
    pub(crate) fn load_image(&self, archive: &Path) -> Result<()> {
        let command = ["ctr", "--namespace", "k8s.io", "images", "import"].map(OsStr::new);
        self.run(command.into_iter().chain([archive.as_os_str()])).map(drop)
    }

    /// Waits until containerd answers.
    pub(crate) fn wait_for_containerd(&self) -> Result<()> {
        crate::wait_until(&format!("containerd on {}", self.name), crate::rig::PATIENCE, || {
            self.run(["ctr", "version"])
                .map(drop)
                .map_err(|error| error.to_string())
        })
    }

    /// A file of flannel's daemon.
    pub(crate) fn flannel_file(&self, name: &str) -> PathBuf {
        self.home().join(format!("flannel-{name}"))
    }

    /// Puts a CNI configuration in place.
    pub(crate) fn write_cni(&self, name: &str, configuration: &Value) -> Result<()> {
        let text = format!("{configuration:#}\n");
        self.sandbox.on_files(|| {
            let folder = Path::new("/etc/cni/net.d");
            // Renamed into place: containerd watches the folder and must not read half a file.
            let unfinished = folder.join(".unfinished");
            write(&unfinished, &text)?;
            fs::rename(unfinished, folder.join(name))
                .context(format!("put the CNI configuration of {} in place", self.name))
        })
    }

    /// Gives pods of this node their network: each in `networks` (the node's `podCIDRs`).
    pub(crate) fn configure_cni(&self, networks: &[String]) -> Result<()> {
        if self.cni != Cni::Plain {
            return Ok(());
        }
        self.write_cni("10-plain.conflist", &plain_configuration(networks))
    }

    /// Loads the archives that this node has not got yet.
    pub(crate) fn load_images_once(&self, archives: &[PathBuf]) -> Result<()> {
        // The archive of an image of ours is named after its content; this list goes when the node goes.
        let list = self.home().join("images");
        let mut loaded = fs::read_to_string(&list).unwrap_or_default();
        for archive in archives {
            let path = archive.display().to_string();
            if loaded.lines().all(|line| line != path) {
                self.load_image(archive)?;
                loaded = loaded + &path + "\n";
                write(&list, &loaded)?;
            }
        }
        Ok(())
    }
}

/// Configuration of the reference plugins (CNI spec 1.0.0). No masquerading: every node has a route to every pod, so
/// addresses stay what they are all the way.
fn plain_configuration(networks: &[String]) -> Value {
    let ranges: Vec<_> = networks.iter().map(|network| json!([{ "subnet": network }])).collect();
    let routes: Vec<_> = networks
        .iter()
        .map(|network| json!({ "dst": if network.contains(':') { "::/0" } else { "0.0.0.0/0" } }))
        .collect();
    json!({
        "cniVersion": "1.0.0",
        "name": "plain",
        "plugins": [
            { "type": "ptp", "ipMasq": false, "ipam": { "type": "host-local", "ranges": ranges, "routes": routes } },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// With the shim's place, where it is not the one on the PATH. Version 2 of containerd reads this too, and migrates it by itself.
fn containerd_configuration(shim: Option<&Path>) -> String {
    let Some(shim) = shim else {
        return CONTAINERD_CONFIGURATION.to_owned();
    };
    let runtime = "      runtime_type = \"io.containerd.runc.v2\"\n";
    let placed = format!("{runtime}      runtime_path = {:?}\n", shim.display().to_string());
    CONTAINERD_CONFIGURATION.replace(runtime, &placed)
}

/// Paths are the same on every node: each has its own file system there.
const CONTAINERD_CONFIGURATION: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/rig/pause:1"
  # Lowering a container's score below the daemon's own needs CAP_SYS_RESOURCE.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "/etc/containerd/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#;

fn write(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).context(format!("write {}", path.display()))
}

/// A command from words, the program first.
pub(crate) fn command_of<A: AsRef<OsStr>>(words: impl IntoIterator<Item = A>) -> Command {
    let mut words = words.into_iter();
    let mut command = words.next().map_or_else(|| Command::new("true"), Command::new);
    command.args(words).current_dir("/");
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_configuration_has_one_range_and_one_default_route_per_family() {
        let document = plain_configuration(&["10.244.1.0/24".into(), "fd00:10:244:1::/64".into()]);
        let ipam = &document["plugins"][0]["ipam"];
        assert_eq!(
            ipam["ranges"],
            json!([[{ "subnet": "10.244.1.0/24" }], [{ "subnet": "fd00:10:244:1::/64" }]])
        );
        assert_eq!(ipam["routes"], json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]));
    }
}
