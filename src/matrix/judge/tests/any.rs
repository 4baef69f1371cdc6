//! Any combination of observations whatever.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn any_sighting() -> impl Strategy<Value = Sighting> {
    let packet = prop_oneof![
        Just(Packet::Syn),
        Just(Packet::SynAck),
        Just(Packet::Rst),
        Just(Packet::Request),
        Just(Packet::Reply),
        (any::<u8>(), any::<u8>()).prop_map(|(kind, code)| Packet::IcmpError { kind, code }),
    ];
    let address = prop_oneof![
        Just(TARGET.parse().unwrap()),
        Just("10.0.1.2:40000".parse().unwrap()),
        Just("192.0.2.1:0".parse().unwrap()),
        any::<SocketAddr>(),
    ];
    let direction = prop_oneof![Just(Direction::In), Just(Direction::Out)];
    let interface = prop_oneof![Just("eth0".to_owned()), Just("lo".to_owned())];
    (interface, direction, packet, address.clone(), address).prop_map(
        |(interface, direction, packet, source, destination)| Sighting {
            at_ns: 0,
            interface,
            direction,
            packet,
            source,
            destination,
        },
    )
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let addresses = prop_oneof![
        Just(Vec::new()),
        Just(vec!["10.96.0.10".parse().unwrap()]),
        prop::collection::vec(any::<IpAddr>(), 0..3)
    ];
    prop_oneof![
        Just(Outcome::Connected),
        Just(Outcome::Echoed),
        Just(Outcome::TimedOut),
        (0u16..6, addresses, any::<SocketAddr>()).prop_map(|(rcode, addresses, from)| Outcome::Resolved {
            rcode,
            addresses,
            from
        }),
        prop_oneof![
            Just("ECONNREFUSED"),
            Just("EHOSTUNREACH"),
            Just("ENETUNREACH"),
            Just("EPERM"),
            Just("EACCES"),
            Just("EINVAL"),
            Just("EMFILE"),
            Just("\u{1b}[31m")
        ]
        .prop_map(errno),
        Just(Outcome::NotSent { why: "stopped".into() }),
    ]
}

fn any_end() -> impl Strategy<Value = End> {
    let serving = prop_oneof![
        Just(None),
        Just(Some(Serving::Yes)),
        Just(Some(Serving::No)),
        Just(Some(Serving::LoopbackOnly)),
        Just(Some(Serving::OtherAddressOnly)),
    ];
    let watch = prop_oneof![
        Just(Watch::Blind("no agent".into())),
        (
            prop::collection::vec(any_sighting(), 0..4),
            prop_oneof![Just(0u64), any::<u64>()]
        )
            .prop_map(|(seen, missed)| Watch::Looked { seen, missed }),
    ];
    let shares = prop_oneof![Just(None), Just(Some("n1".to_owned())), Just(Some("n2".to_owned()))];
    (serving, watch, shares).prop_map(|(serving, watch, shares)| End {
        who: "pod shop/api".into(),
        at: Some(TARGET.parse().unwrap()),
        shares,
        serving,
        watch,
    })
}

fn any_scene() -> impl Strategy<Value = Scene> {
    let protocol = prop_oneof![Just(Protocol::Tcp), Just(Protocol::Dns), Just(Protocol::Icmp)];
    let aim = prop_oneof![
        Just(Aim::Pod),
        Just(Aim::Node),
        Just(Aim::Resolver),
        (0usize..3).prop_map(|ready_endpoints| Aim::Service { ready_endpoints }),
    ];
    let source = (
        any_outcome(),
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(any_sighting(), 0..4),
        0u64..2,
        0u64..4000,
    )
        .prop_map(|(outcome, marked, blind, saw, missed, elapsed)| SourceSide {
            outcome,
            elapsed: Duration::from_millis(elapsed),
            marked,
            blind: blind.then(|| "no NET_RAW".to_owned()),
            saw,
            missed,
        });
    (
        protocol,
        aim,
        source,
        prop::collection::vec(any_end(), 0..3),
        prop::collection::vec(any_end(), 0..3),
    )
        .prop_map(|(protocol, aim, source, ends, mut transit)| {
            for node in &mut transit {
                node.who = "node n9".into();
            }
            Scene {
                protocol,
                aim,
                target: TARGET,
                source,
                ends,
                expects: vec!["10.96.0.10".parse().unwrap()],
                transit,
            }
        })
}

