//! Probes to Services and cluster DNS.

use super::*;

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
