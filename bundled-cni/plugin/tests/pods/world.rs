//! A node in a namespace of its own, with a state directory of its own, and the plugin called on it.

use crate::sandbox::Sandbox;
use netcheck_cni::{config::LONGEST, steps::Step};
use netcheck_cni_intent::AttachmentKey;
use serde_json::{Value, json};
use std::{
    fs,
    io::Write,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// The plugin, as built for tests.
pub const PLUGIN: &str = env!("CARGO_BIN_EXE_netcheck-cni");
/// Where Debian has the reference plugins.
pub const REFERENCE: &str = "/usr/lib/cni";
pub const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const DUAL: [&str; 2] = ["10.244.1.0/24", "fd00:10:244:1::/64"];

pub struct World {
    pub node: Sandbox,
    folder: tempfile::TempDir,
}

/// How a call ended.
#[derive(Debug)]
pub struct Answer {
    pub status: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The result of a call that must succeed.
    pub fn done(&self) -> &Self {
        assert_eq!(self.status, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// The error of a call that must not: its code, with the rest of its shape checked.
    pub fn refused(&self) -> u64 {
        assert_eq!(self.status, Some(1), "{self:?}");
        let json = self.json();
        assert!(VERSIONS.contains(&json["cniVersion"].as_str().unwrap()), "{json}");
        assert!(!json["msg"].as_str().unwrap().is_empty(), "{json}");
        assert!(!json["msg"].as_str().unwrap().ends_with('.'), "{json}");
        json["code"].as_u64().unwrap()
    }
}

impl World {
    /// Both families, and the node's own addresses on a bridge that stands for its uplink.
    pub fn new() -> Self {
        Self::with_ranges(&DUAL)
    }

    pub fn with_ranges(ranges: &[&str]) -> Self {
        let node = Sandbox::new();
        node.run(
            "ip link set lo up
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             ip link add eth0 type bridge
             ip addr add 192.0.2.11/24 dev eth0
             ip addr add 2001:db8:99::11/64 dev eth0 nodad
             ip link set eth0 up",
        );
        let folder = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let world = Self { node, folder };
        fs::create_dir(world.state()).unwrap();
        world.write_node(&json!({
            "schema": 1, "node": "n1", "ready": true, "reason": "", "podCIDRs": ranges, "linkMtu": 1500, "routeMtu": 1450
        }));
        world
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn write_node(&self, node: &Value) {
        fs::write(self.state().join("node.json"), node.to_string()).unwrap();
    }

    pub fn config(&self, version: &str) -> Value {
        json!({"cniVersion": version, "name": "netcheck", "type": "netcheck-cni", "dataDir": self.state()})
    }

    /// A configuration in which Debian's host-local gives out the addresses.
    pub fn delegating(&self) -> Value {
        let mut config = self.config("1.0.0");
        config["ipam"] = json!({
            "type": "host-local", "dataDir": self.state().join("host-local"),
            "ranges": [[{"subnet": "10.245.1.0/24"}], [{"subnet": "fd00:10:245:1::/64"}]]
        });
        config
    }

    /// Addresses that host-local holds: its files are named after them.
    pub fn host_local(&self) -> Vec<String> {
        let folder = self.state().join("host-local/netcheck");
        let mut names = names(&folder);
        names.retain(|name| name.parse::<std::net::IpAddr>().is_ok());
        names
    }

    pub fn call<'a>(&'a self, verb: &'a str) -> Calling<'a> {
        let path = format!("{}:{REFERENCE}", Path::new(PLUGIN).parent().unwrap().display());
        let variables = [
            ("CNI_COMMAND", verb),
            ("CNI_IFNAME", "eth0"),
            ("CNI_CONTAINERID", "a1b2c3d4"),
            ("CNI_PATH", &path),
        ];
        Calling {
            world: self,
            variables: variables
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .to_vec(),
            input: self.config("1.1.0").to_string().into_bytes(),
        }
    }

    pub fn add(&self, id: &str, pod: &Sandbox) -> Value {
        let answer = self.call("ADD").id(id).pod(pod).end();
        answer.done().json()
    }

    pub fn del(&self, id: &str) {
        self.call("DEL").id(id).end().done();
    }

    /// What `ip -j` says, as a list.
    pub fn ip(&self, words: &str) -> Vec<Value> {
        ip(&self.node, words)
    }

    pub fn links(&self) -> Vec<String> {
        names(&self.state().join("ipam/ip"))
    }

    pub fn attachments(&self) -> Vec<String> {
        names(&self.state().join("att"))
    }

    pub fn attachment(&self, key: &str) -> Value {
        serde_json::from_slice(&fs::read(self.state().join("att").join(key)).unwrap()).unwrap()
    }

    /// Nothing of ours in the kernel, nothing on disk.
    pub fn assert_empty(&self, after: &str) {
        let devices: Vec<_> = self.ip("link").iter().map(|link| link["ifname"].to_string()).collect();
        assert_eq!(devices, ["\"lo\"", "\"eth0\""], "{after}");
        for family in ["-4", "-6"] {
            assert_eq!(
                self.ip(&format!("{family} route show table all proto 147")),
                Vec::<Value>::new(),
                "{after}"
            );
        }
        assert_eq!(self.links(), Vec::<String>::new(), "{after}");
        assert_eq!(self.attachments(), Vec::<String>::new(), "{after}");
        assert_eq!(self.host_local(), Vec::<String>::new(), "{after}");
    }
}

pub fn ip(sandbox: &Sandbox, words: &str) -> Vec<Value> {
    let text = sandbox.run(&format!("ip -j -d {words}"));
    if text.trim().is_empty() {
        return Vec::new();
    }
    let list: Vec<Value> = serde_json::from_str(&text).unwrap();
    // ip(8) shows what it left out as empty objects.
    list.into_iter()
        .filter(|one| one.as_object().is_some_and(|one| !one.is_empty()))
        .collect()
}

pub fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Name of the veth of a container in the network that all tests use.
pub fn veth(id: &str) -> String {
    let key: AttachmentKey = format!("netcheck@{id}@eth0").parse().unwrap();
    key.host_veth()
}

/// A call of the plugin that is being put together.
pub struct Calling<'a> {
    world: &'a World,
    variables: Vec<(String, String)>,
    input: Vec<u8>,
}

impl Calling<'_> {
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn unset(mut self, name: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self
    }

    pub fn id(self, id: &str) -> Self {
        self.set("CNI_CONTAINERID", id)
    }

    pub fn pod(self, pod: &Sandbox) -> Self {
        self.set("CNI_NETNS", &pod.path().display().to_string())
    }

    pub fn config(self, config: &Value) -> Self {
        self.input(config.to_string().as_bytes())
    }

    pub fn version(self, version: &str) -> Self {
        let config = self.world.config(version);
        self.config(&config)
    }

    pub fn input(mut self, input: &[u8]) -> Self {
        self.input = input.to_vec();
        self
    }

    pub fn die_after(self, step: Step) -> Self {
        self.set(Step::VARIABLE, &step.text())
    }

    /// The process, with its input written.
    pub fn start(self) -> Child {
        let mut child = Command::new("timeout")
            .args(["--foreground", "--signal=QUIT", "60", "nsenter"])
            .arg(format!("--net={}", self.world.node.path().display()))
            .arg(PLUGIN)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that does not read all of it is still to be heard.
        let _ = child.stdin.take().unwrap().write_all(&self.input);
        child
    }

    pub fn end(self) -> Answer {
        wait(self.start())
    }
}

pub fn wait(child: Child) -> Answer {
    let output = child.wait_with_output().unwrap();
    // timeout(1) ends as its child did, by 128 + the signal or by the signal itself.
    let signal = output
        .status
        .signal()
        .or_else(|| output.status.code().filter(|code| *code > 128).map(|code| code - 128));
    Answer {
        status: output.status.code(),
        signal,
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The entry of a list that has these values.
pub fn entry<'a>(list: &'a [Value], values: &Value) -> &'a Value {
    let has = |one: &&Value| {
        values
            .as_object()
            .unwrap()
            .iter()
            .all(|(key, value)| one.get(key) == Some(value))
    };
    list.iter()
        .find(has)
        .unwrap_or_else(|| panic!("{values} is not in {list:#?}"))
}

/// Code and message of a call that must not succeed, in the version that its input asks for, or in the newest.
pub fn refused(calling: Calling<'_>) -> (u64, String) {
    let asked = asked_version(&calling.input).unwrap_or("1.1.0");
    let answer = calling.end();
    let json = answer.json();
    assert_eq!(json["cniVersion"], asked, "{json}");
    (answer.refused(), json["msg"].as_str().unwrap().to_owned())
}

/// What an input that is not too long asks for, if we speak it.
fn asked_version(input: &[u8]) -> Option<&'static str> {
    let json: Value = serde_json::from_slice(input).ok().filter(|_| input.len() <= LONGEST)?;
    VERSIONS.into_iter().find(|version| json["cniVersion"] == **version)
}
