//! Something answered.

use super::*;

#[test]
fn what_connects() {
    let nobody = || vec![end(Vec::new())];
    let lo = |destination| sighting("lo", Direction::Out, Packet::Syn, "10.0.1.2:40000", destination);
    hold(vec![
        ("healthy", Scene::healthy(), Class::Reached, "reached and answered"),
        (
            "not watched",
            Scene::new(Outcome::Connected, vec![out(Packet::Syn)], blind()),
            Class::Reached,
            "no agent on n2",
        ),
        (
            "source blind",
            Scene::new(Outcome::Connected, Vec::new(), nobody()).source_blind(),
            Class::Reached,
            "no NET_RAW",
        ),
        (
            "packets missed at the destination",
            Scene::new(Outcome::Connected, vec![out(Packet::Syn)], nobody()).missed_at_the_end(3),
            Class::Reached,
            "missed 3 packets",
        ),
        (
            "a proxy on the way",
            Scene::new(
                Outcome::Connected,
                vec![out(Packet::Syn), into(Packet::SynAck)],
                nobody(),
            ),
            Class::AnsweredByOther,
            "pod shop/api never saw it",
        ),
        (
            "REDIRECT in the source",
            Scene::new(Outcome::Connected, vec![lo("127.0.0.1:15001")], nobody()),
            Class::AnsweredByOther,
            "inside pod shop/web, redirected to 127.0.0.1:15001",
        ),
        (
            "DNAT in the source to another pod",
            Scene::new(
                Outcome::Connected,
                vec![sighting(
                    "eth0",
                    Direction::Out,
                    Packet::Syn,
                    "10.0.1.2:40000",
                    "10.0.9.9:80",
                )],
                nobody(),
            ),
            Class::AnsweredByOther,
            "rewrote its destination to 10.0.9.9:80",
        ),
        (
            "one of many backends",
            Scene::healthy()
                .service(2)
                .with(|scene| scene.ends.insert(0, end(Vec::new()))),
            Class::Reached,
            "answered",
        ),
        (
            "a backend that is not watched",
            Scene::new(Outcome::Connected, vec![out(Packet::Syn)], [nobody(), blind()].concat()).service(2),
            Class::Reached,
            "backend was not seen",
        ),
        (
            "stale NAT: no backend saw it",
            Scene::new(
                Outcome::Connected,
                vec![out(Packet::Syn)],
                [nobody(), nobody()].concat(),
            )
            .service(2),
            Class::AnsweredByOther,
            "none of its 2 backends saw it",
        ),
        (
            "a Service without endpoints answers",
            Scene::new(Outcome::Connected, vec![out(Packet::Syn)], Vec::new()).service(0),
            Class::AnsweredByOther,
            "no backend",
        ),
        (
            "a Service whose backends are outside the cluster",
            Scene::new(Outcome::Connected, vec![out(Packet::Syn)], Vec::new()).service(1),
            Class::Reached,
            "could not be watched",
        ),
    ]);
}

#[test]
fn a_server_that_resets_what_it_accepted_was_reached() {
    hold(vec![(
        "reset after the handshake",
        Scene::healthy().with(|scene| scene.source.outcome = errno("ECONNRESET")),
        Class::Reached,
        "reached and answered",
    )]);
}
