//! What must be on the nodes of kindnet (kind's own network, and kubernetes-sigs/kindnet): a route to each other node's ranges by its InternalIP,
//! and one CNI configuration of its own. Routes of nodes that are gone are never removed, nor can they be told from others.

use super::{
    evidence::Looked,
    expected::{self, Expected, Way},
    found::Found,
    generic::{
        Concern,
        configuration::{Configuration, FOLDER},
        pods::{self, Wiring},
    },
    network::{Differences, Network},
    objects::Objects,
    relate::relate,
};
use ipnet::IpNet;
use netcheck_cni_intent::NodeObject;
use netcheck_node_state::record::Space;
use netcheck_wire::message::RecordOrder;
use std::net::IpAddr;

/// Its configuration.
const FILE: &str = "10-kindnet.conflist";

/// kindnet.
#[derive(Debug, Clone, Copy)]
pub struct Kindnet;

/// Whether its agents run.
pub fn is_at_work(objects: &Objects) -> bool {
    objects.has_agent_of(Kindnet.name())
}

impl Network for Kindnet {
    fn name(&self) -> &'static str {
        "kindnet"
    }

    fn order(&self) -> RecordOrder {
        RecordOrder::default()
    }

    fn covers(&self) -> &'static [Concern] {
        &[Concern::Ways]
    }

    fn differences(&self, objects: &Objects, node: &str, looked: &Looked) -> Differences {
        let host = &looked.record.node;
        let mut differences = Differences::default();
        differences.found.extend(foreign(looked));
        let others = objects.nodes.iter().filter(|other| other.name != node);
        let expected = Expected {
            agent: "kindnet",
            ways: others.flat_map(ways).collect(),
            ..Expected::default()
        };
        differences.found.extend(expected::differences(&expected, &host.net));
        let own = objects.nodes.iter().find(|object| object.name == node);
        if let Some(uplink) = own.and_then(|own| uplink(own, host)) {
            let wirings = pods::wirings(objects, node, looked);
            differences
                .found
                .extend(wirings.iter().filter_map(|wiring| too_large(wiring, host, uplink)));
        }
        relate(&mut differences.found);
        differences
    }
}

/// A configuration that comes before its own. Where that is missing, the generic checks say it.
fn foreign(looked: &Looked) -> Option<Found> {
    let first = Configuration::first(&looked.record).ok().flatten()?;
    // Multus comes first by design, and hands on to it.
    let is_multus = first.types.iter().any(|kind| kind.starts_with("multus"));
    (first.file != FILE && !is_multus).then(|| {
        Found::new(
            "verify-conf-foreign",
            first.file.clone(),
            format!("{FOLDER}/{FILE} before all others"),
            format!("{FOLDER}/{} comes first", first.file),
        )
        .look(format!("ls {FOLDER}"))
        .fix(format!("mv {FOLDER}/{0} {FOLDER}/{0}.disabled", first.file))
    })
}

/// The node's ranges by its address of their family.
fn ways(node: &NodeObject) -> Vec<Way> {
    let ips: Vec<IpAddr> = node.internal_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    let ranges = node.pod_cidrs.iter().filter_map(|range| range.parse::<IpNet>().ok());
    let way = |to: IpNet| {
        let via = ips.iter().copied().find(|ip| ip.is_ipv4() == to.addr().is_ipv4())?;
        Some(Way {
            to,
            via: Some(via),
            device: None,
        })
    };
    ranges.filter_map(way).collect()
}

/// The device that has the node's address.
fn uplink<'a>(own: &NodeObject, host: &'a Space) -> Option<&'a str> {
    let ips: Vec<IpAddr> = own.internal_ips.iter().filter_map(|ip| ip.parse().ok()).collect();
    let address = host.net.addresses.iter().find(|address| ips.contains(&address.ip))?;
    Some(&address.interface)
}

/// A pod that sends larger packets than the way to other nodes takes: nothing between has a tunnel's room to spare.
fn too_large(wiring: &Wiring<'_>, host: &Space, uplink: &str) -> Option<Found> {
    let most = host.net.links.get(uplink)?.mtu;
    let mtu = wiring.mtu(host).filter(|mtu| *mtu > most)?;
    let device = wiring.host?;
    Some(
        Found::new(
            "verify-pod-veth-mtu",
            format!("{} {device}", wiring.pod.full_name()),
            format!("mtu {most} at most, as {uplink}"),
            format!("mtu {mtu}"),
        )
        .look(format!("ip link show {device}; ip link show {uplink}"))
        .fix(format!(
            "delete the kindnet pod of this node, which writes the MTU into {FOLDER}/{FILE}; then: kubectl -n {} delete pod {}",
            wiring.pod.namespace, wiring.pod.name
        ))
        .on(device),
    )
}

#[cfg(test)]
mod tests {
    //! State and objects are written by hand, after kindnetd's own code.

    use crate::verify::samples::{Sample, roots};

    const PTP: &str = include_str!("generic/ptp.json");
    const NET_D: &str = "/etc/cni/net.d";

    fn found(change: impl FnOnce(&mut Sample)) -> Vec<&'static str> {
        roots(PTP, |node| {
            node.agent("kindnet-x7x7x");
            let configuration = node.folder(NET_D).remove("10-plain.conflist").unwrap();
            node.folder(NET_D).insert(super::FILE.to_owned(), configuration);
            change(node);
        })
    }

    #[test]
    fn a_healthy_node_has_no_findings() {
        assert_eq!(found(|_| {}), [] as [&str; 0]);
        let mut sample = Sample::of(PTP);
        sample.agent("kindnet-x7x7x");
        assert_eq!(sample.network(), Some("kindnet"));
    }

    #[test]
    fn each_fault_has_its_name() {
        assert_eq!(
            found(|node| node.without_route("10.244.2.0/24")),
            ["verify-route-missing"]
        );
        let both = found(|node| {
            node.without_route("10.244.1.0/24");
            node.without_route("10.244.2.0/24");
        });
        assert_eq!(both, ["verify-route-missing", "verify-route-missing"]);
        // A node that came back with another address.
        let moved = found(|node| node.objects().nodes[1].internal_ips = vec!["10.90.0.32".to_owned()]);
        assert_eq!(moved, ["verify-route-wrong"]);
        let foreign = found(|node| {
            let text = node.folder(NET_D)[super::FILE].text.clone().unwrap().unwrap();
            node.put(NET_D, "05-other.conflist", &text, 9);
        });
        assert_eq!(foreign, ["verify-conf-foreign"]);
        let multus = found(|node| {
            let text = r#"{"cniVersion": "0.3.1", "name": "multus", "type": "multus-shim"}"#;
            node.put(NET_D, "00-multus.conf", text, 9);
        });
        assert!(!multus.contains(&"verify-conf-foreign"), "{multus:?}");
        assert_eq!(found(|node| node.folder(NET_D).clear()), ["verify-conf-missing"]);
        let large = found(|node| {
            node.net().links.get_mut("veth4d44b1b3").unwrap().mtu = 9000;
            node.pod(1).net.links.get_mut("eth0").unwrap().mtu = 9000;
        });
        assert_eq!(large, ["verify-pod-veth-mtu"]);
        assert_eq!(
            found(|node| node.without_route("10.244.0.3/32")),
            ["verify-pod-route-missing"]
        );
    }
}
