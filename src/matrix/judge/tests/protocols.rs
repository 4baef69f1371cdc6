//! Names and echoes, what was not tested, and what is named beside the class.

use super::*;

#[test]
fn what_names_do() {
    let resolved = |rcode, addresses: &[&str], ends| {
        Scene::new(
            Outcome::Resolved {
                rcode,
                addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
                from: "10.96.0.10:53".parse().unwrap(),
            },
            vec![out(Packet::Request), into(Packet::Reply)],
            ends,
        )
        .dns()
    };
    let seen = || vec![end(vec![into(Packet::Request), out(Packet::Reply)])];
    let unseen = || vec![end(Vec::new())];
    let no_name = Class::NameNotResolved;
    hold(vec![
        (
            "right",
            resolved(0, &["10.96.0.10"], seen()),
            Class::Reached,
            "resolved",
        ),
        (
            "right, from a cache on the node",
            resolved(0, &["10.96.0.10"], unseen()),
            Class::Reached,
            "resolved",
        ),
        ("NXDOMAIN by cluster DNS", resolved(3, &[], seen()), no_name, "NXDOMAIN"),
        ("SERVFAIL, unwatched", resolved(2, &[], blind()), no_name, "SERVFAIL"),
        (
            "NXDOMAIN by somebody else",
            resolved(3, &[], unseen()),
            Class::AnsweredByOther,
            "NXDOMAIN",
        ),
        ("empty", resolved(0, &[], seen()), no_name, "NOERROR without an address"),
        (
            "wrong",
            resolved(0, &["192.0.2.66"], seen()),
            no_name,
            "192.0.2.66 instead of 10.96.0.10",
        ),
        (
            "wrong, by somebody else",
            resolved(0, &["192.0.2.66"], unseen()),
            Class::AnsweredByOther,
            "192.0.2.66",
        ),
        (
            "an unknown code",
            resolved(4095, &[], seen()),
            no_name,
            "response code 4095",
        ),
    ]);
    let transport = |scene: Scene| (scene.judge().class, scene.judge().transport);
    let query = || vec![out(Packet::Request)];
    let lost = Scene::new(Outcome::TimedOut, query(), unseen()).dns();
    assert_eq!(transport(lost), (no_name, Some(Class::NeverArrived)));
    let blind = Scene::new(Outcome::TimedOut, query(), blind()).dns();
    assert_eq!(transport(blind), (no_name, Some(Class::Unanswered)));
    let unsent = Scene::new(Outcome::NotSent { why: "stopped".into() }, Vec::new(), unseen()).dns();
    assert_eq!(transport(unsent), (Class::NotTested, None));

    // CoreDNS scaled to 0: the node rejects in the Service's name.
    let scaled_down = Scene::new(
        errno("ECONNREFUSED"),
        vec![out(Packet::Request), icmp_from("192.0.2.1", 3, 3)],
        Vec::new(),
    )
    .dns()
    .with(|scene| scene.aim = Aim::Service { ready_endpoints: 0 });
    let verdict = scaled_down.judge();
    assert_eq!((verdict.class, verdict.transport), (no_name, Some(Class::Rejected)));
    assert_eq!(verdict.cause.as_deref(), Some("the Service has no ready endpoints"));
    assert!(verdict.by.is_some_and(|by| by.contains("node n1")));

    let nothing_serves = Scene::new(
        errno("ECONNREFUSED"),
        query(),
        vec![end(vec![
            into(Packet::Request),
            out(Packet::IcmpError { kind: 3, code: 3 }),
        ])],
    )
    .dns()
    .with(|scene| scene.ends[0].serving = None);
    assert_eq!(transport(nothing_serves), (no_name, Some(Class::Refused)));
}

#[test]
fn echoes_are_judged_alike() {
    let echo = |outcome, saw, ends| {
        Scene::new(outcome, saw, ends).with(|scene| {
            scene.protocol = Protocol::Icmp;
            scene.target = "10.0.2.3:0";
        })
    };
    hold(vec![
        (
            "echoed",
            echo(
                Outcome::Echoed,
                vec![out(Packet::Request)],
                vec![end(vec![into(Packet::Request)])],
            ),
            Class::Reached,
            "answered",
        ),
        (
            "lost",
            echo(Outcome::TimedOut, vec![out(Packet::Request)], vec![end(Vec::new())]),
            Class::NeverArrived,
            "never saw it",
        ),
        (
            "ignored",
            echo(
                Outcome::TimedOut,
                vec![out(Packet::Request)],
                vec![end(vec![into(Packet::Request)])],
            ),
            Class::NoAnswer,
            "no answer",
        ),
        (
            "may not ping",
            echo(
                Outcome::NotSent {
                    why: "ping_group_range".into(),
                },
                Vec::new(),
                Vec::new(),
            ),
            Class::NotTested,
            "ping_group_range",
        ),
    ]);
}

#[test]
fn what_was_not_tested_names_the_page_of_what_stood_in_the_way() {
    for obstacle in Obstacle::ALL {
        let scene = Scene::healthy();
        let observed = Observed {
            source: Err(obstacle.because("node/n1: no")),
            ends: scene.ends.clone(),
            transit: Vec::new(),
        };
        let verdict = scene.judge_what(&observed);
        assert_eq!(verdict.class, Class::NotTested);
        assert_eq!(verdict.finding(), Some(obstacle.finding()));
        assert_eq!(verdict.reason, "node/n1: no");
    }
    assert_eq!(Scene::healthy().judge().finding(), None);
}

#[test]
fn the_backend_and_the_culprit_are_named() {
    assert_eq!(
        Scene::healthy().service(1).judge().backend.as_deref(),
        Some("pod shop/api")
    );
    let rejected = Scene::new(
        errno("ECONNREFUSED"),
        vec![out(Packet::Syn), icmp_from("192.0.2.1", 3, 3)],
        Vec::new(),
    )
    .service(0);
    assert_eq!(rejected.judge().by.as_deref(), Some("node n1 (192.0.2.1)"));
    assert_eq!(
        rejected.judge().cause.as_deref(),
        Some("the Service has no ready endpoints")
    );
    assert_eq!(
        Scene::healthy().service(0).judge().cause,
        None,
        "a cause explains a failure only"
    );
    let reset = Scene::new(
        errno("ECONNREFUSED"),
        vec![out(Packet::Syn), into(Packet::Rst)],
        vec![end(vec![into(Packet::Syn), out(Packet::Rst)])],
    );
    assert_eq!(
        reset.judge().by.as_deref(),
        Some("pod shop/api"),
        "no firewall is blamed that may not be there"
    );
    let down = Scene::new(
        errno("ECONNREFUSED"),
        vec![out(Packet::Syn), into(Packet::Rst)],
        blind(),
    );
    assert_eq!(
        down.judge().cause.as_deref(),
        Some("pod shop/api is not ready: CrashLoopBackOff")
    );
}
