//! Nodes, as the API tells of them.

use super::{
    api::numbers,
    book::{Book, finding, listed},
    report::{State, Topic},
};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Node as ApiNode;
use netcheck_cni_intent::names::CONDITION_NETWORK_UNAVAILABLE;
use std::net::IpAddr;

/// How many minor versions a kubelet may be older than the API server (kubernetes.io/releases/version-skew-policy).
const SKEW: u32 = 3;
/// Shows all ranges.
const CIDRS: &str = "kubectl get nodes -o custom-columns=NAME:.metadata.name,CIDRS:.spec.podCIDRs";

/// A node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Why no agent can run there; `None` if one can.
    pub out_of_scope: Option<&'static str>,
    /// Why it is not ready; `None` if it is.
    pub not_ready: Option<String>,
    /// What it says of a network that is not available.
    pub no_network: Option<String>,
    /// `podCIDRs`.
    pub ranges: Vec<IpNet>,
    /// `podCIDRs` that are no ranges.
    pub broken_ranges: Vec<String>,
    /// `InternalIP`s.
    pub ips: Vec<IpAddr>,
    /// Version of its kubelet.
    pub kubelet: String,
    /// Its kernel.
    pub kernel: String,
    /// Its container runtime.
    pub runtime: String,
    /// Its operating system's name, and the processor's kind.
    pub image: String,
}

impl Node {
    /// From the API's object; `None` without a name.
    pub fn of(node: &ApiNode) -> Option<Self> {
        let known = crate::cluster::list::convert::node(node)?;
        let status = node.status.as_ref();
        let info = status.and_then(|status| status.node_info.as_ref());
        let conditions = status.and_then(|status| status.conditions.as_ref());
        let unavailable = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == CONDITION_NETWORK_UNAVAILABLE && condition.status == "True");
        let words = |condition: &k8s_openapi::api::core::v1::NodeCondition| {
            let words = [condition.reason.as_deref(), condition.message.as_deref()];
            words.into_iter().flatten().collect::<Vec<_>>().join(": ")
        };
        let spec = node.spec.as_ref();
        let all = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
        let one = || spec.and_then(|spec| spec.pod_cidr.clone()).into_iter().collect();
        let texts: Vec<String> = if all.is_empty() { one() } else { all };
        let (ranges, broken): (Vec<_>, Vec<_>) = texts
            .iter()
            .map(|text| text.parse::<IpNet>().map_err(|_| text.clone()))
            .partition(Result::is_ok);
        Some(Self {
            out_of_scope: match known.os.as_str() {
                _ if known.is_virtual => Some("virtual"),
                "linux" => None,
                "windows" => Some("Windows"),
                _ => Some("not Linux"),
            },
            not_ready: (!known.ready).then(|| known.reason.unwrap_or_default()),
            no_network: unavailable.map(words),
            ranges: ranges.into_iter().flatten().map(|range| range.trunc()).collect(),
            broken_ranges: broken.into_iter().filter_map(Result::err).collect(),
            ips: known.ips,
            kubelet: info.map(|info| info.kubelet_version.clone()).unwrap_or_default(),
            kernel: info.map(|info| info.kernel_version.clone()).unwrap_or_default(),
            runtime: info
                .map(|info| info.container_runtime_version.clone())
                .unwrap_or_default(),
            image: info
                .map(|info| format!("{} {}", info.os_image, info.architecture))
                .unwrap_or_default(),
            name: known.name,
        })
    }
}

/// Lines about all nodes. `needs_ranges`: pods have addresses of their nodes' ranges; `None` if that is not known.
pub fn judge(nodes: &[Node], version: Option<&str>, needs_ranges: Option<bool>, book: &mut Book) {
    if nodes.is_empty() {
        book.line(Topic::Nodes, "ready", State::Failed, "there is no node");
        return;
    }
    let inside: Vec<&Node> = nodes.iter().filter(|node| node.out_of_scope.is_none()).collect();
    ready(&inside, book);
    let away: Vec<String> = nodes
        .iter()
        .filter_map(|node| Some(format!("{} ({})", node.name, node.out_of_scope?)))
        .collect();
    if !away.is_empty() {
        book.line(
            Topic::Nodes,
            "out of scope",
            State::Ok,
            format!("no agent can run on {}", listed(&away)),
        );
    }
    network(&inside, book);
    ranges(&inside, needs_ranges, book);
    skew(&inside, version, book);
}

fn ready(nodes: &[&Node], book: &mut Book) {
    let not: Vec<(&str, &String)> = nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.not_ready.as_ref()?)))
        .collect();
    let count = nodes.len();
    if not.is_empty() {
        book.line(Topic::Nodes, "ready", State::Ok, format!("{count} of {count}"));
        return;
    }
    let names = listed(not.iter().map(|(name, _)| *name));
    let says = format!("{} of {count}; not {names}", count - not.len());
    book.line(Topic::Nodes, "ready", State::Failed, says);
    for (name, why) in not {
        let found = finding("doctor-node-not-ready", format!("node/{name}"), why);
        book.find(Topic::Nodes, found, format!("kubectl describe node {name}"));
    }
}

