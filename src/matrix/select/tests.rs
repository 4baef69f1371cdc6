//! Small clusters, and the pairs that must come out of them.

use super::*;
use crate::cluster::inventory::{End, Endpoint, Node, Port, Service, Workload};
use proptest::prelude::*;

/// A running pod `web-1` of Deployment `web`: the workload is what stands before the last dash.
fn pod(name: &str, node: &str) -> Pod {
    let workload = name.rsplit_once('-').map_or(name, |(workload, _)| workload);
    Pod {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        node: Some(node.into()),
        ips: vec!["10.0.0.1".parse().unwrap()],
        running: true,
        ready: true,
        workload: Workload {
            kind: "Deployment".into(),
            name: workload.into(),
        },
        ports: vec![Port {
            name: None,
            port: 80,
            protocol: "TCP".into(),
        }],
        ..Pod::default()
    }
}

fn node(name: &str) -> Node {
    Node {
        name: name.into(),
        ready: true,
        os: "linux".into(),
        kubelet_port: Some(10250),
        ..Node::default()
    }
}

fn service(name: &str, is_dns: bool) -> Service {
    Service {
        namespace: if is_dns { "kube-system" } else { "shop" }.into(),
        name: name.into(),
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        is_dns,
        ..Service::default()
    }
}

fn shop() -> Inventory {
    Inventory {
        pods: vec![
            pod("api-1", "n1"),
            pod("api-2", "n2"),
            pod("web-1", "n1"),
            pod("web-2", "n3"),
        ],
        nodes: vec![node("n1"), node("n2"), node("n3")],
        services: vec![service("kube-dns", true), service("api", false)],
        ..Inventory::default()
    }
}

fn choice() -> Choice {
    Choice {
        namespaces: Some(["shop".to_owned()].into()),
        max_nodes: 20,
        dns: true,
        ..Choice::default()
    }
}

/// `from>to` for each pair, relation as `=` (same node) or `/` (other node).
fn shown(selection: &Selection) -> Vec<String> {
    let mut lines: Vec<String> = selection
        .pairs
        .iter()
        .map(|pair| {
            let from = match &pair.from {
                Subject::Pod(uid) => uid.trim_start_matches("uid-").to_owned(),
                Subject::Node(name) => name.clone(),
            };
            let to = match &pair.to {
                Goal::Pod(uid) => uid.trim_start_matches("uid-").to_owned(),
                Goal::Node(name) => name.clone(),
                Goal::Service(_, name) => format!("svc/{name}"),
                Goal::Dns(..) => "dns".into(),
            };
            let sign = match pair.relation {
                Some(Relation::SameNode) => "=",
                Some(Relation::OtherNode) => "/",
                None => "",
            };
            format!("{from}>{sign}{to}")
        })
        .collect();
    lines.sort();
    lines
}

fn pods_only(selection: &Selection) -> Vec<String> {
    let pods = |pair: &&Pair| matches!((&pair.from, &pair.to), (Subject::Pod(_), Goal::Pod(_)));
    let pairs = selection.pairs.iter().filter(pods).cloned().collect();
    shown(&Selection {
        pairs,
        ..Selection::default()
    })
}

#[test]
fn each_pair_of_workloads_meets_on_one_node_and_across_nodes() {
    let selection = select(&shop(), &choice());
    let found = pods_only(&selection);
    // api→api has no same-node pair, web→web neither; every ordered pair of nodes is crossed.
    assert_eq!(
        found,
        [
            "api-1>/api-2",
            "api-1>/web-2",
            "api-1>=web-1",
            "api-2>/api-1",
            "api-2>/web-2",
            "web-1>/api-2",
            "web-1>/web-2",
            "web-1>=api-1",
            "web-2>/api-1",
            "web-2>/api-2"
        ]
        .iter()
        .filter(|line| found.contains(&(**line).to_owned()))
        .copied()
        .collect::<Vec<_>>()
    );
    for must in ["api-1>=web-1", "web-1>=api-1"] {
        assert!(found.contains(&must.to_owned()), "{must} is missing in {found:?}");
    }
    let crossed: BTreeSet<(&str, &str)> = found
        .iter()
        .filter_map(|line| line.split_once(">/"))
        .map(|(from, to)| (home(from), home(to)))
        .collect();
    for from in ["n1", "n2", "n3"] {
        for to in ["n1", "n2", "n3"] {
            assert!(
                from == to || crossed.contains(&(from, to)),
                "{from} → {to} is not crossed by {found:?}"
            );
        }
    }
}

fn home(pod: &str) -> &'static str {
    match pod {
        "api-1" | "web-1" => "n1",
        "api-2" => "n2",
        _ => "n3",
    }
}

