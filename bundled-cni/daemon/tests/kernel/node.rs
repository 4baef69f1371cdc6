//! A node: a namespace and folders of its own, the daemon's keeper in it, and the plugin called as a runtime calls it.

use crate::{held::Held, sandbox::Sandbox, shell::run, vector::words};
use netcheck_cni::steps::Step;
use netcheck_cni_daemon::{
    arguments::{Arguments, Places},
    cluster::View,
    keeper::{Keeper, Outcome},
};
use netcheck_node_state::within;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    env, fs,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub struct Node {
    pub name: String,
    pub sandbox: Sandbox,
    /// Its pods' namespaces, by attachment key.
    pub pods: BTreeMap<String, Sandbox>,
    folder: tempfile::TempDir,
    keeper: Keeper,
}

/// The plugin, built beside this test.
pub fn plugin() -> PathBuf {
    let own = env::current_exe().unwrap();
    let beside = own.ancestors().map(|folder| folder.join("netcheck-cni"));
    let found = beside.into_iter().find(|file| file.is_file());
    found.expect("the plugin is not built: cargo build -p netcheck-cni")
}

fn places(root: &Path) -> Places {
    Places {
        bin: root.join("bin"),
        conf: root.join("conf"),
        state: root.join("state"),
        bpf: root.join("bpf/netcheck-cni"),
    }
}

fn keeper(name: &str, root: &Path) -> Keeper {
    let arguments = Arguments {
        node: name.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        plugin: plugin(),
        places: places(root),
        instead: None,
    };
    let binary = fs::read(&arguments.plugin).unwrap();
    Keeper::new(arguments, binary)
}

