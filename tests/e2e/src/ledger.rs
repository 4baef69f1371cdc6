//! What nodes of the bundled CNI must hold by what the API says of nodes and pods, against what `ip`, `bridge`, `nft`, `bpftool` and `ls` say
//! that they hold: equal, or something was lost or left behind. Worked out here anew from SPEC.md, for backend `vxlan`; none of the product's code.

use anyhow::{Context, Result};
use netcheck_rig::{Node, Rig, wait_until};
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

/// Begins a section of [`SCRIPT`]'s output.
const MARK: &str = "=== ";
/// Everything in one go, so that it is of about one moment.
const SCRIPT: &str = "\
for what in 'ip -j link' 'ip -j address show dev ncvx0' 'ip -j -4 route show table main' 'ip -j -6 route show table main' \
    'ip -j -4 neigh show nud permanent' 'ip -j -6 neigh show nud permanent' 'bridge -j fdb show dev ncvx0' 'nft -j list set inet netcheck-cni pods4' \
    'nft -j list set inet netcheck-cni pods6' 'ls /run/netcheck-cni/ipam/ip' 'ls /sys/fs/bpf/netcheck-cni/v1/links' \
    'bpftool -j map dump pinned /sys/fs/bpf/netcheck-cni/v1/maps/nc_ep' 'bpftool -j map dump pinned /sys/fs/bpf/netcheck-cni/v1/maps/nc_ep_count' \
    'bpftool -j map dump pinned /sys/fs/bpf/netcheck-cni/v1/maps/nc_node'; do \
  echo; echo \"=== $what\"; $what 2>/dev/null; done; \
for file in /run/netcheck-cni/att/*; do echo; echo '=== att'; cat \"$file\" 2>/dev/null; done; true";

/// Lines of a ledger: one for each thing held.
type Lines = BTreeSet<String>;

/// Waits until every node holds exactly what it must.
///
/// # Errors
/// What is missing or too much, by node, when the time is over.
pub fn wait(rig: &Rig, limit: Duration, why: &str) -> Result<()> {
    Ok(wait_until(
        &format!("every node to hold what it must, after {why}"),
        limit,
        || {
            differences(rig)
                .map_err(|error| format!("{error:#}"))
                .and_then(|found| {
                    if found.is_empty() {
                        Ok(())
                    } else {
                        Err(found.join("\n"))
                    }
                })
        },
    )?)
}

/// What is missing or too much now.
fn differences(rig: &Rig) -> Result<Vec<String>> {
    let nodes = items(rig, &["get", "nodes"])?;
    let pods = items(rig, &["get", "pods", "-A"])?;
    let mut found = Vec::new();
    for node in rig.nodes() {
        let wanted = wanted(node.name(), &nodes, &pods)?;
        let held = held(&node)?;
        found.extend(
            wanted
                .difference(&held)
                .map(|line| format!("{} lacks {line}", node.name())),
        );
        found.extend(
            held.difference(&wanted)
                .map(|line| format!("{} still has {line}", node.name())),
        );
    }
    Ok(found)
}

fn items(rig: &Rig, arguments: &[&str]) -> Result<Vec<Value>> {
    let list = rig.kubectl_json(arguments)?;
    list["items"].as_array().cloned().context("a list without items")
}

fn wanted(own: &str, nodes: &[Value], pods: &[Value]) -> Result<Lines> {
    let mut lines = Lines::new();
    let mut add = |line: String| {
        lines.insert(line);
    };
    add("programs on ncvx0".to_owned());
    for node in nodes {
        let is_own = node["metadata"]["name"] == own;
        let underlay = node["status"]["addresses"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|address| address["type"] == "InternalIP")
            .and_then(|address| address["address"].as_str())
            .context("a node without InternalIP")?;
        for range in node["spec"]["podCIDRs"].as_array().into_iter().flatten() {
            let range = range.as_str().unwrap_or_default();
            let first = range.split('/').next().unwrap_or_default();
            add(format!("nc_node {range}"));
            if is_own {
                add(format!("address {first} on ncvx0"));
                add(format!("unreachable {range}"));
                add(format!("nft {range}"));
            } else {
                add(format!("route {range} via {first} dev ncvx0"));
                add(format!("neighbour {first} on ncvx0"));
            }
        }
        if !is_own {
            add(format!("fdb {underlay}"));
            add(format!("nc_peer {underlay}"));
        }
    }
    for pod in pods {
        let is_over = ["Succeeded", "Failed"]
            .iter()
            .any(|phase| pod["status"]["phase"] == *phase);
        if pod["spec"]["nodeName"] != own || pod["spec"]["hostNetwork"] == true || is_over {
            continue;
        }
        let name = format!(
            "{}/{}",
            pod["metadata"]["namespace"].as_str().unwrap_or_default(),
            pod["metadata"]["name"].as_str().unwrap_or_default()
        );
        add(format!("veth of {name}"));
        add(format!("programs on the veth of {name}"));
        add(format!("attachment of {name}, done"));
        for ip in pod["status"]["podIPs"].as_array().into_iter().flatten() {
            let ip = ip["ip"].as_str().unwrap_or_default();
            for what in ["given out:", "attached:", "nc_ep"] {
                add(format!("{what} {ip}"));
            }
            for what in ["route", "neighbour", "nc_ep_count"] {
                add(format!("{what} {ip} on the veth of {name}"));
            }
        }
    }
    Ok(lines)
}

