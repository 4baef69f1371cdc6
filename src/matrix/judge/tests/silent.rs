//! Nothing came back.

use super::*;

#[test]
fn what_stays_silent() {
    let silent = |saw, ends| Scene::new(Outcome::TimedOut, saw, ends);
    let syn = || vec![out(Packet::Syn)];
    let arrived = || vec![end(vec![into(Packet::Syn)])];
    let answered = || vec![end(vec![into(Packet::Syn), out(Packet::SynAck)])];
    hold(vec![
        (
            "a route is missing on the way",
            silent(syn(), vec![end(Vec::new())]),
            Class::NeverArrived,
            "left pod shop/web, and pod shop/api never saw it",
        ),
        (
            "nft drop in the destination",
            silent(syn(), arrived()),
            Class::NoAnswer,
            "a rule inside it drops",
        ),
        (
            "nft drop, nothing listens",
            silent(syn(), arrived()).serving(Serving::No),
            Class::NoAnswer,
            "not even a refusal",
        ),
        (
            "the way back is broken",
            silent(syn(), answered()),
            Class::ReplyLost,
            "pod shop/web never saw it",
        ),
        (
            "the way back is broken, source blind",
            silent(syn(), answered())
                .source_blind()
                .with(|s| s.source.marked = true),
            Class::ReplyLost,
            "did not come back",
        ),
        (
            "dropped on input of the source",
            silent(vec![out(Packet::Syn), into(Packet::SynAck)], answered()),
            Class::ReplyLost,
            "dropped inside it",
        ),
        (
            "the refusal is lost",
            silent(syn(), vec![end(vec![into(Packet::Syn), out(Packet::Rst)])]).serving(Serving::No),
            Class::ReplyLost,
            "sent the refusal",
        ),
        (
            "an answer from an unseen end",
            silent(vec![out(Packet::Syn), into(Packet::SynAck)], blind()),
            Class::ReplyLost,
            "dropped inside it",
        ),
        (
            "arrived, but the watch has gaps",
            silent(syn(), arrived()).missed_at_the_end(9),
            Class::Unanswered,
            "may have missed 9",
        ),
        (
            "not seen, but the watch has gaps",
            silent(syn(), vec![end(Vec::new())]).missed_at_the_end(9),
            Class::Unanswered,
            "may have missed 9",
        ),
        (
            "not watched",
            silent(syn(), blind()),
            Class::Unanswered,
            "no agent on n2",
        ),
        (
            "one of two not watched",
            silent(syn(), [vec![end(Vec::new())], blind()].concat()).service(2),
            Class::Unanswered,
            "no agent on n2",
        ),
        (
            "never left",
            silent(Vec::new(), vec![end(Vec::new())]).unmarked(),
            Class::NeverArrived,
            "never left pod shop/web",
        ),
        (
            "never left, destination unwatched",
            silent(Vec::new(), blind()).unmarked(),
            Class::NeverArrived,
            "never left pod shop/web",
        ),
        (
            "never left, for all we know: the source's watch has gaps",
            silent(Vec::new(), vec![end(Vec::new())])
                .unmarked()
                .with(|s| s.source.missed = 2),
            Class::Unanswered,
            "not recognised when it left",
        ),
        (
            "its mark is known, but not whether it left",
            silent(Vec::new(), vec![end(Vec::new())]).with(|s| s.source.missed = 2),
            Class::NeverArrived,
            "pod shop/api never saw it; whether it left is not known: the watch of pod shop/web may have missed 2",
        ),
        (
            "source blind",
            silent(Vec::new(), vec![end(Vec::new())]).source_blind(),
            Class::Unanswered,
            "no NET_RAW",
        ),
        (
            "turned around inside the source",
            silent(
                vec![sighting("lo", Direction::Out, Packet::Syn, "10.0.1.2:1", "127.0.0.1:9")],
                vec![end(Vec::new())],
            ),
            Class::NeverArrived,
            "redirected to 127.0.0.1:9",
        ),
        (
            "an error arrives late",
            silent(
                vec![out(Packet::Syn), icmp_from("192.0.2.1", 3, 1)],
                vec![end(Vec::new())],
            ),
            Class::Rejected,
            "node n1",
        ),
        (
            "a Service without endpoints, dropped",
            silent(syn(), Vec::new()).service(0),
            Class::NeverArrived,
            "no backend",
        ),
        (
            "a Service with strange endpoints",
            silent(syn(), Vec::new()).service(1),
            Class::Unanswered,
            "not one netcheck can watch",
        ),
        (
            "an outside resolver",
            silent(syn(), Vec::new()).with(|s| s.aim = Aim::Resolver),
            Class::Unanswered,
            "not one netcheck",
        ),
        (
            "the kernel's own timeout",
            Scene::new(errno("ETIMEDOUT"), syn(), vec![end(Vec::new())]),
            Class::NeverArrived,
            "never saw it",
        ),
    ]);
}

#[test]
fn the_last_node_that_saw_it_is_named() {
    let node = |name: &str, seen: Vec<Sighting>| End {
        who: format!("node {name}"),
        at: None,
        shares: None,
        serving: None,
        watch: Watch::Looked { seen, missed: 0 },
    };
    let on = |interface: &str, direction, packet| sighting(interface, direction, packet, "10.0.1.2:40000", TARGET);
    let lost = |transit| {
        Scene::new(Outcome::TimedOut, vec![out(Packet::Syn)], vec![end(Vec::new())])
            .with(|scene| scene.transit = transit)
    };
    let (came, went) = (
        on("veth1", Direction::In, Packet::Syn),
        on("eth0", Direction::Out, Packet::Syn),
    );
    hold(vec![
        (
            "the source's node has no route",
            lost(vec![node("n1", vec![came.clone()]), node("n2", Vec::new())]),
            Class::NeverArrived,
            "node n1 took it in by veth1 and did not pass it on",
        ),
        (
            "lost between the nodes",
            lost(vec![
                node("n1", vec![came.clone(), went.clone()]),
                node("n2", Vec::new()),
            ]),
            Class::NeverArrived,
            "last seen leaving node n1 by eth0",
        ),
        (
            "no node saw it",
            lost(vec![node("n1", Vec::new()), node("n2", Vec::new())]),
            Class::NeverArrived,
            "node n2 never saw it either",
        ),
        (
            "the destination's node drops it",
            lost(vec![
                node("n1", vec![came, went]),
                node("n2", vec![on("eth0", Direction::In, Packet::Syn)]),
            ]),
            Class::NeverArrived,
            "node n2 took it in by eth0",
        ),
        (
            "the answer is dropped by the destination's node",
            Scene::new(
                Outcome::TimedOut,
                vec![out(Packet::Syn)],
                vec![end(vec![into(Packet::Syn), out(Packet::SynAck)])],
            )
            .with(|scene| {
                let answer = on("veth2", Direction::In, Packet::SynAck);
                scene.transit = vec![node("n1", Vec::new()), node("n2", vec![answer])];
            }),
            Class::ReplyLost,
            "node n2 took it in by veth2 and did not pass it on",
        ),
    ]);
}
