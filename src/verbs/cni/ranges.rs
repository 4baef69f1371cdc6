//! Which pod ranges a cluster has: as the user says, as its control plane was told, or as its nodes show. Pure.

use crate::exit::{Exit, Failure};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use serde::Deserialize;
use std::{collections::BTreeSet, net::IpAddr};

/// The widest range that is taken for a cluster's on the evidence of nodes alone, as a prefix length: IPv4, IPv6.
const WIDEST_GUESS: (u8, u8) = (12, 40);

/// Origin of ranges that are in force already.
const INSTALLED: &str = "the earlier installation";

/// Where the ranges come from, for the line that says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranges {
    /// The ranges, IPv4 first.
    pub cidrs: Vec<IpNet>,
    /// In words.
    pub origin: &'static str,
    /// They only cover what nodes have now.
    pub is_guess: bool,
    /// A node's own range is outside what an earlier installation was told: the daemon knows what to do, and says so.
    pub outgrown: Option<String>,
}

impl Ranges {
    /// As the ConfigMap wants them.
    pub fn value(&self) -> String {
        listed(&self.cidrs)
    }
}

/// What the cluster shows of its pod ranges.
#[derive(Debug, Clone, Copy)]
pub struct Clues<'a> {
    /// `--pod-cidr`.
    pub asked: &'a [IpNet],
    /// `clusterCIDRs` of an earlier installation.
    pub installed: Option<&'a str>,
    /// Pods of kube-system.
    pub system_pods: &'a [Pod],
    /// kubeadm's own ConfigMap.
    pub kubeadm: Option<&'a ConfigMap>,
    /// The nodes.
    pub nodes: &'a [Node],
}

/// Chooses, and makes sure that no node's own range is outside.
///
/// # Errors
/// If nothing tells, or what tells contradicts the nodes.
pub fn choose(clues: &Clues) -> Result<Ranges, Failure> {
    let told = [
        ("--pod-cidr", Some(clues.asked.to_vec())),
        (INSTALLED, clues.installed.map(parsed)),
        (
            "kube-controller-manager's --cluster-cidr",
            controller_manager(clues.system_pods),
        ),
        (
            "podSubnet of ConfigMap kube-system/kubeadm-config",
            clues.kubeadm.and_then(kubeadm),
        ),
    ];
    let found = told.into_iter().find_map(|(origin, cidrs)| {
        let cidrs = cidrs.filter(|cidrs| !cidrs.is_empty())?;
        Some(Ranges {
            cidrs: sorted(cidrs),
            origin,
            is_guess: false,
            outgrown: None,
        })
    });
    let mut ranges = match found {
        Some(ranges) => ranges,
        None => covering(clues.nodes)?,
    };
    for node in clues.nodes {
        let outside = pod_cidrs(node)
            .into_iter()
            .find(|own| !ranges.cidrs.iter().any(|range| range.contains(own)));
        if let Some(own) = outside {
            let name = node.metadata.name.as_deref().unwrap_or_default();
            let message = format!(
                "node {name} has the pod range {own}, which is outside {} ({})",
                ranges.value(),
                ranges.origin
            );
            if ranges.origin == INSTALLED {
                ranges.outgrown = Some(message);
                break;
            }
            return Err(Failure {
                exit: Exit::Failed,
                message,
                hint: Some("--pod-cidr, given once for each range, names all pod ranges of the cluster".to_owned()),
            });
        }
    }
    Ok(ranges)
}

/// The pod ranges of a node.
pub fn pod_cidrs(node: &Node) -> Vec<IpNet> {
    let Some(spec) = &node.spec else { return Vec::new() };
    let several = spec.pod_cidrs.iter().flatten();
    let all: Vec<_> = several.filter_map(|cidr| cidr.parse().ok()).collect();
    if all.is_empty() {
        return spec.pod_cidr.iter().filter_map(|cidr| cidr.parse().ok()).collect();
    }
    all
}

fn internal_ips(nodes: &[Node]) -> impl Iterator<Item = IpAddr> {
    let addresses = nodes
        .iter()
        .filter_map(|node| node.status.as_ref()?.addresses.as_ref())
        .flatten();
    addresses
        .filter(|address| address.type_ == "InternalIP")
        .filter_map(|address| address.address.parse().ok())
}

fn parsed(list: &str) -> Vec<IpNet> {
    list.split(',').filter_map(|cidr| cidr.trim().parse().ok()).collect()
}

