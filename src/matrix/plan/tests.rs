//! What becomes of pairs once it is known what listens where.

use super::*;
use crate::{
    cluster::inventory::{Endpoint, Node, Workload},
    matrix::select::{Choice, select},
};
use netcheck_wire::probe::{Listener, Resolver};

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

#[test]
fn ports_are_those_that_listen_and_those_that_are_declared() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    // 6060 listens on loopback only and is not declared; over IPv6 nothing listens, so only the declared port is dialled.
    assert_eq!(
        shown(&plan, "web", &api()),
        ["tcp 10.0.2.2:8080", "tcp 10.0.2.2:9000", "tcp [fd00:2::2]:8080"]
    );
}

#[test]
fn a_service_is_dialled_on_its_tcp_ports_and_knows_its_backends() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    let goal = Goal::Service("shop".into(), "api".into());
    assert_eq!(
        shown(&plan, "web", &goal),
        ["tcp 10.96.0.80:80", "tcp [fd00:96::80]:80"]
    );
    let rows: Vec<&Row> = plan
        .rows
        .iter()
        .filter(|row| row.pair.to == goal && row.pair.from == Subject::Pod("web".into()))
        .collect();
    assert_eq!(rows[0].ends[0].port, 8080);
    assert_eq!(rows[0].aim, Aim::Service { ready_endpoints: 1 });
    assert_eq!(
        rows[1].aim,
        Aim::Service { ready_endpoints: 0 },
        "the IPv6 address has no IPv6 backend"
    );
}

#[test]
fn a_service_with_local_backends_only_is_dialled_where_it_has_one() {
    let mut inventory = cluster();
    inventory.services[1].local_only = true;
    inventory.services[1].cluster_ips.pop();
    let mut twin = inventory.services[1].endpoints[0].clone();
    twin.ip = "10.0.3.2".parse().unwrap();
    (twin.pod_uid, twin.pod_name, twin.node) = (None, None, Some("n3".into()));
    inventory.services[1].endpoints.push(twin);
    let goal = Goal::Service("shop".into(), "api".into());
    let made = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    assert!(shown(&made, "web", &goal).is_empty(), "n1 has no backend");
    let note = "internalTrafficPolicy is Local and no backend is on the source's node: Service shop/api from node n1, \
                Service shop/api from pod shop/web";
    assert!(made.notes.contains(&note.to_owned()), "{:?}", made.notes);
    let local = made.rows.iter().find(|row| row.pair.to == goal).unwrap();
    assert_eq!(local.aim, Aim::Service { ready_endpoints: 1 });
    assert_eq!(local.ends.len(), 1, "n3's backend gets nothing from n2");

    inventory.services[1].endpoints.clear();
    let made = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    assert_eq!(
        shown(&made, "web", &goal),
        ["tcp 10.96.0.80:80"],
        "a Service without any backend is a fault"
    );
}

#[test]
fn dns_is_asked_as_the_pod_would_ask() {
    let inventory = cluster();
    let mut facts = known();
    let goal = Goal::Dns("kube-system".into(), "kube-dns".into());
    let resolver = |servers: &[&str], search: &[&str]| {
        Ok(PlaceFacts {
            resolver: Some(Resolver {
                nameservers: ips(servers),
                search: search.iter().map(|entry| (*entry).to_owned()).collect(),
                ndots: 5,
            }),
            ..PlaceFacts::default()
        })
    };
    let made = |facts: &Facts| plan(&everything(&inventory), &inventory, facts, &wish(), None);
    assert_eq!(
        shown(&made(&facts), "web", &goal),
        ["dns 10.96.0.10:53"],
        "without resolv.conf the DNS Service is asked"
    );

    facts.insert(
        Subject::Pod("web".into()),
        resolver(
            &["169.254.20.10"],
            &["shop.svc.example.org", "svc.example.org", "example.org"],
        ),
    );
    let cached = made(&facts);
    assert_eq!(
        shown(&cached, "web", &goal),
        ["dns 169.254.20.10:53", "dns 10.96.0.10:53"]
    );
    let row = cached
        .rows
        .iter()
        .find(|row| row.protocol == Protocol::Dns && row.aim == Aim::Resolver)
        .unwrap();
    let Ok(ProbeKind::Dns { name, record, .. }) = &row.probe else {
        panic!("{row:?}")
    };
    assert_eq!(
        (name.as_str(), *record),
        ("kube-dns.kube-system.svc.example.org", Record::A)
    );
    assert_eq!(row.expects, ips(&["10.96.0.10"]));

    facts.insert(Subject::Pod("web".into()), resolver(&["9.9.9.9"], &[]));
    let foreign = made(&facts);
    assert!(shown(&foreign, "web", &goal).is_empty());
    assert!(
        foreign.notes.iter().any(|note| note.contains("pod shop/web")),
        "{:?}",
        foreign.notes
    );
}

