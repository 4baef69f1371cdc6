//! Two inventories, one failed row: whether the row still says something about the network.

use super::*;
use crate::matrix::{
    evidence::{Aim, Protocol},
    family::Family,
    sample,
    select::Pair,
};

fn pod(uid: &str) -> Pod {
    Pod {
        namespace: "shop".into(),
        name: format!("name-{uid}"),
        uid: uid.into(),
        ips: vec!["10.0.0.1".parse().unwrap()],
        running: true,
        ready: true,
        ..Pod::default()
    }
}

fn endpoint(last: u8, ready: bool) -> Endpoint {
    Endpoint {
        ip: [10, 0, 0, last].into(),
        ports: Vec::new(),
        pod_uid: Some(format!("backend-{last}")),
        pod_name: None,
        node: None,
        ready,
    }
}

fn inventory() -> Inventory {
    Inventory {
        pods: vec![pod("a"), pod("b")],
        services: vec![Service {
            namespace: "shop".into(),
            name: "api".into(),
            cluster_ips: vec!["10.96.0.7".parse().unwrap()],
            endpoints: vec![endpoint(8, true), endpoint(9, false)],
            ..Service::default()
        }],
        ..Inventory::default()
    }
}

fn planned(to: Goal) -> plan::Row {
    plan::Row {
        pair: Pair {
            from: Subject::Pod("a".into()),
            to,
            relation: None,
        },
        protocol: Protocol::Tcp,
        family: Family::Ipv4,
        target: None,
        port_name: None,
        aim: Aim::Pod,
        ends: Vec::new(),
        transit: Vec::new(),
        probe: Err("".into()),
        expects: Vec::new(),
        trouble: None,
    }
}

fn row(class: Class) -> Row {
    let (source, destination) = (sample::pod("web", "n1"), sample::pod("api", "n2"));
    Row {
        by: Some("somebody".into()),
        cause: Some("something".into()),
        ..sample::row(&source, &destination, 80, Family::Ipv4, class)
    }
}

fn settled(to: Goal, class: Class, change: impl Fn(&mut Inventory)) -> Row {
    let before = inventory();
    let mut after = inventory();
    change(&mut after);
    let mut rows = [row(class)];
    settle(&[planned(to)], &mut rows, &before, &after);
    let [row] = rows;
    row
}

fn to_pod() -> Goal {
    Goal::Pod("b".into())
}

fn to_service() -> Goal {
    Goal::Service("shop".into(), "api".into())
}

#[test]
fn a_failed_row_of_something_that_changed_was_not_tested() {
    type Change = fn(&mut Inventory);
    let cases: [(Goal, Change, &str); 12] = [
        (
            to_pod(),
            |is| drop(is.pods.remove(1)),
            "pod shop/name-b changed in mid-run: it is gone",
        ),
        (
            to_pod(),
            |is| drop(is.pods.remove(0)),
            "pod shop/name-a changed in mid-run: it is gone",
        ),
        (
            to_pod(),
            |is| is.pods[1].uid = "c".into(),
            "pod shop/name-b changed in mid-run: another pod has its name now",
        ),
        (
            to_pod(),
            |is| is.pods[1].ips = vec!["10.0.0.5".parse().unwrap()],
            "pod shop/name-b changed in mid-run: its addresses were 10.0.0.1, are 10.0.0.5",
        ),
        (
            to_pod(),
            |is| {
                is.pods[1].running = false;
                is.pods[1].reason = Some("Crash\u{1b}[1mLoop".into());
            },
            "pod shop/name-b changed in mid-run: it is no longer running (Crash",
        ),
        (
            to_pod(),
            |is| is.pods[1].ready = false,
            "pod shop/name-b changed in mid-run: it is no longer ready",
        ),
        (
            to_service(),
            |is| is.services.clear(),
            "Service shop/api changed in mid-run: it is gone",
        ),
        (
            Goal::Dns("shop".into(), "api".into()),
            |is| is.services.clear(),
            "Service shop/api changed in mid-run: it is gone",
        ),
        (
            to_service(),
            |is| is.services[0].cluster_ips.clear(),
            "its addresses were 10.96.0.7, are none",
        ),
        (
            to_service(),
            |is| is.services[0].endpoints[0] = endpoint(5, true),
            "endpoint 10.0.0.8 is gone, endpoint 10.0.0.5 is new",
        ),
        (
            to_service(),
            |is| is.services[0].endpoints[1].ready = true,
            "endpoint 10.0.0.9 became ready",
        ),
        (
            to_service(),
            |is| {
                is.services[0]
                    .endpoints
                    .extend((20..30).map(|last| endpoint(last, true)));
            },
            "endpoint 10.0.0.23 is new and 6 more",
        ),
    ];
    for (to, change, reason) in cases {
        let row = settled(to, Class::NeverArrived, change);
        assert_eq!(row.class, Class::NotTested, "{reason}");
        assert!(row.reason.contains(reason), "{} instead of {reason}", row.reason);
        assert!(!row.reason.contains('\u{1b}'));
        assert_eq!(row.finding.as_deref(), Some("matrix-not-tested"));
        assert_eq!((row.by, row.cause), (None, None));
    }
}

#[test]
fn what_did_not_change_keeps_its_verdict() {
    for to in [to_pod(), to_service(), Goal::Node("n1".into())] {
        let row = settled(to, Class::Refused, |is| {
            // Without the endpoint that took no traffic, another order, labels, and a Service that this row does not ask.
            is.services[0].endpoints.retain(|endpoint| endpoint.ready);
            is.services[0].endpoints.extend([endpoint(77, false)]);
            is.services[0].endpoints.reverse();
            is.pods[1].labels.insert("new".into(), "label".into());
            is.services.push(Service::default());
        });
        assert_eq!((row.class, row.by.as_deref()), (Class::Refused, Some("somebody")));
    }
}

#[test]
fn what_answered_stays_whatever_changed() {
    for to in [to_pod(), to_service()] {
        for class in [Class::Reached, Class::Unanswered] {
            assert_eq!(settled(to.clone(), class, |is| *is = Inventory::default()).class, class);
        }
    }
}
