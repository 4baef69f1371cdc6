//! Measuring against agents made of a script: what each step hands over, and what becomes of agents that fail.

use super::*;
use crate::matrix::{
    evidence::Aim,
    select::{Goal, Pair},
};
use netcheck_wire::probe::{Direction, Listener, Mark, Packet, PlaceFacts, Placed, ProbeKind, Sighting};
use std::{cell::RefCell, net::IpAddr};

/// Two agents: number 1 holds pod `a` (place 1), number 2 holds pod `b` (place 2).
#[derive(Default)]
struct Script {
    broken: BTreeSet<(u8, &'static str)>,
    hangs: bool,
    fails: bool,
    /// How long each task of probes takes.
    takes: Duration,
    log: RefCell<Vec<(u8, &'static str, Duration)>>,
    began: Option<tokio::time::Instant>,
}

impl Script {
    fn new() -> Self {
        Self {
            began: Some(tokio::time::Instant::now()),
            ..Self::default()
        }
    }

    fn breaking(agent: u8, task: &'static str) -> Self {
        Self {
            broken: [(agent, task)].into(),
            ..Self::new()
        }
    }

    /// Seconds at which probes were handed out, and to whom.
    fn rounds(&self) -> Vec<(u8, u64)> {
        let log = self.log.borrow();
        let probes = log.iter().filter(|(_, task, _)| *task == "probe");
        probes.map(|(agent, _, when)| (*agent, when.as_secs())).collect()
    }

    fn tasks(&self) -> Vec<(u8, &'static str)> {
        self.log
            .borrow()
            .iter()
            .map(|(agent, task, _)| (*agent, *task))
            .collect()
    }
}

fn syn(direction: Direction) -> Sighting {
    Sighting {
        at_ns: 5,
        interface: "eth0".into(),
        direction,
        packet: Packet::Syn,
        source: "10.0.0.1:4000".parse().unwrap(),
        destination: "10.0.0.2:80".parse().unwrap(),
    }
}

impl Agents for Script {
    type Agent = u8;

    fn place(&self, subject: &Subject) -> Option<(u8, u32)> {
        match subject {
            Subject::Pod(uid) if uid == "a" => Some((1, 1)),
            Subject::Pod(uid) if uid == "b" => Some((2, 2)),
            Subject::Node(name) if name == "n" => Some((2, 9)),
            _ => None,
        }
    }

    async fn run(&self, agent: u8, task: Task) -> Result<Vec<Event>, Absence> {
        let name = match &task {
            Task::Locate { .. } => "locate",
            Task::Watch { .. } => "watch",
            Task::Probe { .. } => "probe",
            Task::Look { .. } => "look",
            _ => "no part of a matrix",
        };
        let when = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        self.log.borrow_mut().push((agent, name, when));
        if self.broken.contains(&(agent, name)) {
            return Err(Obstacle::StreamIncomplete.because("the stream was cut"));
        }
        if self.hangs && name == "probe" {
            std::future::pending::<()>().await;
        }
        if name == "probe" {
            tokio::time::sleep(self.takes).await;
        }
        Ok(match task {
            Task::Watch { places } => places
                .into_iter()
                .map(|place| Event::Watching(Placed { place, outcome: Ok(()) }))
                .collect(),
            Task::Probe { probes, .. } => probes
                .into_iter()
                .map(|probe| {
                    Event::Probed(ProbeResult {
                        id: probe.id,
                        outcome: if self.fails {
                            Outcome::TimedOut
                        } else {
                            Outcome::Connected
                        },
                        elapsed_us: 100,
                        mark: Some(Mark::Tcp { isn: 7000 + probe.id }),
                        source_saw: vec![syn(Direction::Out)],
                        source_missed: 0,
                    })
                })
                .collect(),
            Task::Look { queries } => queries
                .into_iter()
                .map(|query| {
                    assert_eq!(
                        query.mark,
                        Mark::Tcp {
                            isn: 7000 + query.probe
                        },
                        "a probe is looked for by its own mark"
                    );
                    Event::Seen(Sightings {
                        probe: query.probe,
                        place: query.place,
                        seen: Ok(vec![syn(Direction::In)]),
                        missed: 0,
                    })
                })
                .collect(),
            _ => Vec::new(),
        })
    }
}

fn row(from: &str, to: &str, port: u16) -> Row {
    let target = SocketAddr::new(IpAddr::from([10, 0, 0, 2]), port);
    Row {
        pair: Pair {
            from: Subject::Pod(from.into()),
            to: Goal::Pod(to.into()),
            relation: None,
        },
        protocol: Protocol::Tcp,
        family: super::super::family::Family::Ipv4,
        target: Some(target),
        port_name: None,
        aim: Aim::Pod,
        ends: vec![EndPoint {
            who: format!("pod {to}"),
            subject: Some(Subject::Pod(to.into())),
            ip: target.ip(),
            port,
            shares: None,
        }],
        transit: Vec::new(),
        probe: Ok(ProbeKind::Tcp { to: target }),
        expects: Vec::new(),
        trouble: None,
    }
}

fn facts() -> Facts {
    let listening = PlaceFacts {
        listeners: vec![Listener {
            ip: "0.0.0.0".parse().unwrap(),
            port: 80,
            v6_only: false,
        }],
        ..PlaceFacts::default()
    };
    Facts::from([
        (Subject::Pod("a".into()), Ok(PlaceFacts::default())),
        (Subject::Pod("b".into()), Ok(listening)),
    ])
}

async fn measured(script: &Script, rows: &[Row], facts: &Facts) -> Measured {
    measure(
        script,
        rows,
        facts,
        Duration::from_secs(3),
        std::future::pending(),
        |_, _| {},
    )
    .await
}

fn blind(observed: &Observed) -> String {
    match &observed.ends[0].watch {
        Watch::Blind(why) => why.clone(),
        Watch::Looked { .. } => panic!("it was watched: {observed:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn destinations_are_watched_before_and_asked_after_the_probes() {
    let script = Script::new();
    let measured = measured(&script, &[row("a", "b", 80)], &facts()).await;
    assert_eq!(script.tasks(), [(2, "watch"), (1, "probe"), (2, "look")]);
    let observed = &measured.observed[0];
    assert!(
        observed
            .source
            .as_ref()
            .is_ok_and(|source| source.marked && source.blind.is_none())
    );
    assert_eq!(observed.ends[0].seen(), [syn(Direction::In)]);
    assert_eq!(observed.ends[0].serving, Some(ports::Serving::Yes));
    assert!(!measured.interrupted);
}

#[tokio::test(start_paused = true)]
async fn a_second_handshake_to_the_same_port_waits_a_second() {
    let script = Script::new();
    let rows = [row("a", "b", 80), row("a", "b", 81), row("a", "b", 80)];
    measured(&script, &rows, &facts()).await;
    assert_eq!(script.rounds(), [(1, 0), (1, 1)]);
}

/// An agent that is behind may have only just sent the last probe of its round: a second counts from there.
#[tokio::test(start_paused = true)]
async fn an_agent_that_is_behind_gets_no_second_round_on_top() {
    let script = Script {
        takes: Duration::from_secs(3),
        ..Script::new()
    };
    let from_both = [
        row("a", "b", 80),
        row("b", "a", 80),
        row("a", "b", 80),
        row("a", "b", 80),
    ];
    let slow = measured(&script, &from_both, &facts()).await;
    assert_eq!(script.rounds(), [(1, 0), (2, 0), (1, 4), (1, 8)]);
    assert!(slow.observed.iter().all(|observed| observed.source.is_ok()), "{slow:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_stream_is_never_a_result() {
    let rows = [row("a", "b", 80)];
    let cut = measured(&Script::breaking(1, "probe"), &rows, &facts()).await;
    assert!(cut.observed[0].source.as_ref().is_err_and(
        |absence| absence.obstacle == Obstacle::StreamIncomplete && absence.why.contains("the stream was cut")
    ));
    let unwatched = measured(&Script::breaking(2, "watch"), &rows, &facts()).await;
    assert_eq!(blind(&unwatched.observed[0]), "the stream was cut");
    let unseen = measured(&Script::breaking(2, "look"), &rows, &facts()).await;
    assert_eq!(blind(&unseen.observed[0]), "the stream was cut");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_entered_or_watched_says_why() {
    let mut facts = facts();
    facts.insert(
        Subject::Pod("b".into()),
        Err(Obstacle::ImagePull.because("ImagePullBackOff")),
    );
    let rows = [row("a", "b", 80), row("c", "b", 80)];
    let measured = measured(&Script::new(), &rows, &facts).await;
    assert_eq!(blind(&measured.observed[0]), "ImagePullBackOff");
    assert_eq!(measured.observed[0].ends[0].serving, None);
    assert!(
        measured.observed[1]
            .source
            .as_ref()
            .is_err_and(|absence| absence.obstacle == Obstacle::NotStarted && absence.why.contains("no agent"))
    );
}

#[tokio::test(start_paused = true)]
async fn a_row_that_is_not_to_be_sent_keeps_its_reason() {
    let idle = Row {
        probe: Err("pod a is not running".into()),
        ..row("a", "b", 80)
    };
    let script = Script::new();
    let measured = measured(&script, &[idle], &facts()).await;
    assert_eq!(
        measured.observed[0]
            .source
            .as_ref()
            .err()
            .map(|absence| absence.why.as_str()),
        Some("pod a is not running")
    );
    assert!(script.tasks().is_empty(), "nobody is bothered for it");
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_returns_what_is_known() {
    let script = Script {
        hangs: true,
        ..Script::new()
    };
    let stop = tokio::time::sleep(Duration::from_secs(1));
    let measured = measure(
        &script,
        &[row("a", "b", 80)],
        &facts(),
        Duration::from_secs(3),
        stop,
        |_, _| {},
    )
    .await;
    assert!(measured.interrupted);
    assert_eq!(
        measured.observed[0]
            .source
            .as_ref()
            .err()
            .map(|absence| absence.why.as_str()),
        Some("interrupted")
    );
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_lets_probes_under_way_end_and_starts_no_others() {
    let script = Script::new();
    let rows = [row("a", "b", 80), row("a", "b", 80), row("a", "b", 80)];
    let stop = tokio::time::sleep(Duration::from_millis(500));
    let measured = measure(&script, &rows, &facts(), Duration::from_secs(3), stop, |_, _| {}).await;
    assert!(measured.interrupted);
    assert!(measured.observed[0].source.is_ok(), "the first round was through");
    for late in &measured.observed[1..] {
        assert_eq!(
            late.source.as_ref().err().map(|absence| absence.why.as_str()),
            Some("interrupted")
        );
    }
    assert_eq!(script.tasks(), [(2, "watch"), (1, "probe"), (2, "look")]);
}

#[tokio::test(start_paused = true)]
async fn nodes_on_the_way_are_asked_about_failures_only() {
    let rows = [Row {
        transit: vec!["n".into()],
        ..row("a", "b", 80)
    }];
    let mut facts = facts();
    facts.insert(Subject::Node("n".into()), Ok(PlaceFacts::default()));
    let held = measured(&Script::new(), &rows, &facts).await;
    assert!(held.observed[0].transit.is_empty());
    let failed = measured(
        &Script {
            fails: true,
            ..Script::new()
        },
        &rows,
        &facts,
    )
    .await;
    let [node] = failed.observed[0].transit.as_slice() else {
        panic!("{failed:?}")
    };
    assert_eq!(
        (node.who.as_str(), node.seen()),
        ("node n", [syn(Direction::In)].as_slice())
    );
}
