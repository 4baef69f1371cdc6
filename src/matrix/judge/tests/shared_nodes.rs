//! Nodes in whose namespace a backend lives, and through which others are reached.

use super::*;

/// Backends with `hostNetwork` on two nodes, `node n1` also being the node that the source's packets pass.
#[test]
fn a_node_that_only_forwards_has_not_got_the_packet() {
    let at = |at_ns, interface, direction, packet| Sighting {
        at_ns,
        ..sighting(interface, direction, packet, "10.0.1.2:40000", CLUSTER_IP)
    };
    let came = |at_ns, packet| at(at_ns, "veth1", Direction::In, packet);
    let left = |at_ns, packet| at(at_ns, "eth0", Direction::Out, packet);
    let own = |name: &str| format!("{}:8080", if name == "n1" { "192.0.2.1" } else { "192.0.2.2" });
    let node = |name: &str, seen| End {
        who: format!("node {name}"),
        at: Some(own(name).parse().unwrap()),
        shares: Some(name.to_owned()),
        ..end(seen)
    };
    let forwarded = || vec![came(1, Packet::Syn), left(2, Packet::Syn)];
    let retransmitted = || {
        vec![
            came(1, Packet::Syn),
            left(2, Packet::Syn),
            came(3, Packet::Syn),
            left(4, Packet::Syn),
        ]
    };
    let scene = |outcome, first: Vec<Sighting>, second: Vec<Sighting>| {
        Scene::new(
            outcome,
            vec![out(Packet::Syn)],
            vec![node("n1", first), node("n2", second)],
        )
        .service(2)
    };
    let got_by = |name: &str| {
        vec![Sighting {
            destination: own(name).parse().unwrap(),
            ..came(5, Packet::Syn)
        }]
    };
    let got = || got_by("n2");
    for (name, first, second, backend) in [
        ("forwarded", forwarded(), got(), Some("node n2")),
        ("retransmitted", retransmitted(), got(), Some("node n2")),
        (
            "listed in another order than seen",
            vec![left(2, Packet::Syn), came(1, Packet::Syn)],
            got(),
            Some("node n2"),
        ),
        (
            "one time stamp for both",
            vec![came(1, Packet::Syn), left(1, Packet::Syn)],
            got(),
            Some("node n2"),
        ),
        ("kept", got_by("n1"), Vec::new(), Some("node n1")),
        ("kept by both", got_by("n1"), got(), Some("node n1")),
        (
            "back to the node it came from",
            vec![left(1, Packet::Syn), came(2, Packet::Syn)],
            Vec::new(),
            Some("node n1"),
        ),
        ("answered by neither", forwarded(), Vec::new(), None),
    ] {
        let verdict = scene(Outcome::Connected, first, second).judge();
        assert_eq!(verdict.backend.as_deref(), backend, "{name}: {verdict:?}");
    }
    let forwarded_and = |packet: Packet| {
        let back = [came(3, packet.clone()), left(4, packet)];
        [forwarded(), back.to_vec()].concat()
    };
    hold(vec![
        (
            "answered by neither",
            scene(Outcome::Connected, forwarded(), Vec::new()),
            Class::AnsweredByOther,
            "none of its 2 backends took it in (node n1 only sent it on by eth0)",
        ),
        (
            "lost after the first node",
            scene(Outcome::TimedOut, retransmitted(), Vec::new()),
            Class::NeverArrived,
            "node n1 only sent it on by eth0",
        ),
        (
            "dropped by the second node",
            scene(Outcome::TimedOut, retransmitted(), got()),
            Class::NoAnswer,
            "arrived at node n2",
        ),
        (
            "the answer is lost after the first node",
            scene(
                Outcome::TimedOut,
                forwarded_and(Packet::SynAck),
                [got(), vec![left(6, Packet::SynAck)]].concat(),
            ),
            Class::ReplyLost,
            "node n2 sent the answer",
        ),
        (
            "refused by the second node",
            scene(
                errno("ECONNREFUSED"),
                forwarded_and(Packet::Rst),
                [got(), vec![left(6, Packet::Rst)]].concat(),
            )
            .serving(Serving::No),
            Class::Refused,
            "target port of node n2",
        ),
        (
            "refused beyond both",
            scene(errno("ECONNREFUSED"), forwarded_and(Packet::Rst), Vec::new()),
            Class::Rejected,
            "refused by something on the way",
        ),
        (
            "an ICMP error from beyond, forwarded",
            scene(
                errno("ECONNREFUSED"),
                forwarded_and(Packet::IcmpError { kind: 3, code: 3 }),
                Vec::new(),
            )
            .with(|scene| scene.source.saw.push(icmp_from("203.0.113.9", 3, 3))),
            Class::Rejected,
            "203.0.113.9",
        ),
        (
            "a sandbox that hands its own packets to a virtual machine",
            Scene::new(
                Outcome::Connected,
                vec![out(Packet::Syn)],
                vec![end(vec![into(Packet::Syn), at(1, "tap0", Direction::Out, Packet::Syn)])],
            ),
            Class::Reached,
            "reached and answered",
        ),
    ]);
}