#[test]
fn cluster_dns_that_is_not_known_is_untold_where_it_was_asked_for() {
    let mut inventory = cluster();
    inventory.services.remove(0);
    inventory.dns_missing = Some("you may not list services".into());
    let selection = everything(&inventory);
    let untold = |wish: &Wish, named: Option<&Named>| plan(&selection, &inventory, &known(), wish, named).untold;
    let found = untold(&wish(), None);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].what.as_str(), found[0].why.as_str()),
        ("cluster DNS", "you may not list services")
    );
    assert!(found[0].hint.contains("--protocol tcp"), "{found:?}");
    let tcp_only = Wish {
        protocols: [Protocol::Tcp].into(),
        ..wish()
    };
    assert!(untold(&tcp_only, None).is_empty(), "not asked for");
    let named = Named {
        pods: ["api".to_owned()].into(),
        ..Named::default()
    };
    assert!(
        untold(&wish(), Some(&named)).is_empty(),
        "only what was named is asked for"
    );
    let whole = cluster();
    assert!(
        plan(&everything(&whole), &whole, &known(), &wish(), None)
            .untold
            .is_empty()
    );
}

#[test]
fn nodes_are_dialled_on_the_kubelets_port_only() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    assert_eq!(shown(&plan, "web", &Goal::Node("n2".into())), ["tcp 192.0.2.2:10250"]);
}

#[test]
fn a_source_without_an_agent_keeps_its_rows_with_the_reason() {
    let inventory = cluster();
    let mut facts = known();
    facts.insert(Subject::Pod("web".into()), Err("ImagePullBackOff".into()));
    let plan = plan(&everything(&inventory), &inventory, &facts, &wish(), None);
    let rows = shown(&plan, "web", &api());
    assert_eq!(rows.len(), 3);
    assert!(
        rows.iter()
            .all(|row| row == "tcp !pod shop/web cannot be entered: ImagePullBackOff"),
        "{rows:?}"
    );
}

#[test]
fn a_destination_without_an_agent_is_dialled_on_declared_ports() {
    let inventory = cluster();
    let mut facts = known();
    facts.insert(Subject::Pod("api".into()), Err("kubelet stopped".into()));
    facts.insert(Subject::Pod("coredns".into()), Err("kubelet stopped".into()));
    let plan = plan(&everything(&inventory), &inventory, &facts, &wish(), None);
    assert_eq!(
        shown(&plan, "web", &api()),
        ["tcp 10.0.2.2:8080", "tcp [fd00:2::2]:8080"]
    );
    let unknown = shown(&plan, "web", &Goal::Pod("coredns".into()));
    assert_eq!(
        unknown,
        ["tcp !which ports listen in pod shop/coredns is not known: kubelet stopped"]
    );
}

#[test]
fn a_pod_that_does_not_run_is_said_to_be_so_at_both_ends() {
    let mut inventory = cluster();
    inventory.pods[0].running = false;
    inventory.pods[0].reason = Some("CrashLoopBackOff".into());
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    let why = "tcp !pod shop/api is not running: CrashLoopBackOff";
    assert!(shown(&plan, "web", &api()).iter().all(|row| row == why));
    assert!(
        shown(&plan, "api", &Goal::Pod("coredns".into()))
            .iter()
            .all(|row| row == why)
    );
    inventory.pods[0].ips.clear();
    let plan = super::plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    assert_eq!(shown(&plan, "web", &api()), [why]);
}

#[test]
fn a_pod_that_offers_nothing_is_a_note_unless_it_was_named() {
    let inventory = cluster();
    let selection = everything(&inventory);
    let web = Goal::Pod("web".into());
    let quiet = plan(&selection, &inventory, &known(), &wish(), None);
    assert!(shown(&quiet, "api", &web).is_empty());
    assert_eq!(quiet.notes, ["no TCP port listens or is declared in pod shop/web"]);
    let named = Named {
        pods: ["web".to_owned()].into(),
        ..Named::default()
    };
    let asked = plan(&selection, &inventory, &known(), &wish(), Some(&named));
    assert_eq!(
        shown(&asked, "api", &web),
        ["tcp !no TCP port listens or is declared in pod shop/web"; 2]
    );
}