fn network(nodes: &[&Node], book: &mut Book) {
    let not: Vec<(&str, &String)> = nodes
        .iter()
        .filter_map(|node| Some((node.name.as_str(), node.no_network.as_ref()?)))
        .collect();
    if not.is_empty() {
        let says = "no node says that its network is not available";
        book.line(Topic::Nodes, "network available", State::Ok, says);
        return;
    }
    let names = listed(not.iter().map(|(name, _)| *name));
    book.line(
        Topic::Nodes,
        "network available",
        State::Failed,
        format!("not on {names}"),
    );
    for (name, why) in not {
        let found = finding("doctor-network-unavailable", format!("node/{name}"), why);
        book.find(Topic::Nodes, found, format!("kubectl describe node {name}"));
    }
}

fn ranges(nodes: &[&Node], needs_ranges: Option<bool>, book: &mut Book) {
    const CHECK: &str = "pod ranges";
    let without: Vec<&str> = nodes
        .iter()
        .filter(|node| node.ranges.is_empty())
        .map(|node| node.name.as_str())
        .collect();
    let found_before = book.findings.len();
    for node in nodes {
        for broken in &node.broken_ranges {
            let mut found = finding(
                "doctor-pod-ranges-overlap",
                format!("node/{}", node.name),
                format!("{broken} is no range"),
            );
            "a range".clone_into(&mut found.expected);
            book.find(Topic::Nodes, found, format!("kubectl get node {} -o yaml", node.name));
        }
    }
    overlaps(nodes, book);
    // Where some nodes have one, somebody gives them out, and the others were left out.
    let is_partial = without.len() < nodes.len();
    let must = needs_ranges.unwrap_or(is_partial) || (is_partial && needs_ranges != Some(false));
    if must {
        for name in &without {
            let found = finding("doctor-pod-range-missing", format!("node/{name}"), "it has none");
            book.find(Topic::Nodes, found, CIDRS);
        }
    }
    let wrong = book.findings.len() - found_before;
    let (state, says) = if wrong > 0 {
        (State::Failed, format!("{wrong} are missing, broken or overlap"))
    } else if without.is_empty() {
        let count = nodes.iter().map(|node| node.ranges.len()).sum::<usize>();
        (State::Ok, format!("{count} on {} nodes, none overlaps", nodes.len()))
    } else if is_partial {
        let says = format!("{} have none, which this network does not need", listed(&without));
        (State::Ok, says)
    } else {
        (State::Ok, "nodes have none: the network keeps its own books".to_owned())
    };
    book.line(Topic::Nodes, CHECK, state, says);
}

/// Ranges that share addresses, and such that hold a node's own. Each overlap is told once.
fn overlaps(nodes: &[&Node], book: &mut Book) {
    let mut ranges: Vec<(&IpNet, &str)> = nodes
        .iter()
        .flat_map(|node| node.ranges.iter().map(|range| (range, node.name.as_str())))
        .collect();
    ranges.sort_by_key(|(range, _)| (range.network(), range.prefix_len()));
    let mut widest: Option<(&IpNet, &str)> = None;
    for (range, name) in &ranges {
        // Sorted by their beginnings, a range shares addresses with an earlier one if that contains its beginning.
        if let Some((earlier, other)) = widest.filter(|(earlier, _)| earlier.contains(&range.network())) {
            let found = finding(
                "doctor-pod-ranges-overlap",
                format!("node/{name} {range}"),
                format!("node {other} has {earlier}"),
            );
            book.find(Topic::Nodes, found, CIDRS);
            if earlier.broadcast() >= range.broadcast() {
                continue;
            }
        }
        widest = Some((range, name));
    }
    for node in nodes {
        for ip in &node.ips {
            let after = ranges.partition_point(|(range, _)| range.network() <= *ip);
            let before = after.checked_sub(1).and_then(|at| ranges.get(at));
            if let Some((range, other)) = before.filter(|(range, _)| range.contains(ip)) {
                let found = finding(
                    "doctor-pod-ranges-overlap",
                    format!("node/{other} {range}"),
                    format!("it holds {ip}, the address of node {}", node.name),
                );
                book.find(Topic::Nodes, found, CIDRS);
            }
        }
    }
}

fn skew(nodes: &[&Node], version: Option<&str>, book: &mut Book) {
    let Some(server) = version.and_then(numbers) else {
        return;
    };
    let mut versions: Vec<&str> = nodes.iter().map(|node| node.kubelet.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    let is_off = |kubelet: &&Node| {
        numbers(&kubelet.kubelet).is_some_and(|kubelet| kubelet > server || kubelet.1 + SKEW < server.1)
    };
    let off: Vec<&&Node> = nodes.iter().filter(|node| is_off(node)).collect();
    let state = if off.is_empty() { State::Ok } else { State::Warning };
    book.line(Topic::Nodes, "kubelets", state, listed(&versions));
    for node in off {
        let found = finding(
            "doctor-kubelet-skew",
            format!("node/{}", node.name),
            format!("kubelet {}, API server {}", node.kubelet, version.unwrap_or_default()),
        );
        book.find(Topic::Nodes, found, "kubectl get nodes");
    }
}
