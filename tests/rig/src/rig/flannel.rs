//! Real flannel on a rig: its daemon on each node as its DaemonSet would run it, and what its CNI plugin makes of the daemon's file.
//!
//! flannel's own CNI plugin is no Go module that a manifest could name; it calls `bridge` with what is written here
//! (github.com/flannel-io/cni-plugin, README).

use super::{PATIENCE, Rig, in_parallel};
use crate::{Error, Families, Progress, Result, RigSpec, error::Context as _, node::Part, wait_until};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs};

/// Whom the daemons are to the API server.
const USER: &str = "flannel";
/// Where its manifests keep it.
const NAMESPACE: &str = "kube-flannel";
/// The backends that run here.
const BACKENDS: [&str; 3] = ["vxlan", "host-gw", "udp"];
/// Where its daemon tells the CNI plugin of the node.
const SUBNET: &str = "/run/flannel/subnet.env";

/// What can be told before anything runs.
pub(super) fn check(spec: &RigSpec) -> Result<()> {
    for (key, value) in &spec.cni_settings {
        let is_known = match key.as_str() {
            "backend" => BACKENDS.contains(&value.as_str()),
            "directRouting" => ["true", "false"].contains(&value.as_str()),
            _ => false,
        };
        if !is_known {
            return Err(Error::UnknownSetting {
                key: format!("{key}={value}"),
            });
        }
    }
    Ok(())
}

/// Applies what the daemon needs of the API, starts it on each node, and gives pods their network.
pub(super) fn install(rig: &Rig, progress: &dyn Progress) -> Result<()> {
    rig.apply(&manifests(rig.spec(), &rig.addresses().pod_networks()).to_string())?;
    let kubeconfig = rig.kubeconfig_for_user(USER, None)?;
    progress.step("flannel's objects are applied; starting its daemons");
    in_parallel(&rig.nodes(), |node| {
        fs::copy(&kubeconfig, node.flannel_file("kubeconfig")).context("copy flannel's kubeconfig")?;
        let path = node.flannel_file("net-conf.json");
        let network = network(rig.spec(), &rig.addresses().pod_networks()).to_string();
        fs::write(&path, network).context(format!("write {}", path.display()))?;
        node.start_part(Part::Flanneld)?;
        let file = wait_until(&format!("{SUBNET} of {}", node.name()), PATIENCE, || {
            let text = node.run(["cat", SUBNET]).map_err(|error| error.to_string())?;
            let file = subnet_file(&text);
            if file.contains_key("FLANNEL_MTU") {
                Ok(file)
            } else {
                Err(text)
            }
        })?;
        node.write_cni("10-flannel.conflist", &configuration(&file))
    })?;
    progress.step("flannel runs on every node");
    Ok(())
}

/// `KEY=value` lines.
fn subnet_file(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once('='));
    lines.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// flannel's `net-conf.json`.
fn network(spec: &RigSpec, ranges: &[&str]) -> Value {
    let range = |v6: bool| ranges.iter().find(|range| range.contains(':') == v6);
    let setting = |key: &str| spec.cni_settings.get(key).map(String::as_str);
    let mut network = json!({
        "EnableIPv4": spec.families != Families::V6,
        "EnableIPv6": spec.families != Families::V4,
        "Backend": { "Type": setting("backend").unwrap_or("vxlan") },
    });
    if setting("directRouting") == Some("true") {
        network["Backend"]["DirectRouting"] = json!(true);
    }
    for (key, v6) in [("Network", false), ("IPv6Network", true)] {
        if let Some(range) = range(v6) {
            network[key] = json!(range);
        }
    }
    network
}

fn manifests(spec: &RigSpec, ranges: &[&str]) -> Value {
    let rules = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] },
        { "apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"] },
        { "apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"] },
    ]);
    let group = "rbac.authorization.k8s.io";
    json!({ "apiVersion": "v1", "kind": "List", "items": [
        { "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } },
        {
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "kube-flannel-cfg", "namespace": NAMESPACE },
            "data": { "net-conf.json": network(spec, ranges).to_string() },
        },
        { "apiVersion": format!("{group}/v1"), "kind": "ClusterRole", "metadata": { "name": USER }, "rules": rules },
        {
            "apiVersion": format!("{group}/v1"), "kind": "ClusterRoleBinding", "metadata": { "name": USER },
            "roleRef": { "apiGroup": group, "kind": "ClusterRole", "name": USER },
            "subjects": [{ "apiGroup": group, "kind": "User", "name": USER }],
        },
    ] })
}

/// What flannel's plugin hands to `bridge`.
fn configuration(file: &BTreeMap<String, String>) -> Value {
    let value = |key: &str| file.get(key).filter(|value| !value.is_empty());
    let mut ranges = Vec::new();
    let mut routes = Vec::new();
    for (subnet, network) in [
        ("FLANNEL_SUBNET", "FLANNEL_NETWORK"),
        ("FLANNEL_IPV6_SUBNET", "FLANNEL_IPV6_NETWORK"),
    ] {
        if let (Some(subnet), Some(network)) = (value(subnet), value(network)) {
            ranges.push(json!([{ "subnet": without_host(subnet) }]));
            routes.push(json!({ "dst": network }));
        }
    }
    let mtu: u32 = value("FLANNEL_MTU").and_then(|mtu| mtu.parse().ok()).unwrap_or(1500);
    json!({
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "plugins": [
            {
                "type": "bridge", "bridge": "cni0", "mtu": mtu, "hairpinMode": true, "isDefaultGateway": true, "ipMasq": false,
                "ipam": { "type": "host-local", "ranges": ranges, "routes": routes },
            },
            { "type": "portmap", "capabilities": { "portMappings": true } },
        ],
    })
}

/// The file has the bridge's own address with the range's length; the range is wanted. What is left of the last separator is the same in both,
/// since ranges of nodes are /24 and /64 here.
fn without_host(subnet: &str) -> String {
    let (address, length) = subnet.split_once('/').unwrap_or((subnet, "24"));
    if let Some((start, _)) = address.rsplit_once("::") {
        return format!("{start}::/{length}");
    }
    let start = address.rsplit_once('.').map_or(address, |(start, _)| start);
    format!("{start}.0/{length}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cni;

    #[test]
    fn the_range_is_what_the_bridges_address_is_in() {
        assert_eq!(without_host("10.244.1.1/24"), "10.244.1.0/24");
        assert_eq!(without_host("fd00:10:244:1::1/64"), "fd00:10:244:1::/64");
    }

    #[test]
    fn settings_are_flannels() {
        let spec = |key: &str, value: &str| RigSpec {
            cni: Cni::Flannel,
            cni_settings: BTreeMap::from([(key.to_owned(), value.to_owned())]),
            ..RigSpec::default()
        };
        assert!(check(&spec("backend", "host-gw")).is_ok());
        assert!(check(&spec("backend", "carrier-pigeon")).is_err());
        assert!(check(&spec("underlay", "ipv6")).is_err());
    }
}