/// A Service with a `hostNetwork` backend on node n1 and one in a pod elsewhere: what comes into n1 may be meant for either.
#[test]
fn what_a_shared_node_took_in_is_its_own_backends_only_by_its_address() {
    const OTHER: &str = "10.0.2.9:8080";
    const OWN: &str = "192.0.2.1:8080";
    let seen = |direction, packet, to| sighting("veth1", direction, packet, "10.0.1.2:40000", to);
    let came = |to| seen(Direction::In, Packet::Syn, to);
    let left = |packet| sighting("veth1", Direction::Out, packet, CLUSTER_IP, "10.0.1.2:40000");
    let shared = |seen: Vec<Sighting>| End {
        who: "pod shop/host".into(),
        at: Some(OWN.parse().unwrap()),
        shares: Some("n1".into()),
        ..end(seen)
    };
    let other = |seen: Vec<Sighting>| End {
        who: "pod shop/other".into(),
        at: Some(OTHER.parse().unwrap()),
        ..end(seen)
    };
    let scene = |outcome, first: Vec<Sighting>, second: Vec<Sighting>| {
        Scene::new(outcome, vec![out(Packet::Syn)], vec![shared(first), other(second)]).service(2)
    };
    let silent = |first: Vec<Sighting>| scene(Outcome::TimedOut, first, Vec::new());
    let swallowed = "node n1 took it in by veth1 and did not pass it on";
    hold(vec![
        (
            "its own address",
            silent(vec![came(OWN)]),
            Class::NoAnswer,
            "arrived at pod shop/host",
        ),
        (
            "the Service's address, as on the source's own node",
            silent(vec![came(CLUSTER_IP)]),
            Class::Unanswered,
            "node n1 took it in by veth1; whether its own backend (pod shop/host) got it or it was dropped on the way",
        ),
        (
            "the Service's address, answered",
            scene(Outcome::Connected, vec![came(CLUSTER_IP)], Vec::new()),
            Class::Reached,
            "reached and answered",
        ),
        (
            "the Service's address, and an answer left that was lost",
            silent(vec![came(CLUSTER_IP), left(Packet::SynAck)]),
            Class::ReplyLost,
            "pod shop/host sent the answer",
        ),
        (
            "the Service's address, and nobody else it could be meant for",
            silent(vec![came(CLUSTER_IP)]).with(|scene| scene.ends.truncate(1)),
            Class::NoAnswer,
            "arrived at pod shop/host",
        ),
        (
            "the Service's address, refused by the node",
            scene(
                errno("ECONNREFUSED"),
                vec![came(CLUSTER_IP), left(Packet::Rst)],
                Vec::new(),
            ),
            Class::Rejected,
            "node n1 refuses it: its own backend (pod shop/host), or a rule on the way to another",
        ),
        (
            "the Service's address, and the query for a name unanswered",
            Scene::new(
                Outcome::TimedOut,
                vec![out(Packet::Request)],
                vec![
                    shared(vec![seen(Direction::In, Packet::Request, "10.96.0.10:53")]),
                    other(Vec::new()),
                ],
            )
            .dns(),
            Class::NameNotResolved,
            "is not known",
        ),
        (
            "another's address",
            silent(vec![came(OTHER)]),
            Class::NeverArrived,
            swallowed,
        ),
        (
            "another's address, and the other cannot be watched",
            silent(vec![came(OTHER)]).with(|scene| scene.ends[1].watch = Watch::Blind("no agent".into())),
            Class::Unanswered,
            "pod shop/other could not be watched",
        ),
        (
            "another's address, forwarded and lost later",
            silent(vec![
                came(OTHER),
                Sighting {
                    at_ns: 1,
                    ..seen(Direction::Out, Packet::Syn, OTHER)
                },
            ]),
            Class::NeverArrived,
            "pod shop/host only sent it on by veth1",
        ),
        (
            "another's address, and a node's rule refuses",
            scene(errno("ECONNREFUSED"), vec![came(OTHER), left(Packet::Rst)], Vec::new()),
            Class::Rejected,
            "node n1 rejects it on the way to 10.0.2.9:8080",
        ),
        (
            "another's address, and the other's silence",
            scene(Outcome::TimedOut, vec![came(OTHER)], vec![came(OTHER)]),
            Class::NoAnswer,
            "arrived at pod shop/other",
        ),
    ]);
    assert_eq!(silent(vec![came(OTHER)]).judge().by.as_deref(), Some("node n1"));
    let answered = scene(Outcome::Connected, vec![came(CLUSTER_IP)], Vec::new()).judge();
    assert_eq!(answered.backend.as_deref(), Some("pod shop/host"));
}