/// What the node's own tools say.
fn held(node: &Node) -> Result<Lines> {
    let output = node.run(["sh", "-c", SCRIPT])?;
    let sections: Vec<(&str, &str)> = output
        .split(&format!("\n{MARK}"))
        .skip(1)
        .map(|section| section.split_once('\n').unwrap_or((section, "")))
        .collect();
    let mut lines = Lines::new();
    let shown = sections.iter().find(|(command, _)| *command == "ip -j link");
    let shown = json(shown.context("no links")?.1)?;
    let veths = veths(&shown);
    let devices: BTreeMap<u64, &str> = shown
        .iter()
        .filter_map(|link| Some((link["ifindex"].as_u64()?, link["ifname"].as_str()?)))
        .collect();
    let on = |device: &str| match veths.get(device) {
        Some(pod) => format!("on the veth of {pod}"),
        None => format!("on {device}"),
    };
    lines.extend(veths.values().map(|pod| format!("veth of {pod}")));
    for (command, text) in &sections {
        let words: Vec<&str> = command.split(' ').collect();
        match words[..] {
            ["att"] => lines.extend(attachment(text)?),
            ["ls", "/run/netcheck-cni/ipam/ip"] => {
                lines.extend(text.split_whitespace().map(|ip| format!("given out: {ip}")));
            }
            ["ls", _] => lines.extend(hooked(text).map(|device| format!("programs {}", on(device)))),
            ["bpftool", .., path] => lines.extend(keys(path, text, &|index| match devices.get(&index) {
                Some(device) => on(device),
                None => format!("on device {index}"),
            })?),
            [_, _, "link"] => {}
            [_, _, "address", ..] => lines.extend(json(text)?.iter().flat_map(addresses)),
            [_, _, _, "route", ..] => lines.extend(json(text)?.iter().filter_map(|entry| route(entry, &on))),
            [_, _, _, "neigh", ..] => lines.extend(json(text)?.iter().filter_map(|entry| neighbour(entry, &on))),
            ["bridge", ..] => lines.extend(json(text)?.iter().map(|entry| format!("fdb {}", word(&entry["dst"])))),
            ["nft", ..] => lines.extend(elements(text)?),
            _ => anyhow::bail!("a section of its own: {command}"),
        }
    }
    Ok(lines)
}

/// Names of our host veths, and whose they are, by their aliases.
fn veths(links: &[Value]) -> BTreeMap<String, String> {
    let name = |link: &Value| {
        let alias = link["ifalias"].as_str()?.strip_prefix("netcheck-cni netcheck@")?;
        let pod = alias.split_whitespace().nth(1).unwrap_or(alias);
        Some((link["ifname"].as_str()?.to_owned(), pod.to_owned()))
    };
    links.iter().filter_map(name).collect()
}

fn attachment(text: &str) -> Result<Vec<String>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let read: Value = serde_json::from_str(text).with_context(|| format!("read an attachment: {text}"))?;
    let pod = format!("{}/{}", word(&read["pod"]["namespace"]), word(&read["pod"]["name"]));
    let ips = read["ips"].as_array().into_iter().flatten();
    let mut lines: Vec<_> = ips.map(|ip| format!("attached: {}", word(ip))).collect();
    lines.push(format!("attachment of {pod}, {}", word(&read["state"])));
    Ok(lines)
}

/// Devices with a pinned link on both sides.
fn hooked(text: &str) -> impl Iterator<Item = &str> {
    let incoming = text.split_whitespace().filter_map(|name| name.strip_suffix("_in"));
    let outgoing: BTreeSet<&str> = text
        .split_whitespace()
        .filter_map(|name| name.strip_suffix("_out"))
        .collect();
    incoming.filter(move |device| outgoing.contains(device))
}