#[test]
fn destinations_that_cannot_be_probed_are_notes_and_rows_if_they_were_named() {
    let mut inventory = cluster();
    inventory.nodes[1].ips.clear();
    inventory.services[1].ports.remove(0);
    let named = Named {
        pods: ["coredns".to_owned()].into(),
        nodes: ["n2".to_owned()].into(),
        services: [("shop".to_owned(), "api".to_owned())].into(),
    };
    // web has IPv6 only, coredns has IPv4 only.
    inventory.pods[2].ips.remove(0);
    let selection = everything(&inventory);
    let quiet = plan(&selection, &inventory, &known(), &wish(), None);
    let asked = plan(&selection, &inventory, &known(), &wish(), Some(&named));
    for (goal, why, whom) in [
        (
            Goal::Service("shop".into(), "api".into()),
            "no TCP port is offered by",
            "Service shop/api",
        ),
        (Goal::Node("n2".into()), "no InternalIP address is known of", "node n2"),
        (
            Goal::Pod("coredns".into()),
            "no IP family, of those asked for, that both ends have:",
            "pod shop/coredns from pod shop/web",
        ),
    ] {
        assert!(shown(&quiet, "web", &goal).is_empty());
        assert!(
            quiet
                .notes
                .iter()
                .any(|note| note.starts_with(why) && note.contains(whom)),
            "{why} {whom} is missing in {:?}",
            quiet.notes
        );
        assert_eq!(shown(&asked, "web", &goal), [format!("tcp !{why} {whom}")]);
    }
    inventory.services[1].cluster_ips.clear();
    let headless = plan(&selection, &inventory, &known(), &wish(), Some(&named));
    assert_eq!(
        shown(&headless, "web", &Goal::Service("shop".into(), "api".into())),
        ["tcp !no cluster IP (headless or ExternalName): Service shop/api"]
    );
}

#[test]
fn families_and_protocols_are_as_wished() {
    let inventory = cluster();
    let wish = Wish {
        protocols: [Protocol::Icmp].into(),
        families: [Family::Ipv6].into(),
        max_probes: 10,
    };
    let mut facts = known();
    let made = plan(&everything(&inventory), &inventory, &facts, &wish, None);
    assert_eq!(shown(&made, "web", &api()), ["icmp [fd00:2::2]:0"]);
    assert!(
        shown(&made, "coredns", &api()).is_empty(),
        "a source without IPv6 has no IPv6 rows"
    );
    if let Some(Ok(web)) = facts.get_mut(&Subject::Pod("web".into())) {
        web.cannot_ping = Some("ping_group_range".into());
    }
    let made = plan(&everything(&inventory), &inventory, &facts, &wish, None);
    assert_eq!(
        shown(&made, "web", &api()),
        ["icmp !pod shop/web cannot send an echo: ping_group_range"]
    );
    let unsent = made.rows.iter().find_map(|row| row.probe.as_ref().err());
    assert_eq!(unsent.map(|why| why.obstacle), Some(Obstacle::CapabilityMissing));
}

#[test]
fn what_kept_an_agent_away_is_kept_with_the_row() {
    let inventory = cluster();
    let mut facts = known();
    let pulled = Obstacle::ImagePull.because("ImagePullBackOff");
    facts.insert(Subject::Pod("web".into()), Err(pulled));
    facts.remove(&Subject::Node("n2".into()));
    let made = plan(&everything(&inventory), &inventory, &facts, &wish(), None);
    let obstacle = |from: Subject| {
        let found: BTreeSet<_> = made
            .rows
            .iter()
            .filter(|row| row.pair.from == from)
            .map(|row| row.probe.as_ref().err().map(|why| why.obstacle))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found.into_iter().next().flatten()
    };
    assert_eq!(obstacle(Subject::Pod("web".into())), Some(Obstacle::ImagePull));
    assert_eq!(obstacle(Subject::Node("n2".into())), Some(Obstacle::NotStarted));
    // What listens in web is not known for the same reason.
    let to_web = made.rows.iter().filter(|row| row.pair.to == Goal::Pod("web".into()));
    let from_coredns = to_web.filter(|row| row.pair.from == Subject::Pod("coredns".into()));
    let obstacles: Vec<_> = from_coredns
        .map(|row| row.probe.as_ref().err().map(|why| why.obstacle))
        .collect();
    assert_eq!(obstacles, [Some(Obstacle::ImagePull)]);
}

