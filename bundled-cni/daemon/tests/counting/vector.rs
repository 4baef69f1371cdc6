//! The golden vectors: what goes in, and what the maps must hold.

use netcheck_cni_daemon::cluster::View;
use netcheck_cni_intent::NodeObject;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
};

pub fn read(name: &str) -> Value {
    let path = format!("{}/../golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn object(node: &Value) -> NodeObject {
    let list = |key: &str| serde_json::from_value(node[key].clone()).unwrap();
    let text = |key: &str| node[key].as_str().unwrap().to_owned();
    NodeObject {
        name: text("name"),
        uid: text("uid"),
        created: text("created"),
        pod_cidrs: list("podCIDRs"),
        internal_ips: list("internalIPs"),
        annotations: serde_json::from_value(node["annotations"].clone()).unwrap(),
    }
}

/// The cluster, with more keys in the ConfigMap.
pub fn view(vector: &Value, more: &[(&str, &str)]) -> View {
    let nodes = vector["input"]["nodes"].as_array().unwrap().iter().map(object);
    let mut config: BTreeMap<String, String> = serde_json::from_value(vector["input"]["config"].clone()).unwrap();
    config.extend(more.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    View {
        nodes: Some(nodes.map(|node| (node.name.clone(), node)).collect()),
        config: Some(Some(config)),
        pods: None,
    }
}

/// Entries of a map: key and value in hex.
pub type Entries = BTreeSet<(String, String)>;

pub fn hex(bytes: &[u8]) -> String {
    let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

/// SPEC.md, section 6.2: 16 bytes, IPv4 as `::ffff:a.b.c.d`.
pub fn address(text: &str) -> String {
    match text.parse().unwrap() {
        IpAddr::V4(ip) => "00".repeat(10) + "ffff" + &hex(&ip.octets()),
        IpAddr::V6(ip) => hex(&ip.octets()),
    }
}

fn digits(value: &Value) -> String {
    value.as_str().unwrap().replace([':', '-'], "")
}

/// What `nc_ep` and `nc_node` without the numbers of places must be, and who must have a place in `nc_peer`, by the table of SPEC.md, section 6.2.
pub fn maps(bpf: &Value, ifindex: impl Fn(&str) -> u32) -> [Entries; 3] {
    let list = |name: &str| bpf[name].as_array().unwrap().iter();
    let endpoint = |entry: &Value| {
        let device = ifindex(entry["dev"].as_str().unwrap());
        let fields = ["podMac", "hostMac", "podUid"].map(|field| digits(&entry[field]));
        let value = hex(&device.to_ne_bytes()) + &fields.concat();
        (address(entry["address"].as_str().unwrap()), value)
    };
    let node = |entry: &Value| {
        let (ip, length) = entry["prefix"].as_str().unwrap().split_once('/').unwrap();
        let length = length.parse::<u32>().unwrap() + if ip.contains(':') { 0 } else { 96 };
        let flags = entry["flags"].as_array().unwrap().iter();
        let flags: u16 = flags.map(|flag| if flag == "direct" { 1 } else { 2 }).sum();
        let value = address(entry["node"].as_str().unwrap()) + &digits(&entry["vtepMac"]) + &hex(&flags.to_ne_bytes());
        (hex(&length.to_ne_bytes()) + &address(ip), value)
    };
    let peer = |ip: &Value| (address(ip.as_str().unwrap()), String::new());
    [
        list("nc_ep").map(endpoint).collect(),
        list("nc_node").map(node).collect(),
        list("nc_peer").map(peer).collect(),
    ]
}