fn sorted(mut cidrs: Vec<IpNet>) -> Vec<IpNet> {
    cidrs.sort_unstable();
    cidrs.dedup();
    cidrs
}

fn listed(cidrs: &[IpNet]) -> String {
    cidrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

/// A static pod's command line shows the flag; a control plane that runs elsewhere shows nothing.
fn controller_manager(pods: &[Pod]) -> Option<Vec<IpNet>> {
    let is_it = |pod: &&Pod| {
        let labels = pod.metadata.labels.iter().flatten();
        labels
            .filter(|(key, _)| ["component", "k8s-app"].contains(&key.as_str()))
            .any(|(_, value)| value == "kube-controller-manager")
    };
    let words = pods
        .iter()
        .filter(is_it)
        .filter_map(|pod| pod.spec.as_ref())
        .flat_map(|spec| &spec.containers)
        .flat_map(|container| container.command.iter().chain(&container.args).flatten());
    let words: Vec<&str> = words.map(String::as_str).collect();
    let value = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.strip_prefix("--cluster-cidr") {
            Some("") => words.get(at + 1).copied(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        })?;
    Some(parsed(value))
}

/// kubeadm's `ClusterConfiguration` (kubeadm.k8s.io/v1beta4), as far as it is needed here.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ClusterConfiguration {
    networking: Networking,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Networking {
    pod_subnet: String,
}

fn kubeadm(map: &ConfigMap) -> Option<Vec<IpNet>> {
    let text = map.data.as_ref()?.get("ClusterConfiguration")?;
    let configuration: ClusterConfiguration = serde_saphyr::from_str(text).ok()?;
    Some(parsed(&configuration.networking.pod_subnet))
}

/// One range for each family, as narrow as covers all nodes' own.
fn covering(nodes: &[Node]) -> Result<Ranges, Failure> {
    let all: BTreeSet<IpNet> = nodes.iter().flat_map(pod_cidrs).collect();
    let cannot = |why: String| {
        Failure::unknown(format!("cannot tell the cluster's pod ranges: {why}"))
            .hint("--pod-cidr names them, once for each: as kube-controller-manager's --cluster-cidr does")
    };
    if all.is_empty() {
        return Err(cannot(
            "no node has one, and the control plane does not show its flags".to_owned(),
        ));
    }
    let mut cidrs = Vec::new();
    for v6 in [false, true] {
        let mut family = all.iter().filter(|cidr| matches!(cidr, IpNet::V6(_)) == v6);
        let Some(first) = family.next() else { continue };
        let mut cover = *first;
        for cidr in family {
            while !cover.contains(cidr) {
                cover = cover
                    .supernet()
                    .ok_or_else(|| cannot("nodes' ranges have nothing in common".to_owned()))?;
            }
        }
        let cover = cover.trunc();
        let widest = if v6 { WIDEST_GUESS.1 } else { WIDEST_GUESS.0 };
        if cover.prefix_len() < widest {
            return Err(cannot(format!(
                "nodes' own are so far apart that only {cover} covers them"
            )));
        }
        if let Some(ip) = internal_ips(nodes).find(|ip| cover.contains(ip)) {
            return Err(cannot(format!(
                "{cover}, which covers nodes' own, also holds the node address {ip}"
            )));
        }
        cidrs.push(cover);
    }
    Ok(Ranges {
        cidrs,
        origin: "what covers all nodes' own",
        is_guess: true,
        outgrown: None,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    pub fn node(name: &str, cidrs: &[&str], ip: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": name },
            "spec": { "podCIDRs": cidrs },
            "status": { "addresses": [{ "type": "InternalIP", "address": ip }] },
        }))
        .unwrap()
    }

    fn chosen(clues: &Clues) -> Result<(String, &'static str), String> {
        choose(clues)
            .map(|ranges| (ranges.value(), ranges.origin))
            .map_err(|failure| failure.message)
    }

    fn clues(nodes: &[Node]) -> Clues<'_> {
        Clues {
            asked: &[],
            installed: None,
            system_pods: &[],
            kubeadm: None,
            nodes,
        }
    }

    fn manager(words: &[&str]) -> Pod {
        serde_json::from_value(json!({
            "metadata": { "name": "kube-controller-manager-n1", "labels": { "component": "kube-controller-manager" } },
            "spec": { "containers": [{ "name": "m", "command": words }] },
        }))
        .unwrap()
    }

    #[test]
    fn the_first_that_tells_wins() {
        let nodes = [node("n1", &["10.244.1.0/24", "fd00:10:244:1::/64"], "192.0.2.11")];
        let kubeadm: ConfigMap = serde_json::from_value(json!({
            "data": { "ClusterConfiguration": "apiVersion: kubeadm.k8s.io/v1beta4\nnetworking:\n  dnsDomain: cluster.local\n  podSubnet: 10.244.0.0/15, fd00:10:244::/48\n" },
        }))
        .unwrap();
        let managers = [manager(&[
            "kube-controller-manager",
            "--cluster-cidr=fd00:10:244::/48,10.244.0.0/14",
        ])];
        let apart = [manager(&[
            "kube-controller-manager",
            "--cluster-cidr",
            "10.244.0.0/14,fd00:10::/32",
        ])];
        let asked = ["10.240.0.0/12".parse().unwrap(), "fd00:10::/32".parse().unwrap()];
        let all = Clues {
            asked: &asked,
            installed: Some("10.244.0.0/13,fd00:10:244::/47"),
            system_pods: &managers,
            kubeadm: Some(&kubeadm),
            nodes: &nodes,
        };
        let rows = [
            (all, "10.240.0.0/12,fd00:10::/32", "--pod-cidr"),
            (
                Clues { asked: &[], ..all },
                "10.244.0.0/13,fd00:10:244::/47",
                "the earlier installation",
            ),
            (
                Clues {
                    asked: &[],
                    installed: None,
                    ..all
                },
                "10.244.0.0/14,fd00:10:244::/48",
                "kube-controller-manager's --cluster-cidr",
            ),
            (
                Clues {
                    system_pods: &apart,
                    ..clues(&nodes)
                },
                "10.244.0.0/14,fd00:10::/32",
                "kube-controller-manager's --cluster-cidr",
            ),
            (
                Clues {
                    kubeadm: Some(&kubeadm),
                    ..clues(&nodes)
                },
                "10.244.0.0/15,fd00:10:244::/48",
                "podSubnet of ConfigMap kube-system/kubeadm-config",
            ),
            (
                clues(&nodes),
                "10.244.1.0/24,fd00:10:244:1::/64",
                "what covers all nodes' own",
            ),
        ];
        for (clues, cidrs, origin) in rows {
            assert_eq!(chosen(&clues), Ok((cidrs.to_owned(), origin)));
        }
    }

    #[test]
    fn nodes_alone_are_believed_only_as_far_as_they_tell() {
        let near = [
            node("n1", &["10.244.1.0/24", "fd00:10:244:1::/64"], "192.0.2.11"),
            node("n2", &["10.244.7.0/24", "fd00:10:244:2::/64"], "192.0.2.12"),
        ];
        assert_eq!(chosen(&clues(&near)).unwrap().0, "10.244.0.0/21,fd00:10:244::/62");
        let apart = [
            node("n1", &["10.244.1.0/24"], "192.0.2.11"),
            node("n2", &["172.16.0.0/24"], "192.0.2.12"),
        ];
        assert!(chosen(&clues(&apart)).unwrap_err().contains("only 0.0.0.0/0 covers"));
        let around = [
            node("n1", &["10.244.1.0/24"], "10.244.2.1"),
            node("n2", &["10.244.3.0/24"], "192.0.2.12"),
        ];
        assert!(
            chosen(&clues(&around))
                .unwrap_err()
                .contains("holds the node address 10.244.2.1")
        );
        assert!(chosen(&clues(&[])).unwrap_err().contains("cannot tell"));
    }

    #[test]
    fn a_node_outside_what_is_told_is_named() {
        let nodes = [node("n1", &["10.1.0.0/24"], "192.0.2.11")];
        let asked = ["10.244.0.0/16".parse().unwrap()];
        let wrong = Clues {
            asked: &asked,
            ..clues(&nodes)
        };
        let outgrown = Clues {
            installed: Some("10.244.0.0/16"),
            ..clues(&nodes)
        };
        assert!(choose(&outgrown).unwrap().outgrown.unwrap().starts_with("node n1 has"));
        assert_eq!(
            chosen(&wrong),
            Err("node n1 has the pod range 10.1.0.0/24, which is outside 10.244.0.0/16 (--pod-cidr)".to_owned())
        );
    }
}
