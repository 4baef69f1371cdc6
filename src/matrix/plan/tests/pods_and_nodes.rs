//! Probes to pods and nodes.

use super::*;

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
fn nodes_are_dialled_on_the_kubelets_port_only() {
    let inventory = cluster();
    let plan = plan(&everything(&inventory), &inventory, &known(), &wish(), None);
    assert_eq!(shown(&plan, "web", &Goal::Node("n2".into())), ["tcp 192.0.2.2:10250"]);
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
