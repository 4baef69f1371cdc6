//! A node of a golden vector: a namespace, folders and a BPF filesystem of its own, and the daemon's keeper in it.

use crate::{sandbox::Sandbox, shell::json, shell::run, vector};
use netcheck_cni_daemon::{
    arguments::{Arguments, Places},
    keeper::{Keeper, Outcome},
};
use netcheck_node_state::within;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

pub struct Node {
    pub sandbox: Sandbox,
    pub keeper: Keeper,
    pub places: Places,
    vector: Value,
    /// Held until the node ends.
    _pods: Vec<Sandbox>,
    folder: tempfile::TempDir,
    has_bpf: bool,
}

const NAME: &str = "n1";

impl Node {
    /// Node n1 with its uplinks and pods; with or without a BPF filesystem.
    pub fn new(vector_name: &str, has_bpf: bool) -> Self {
        let vector = vector::read(vector_name);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        for name in ["bin", "conf", "state/att", "state/ipam/ip", "bpf"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        fs::write(root.join("bin/portmap"), b"").unwrap();
        if has_bpf {
            run(&format!("mount -t bpf bpf {}/bpf", root.display()));
        }
        let places = Places {
            bin: root.join("bin"),
            conf: root.join("conf"),
            state: root.join("state"),
            bpf: root.join("bpf/netcheck-cni"),
        };
        let arguments = Arguments {
            node: NAME.to_owned(),
            listen: "127.0.0.1:0".parse().unwrap(),
            plugin: root.join("plugin"),
            places: places.clone(),
            instead: None,
        };
        let sandbox = Sandbox::new();
        let nodes = vector["input"]["nodes"].as_array().unwrap();
        let own = nodes.iter().find(|node| node["name"] == NAME).unwrap();
        uplinks(&sandbox, own);
        let all = vector["input"]["attachments"].as_array().unwrap().iter();
        let own = all.filter(|attachment| attachment["node"] == NAME);
        let expected = &vector["expected"][NAME];
        let pods = own.map(|attachment| wired(&sandbox, &places.state, attachment, expected));
        Self {
            _pods: pods.collect(),
            keeper: Keeper::new(arguments, b"plugin".to_vec()),
            sandbox,
            places,
            vector,
            folder,
            has_bpf,
        }
    }

    /// One pass that must be whole, with more keys in the ConfigMap.
    pub fn settle(&mut self, more: &[(&str, &str)]) -> Outcome {
        let view = vector::view(&self.vector, more);
        let keeper = &mut self.keeper;
        let outcome = within(&self.sandbox.netns(), || keeper.pass(&view, false)).unwrap();
        assert!(outcome.applied.failed.is_empty(), "{:?}", outcome.applied);
        outcome
    }

    /// A pass that must find nothing to do.
    pub fn idle(&mut self, more: &[(&str, &str)]) {
        let outcome = self.settle(more);
        assert_eq!(outcome.applied.total(), 0, "{:?}", outcome.applied);
    }

    pub fn expected(&self) -> &Value {
        &self.vector["expected"][NAME]
    }

    pub fn root(&self) -> PathBuf {
        self.places.bpf.join("v1")
    }

    pub fn ifindex(&self, device: &str) -> u32 {
        let links = self.sandbox.run(&format!("ip -j link show {device}"));
        let links: Value = serde_json::from_str(&links).unwrap();
        links[0]["ifindex"].as_u64().unwrap().try_into().unwrap()
    }

    /// What `state.json` says of counting.
    pub fn said(&self) -> String {
        let state: Value = serde_json::from_slice(&fs::read(self.places.state.join("state.json")).unwrap()).unwrap();
        state["bpf"].as_str().unwrap().to_owned()
    }

    /// Names of the links that are pinned.
    pub fn links(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.root().join("links")).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    pub fn map(&self, name: &str) -> vector::Entries {
        let dump = self.bpftool("dump", name, "");
        let entries = dump.as_array().unwrap().iter();
        entries
            .map(|entry| (hex(&entry["key"]), entry.get("value").map_or_else(String::new, hex)))
            .collect()
    }

    /// `nc_ep`, `nc_node` without the numbers of places, and who has one in `nc_peer`.
    pub fn held(&self) -> [vector::Entries; 3] {
        let nodes = self.map("nc_node").into_iter().map(|(range, mut value)| {
            value.truncate(2 * 24);
            (range, value)
        });
        let peers = self.slots().into_keys().map(|peer| (peer, String::new()));
        [self.map("nc_ep"), nodes.collect(), peers.collect()]
    }

    /// Places in `nc_peer` that entries of `nc_node` lead to, in hex as their InternalIPs.
    fn slots(&self) -> BTreeMap<String, String> {
        let mut slots = BTreeMap::new();
        for (_, value) in self.map("nc_node") {
            let (node, slot) = (&value[..32], &value[48..]);
            if slot != "ffffffff" {
                let other = slots.insert(node.to_owned(), slot.to_owned());
                assert!(other.is_none_or(|other| other == slot), "{value}");
            }
        }
        assert_eq!(slots.values().collect::<BTreeSet<_>>().len(), slots.len(), "{slots:?}");
        slots
    }

    /// Packets sent to a peer, over all processors.
    pub fn sent_to(&self, peer: &str) -> u64 {
        let slot = &self.slots()[&vector::address(peer)];
        let bytes: Vec<&str> = (0..8).step_by(2).map(|at| &slot[at..at + 2]).collect();
        let entry = self.bpftool("lookup", "nc_peer", &format!("key hex {}", bytes.join(" ")));
        let values = entry["values"].as_array().unwrap().iter();
        values
            .map(|value| {
                let value = hex(&value["value"]);
                u64::from_ne_bytes(u64::from_str_radix(&value[..16], 16).unwrap().to_be_bytes())
            })
            .sum()
    }

    fn bpftool(&self, command: &str, name: &str, more: &str) -> Value {
        json(&format!(
            "bpftool -j map {command} pinned {}/maps/{name} {more}",
            self.root().display()
        ))
    }
}

/// Bytes as bpftool's JSON has them.
fn hex(bytes: &Value) -> String {
    let bytes = bytes.as_array().unwrap().iter();
    let byte = |byte: &Value| u8::from_str_radix(byte.as_str().unwrap().trim_start_matches("0x"), 16).unwrap();
    vector::hex(&bytes.map(byte).collect::<Vec<_>>())
}

fn uplinks(sandbox: &Sandbox, own: &Value) {
    for local in own["local"].as_object().unwrap().values() {
        let (device, address, mtu) = (&local["dev"], &local["address"], &local["mtu"]);
        sandbox.run(&format!(
            "ip link show {device} >/dev/null 2>&1 || {{
                 ip link add {device} mtu {mtu} type veth peer name wire mtu {mtu}
                 for end in {device} wire; do ip link set $end addrgenmode none; ip link set $end up; done
             }}
             nodad=; case {address} in *:*) nodad=nodad; esac
             ip addr add {address} dev {device} $nodad",
        ));
    }
}