#[test]
fn full_means_every_ordered_pair_and_counts_as_such() {
    let selection = select(&shop(), &Choice { full: true, ..choice() });
    assert_eq!(pods_only(&selection).len(), 4 * 3);
    // 12 pod pairs; 4 pods → 3 nodes, 1 Service, DNS; 3 nodes → 4 pods, 2 nodes, 1 Service.
    assert_eq!(selection.pairs.len(), 12 + 4 * (3 + 1 + 1) + 3 * (4 + 2 + 1));
    assert_eq!(selection.pairs_in_scope, selection.pairs.len());
    assert_eq!(
        select(&shop(), &choice()).pairs_in_scope,
        selection.pairs.len(),
        "sampling does not change what is in scope"
    );
}

#[test]
fn services_and_dns_are_asked_from_every_workload_and_node() {
    let lines = shown(&select(&shop(), &choice()));
    for must in ["n1>svc/api", "n2>svc/api", "n3>svc/api"] {
        assert!(lines.contains(&must.to_owned()), "{must} is missing in {lines:?}");
    }
    let askers: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line.strip_suffix(">dns"))
        .map(home)
        .collect();
    assert_eq!(askers, ["n1", "n2", "n3"].into(), "{lines:?}");
}

#[test]
fn named_targets_narrow_both_sides() {
    let named = Choice {
        sources: Some(Named {
            pods: ["uid-web-1".to_owned()].into(),
            ..Named::default()
        }),
        destinations: Some(Named {
            services: [("shop".to_owned(), "api".to_owned())].into(),
            ..Named::default()
        }),
        ..choice()
    };
    assert_eq!(shown(&select(&shop(), &named)), ["web-1>svc/api"]);
    let nodes = Choice {
        sources: Some(Named {
            nodes: ["n2".to_owned()].into(),
            ..Named::default()
        }),
        destinations: Some(Named {
            nodes: ["n1".to_owned()].into(),
            ..Named::default()
        }),
        ..choice()
    };
    assert_eq!(shown(&select(&shop(), &nodes)), ["n2>/n1"]);
    let dns = Choice {
        destinations: Some(Named {
            services: [("kube-system".to_owned(), "kube-dns".to_owned())].into(),
            ..Named::default()
        }),
        ..choice()
    };
    assert!(shown(&select(&shop(), &dns)).iter().any(|line| line.ends_with(">dns")));
}

#[test]
fn nodes_are_limited_by_name_and_the_rest_is_counted() {
    let selection = select(
        &shop(),
        &Choice {
            max_nodes: 2,
            full: true,
            ..choice()
        },
    );
    assert_eq!(selection.nodes, ["n1", "n2"]);
    assert_eq!(selection.nodes_in_scope, 3);
    assert!(
        shown(&selection)
            .iter()
            .all(|line| !line.contains("web-2") && !line.contains("n3"))
    );
}

#[test]
fn what_cannot_run_an_agent_is_out_of_scope_and_said_so() {
    let mut inventory = shop();
    inventory.nodes.push(Node {
        os: "windows".into(),
        ..node("win")
    });
    inventory.nodes.push(Node {
        is_virtual: true,
        ..node("fargate")
    });
    inventory.pods.push(pod("iis-1", "win"));
    inventory.pods.push(Pod {
        running: false,
        end: Some(End::Completed),
        reason: Some("Completed".into()),
        ..pod("job-1", "n1")
    });
    for (name, reason) in [
        ("api-7", "Evicted: disk"),
        ("job-8", "Evicted: memory"),
        ("job-9", "Failed"),
    ] {
        inventory.pods.push(Pod {
            running: false,
            end: Some(End::Failed),
            reason: Some(reason.into()),
            ..pod(name, "n1")
        });
    }
    let selection = select(&inventory, &choice());
    assert!(
        !shown(&selection)
            .iter()
            .any(|line| line.contains("iis") || line.contains("win") || line.contains("job"))
    );
    assert_eq!(
        selection.out_of_scope,
        [
            "node win runs windows",
            "node fargate is virtual",
            "1 completed pod",
            "3 failed pods (Evicted 2, Failed 1)"
        ]
    );
}

#[test]
fn a_service_without_a_cluster_ip_is_a_destination_only_if_it_was_named() {
    let mut inventory = shop();
    inventory.services[1].cluster_ips.clear();
    let all = select(&inventory, &choice());
    assert!(!shown(&all).iter().any(|line| line.ends_with("svc/api")));
    assert_eq!(
        all.out_of_scope,
        ["Services without a cluster IP (headless or ExternalName): shop/api"]
    );
    let named = Choice {
        destinations: Some(Named {
            services: [("shop".to_owned(), "api".to_owned())].into(),
            ..Named::default()
        }),
        ..choice()
    };
    let named = select(&inventory, &named);
    assert!(shown(&named).contains(&"n1>svc/api".to_owned()));
    assert!(named.out_of_scope.is_empty());
}

