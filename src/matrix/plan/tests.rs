//! What becomes of pairs once it is known what listens where.

use super::*;
use crate::{
    cluster::inventory::{Endpoint, Node, Port, Service, Workload},
    findings::Obstacle,
    matrix::{
        evidence::Aim,
        naming::Names,
        select::{Choice, select},
    },
};
use netcheck_wire::probe::{Listener, ProbeKind, Record, Resolver};
use std::net::IpAddr;

fn ips(list: &[&str]) -> Vec<IpAddr> {
    list.iter().map(|ip| ip.parse().unwrap()).collect()
}

fn pod(name: &str, node: &str, addresses: &[&str], ports: &[u16]) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        uid: name.into(),
        node: Some(node.into()),
        ips: ips(addresses),
        running: true,
        ready: true,
        workload: Workload {
            kind: "Deployment".into(),
            name: name.into(),
        },
        ports: ports
            .iter()
            .map(|port| Port {
                name: Some(format!("p{port}")),
                port: *port,
                protocol: "TCP".into(),
            })
            .collect(),
        ..Pod::default()
    }
}

fn port(name: &str, port: u16, protocol: &str) -> Port {
    Port {
        name: Some(name.into()),
        port,
        protocol: protocol.into(),
    }
}

fn cluster() -> Inventory {
    let endpoint = |ip: &str, target: Port, pod: &str| Endpoint {
        ip: ip.parse().unwrap(),
        ports: vec![target],
        pod_uid: Some(pod.into()),
        pod_name: Some(format!("shop/{pod}")),
        node: None,
        ready: true,
    };
    Inventory {
        pods: vec![
            pod("api", "n2", &["10.0.2.2", "fd00:2::2"], &[8080]),
            pod("coredns", "n2", &["10.0.2.53"], &[]),
            pod("web", "n1", &["10.0.1.2", "fd00:1::2"], &[]),
        ],
        nodes: ["n1", "n2"]
            .iter()
            .enumerate()
            .map(|(index, name)| Node {
                name: (*name).into(),
                ips: ips(&[&format!("192.0.2.{}", index + 1)]),
                ready: true,
                os: "linux".into(),
                kubelet_port: Some(10250),
                ..Node::default()
            })
            .collect(),
        services: vec![
            Service {
                namespace: "kube-system".into(),
                name: "kube-dns".into(),
                cluster_ips: ips(&["10.96.0.10"]),
                ports: vec![port("dns", 53, "UDP")],
                endpoints: vec![endpoint("10.0.2.53", port("dns", 1053, "UDP"), "coredns")],
                is_dns: true,
                ..Service::default()
            },
            Service {
                namespace: "shop".into(),
                name: "api".into(),
                cluster_ips: ips(&["10.96.0.80", "fd00:96::80"]),
                ports: vec![port("http", 80, "TCP"), port("stats", 81, "UDP")],
                endpoints: vec![endpoint("10.0.2.2", port("http", 8080, "TCP"), "api")],
                ..Service::default()
            },
        ],
        ..Inventory::default()
    }
}

fn facts(listeners: &[(&str, u16)]) -> PlaceFacts {
    PlaceFacts {
        listeners: listeners
            .iter()
            .map(|(ip, port)| Listener {
                ip: ip.parse().unwrap(),
                port: *port,
                v6_only: false,
            })
            .collect(),
        ..PlaceFacts::default()
    }
}

fn known() -> Facts {
    let found = [
        (
            Subject::Pod("api".into()),
            facts(&[("0.0.0.0", 8080), ("0.0.0.0", 9000), ("127.0.0.1", 6060)]),
        ),
        (Subject::Pod("coredns".into()), facts(&[("::", 1053)])),
        (Subject::Pod("web".into()), facts(&[])),
        (Subject::Node("n1".into()), facts(&[("0.0.0.0", 22), ("::", 10250)])),
        (Subject::Node("n2".into()), facts(&[("0.0.0.0", 22), ("::", 10250)])),
    ];
    found.into_iter().map(|(subject, facts)| (subject, Ok(facts))).collect()
}

fn wish() -> Wish {
    Wish {
        protocols: [Protocol::Tcp, Protocol::Dns].into(),
        families: [Family::Ipv4, Family::Ipv6].into(),
        max_probes: 2000,
    }
}

fn everything(inventory: &Inventory) -> Selection {
    select(
        inventory,
        &Choice {
            full: true,
            max_nodes: 20,
            dns: true,
            ..Choice::default()
        },
    )
}

/// `from to target` of each row that matches, `!why` where nothing is sent.
fn shown(plan: &Plan, from: &str, to: &Goal) -> Vec<String> {
    plan.rows
        .iter()
        .filter(|row| row.pair.from == Subject::Pod(from.into()) && row.pair.to == *to)
        .map(|row| match &row.probe {
            Ok(_) => format!(
                "{} {}",
                row.protocol.id(),
                row.target.map_or_else(String::new, |target| target.to_string())
            ),
            Err(why) => format!("{} !{why}", row.protocol.id()),
        })
        .collect()
}

fn api() -> Goal {
    Goal::Pod("api".into())
}

mod bounds;
mod left_out;
mod pods_and_nodes;
mod services;