fn addresses(link: &Value) -> Vec<String> {
    let all = link["addr_info"].as_array().into_iter().flatten();
    all.map(|address| format!("address {} on ncvx0", word(&address["local"])))
        .collect()
}

fn route(entry: &Value, on: &impl Fn(&str) -> String) -> Option<String> {
    if word(&entry["protocol"]) != "147" {
        return None;
    }
    let (destination, device) = (word(&entry["dst"]), word(&entry["dev"]));
    Some(match (word(&entry["type"]), word(&entry["gateway"])) {
        ("unreachable", _) => format!("unreachable {destination}"),
        ("", "") => format!("route {destination} {}", on(device)),
        ("", gateway) => format!("route {destination} via {gateway} dev {device}"),
        (kind, _) => format!("route {kind} {destination}"),
    })
}

/// On devices of ours; an uplink's are not.
fn neighbour(entry: &Value, on: &impl Fn(&str) -> String) -> Option<String> {
    let device = word(&entry["dev"]);
    device
        .starts_with("nc")
        .then(|| format!("neighbour {} {}", word(&entry["dst"]), on(device)))
}

/// Of a set of prefixes.
fn elements(text: &str) -> Result<Vec<String>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    let read: Value = serde_json::from_str(text).context("read what nft says")?;
    let sets = read["nftables"].as_array().into_iter().flatten();
    let all = sets.flat_map(|item| item["set"]["elem"].as_array().into_iter().flatten());
    let prefix = |element: &Value| {
        let prefix = &element["prefix"];
        format!("nft {}/{}", word(&prefix["addr"]), prefix["len"])
    };
    Ok(all.map(prefix).collect())
}

/// Keys of a map: an address; for `nc_node` behind a prefix length, for `nc_ep_count` before a device's index, both in the machine's order.
/// IPv4 is written as `::ffff:a.b.c.d`.
/// Of `nc_node` also who has a place in `nc_peer`, which has nothing else to tell them by.
fn keys(path: &str, text: &str, on: &impl Fn(u64) -> String) -> Result<Vec<String>> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let (mut lines, mut places) = (Vec::new(), Vec::new());
    for entry in json(text)? {
        let key = bytes(&entry["key"]);
        let unfit = || format!("a key of {name}: {entry}");
        let ip = |bytes: &[u8]| -> Result<IpAddr> {
            let octets: [u8; 16] = bytes.try_into().with_context(unfit)?;
            Ok(Ipv6Addr::from(octets).to_canonical())
        };
        let number = |bytes: &[u8]| Ok::<_, anyhow::Error>(u32::from_ne_bytes(bytes.try_into().with_context(unfit)?));
        lines.push(match (name, key.len()) {
            ("nc_node", 20) => {
                let (length, address) = key.split_at(4);
                let address = ip(address)?;
                let before = if address.is_ipv4() { 96 } else { 0 };
                places.push(place(&bytes(&entry["value"])).with_context(unfit)?);
                format!("{name} {address}/{}", number(length)? - before)
            }
            ("nc_ep_count", 20) => {
                let (address, device) = key.split_at(16);
                format!("{name} {} {}", ip(address)?, on(number(device)?.into()))
            }
            _ => format!("{name} {}", ip(&key)?),
        });
    }
    // The node itself has none.
    places.retain(|(_, number)| *number != u32::MAX);
    let (nodes, numbers): (BTreeSet<IpAddr>, BTreeSet<u32>) = places.iter().copied().unzip();
    lines.extend(nodes.iter().map(|node| format!("nc_peer {node}")));
    let all = places.into_iter().collect::<BTreeSet<_>>();
    if (nodes.len(), numbers.len()) != (all.len(), all.len()) || numbers.last() >= Some(&8192) {
        lines.push(format!("places in nc_peer that are not each of one peer: {all:?}"));
    }
    Ok(lines)
}

/// Bytes as bpftool's JSON has them.
fn bytes(value: &Value) -> Vec<u8> {
    let bytes = value.as_array().into_iter().flatten();
    bytes
        .filter_map(|byte| u8::from_str_radix(byte.as_str()?.strip_prefix("0x")?, 16).ok())
        .collect()
}

/// Which node a value of `nc_node` is of, and its place in `nc_peer`.
fn place(value: &[u8]) -> Option<(IpAddr, u32)> {
    let octets: [u8; 16] = *value.first_chunk()?;
    let number = u32::from_ne_bytes(*value.get(24..)?.first_chunk()?);
    Some((Ipv6Addr::from(octets).to_canonical(), number))
}

/// A list; nothing is an empty one.
fn json(text: &str) -> Result<Vec<Value>> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    serde_json::from_str(text).with_context(|| format!("read {text}"))
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
