//! As much of an API server as the bundled CNI's daemon needs: lists in pages, watches, and a nod to what it writes. Plain HTTP, in a network
//! namespace of the bench's. Objects are as large as kubelets make them.

use super::namespace::Namespace;
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// It answers until the process ends.
pub struct FakeApi {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    nodes: BTreeMap<String, Value>,
    config: BTreeMap<String, String>,
    /// Watch events of Nodes since the start; how many there are is the resource version.
    events: Vec<Value>,
}

struct Request {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl FakeApi {
    /// Listens on loopback of a namespace.
    pub fn start(namespace: &Namespace, nodes: Vec<Value>, config: &[(&str, &str)]) -> Result<Self> {
        let listener = namespace.within(|| TcpListener::bind("127.0.0.1:0"))??;
        let config = config
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let state = State {
            nodes: nodes.into_iter().map(|node| (name(&node), node)).collect(),
            config: config.collect(),
            events: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let api = Self {
            address: listener.local_addr()?,
            shared: shared.clone(),
        };
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                // A client that leaves in the middle is no failure.
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(api)
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self) -> String {
        json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": format!("http://{}", self.address)}}],
            "users": [{"name": "bench", "user": {}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": "bench"}}],
        })
        .to_string()
    }

    /// A node leaves the cluster, as a watch tells of it.
    pub fn remove_node(&self, name: &str) -> Result<()> {
        let mut state = self.shared.lock();
        let node = state.nodes.remove(name).with_context(|| format!("no Node {name}"))?;
        state.events.push(json!({"type": "DELETED", "object": node}));
        drop(state);
        self.shared.changed.notify_all();
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(node: &Value) -> String {
    node["metadata"]["name"].as_str().unwrap_or_default().to_owned()
}

/// A Node object as a kubelet and its controllers write it, some 12 kB of JSON, half of which are images and the fields' managers.
pub fn node(name: &str, created: &str, ip: &str, prefix: u8, ranges: &[String]) -> Value {
    let condition = |kind: &str| {
        json!({"type": kind, "status": "False", "reason": format!("KubeletHas{kind}"), "message": format!("kubelet has no {kind}"),
            "lastHeartbeatTime": created, "lastTransitionTime": created})
    };
    let image = |number: u32| {
        let digest = format!("{number:08x}").repeat(8);
        json!({"names": [format!("registry.example.com/team/service-{number}@sha256:{digest}"),
            format!("registry.example.com/team/service-{number}:v1.{number}.0")], "sizeBytes": 50_000_000 + number})
    };
    let fields: serde_json::Map<_, _> = (0..25)
        .map(|number| (format!("f:example.com/label-{number}"), json!({})))
        .collect();
    let managed = |manager: &str| {
        json!({"manager": manager, "operation": "Update", "apiVersion": "v1", "time": created, "fieldsType": "FieldsV1",
            "fieldsV1": {"f:metadata": {"f:labels": fields}}})
    };
    let resources = json!({"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi", "hugepages-1Gi": "0", "hugepages-2Mi": "0"});
    let labels: serde_json::Map<_, _> = (0..15)
        .map(|number| (format!("example.com/label-{number}"), json!("a value")))
        .collect();
    let managers = ["kubelet", "kube-controller-manager", "netcheck-cni-daemon"].map(managed);
    let conditions = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map(condition);
    let images: Vec<_> = (0..40).map(image).collect();
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name, "uid": format!("uid-of-{name}"), "creationTimestamp": created, "resourceVersion": "1", "labels": labels,
            "annotations": {"cni.netcheck.dev/underlay": format!("{ip}/{prefix}"), "cni.netcheck.dev/mtu": "1500"},
            "managedFields": managers,
        },
        "spec": {"podCIDR": ranges.first(), "podCIDRs": ranges},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ip}, {"type": "Hostname", "address": name}],
            "capacity": resources, "allocatable": resources,
            "conditions": conditions,
            "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            "images": images,
            "nodeInfo": {"architecture": "amd64", "bootID": name, "containerRuntimeVersion": "containerd://1.7", "kernelVersion": "6.12",
                "kubeProxyVersion": "", "kubeletVersion": "v1.34.4", "machineID": name, "operatingSystem": "linux", "osImage": "Linux",
                "systemUUID": name},
        },
    })
}

fn serve(mut stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(request) = read(&mut reader)? {
        if request.query.contains_key("watch") {
            return watch(&mut stream, &request, shared);
        }
        let body = answer(&request, shared)?.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes())?;
        stream.write_all(body.as_bytes())?;
    }
    Ok(())
}

fn read(reader: &mut impl BufRead) -> Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (method, path) = (method.to_owned(), path.to_owned());
    let query = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((key, value)) = header.trim_end().split_once(':') else {
            break;
        };
        if key.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Request {
        method,
        path,
        query,
        body,
    }))
}

fn answer(request: &Request, shared: &Shared) -> Result<Value> {
    let state = shared.lock();
    let version = state.events.len();
    let resource = request.path.trim_start_matches("/api/v1/");
    if request.method == "POST" {
        return serde_json::from_slice(&request.body).context("an object was expected");
    }
    if let Some(name) = resource.strip_prefix("nodes/") {
        let name = name.trim_end_matches("/status");
        return state
            .nodes
            .get(name)
            .cloned()
            .with_context(|| format!("no Node {name}"));
    }
    let (kind, items, rest) = if resource == "nodes" {
        let number = |key: &str, default| {
            request
                .query
                .get(key)
                .and_then(|text| text.parse().ok())
                .unwrap_or(default)
        };
        let (start, limit): (usize, usize) = (number("continue", 0), number("limit", usize::MAX));
        let items = state.nodes.values().skip(start).take(limit).cloned().collect();
        let end = start.saturating_add(limit);
        ("NodeList", items, (end < state.nodes.len()).then(|| end.to_string()))
    } else if resource.ends_with("/configmaps") {
        let metadata = json!({"name": "netcheck-cni", "namespace": "netcheck-cni", "resourceVersion": "1"});
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": state.config});
        ("ConfigMapList", vec![map], None)
    } else {
        ("PodList", Vec::new(), None)
    };
    let metadata = json!({"resourceVersion": version.to_string(), "continue": rest.unwrap_or_default()});
    Ok(json!({"apiVersion": "v1", "kind": kind, "metadata": metadata, "items": items}))
}

/// Tells of what happens to Nodes, and of nothing else, until the client leaves.
fn watch(stream: &mut TcpStream, request: &Request, shared: &Shared) -> Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n")?;
    let version = request.query.get("resourceVersion").and_then(|text| text.parse().ok());
    let mut told: usize = version.unwrap_or(0);
    let is_of_nodes = request.path.ends_with("/nodes");
    let mut state = shared.lock();
    loop {
        let mut lines = String::new();
        if is_of_nodes {
            for event in state.events.iter().skip(told) {
                writeln!(lines, "{event}")?;
            }
            told = state.events.len();
        }
        drop(state);
        stream.write_all(lines.as_bytes())?;
        state = shared
            .changed
            .wait(shared.lock())
            .unwrap_or_else(PoisonError::into_inner);
    }
}
