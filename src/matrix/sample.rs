//! A report that the tests of all layouts share: a small shop in which several things are wrong.

use super::{
    assemble,
    class::Class,
    evidence::Protocol,
    family::Family,
    found,
    report::{
        API_VERSION, Coverage, KIND, MatrixReport, Metadata, Observation, PacketSeen, Party, Row, Spec, Status, Timing,
    },
    select::Relation,
};

/// A pod of Deployment `name` on a node.
pub fn pod(name: &str, node: &str) -> Party {
    Party {
        kind: "Pod".into(),
        namespace: Some("shop".into()),
        name: format!("{name}-5f6d-x1"),
        workload: Some(format!("Deployment/{name}")),
        node: Some(node.into()),
    }
}

/// A node.
pub fn node(name: &str) -> Party {
    Party {
        kind: "Node".into(),
        name: name.into(),
        node: Some(name.into()),
        ..Party::default()
    }
}

/// A Service, or cluster DNS.
pub fn service(kind: &str, namespace: &str, name: &str) -> Party {
    Party {
        kind: kind.into(),
        namespace: Some(namespace.into()),
        name: name.into(),
        ..Party::default()
    }
}

fn short(party: &Party) -> String {
    match (&party.namespace, &party.workload) {
        (Some(namespace), Some(workload)) => format!("{namespace}/{}", workload.trim_start_matches("Deployment/")),
        _ => super::naming::exact(party),
    }
}

/// A row; the reason is the class's title.
pub fn row(source: &Party, destination: &Party, port: u16, family: Family, class: Class) -> Row {
    let protocol = if destination.kind == "DNS" {
        Protocol::Dns
    } else {
        Protocol::Tcp
    };
    let relation = match (&source.node, &destination.node) {
        (Some(from), Some(to)) if from == to => Some(Relation::SameNode),
        (Some(_), Some(_)) => Some(Relation::OtherNode),
        _ => None,
    };
    let ip = if family == Family::Ipv4 { "10.0.0.9" } else { "fd00::9" };
    let how = format!(":{port}/{} {}", protocol.id(), family.id());
    let related = relation.map_or_else(String::new, |relation| format!(" {}", relation.id()));
    Row {
        id: format!(
            "{}->{}{how}",
            super::naming::exact(source),
            super::naming::exact(destination)
        )
        .replace(' ', "/"),
        case: format!("{} -> {}{how}{related}", short(source), short(destination)),
        class,
        finding: class.finding().map(Into::into),
        source: source.clone(),
        destination: destination.clone(),
        relation,
        protocol,
        family,
        port: Some(port),
        port_name: None,
        target: Some((ip.parse::<std::net::IpAddr>().unwrap(), port).into()),
        expected: None,
        reason: class.title().into(),
        cause: None,
        by: None,
        backend: None,
        transport: None,
        elapsed_us: (class != Class::NotTested).then_some(1500),
        source_saw: None,
        destinations_saw: Vec::new(),
        transit_saw: Vec::new(),
        on_path: Vec::new(),
        next_step: class
            .finding()
            .map(|finding| format!("kubectl netcheck explain {finding}")),
    }
}

fn syn(after_us: u64, direction: &str, packet: &str) -> PacketSeen {
    let (from, to) = ("10.0.1.2:40000".parse().unwrap(), "10.0.0.9:8080".parse().unwrap());
    PacketSeen {
        after_us,
        interface: "eth0".into(),
        direction: direction.into(),
        packet: packet.into(),
        from,
        to,
    }
}

/// The shop's rows.
pub fn rows() -> Vec<Row> {
    let (web, api, db) = (pod("web", "n1"), pod("api", "n2"), pod("db", "n1"));
    let lost = Row {
        reason: "it left pod shop/web-5f6d-x1, and pod shop/api-5f6d-x1 never saw it".into(),
        elapsed_us: Some(3_000_100),
        source_saw: Some(Observation {
            place: "pod shop/web-5f6d-x1".into(),
            outcome: Some("timeout".into()),
            packets: vec![syn(0, "out", "SYN"), syn(1_010_000, "out", "SYN")],
            ..Observation::default()
        }),
        destinations_saw: vec![Observation {
            place: "pod shop/api-5f6d-x1".into(),
            ..Observation::default()
        }],
        next_step: Some("kubectl netcheck debug node/n1 -- ip route get 10.0.0.9".into()),
        ..row(&web, &api, 8080, Family::Ipv4, Class::NeverArrived)
    };
    let nameless = Row {
        reason: "node n2 (192.0.2.2) rejects it by a rule: ICMP port unreachable".into(),
        cause: Some("the Service has no ready endpoints".into()),
        transport: Some(Class::Rejected),
        ..row(
            &api,
            &service("DNS", "kube-system", "kube-dns"),
            53,
            Family::Ipv4,
            Class::NameNotResolved,
        )
    };
    let silent = Row {
        reason: "pod shop/db-5f6d-x1 is not running: CrashLoopBackOff".into(),
        ..row(&web, &db, 5432, Family::Ipv4, Class::NotTested)
    };
    vec![
        lost,
        row(&web, &api, 8080, Family::Ipv6, Class::Reached),
        silent,
        row(&web, &node("n2"), 10250, Family::Ipv4, Class::Reached),
        Row {
            backend: Some("pod shop/api-5f6d-x1".into()),
            ..row(
                &web,
                &service("Service", "shop", "api"),
                80,
                Family::Ipv4,
                Class::Reached,
            )
        },
        row(
            &web,
            &service("DNS", "kube-system", "kube-dns"),
            53,
            Family::Ipv4,
            Class::Reached,
        ),
        row(&api, &web, 8080, Family::Ipv4, Class::Refused),
        nameless,
        row(&node("n1"), &api, 8080, Family::Ipv4, Class::Reached),
    ]
}

/// The shop's report.
pub fn report(rows: Vec<Row>) -> MatrixReport {
    MatrixReport {
        api_version: API_VERSION.into(),
        kind: KIND.into(),
        metadata: Metadata {
            creation_timestamp: "2026-01-02T03:04:05Z".into(),
            context: Some("shop-context".into()),
            version: "0.0.0".into(),
        },
        spec: Spec {
            namespaces: vec!["shop".into()],
            protocols: vec![Protocol::Tcp, Protocol::Dns],
            families: vec![Family::Ipv4, Family::Ipv6],
            timeout_ms: 3000,
            max_probes: Some(2000),
            max_nodes: Some(20),
            ..Spec::default()
        },
        status: Status {
            conclusion: assemble::conclusion(&rows, false),
            way: "via node agents: short-lived pods in namespace netcheck".into(),
            coverage: Coverage {
                pairs_tested: 7,
                pairs_in_scope: 12,
                probes_sent: 8,
                nodes: vec!["n1".into(), "n2".into()],
                nodes_in_scope: 2,
                sampling: "one pod of each workload".into(),
                out_of_scope: vec!["node win runs windows".into()],
                notes: vec!["no TCP port listens or is declared in pod shop/job".into()],
                ..Coverage::default()
            },
            summary: assemble::summary(&rows, None),
            timing: Timing {
                agents_ms: 2100,
                probe_phase_ms: 3050,
                total_ms: 6000,
            },
            findings: found::findings(&rows),
            node_findings: Vec::new(),
            rows,
        },
    }
}