/// What ADD leaves of an attachment (SPEC.md, sections 5.3 and 7.3), as far as the daemon does not make it itself.
fn wired(node: &Sandbox, state: &Path, attachment: &Value, expected: &Value) -> Sandbox {
    let pod = Sandbox::new();
    let key = attachment["key"].as_str().unwrap();
    let parts: Vec<&str> = key.split('@').collect();
    let inside = &expected["pods"][key];
    let links = expected["links"].as_array().unwrap();
    let is_its = |link: &&Value| link["ifalias"].as_str().unwrap().contains(key);
    let veth = links.iter().find(is_its).unwrap();
    node.run(&format!(
        "ip link add {veth} address {host_mac} mtu {mtu} type veth peer name eth0 netns {pid} address {mac} mtu {mtu}
         ip link set {veth} alias {alias} addrgenmode none
         nsenter --net={path} ip link set eth0 up
         ip link set {veth} up",
        veth = veth["ifname"],
        host_mac = veth["address"],
        mtu = veth["mtu"],
        alias = veth["ifalias"],
        pid = pod.pid(),
        path = pod.path().display(),
        mac = inside["link"]["address"],
    ));
    for address in inside["addresses"].as_array().unwrap() {
        let (ip, length) = (address["local"].as_str().unwrap(), &address["prefixlen"]);
        pod.run(&format!("ip addr add {ip}/{length} dev eth0"));
        std::os::unix::fs::symlink(key, state.join("ipam/ip").join(ip)).unwrap();
    }
    for route in inside["routes"].as_array().unwrap() {
        let via = route["gateway"]
            .as_str()
            .map_or_else(String::new, |via| format!("via {via}"));
        let family = if via.contains(':') { "-6" } else { "-4" };
        let mtu = &route["metrics"][0]["mtu"];
        let mtu = mtu.as_u64().map_or_else(String::new, |mtu| format!("mtu {mtu}"));
        pod.run(&format!("ip {family} route add {} {via} dev eth0 {mtu}", route["dst"]));
    }
    let netns = fs::metadata(pod.path()).unwrap();
    let recorded = json!({
        "schema": 1, "state": "done", "network": parts[0], "containerID": parts[1], "ifName": parts[2],
        "netns": pod.path(), "netnsDev": netns.dev(), "netnsIno": netns.ino(),
        "ips": attachment["ips"], "mac": inside["link"]["address"], "hostVeth": veth["ifname"],
        "linkMtu": inside["link"]["mtu"], "routeMtu": expected["nodeJson"]["routeMtu"], "ipam": "netcheck-cni",
        "pod": attachment["pod"], "created": "2026-01-01T00:00:00Z",
    });
    fs::write(state.join("att").join(key), recorded.to_string()).unwrap();
    pod
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.has_bpf {
            run(&format!("umount {}/bpf", self.folder.path().display()));
        }
    }
}
