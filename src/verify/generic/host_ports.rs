//! Host ports as the plugin `portmap` writes them with iptables: a chain `CNI-DN-…` for each container, with a DNAT to its pod.

use crate::verify::{
    found::Found,
    objects::{Objects, PodObject},
};
use netcheck_node_state::record::NodeRecord;
use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
};

/// How the names of the plugin's chains begin (plugins/meta/portmap of containernetworking/plugins).
const CHAIN: &str = "CNI-DN-";

/// Rules that send what comes to a port of the node to an address that no pod has any more: they take the port from whoever has it now. `given`
/// are the addresses of all pods. Only addresses of the node's range are judged: others may be those of containers that are no pods.
pub fn judge(objects: &Objects, given: &BTreeSet<IpAddr>, node: &str, record: &NodeRecord, found: &mut Vec<Found>) {
    let ranges = objects.ranges_of(node);
    // The plugin writes its rules before the API server knows the pod's address: while an image is pulled, for long.
    let is_coming = |pod: &PodObject| pod.node == node && !pod.host_network && pod.ips.is_empty();
    let lives = |ip: IpAddr| {
        let inside = record.pods.values().flatten();
        given.contains(&ip)
            || inside
                .flat_map(|space| &space.net.addresses)
                .any(|address| address.ip == ip)
    };
    let is_gone = |ip: IpAddr| ranges.iter().any(|range| range.contains(&ip)) && !lives(ip);
    for (program, rules) in &record.iptables {
        let Ok(rules) = rules else { continue };
        let rules: Vec<Vec<&str>> = rules
            .lines()
            .filter(|line| line.contains(CHAIN))
            .map(|line| line.split(' ').collect())
            .collect();
        // What no rule leads to takes nothing.
        let entered: BTreeSet<&str> = rules.iter().filter_map(|words| after(words, "-j")).collect();
        let leading = rules.iter().filter_map(|words| leading(words));
        let mut stale = leading
            .filter(|(chain, _, to)| entered.contains(chain) && is_gone(to.ip()))
            .peekable();
        if stale.peek().is_some() && objects.pods.iter().any(is_coming) {
            return;
        }
        for (chain, port, to) in stale {
            let iptables = program.trim_end_matches("-save");
            found.push(
                Found::new(
                    "verify-host-port-stale",
                    format!("port {port} {chain}"),
                    "a rule for a pod that is there",
                    format!("it sends to {to}, and no pod has that address"),
                )
                .look(format!("{iptables} -t nat -S {chain}"))
                .fix(format!("{iptables} -t nat -F {chain}")),
            );
        }
    }
}

fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    let at = words.iter().position(|other| *other == word)?;
    words.get(at + 1).copied()
}

/// Of a rule of the plugin's that leads to a pod: its chain, the node's port, and where it leads.
fn leading<'a>(words: &[&'a str]) -> Option<(&'a str, &'a str, SocketAddr)> {
    let chain = after(words, "-A").filter(|chain| chain.starts_with(CHAIN))?;
    let to = after(words, "--to-destination")?.parse().ok()?;
    Some((chain, after(words, "--dport")?, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcheck_cni_intent::NodeObject;
    use netcheck_node_state::record::Space;
    use std::collections::BTreeMap;

    #[test]
    fn a_rule_for_a_pod_that_is_gone_is_told() {
        let rules = "*nat\n\
            -A CNI-HOSTPORT-DNAT -p tcp -m comment --comment \"dnat name: \\\"n\\\"\" -m multiport --dports 8080 -j CNI-DN-aaaa\n\
            -A CNI-HOSTPORT-DNAT -p tcp -m multiport --dports 9090 -j CNI-DN-bbbb\n\
            -A CNI-DN-aaaa -s 10.0.0.0/24 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK\n\
            -A CNI-DN-aaaa -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.0.0.5:80\n\
            -A CNI-DN-bbbb -p tcp -m tcp --dport 9090 -j DNAT --to-destination [fd00::9]:80\n\
            -A CNI-DN-dddd -p tcp -m tcp --dport 7070 -j DNAT --to-destination 10.0.0.66:80\n\
            -A KUBE-SEP-cccc -p tcp -m tcp --dport 9090 -j DNAT --to-destination 10.0.0.77:80\nCOMMIT\n";
        let record = NodeRecord {
            iptables: BTreeMap::from([("iptables-nft-save".to_owned(), Ok(rules.to_owned()))]),
            ..NodeRecord::of(Space::default())
        };
        let told = |ips: &[&str]| {
            let pod = PodObject {
                node: "n1".to_owned(),
                ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
                ..PodObject::default()
            };
            let node = NodeObject {
                name: "n1".to_owned(),
                pod_cidrs: ["10.0.0.0/24", "fd00::/64"].map(str::to_owned).into(),
                ..NodeObject::default()
            };
            let objects = Objects {
                nodes: vec![node],
                pods: vec![pod],
                ..Objects::default()
            };
            let mut found = Vec::new();
            let given = objects.pods.iter().flat_map(|pod| &pod.ips).copied().collect();
            judge(&objects, &given, "n1", &record, &mut found);
            found.into_iter().map(|one| one.object).collect::<Vec<_>>()
        };
        assert_eq!(told(&["10.0.0.5", "fd00::9"]), [""; 0]);
        assert_eq!(told(&["10.0.0.5"]), ["port 9090 CNI-DN-bbbb"]);
        assert_eq!(told(&["10.0.0.99"]).len(), 2);
        assert_eq!(
            told(&[]),
            [""; 0],
            "the pod may be about to say that it has one of them"
        );
    }
}