impl Node {
    /// With nothing but the reference plugin that is chained by default; no devices yet.
    pub fn bare(name: &str) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        fs::write(bin.join("portmap"), b"").unwrap();
        fs::create_dir(folder.path().join("bpf")).unwrap();
        run(&format!("mount -t bpf bpf {}/bpf", folder.path().display()));
        let sandbox = Sandbox::new();
        sandbox.run("sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0; ip link set lo up");
        Self {
            name: name.to_owned(),
            sandbox,
            pods: BTreeMap::new(),
            keeper: keeper(name, folder.path()),
            folder,
        }
    }

    /// With the uplinks that a vector tells of, each to nowhere.
    pub fn furnished(node: &Value) -> Self {
        let this = Self::bare(node["name"].as_str().unwrap());
        for local in node["local"].as_object().unwrap().values() {
            let (device, mtu) = (words(&local["dev"]), &local["mtu"]);
            this.sandbox.run(&format!(
                "if ! ip link show {device} 2>/dev/null; then
                     ip link add {device} mtu {mtu} type veth peer name to-{device} mtu {mtu}
                     for end in {device} to-{device}; do ip link set $end addrgenmode none; ip link set $end up; done
                 fi",
            ));
            this.add_address(&device, local["address"].as_str().unwrap());
        }
        this
    }

    pub fn add_address(&self, device: &str, address: &str) {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.sandbox.run(&format!("ip addr add {address} dev {device} {nodad}"));
    }

    /// One pass of the daemon, whatever comes of it.
    pub fn pass(&mut self, view: &View) -> Outcome {
        let keeper = &mut self.keeper;
        within(&self.sandbox.netns(), || keeper.pass(view, false)).unwrap()
    }

    /// One pass that must be whole.
    pub fn settle(&mut self, view: &View) -> Outcome {
        let outcome = self.pass(view);
        assert!(
            outcome.applied.failed.is_empty(),
            "{}: {:?}",
            self.name,
            outcome.applied
        );
        outcome
    }

    /// The next pass looks at what changes rarely, too, as one in a period does.
    pub fn look_at_all(&mut self) {
        self.keeper.look_at_all();
    }

    /// The daemon ends, and another one begins.
    pub fn restart_daemon(&mut self) {
        self.keeper = keeper(&self.name, self.folder.path());
    }

    pub fn held(&self) -> Held {
        Held::by(&self.sandbox)
    }

    pub fn places(&self) -> Places {
        places(self.folder.path())
    }

    pub fn json(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.places().state.join(file)).unwrap()).unwrap()
    }

    pub fn sysctl(&self, key: &str) -> String {
        self.sandbox.run(&format!("sysctl -n {key}")).trim().to_owned()
    }

    /// The plugin as a runtime calls it, with the daemon's configuration. Its exit status, and what it said.
    pub fn call(&self, verb: &str, variables: &[(&str, &str)], runtime_config: &Value) -> (i32, Value) {
        let list: Value = fs::read(self.places().conf.join("05-netcheck.conflist")).map_or_else(
            |_| json!({ "plugins": [{ "type": "netcheck-cni" }] }),
            |text| serde_json::from_slice(&text).unwrap(),
        );
        let mut config = list["plugins"][0].clone();
        assert_eq!(config["type"], "netcheck-cni");
        config["cniVersion"] = json!("1.1.0");
        config["name"] = json!("netcheck");
        config["runtimeConfig"] = runtime_config.clone();
        // Not the folder that every node has.
        config["dataDir"] = json!(self.places().state);
        let mut child = Command::new("timeout")
            .args(["--foreground", "240", "nsenter"])
            .arg(format!("--net={}", self.sandbox.path().display()))
            // Not the daemon's copy of it: while another test starts a program, that one's descriptor of its copy is open for writing
            // there as well, and a file that is being written cannot be executed.
            .arg(plugin())
            .env("CNI_COMMAND", verb)
            .env("CNI_PATH", self.places().bin)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(config.to_string().as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        // As a shell says it of a process that was killed.
        let status = output.status.code().or_else(|| Some(128 + output.status.signal()?));
        (status.unwrap(), said)
    }

    /// ADD of an attachment of a vector, in a namespace made for it; what the plugin said.
    pub fn add(&mut self, attachment: &Value) -> (i32, Value) {
        let key = words(&attachment["key"]);
        let pod = self.pods.entry(key.clone()).or_insert_with(Sandbox::new).path();
        self.call_for("ADD", &key, &pod, attachment, None)
    }

    /// ADD, whose process is killed after a step.
    pub fn add_and_die(&mut self, attachment: &Value, step: Step) {
        let key = words(&attachment["key"]);
        let pod = self.pods.entry(key.clone()).or_insert_with(Sandbox::new).path();
        let (status, _) = self.call_for("ADD", &key, &pod, attachment, Some(step));
        assert_eq!(status, 128 + 9, "{step:?}");
    }

    pub fn del(&mut self, attachment: &Value) {
        let key = words(&attachment["key"]);
        let pod = self.pods[&key].path();
        assert_eq!(self.call_for("DEL", &key, &pod, attachment, None).0, 0);
        self.pods.remove(&key);
    }

    fn call_for(&self, verb: &str, key: &str, pod: &Path, attachment: &Value, dies: Option<Step>) -> (i32, Value) {
        let parts: Vec<&str> = key.split('@').collect();
        let of_pod = |key: &str| words(&attachment["pod"][key]);
        let arguments = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE={};K8S_POD_NAME={};K8S_POD_UID={}",
            of_pod("namespace"),
            of_pod("name"),
            of_pod("uid")
        );
        let step = dies.map_or_else(String::new, Step::text);
        let variables = [
            ("CNI_CONTAINERID", parts[1]),
            ("CNI_IFNAME", parts[2]),
            ("CNI_NETNS", pod.to_str().unwrap()),
            ("CNI_ARGS", &arguments),
            (Step::VARIABLE, &step),
        ];
        self.call(verb, &variables, &json!({ "ips": attachment["ips"] }))
    }
}

/// A vector's attachments of one node.
pub fn attachments<'a>(vector: &'a Value, node: &str) -> Vec<&'a Value> {
    let all = vector["input"]["attachments"].as_array().unwrap();
    all.iter().filter(|attachment| attachment["node"] == node).collect()
}

/// A vector's node by its name.
pub fn node_of<'a>(vector: &'a Value, name: &str) -> &'a Value {
    let nodes = vector["input"]["nodes"].as_array().unwrap();
    nodes.iter().find(|node| node["name"] == name).unwrap()
}

impl Drop for Node {
    fn drop(&mut self) {
        run(&format!("umount {}/bpf", self.folder.path().display()));
    }
}