#[test]
fn the_limit_keeps_the_same_probes_every_time_and_counts_the_rest() {
    let inventory = cluster();
    let selection = everything(&inventory);
    let all = plan(&selection, &inventory, &known(), &wish(), None);
    let few = plan(
        &selection,
        &inventory,
        &known(),
        &Wish {
            max_probes: 5,
            ..wish()
        },
        None,
    );
    assert_eq!((few.probes(), few.over_limit), (5, all.probes() - 5));
    assert!(few.rows.iter().all(|row| all.rows.contains(row)));
    assert_eq!(
        plan(
            &selection,
            &inventory,
            &known(),
            &Wish {
                max_probes: 5,
                ..wish()
            },
            None
        )
        .rows,
        few.rows
    );
}

#[test]
fn the_limit_keeps_the_same_cases_after_a_rollout() {
    let few = Wish {
        max_probes: 5,
        ..wish()
    };
    let cases = |inventory: &Inventory, facts: &Facts| -> BTreeSet<String> {
        let plan = plan(&everything(inventory), inventory, facts, &few, None);
        let names = Names::new(inventory);
        plan.rows.iter().map(|row| names.case(row)).collect()
    };
    let before = cluster();
    let mut after = cluster();
    let mut facts = known();
    for (index, pod) in after.pods.iter_mut().enumerate() {
        let found = facts.remove(&Subject::Pod(pod.uid.clone())).unwrap();
        pod.uid = format!("{}{}", 9 - index, pod.uid);
        facts.insert(Subject::Pod(pod.uid.clone()), found);
        pod.ips[0] = format!("10.0.9.{index}").parse().unwrap();
    }
    assert_eq!(cases(&before, &known()), cases(&after, &facts));
}

#[test]
fn the_estimate_counts_declared_ports_without_any_agent() {
    let inventory = cluster();
    let estimated = estimate(&everything(&inventory), &inventory, &wish());
    let all = plan(&everything(&inventory), &inventory, &known(), &wish(), None).probes();
    assert!(estimated > 0 && estimated <= all, "{estimated} of {all}");
}

#[test]
fn no_source_dials_a_port_twice_in_a_second() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    let rounds = rounds(&plan.rows, Clone::clone);
    assert_eq!(
        rounds.iter().map(Vec::len).sum::<usize>(),
        plan.probes(),
        "every probe goes exactly once"
    );
    for round in &rounds {
        let mut seen = BTreeSet::new();
        for row in round
            .iter()
            .map(|index| &plan.rows[*index])
            .filter(|row| row.protocol == Protocol::Tcp)
        {
            for end in &row.ends {
                assert!(
                    seen.insert((row.pair.from.clone(), end.ip, end.port)),
                    "{row:?} repeats a target of its round"
                );
            }
        }
    }
    // The Service's handshake ends where the pod's own did.
    assert_eq!(rounds.len(), 2);
}

#[test]
fn nodes_on_the_way_are_those_of_both_pods_unless_they_are_an_end_themselves() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    let transit = |from: Subject, to: Goal| {
        let row = plan.rows.iter().find(|row| row.pair.from == from && row.pair.to == to);
        row.map_or_else(Vec::new, |row| row.transit.clone())
    };
    let web = || Subject::Pod("web".into());
    assert_eq!(transit(web(), api()), ["n1", "n2"]);
    assert_eq!(transit(web(), Goal::Service("shop".into(), "api".into())), ["n1", "n2"]);
    assert_eq!(transit(web(), Goal::Node("n2".into())), ["n1"]);
    assert_eq!(transit(Subject::Node("n2".into()), api()), Vec::<String>::new());
}

#[test]
fn an_end_in_a_nodes_own_namespace_is_known_to_share_it() {
    let mut inventory = cluster();
    for pod in &mut inventory.pods {
        pod.host_network = pod.name == "api";
    }
    let made = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    let shares = |goal: &Goal| -> BTreeSet<Option<String>> {
        let rows = made.rows.iter().filter(|row| row.pair.to == *goal);
        rows.flat_map(|row| &row.ends).map(|end| end.shares.clone()).collect()
    };
    let n2 = || BTreeSet::from([Some("n2".to_owned())]);
    assert_eq!(shares(&Goal::Node("n2".into())), n2());
    assert_eq!(shares(&Goal::Service("shop".into(), "api".into())), n2());
    assert_eq!(
        shares(&Goal::Dns("kube-system".into(), "kube-dns".into())),
        [None].into()
    );
    assert_eq!(shares(&Goal::Pod("coredns".into())), [None].into());
}