proptest! {
    #[test]
    fn any_observation_has_a_verdict_that_claims_no_more_than_was_seen(scene in any_scene()) {
        let verdict = scene.judge();
        let answered = matches!(scene.source.outcome, Outcome::Connected | Outcome::Echoed | Outcome::Resolved { .. });
        prop_assert!(!verdict.reason.is_empty());
        if verdict.class == Class::Reached {
            prop_assert!(answered, "reached without an answer: {verdict:?}");
        }
        if verdict.class == Class::AnsweredByOther {
            prop_assert!(answered && scene.ends.iter().all(|end| end.doubt().is_none()), "{verdict:?}");
        }
        let left = find(&scene.source.saw, Direction::Out, is_request).is_some();
        if left && verdict.class == Class::NeverArrived && !scene.ends.is_empty() && !verdict.reason.contains("inside") {
            prop_assert!(scene.ends.iter().all(|end| end.doubt().is_none()), "absence proves nothing here: {verdict:?}");
        }
    }
}

/// Checks every claim that a packet was not somewhere against the watches that would have seen it. Claims are known by their words; the ends have
/// one name and the nodes on the way another, so that it is known whom they are about.
fn claims_about_the_unseen(scene: &Scene, verdict: &Verdict) -> Result<(), TestCaseError> {
    let source = &scene.source;
    let source_is_sure = source.blind.is_none() && source.missed == 0;
    // Where there is no end at all, none can have got it unseen.
    let ends_are_sure = scene.ends.is_empty() || source.marked && scene.ends.iter().all(|end| end.doubt().is_none());
    let way_is_sure = scene.transit.iter().all(|node| node.doubt().is_none());
    let some_are_sure = |ends: &[End]| ends.iter().any(|end| end.doubt().is_none());
    let class = verdict.transport.unwrap_or(verdict.class);
    let says = |words: &str| verdict.reason.contains(words);

    let never_left = ["never left", "no route to"];
    if never_left.into_iter().any(says) {
        prop_assert!(source_is_sure, "the source may have sent it unseen: {verdict:?}");
    }
    if class == Class::NeverArrived && !never_left.into_iter().any(says) {
        prop_assert!(ends_are_sure, "an end may have got it unseen: {verdict:?}");
    }
    let by_nobody = [
        "pod shop/api never saw it",
        "backends saw it",
        "backends took it in",
        "only sent it on",
    ];
    if by_nobody.into_iter().any(says) {
        prop_assert!(ends_are_sure, "an end may have got it unseen: {verdict:?}");
    }
    if class == Class::AnsweredByOther {
        prop_assert!(ends_are_sure, "an end may have answered unseen: {verdict:?}");
    }
    let no_answer = ["which sent no answer", "did not send the refusal"];
    if class == Class::NoAnswer || no_answer.into_iter().any(says) {
        prop_assert!(some_are_sure(&scene.ends), "it may have answered unseen: {verdict:?}");
    }
    if says("and pod shop/web never saw it") {
        prop_assert!(source_is_sure, "the answer may have come back unseen: {verdict:?}");
    }
    if says("node n9 never saw it either") {
        prop_assert!(way_is_sure, "a node may have passed it on unseen: {verdict:?}");
    }
    if says("node n1 took it in") || says("node n2 took it in") {
        prop_assert!(
            ends_are_sure || says("is not known"),
            "an end may have got it unseen: {verdict:?}"
        );
    } else if says("did not pass it on") {
        prop_assert!(
            some_are_sure(&scene.transit),
            "it may have been passed on unseen: {verdict:?}"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn nothing_is_claimed_of_a_packet_that_a_gap_in_a_watch_may_hide(scene in any_scene()) {
        claims_about_the_unseen(&scene, &scene.judge())?;
    }
}

#[test]
fn every_class_can_be_reached() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let scenes = any_scene();
    let mut seen = BTreeSet::new();
    for _ in 0..20_000 {
        seen.insert(scenes.new_tree(&mut runner).unwrap().current().judge().class);
        if seen.len() == Class::ALL.len() {
            return;
        }
    }
    panic!("only these classes came up: {seen:?}");
}
