//! The golden vectors, as they are: what a test compares is the vector's own text.

use netcheck_cni_daemon::cluster::View;
use netcheck_cni_intent::NodeObject;
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::PathBuf};

/// Names of all vectors.
pub fn names() -> Vec<String> {
    let files = fs::read_dir(folder()).unwrap();
    let mut names: Vec<String> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".json").map(str::to_owned))
        .collect();
    names.sort();
    names
}

pub fn read(name: &str) -> Value {
    let path = folder().join(format!("{name}.json"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../golden")
}

/// What the API server would say.
pub fn view(vector: &Value) -> View {
    let nodes = vector["input"]["nodes"].as_array().unwrap();
    let config = serde_json::from_value(vector["input"]["config"].clone()).unwrap();
    View {
        nodes: Some(nodes.iter().map(|node| (words(&node["name"]), object(node))).collect()),
        config: Some(Some(config)),
        pods: Some(BTreeSet::new()),
    }
}

fn object(node: &Value) -> NodeObject {
    let list = |key: &str| node[key].as_array().unwrap().iter().map(words).collect();
    NodeObject {
        name: words(&node["name"]),
        uid: words(&node["uid"]),
        created: words(&node["created"]),
        pod_cidrs: list("podCIDRs"),
        internal_ips: list("internalIPs"),
        annotations: serde_json::from_value(node["annotations"].clone()).unwrap(),
    }
}

/// Changes one key of the ConfigMap.
pub fn configure(view: &mut View, key: &str, value: &str) {
    let data = view.config.as_mut().unwrap().as_mut().unwrap();
    data.insert(key.to_owned(), value.to_owned());
}

pub fn words(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
