//! Cases worked out by hand: for every fault, what the two ends see of it, and what must be concluded.

use super::*;
use crate::{
    cluster::inventory::{Inventory, Node, Pod, Service},
    matrix::book::Book,
};
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

const SOURCE: &str = "10.0.1.2";
const TARGET: &str = "10.0.2.3:8080";
const CLUSTER_IP: &str = "10.96.0.10:80";

fn book() -> Book {
    let ip = |text: &str| text.parse().unwrap();
    let inventory = Inventory {
        nodes: vec![Node {
            name: "n1".into(),
            ips: vec![ip("192.0.2.1")],
            ..Node::default()
        }],
        pods: vec![Pod {
            namespace: "shop".into(),
            name: "api".into(),
            ips: vec![ip("10.0.2.3")],
            ..Pod::default()
        }],
        services: vec![Service {
            namespace: "shop".into(),
            name: "api".into(),
            cluster_ips: vec![ip("10.96.0.10")],
            ports: Vec::new(),
            endpoints: Vec::new(),
            is_dns: false,
            ..Service::default()
        }],
        ..Inventory::default()
    };
    Book::new(&inventory, &BTreeMap::new())
}

fn sighting(interface: &str, direction: Direction, packet: Packet, source: &str, destination: &str) -> Sighting {
    Sighting {
        at_ns: 0,
        interface: interface.into(),
        direction,
        packet,
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A packet going out of the pod.
fn out(packet: Packet) -> Sighting {
    sighting("eth0", Direction::Out, packet, "10.0.1.2:40000", TARGET)
}

/// A packet coming in.
fn into(packet: Packet) -> Sighting {
    sighting("eth0", Direction::In, packet, TARGET, "10.0.1.2:40000")
}

fn icmp_from(ip: &str, kind: u8, code: u8) -> Sighting {
    sighting(
        "eth0",
        Direction::In,
        Packet::IcmpError { kind, code },
        &format!("{ip}:0"),
        "10.0.1.2:0",
    )
}

/// What one case is made of; the default is a healthy TCP connection.
#[derive(Debug)]
struct Scene {
    protocol: Protocol,
    aim: Aim,
    target: &'static str,
    source: SourceSide,
    ends: Vec<End>,
    expects: Vec<IpAddr>,
    transit: Vec<End>,
}

fn end(seen: Vec<Sighting>) -> End {
    End {
        who: "pod shop/api".into(),
        at: Some(TARGET.parse().unwrap()),
        shares: None,
        serving: Some(Serving::Yes),
        watch: Watch::Looked { seen, missed: 0 },
    }
}

fn blind() -> Vec<End> {
    vec![End {
        who: "pod shop/api".into(),
        at: Some(TARGET.parse().unwrap()),
        shares: None,
        serving: None,
        watch: Watch::Blind("no agent on n2".into()),
    }]
}

fn errno(name: &str) -> Outcome {
    Outcome::Failed { errno: name.into() }
}

impl Scene {
    fn new(outcome: Outcome, saw: Vec<Sighting>, ends: Vec<End>) -> Self {
        Self {
            protocol: Protocol::Tcp,
            aim: Aim::Pod,
            target: TARGET,
            source: SourceSide {
                outcome,
                elapsed: Duration::from_millis(1),
                marked: true,
                blind: None,
                saw,
                missed: 0,
            },
            ends,
            expects: Vec::new(),
            transit: Vec::new(),
        }
    }

    fn healthy() -> Self {
        Self::new(
            Outcome::Connected,
            vec![out(Packet::Syn), into(Packet::SynAck)],
            vec![end(vec![into(Packet::Syn), out(Packet::SynAck)])],
        )
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn serving(self, serving: Serving) -> Self {
        self.with(|scene| scene.ends.iter_mut().for_each(|end| end.serving = Some(serving)))
    }

    fn missed_at_the_end(self, packets: u64) -> Self {
        self.with(|scene| {
            for end in &mut scene.ends {
                if let Watch::Looked { missed, .. } = &mut end.watch {
                    *missed = packets;
                }
            }
        })
    }

    fn service(self, ready_endpoints: usize) -> Self {
        self.with(|scene| {
            scene.aim = Aim::Service { ready_endpoints };
            scene.target = CLUSTER_IP;
        })
    }

    fn dns(self) -> Self {
        self.with(|scene| {
            scene.protocol = Protocol::Dns;
            scene.aim = Aim::Service { ready_endpoints: 1 };
            scene.target = "10.96.0.10:53";
            scene.expects = vec!["10.96.0.10".parse().unwrap()];
        })
    }

    fn after(self, elapsed_ms: u64) -> Self {
        self.with(|scene| scene.source.elapsed = Duration::from_millis(elapsed_ms))
    }

    fn unmarked(self) -> Self {
        self.with(|scene| scene.source.marked = false)
    }

    fn source_blind(self) -> Self {
        self.unmarked().with(|scene| {
            scene.source.blind = Some("no NET_RAW".into());
            scene.source.saw.clear();
        })
    }

    fn judge(&self) -> Verdict {
        self.judge_what(&Observed {
            source: Ok(self.source.clone()),
            ends: self.ends.clone(),
            transit: self.transit.clone(),
        })
    }

    fn judge_what(&self, observed: &Observed) -> Verdict {
        let book = book();
        let case = Case {
            protocol: self.protocol,
            target: self.target.parse().unwrap(),
            aim: self.aim,
            source: "pod shop/web",
            source_ips: &[SOURCE.parse().unwrap()],
            expects: &self.expects,
            trouble: Some("pod shop/api is not ready: CrashLoopBackOff"),
            book: &book,
        };
        judge(&case, observed)
    }
}

/// Judges each scene and compares class and a telling part of the reason.
#[track_caller]
fn hold(table: Vec<(&str, Scene, Class, &str)>) {
    for (name, scene, class, part) in table {
        let verdict = scene.judge();
        assert_eq!(verdict.class, class, "{name}: {verdict:?}");
        assert!(
            verdict.reason.contains(part),
            "{name}: {:?} does not say {part:?}",
            verdict.reason
        );
        assert!(!verdict.reason.ends_with('.'), "{name}: {:?}", verdict.reason);
    }
}

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

#[test]
fn a_server_that_resets_what_it_accepted_was_reached() {
    hold(vec![(
        "reset after the handshake",
        Scene::healthy().with(|scene| scene.source.outcome = errno("ECONNRESET")),
        Class::Reached,
        "reached and answered",
    )]);
}

#[test]
fn what_the_kernel_or_a_router_says() {
    let unmarked = |name| Scene::new(errno(name), Vec::new(), vec![end(Vec::new())]).unmarked();
    let icmp = |ip, kind, code| {
        Scene::new(
            errno("EHOSTUNREACH"),
            vec![out(Packet::Syn), icmp_from(ip, kind, code)],
            vec![end(Vec::new())],
        )
    };
    hold(vec![
        (
            "no route",
            unmarked("ENETUNREACH"),
            Class::Rejected,
            "no route to 10.0.2.3 inside pod shop/web",
        ),
        (
            "an unreachable route",
            unmarked("EHOSTUNREACH"),
            Class::Rejected,
            "no route",
        ),
        (
            "a silent next hop",
            unmarked("EHOSTUNREACH").after(3060),
            Class::NeverArrived,
            "next hop does not answer",
        ),
        (
            "nft drop on output",
            unmarked("EPERM"),
            Class::Rejected,
            "firewall rule",
        ),
        (
            "a blackhole route",
            unmarked("EINVAL"),
            Class::Rejected,
            "a blackhole route inside pod shop/web",
        ),
        (
            "a prohibit route",
            unmarked("EACCES"),
            Class::Rejected,
            "inside pod shop/web forbids",
        ),
        (
            "an unreachable error at a source that cannot be watched",
            unmarked("ENETUNREACH").source_blind(),
            Class::Rejected,
            "ENETUNREACH at the source; by whom is not known: pod shop/web could not be watched: no NET_RAW",
        ),
        (
            "a late one, which might be a router's as well as a silent next hop's",
            unmarked("EHOSTUNREACH").after(3060).source_blind(),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "an unreachable error at a source whose watch has gaps",
            unmarked("EHOSTUNREACH").with(|scene| scene.source.missed = 2),
            Class::Rejected,
            "by whom is not known: the watch of pod shop/web may have missed 2 packets",
        ),
        (
            "the same, though the mark is known",
            Scene::new(errno("EHOSTUNREACH"), Vec::new(), vec![end(Vec::new())]).with(|scene| scene.source.missed = 2),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "forbidden, by a router's ICMPv6 error for all we know",
            unmarked("EACCES").source_blind(),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "what only the source's own kernel says",
            unmarked("EPERM").source_blind(),
            Class::Rejected,
            "inside pod shop/web forbids",
        ),
        ("anything else", unmarked("EIO"), Class::Rejected, "EIO"),
        ("no descriptors left", unmarked("EMFILE"), Class::NotTested, "EMFILE"),
        (
            "no IPv6 address of its own",
            unmarked("EADDRNOTAVAIL"),
            Class::NotTested,
            "EADDRNOTAVAIL",
        ),
        (
            "a node knows no way",
            icmp("192.0.2.1", 3, 1),
            Class::Rejected,
            "node n1 (192.0.2.1) cannot pass it on: ICMP host unreachable",
        ),
        (
            "a node knows no way to a Service's backend, and the error's sender is translated back",
            icmp("10.96.0.10", 3, 0).service(1).with(|scene| {
                scene.transit = vec![end(vec![icmp_from("192.0.2.1", 3, 0), icmp_from("10.96.0.10", 3, 0)])];
            }),
            Class::Rejected,
            "node n1 (192.0.2.1) cannot pass it on: ICMP network unreachable",
        ),
        (
            "a rule on a node",
            icmp("192.0.2.1", 3, 13),
            Class::Rejected,
            "administratively prohibited",
        ),
        (
            "a stranger",
            icmp("203.0.113.9", 11, 0),
            Class::Rejected,
            "not a known pod",
        ),
        (
            "the source itself",
            icmp(SOURCE, 3, 3),
            Class::Rejected,
            "inside pod shop/web",
        ),
        (
            "an error without a packet that explains it",
            Scene::new(errno("EHOSTUNREACH"), vec![out(Packet::Syn)], vec![end(Vec::new())]),
            Class::NeverArrived,
            "never saw it",
        ),
        (
            "the same, not watched",
            Scene::new(errno("EHOSTUNREACH"), vec![out(Packet::Syn)], blind()),
            Class::Rejected,
            "by whom is not known",
        ),
        (
            "an error although it arrived",
            Scene::new(
                errno("EHOSTUNREACH"),
                vec![out(Packet::Syn)],
                vec![end(vec![into(Packet::Syn)])],
            ),
            Class::NoAnswer,
            "sent no answer",
        ),
    ]);
}

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

// ---- any combination whatever ----

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