#[test]
fn a_pod_that_does_not_run_is_chosen_only_if_its_workload_has_no_other() {
    let mut inventory = shop();
    inventory.pods[0].running = false;
    inventory.pods.push(Pod {
        running: false,
        reason: Some("CrashLoopBackOff".into()),
        ..pod("db-1", "n2")
    });
    let lines = pods_only(&select(&inventory, &choice()));
    assert!(lines.iter().any(|line| line.contains("db-1")), "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("api-1")), "{lines:?}");
    assert!(lines.contains(&"web-1>/api-2".to_owned()), "{lines:?}");
    assert_eq!(select(&inventory, &choice()).asleep, ["uid-api-1"]);
}

#[test]
fn an_unscheduled_pod_still_shows_up() {
    let mut inventory = shop();
    inventory.pods.push(Pod {
        node: None,
        running: false,
        ips: Vec::new(),
        reason: Some("Pending".into()),
        ..pod("db-1", "")
    });
    let selection = select(&inventory, &choice());
    assert!(pods_only(&selection).iter().any(|line| line.contains("db-1")));
    assert!(
        !selection
            .subjects(&inventory)
            .contains(&Subject::Pod("uid-db-1".into())),
        "no agent can be started for it"
    );
}

#[test]
fn host_network_pods_never_speak_to_their_own_node() {
    let mut inventory = shop();
    inventory.pods.push(Pod {
        host_network: true,
        ..pod("proxy-1", "n1")
    });
    inventory.pods.push(Pod {
        host_network: true,
        ..pod("proxy-2", "n2")
    });
    let selection = select(&inventory, &Choice { full: true, ..choice() });
    assert_eq!(selection.pairs.len(), selection.pairs_in_scope);
    let lines = shown(&selection);
    assert!(!lines.contains(&"n1>=proxy-1".to_owned()));
    assert!(lines.contains(&"n1>/proxy-2".to_owned()));
    assert!(
        !lines.iter().any(|line| line.starts_with("proxy")),
        "the node speaks for them"
    );
}

#[test]
fn backends_outside_the_namespace_get_an_agent_too() {
    let mut inventory = shop();
    inventory.pods.push(Pod {
        namespace: "kube-system".into(),
        ..pod("coredns-1", "n3")
    });
    inventory.services[0].endpoints.push(Endpoint {
        ip: "10.0.3.3".parse().unwrap(),
        ports: Vec::new(),
        pod_uid: Some("uid-coredns-1".into()),
        pod_name: Some("kube-system/coredns-1".into()),
        node: None,
        ready: true,
    });
    let selection = select(&inventory, &choice());
    assert!(
        selection
            .subjects(&inventory)
            .contains(&Subject::Pod("uid-coredns-1".into()))
    );
    assert!(
        !shown(&selection).iter().any(|line| line.contains("coredns")),
        "it is no source and no destination"
    );
}

#[test]
fn only_nodes_that_are_involved_get_an_agent() {
    let named = Choice {
        sources: Some(Named {
            pods: ["uid-web-1".to_owned()].into(),
            ..Named::default()
        }),
        destinations: Some(Named {
            pods: ["uid-api-2".to_owned()].into(),
            ..Named::default()
        }),
        ..choice()
    };
    let inventory = shop();
    let subjects = select(&inventory, &named).subjects(&inventory);
    let nodes: Vec<_> = subjects
        .iter()
        .filter(|subject| matches!(subject, Subject::Node(_)))
        .collect();
    assert_eq!(nodes, [&Subject::Node("n1".into()), &Subject::Node("n2".into())]);
}

proptest! {
    #[test]
    fn any_cluster_gives_distinct_pairs_without_selves(
        pods in prop::collection::vec((0usize..6, 0usize..5, any::<bool>(), any::<bool>()), 0..40),
        full in any::<bool>(),
        max_nodes in 0usize..6,
    ) {
        let inventory = Inventory {
            pods: pods
                .iter()
                .enumerate()
                .map(|(index, (workload, node, running, host_network))| Pod {
                    running: *running,
                    host_network: *host_network,
                    ..pod(&format!("w{workload}-{index}"), &format!("n{node}"))
                })
                .collect(),
            nodes: (0..5).map(|index| node(&format!("n{index}"))).collect(),
            ..Inventory::default()
        };
        let selection = select(&inventory, &Choice { full, max_nodes, ..choice() });
        let distinct: BTreeSet<_> = selection.pairs.iter().collect();
        prop_assert_eq!(distinct.len(), selection.pairs.len());
        prop_assert!(selection.pairs.len() <= selection.pairs_in_scope);
        if full && max_nodes >= inventory.nodes.len() {
            prop_assert_eq!(selection.pairs.len(), selection.pairs_in_scope, "what is counted is what there is");
        }
        for pair in &selection.pairs {
            match (&pair.from, &pair.to) {
                (Subject::Pod(from), Goal::Pod(to)) => prop_assert_ne!(from, to),
                (Subject::Node(from), Goal::Node(to)) => prop_assert_ne!(from, to),
                _ => {}
            }
        }
        prop_assert_eq!(&select(&inventory, &Choice { full, max_nodes, ..choice() }).pairs, &selection.pairs);
    }
}
