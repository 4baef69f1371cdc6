//! Something said no.

use super::*;

#[test]
fn what_is_refused() {
    let refused = |saw, ends| Scene::new(errno("ECONNREFUSED"), saw, ends);
    let rst = || vec![out(Packet::Syn), into(Packet::Rst)];
    let at_end = || vec![end(vec![into(Packet::Syn), out(Packet::Rst)])];
    let unreachable = Packet::IcmpError { kind: 3, code: 3 };
    hold(vec![
        (
            "no listener",
            refused(rst(), at_end()).serving(Serving::No),
            Class::Refused,
            "nothing listens on port 8080",
        ),
        (
            "loopback only",
            refused(rst(), at_end()).serving(Serving::LoopbackOnly),
            Class::Refused,
            "loopback address only",
        ),
        (
            "other family",
            refused(rst(), at_end()).serving(Serving::OtherAddressOnly),
            Class::Refused,
            "IP family",
        ),
        (
            "a backend's target port",
            refused(rst(), at_end()).serving(Serving::No).service(1),
            Class::Refused,
            "target port of pod shop/api",
        ),
        (
            "nft reject with reset",
            refused(rst(), at_end()),
            Class::Rejected,
            "pod shop/api refuses it with a RST, yet a socket listened there before the probe: a firewall rule inside rejects it, or",
        ),
        (
            "the listener is gone since it was listed",
            refused(rst(), at_end()),
            Class::Rejected,
            "or the socket has gone since",
        ),
        (
            "nft reject",
            refused(
                vec![out(Packet::Syn), icmp_from("10.0.2.3", 3, 3)],
                vec![end(vec![into(Packet::Syn), out(unreachable.clone())])],
            ),
            Class::Rejected,
            "inside pod shop/api rejects it with ICMP port unreachable",
        ),
        (
            "RST from the way",
            refused(rst(), vec![end(Vec::new())]),
            Class::Rejected,
            "pod shop/api never saw it",
        ),
        (
            "RST from between after arrival",
            refused(rst(), vec![end(vec![into(Packet::Syn)])]),
            Class::Rejected,
            "did not send the refusal",
        ),
        (
            "RST after arrival, but the watch has gaps",
            refused(rst(), vec![end(vec![into(Packet::Syn)])]).missed_at_the_end(1),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "refused after the source's own loopback saw it, but the watch has gaps",
            refused(
                vec![sighting(
                    "lo",
                    Direction::Out,
                    Packet::Syn,
                    "10.0.1.2:1",
                    "127.0.0.1:15001",
                )],
                vec![end(Vec::new())],
            )
            .with(|scene| scene.source.missed = 1),
            Class::Rejected,
            "refused by something on the way",
        ),
        (
            "kube-proxy rejects",
            refused(vec![out(Packet::Syn), icmp_from("192.0.2.1", 3, 3)], Vec::new()).service(0),
            Class::Rejected,
            "node n1 (192.0.2.1) rejects it by a rule",
        ),
        (
            "not watched, nothing listens",
            refused(rst(), blind()).serving(Serving::No),
            Class::Refused,
            "no listener on that port",
        ),
        (
            "not watched, loopback only",
            refused(rst(), blind()).serving(Serving::LoopbackOnly),
            Class::Refused,
            "loopback address only",
        ),
        (
            "not watched, listeners unknown",
            refused(rst(), blind()),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "missed, listens",
            refused(rst(), vec![end(Vec::new())]).missed_at_the_end(1),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "refused inside the source",
            refused(
                vec![sighting(
                    "lo",
                    Direction::Out,
                    Packet::Syn,
                    "10.0.1.2:1",
                    "127.0.0.1:15001",
                )],
                vec![end(Vec::new())],
            ),
            Class::Rejected,
            "inside pod shop/web, redirected",
        ),
        (
            "an output rule rejects",
            refused(Vec::new(), vec![end(Vec::new())]).unmarked(),
            Class::Rejected,
            "a rule inside pod shop/web",
        ),
        (
            "source blind",
            refused(rst(), vec![end(Vec::new())]).source_blind(),
            Class::Rejected,
            "no NET_RAW",
        ),
    ]);
}
