//! Cases worked out by hand: for every fault, what the two ends see of it, and what must be concluded.

use super::*;
use crate::{
    cluster::inventory::{Inventory, Node, Pod, Service},
    matrix::{
        book::Book,
        evidence::{Watch, find, is_request},
        ports::Serving,
    },
};
use netcheck_wire::probe::{Direction, Packet, Sighting};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
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

mod answered;
mod any;
mod failed;
mod protocols;
mod refused;
mod shared_nodes;
mod silent;
