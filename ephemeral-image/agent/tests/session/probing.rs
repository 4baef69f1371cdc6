//! Probes between two namespaces over a third: outcome, and what each end saw.

use crate::support::{
    needs_root,
    plugin::{Agent, Plugin},
    wait_for,
    world::{CLIENT, Dns, SERVER, Tcp, Tcpdump, World},
};
use libtest_mimic::Trial;
use netcheck_wire::{
    Event, Task,
    probe::{Direction, Mark, Outcome, Packet, PlaceFacts, Probe, ProbeKind, ProbeResult, Query, Record, Sighting},
};
use std::net::SocketAddr;

pub fn trials() -> Vec<Trial> {
    vec![
        needs_root("a_connection_is_seen_at_both_ends", a_connection_is_seen_at_both_ends),
        needs_root("a_port_without_listener_resets", a_port_without_listener_resets),
        needs_root("a_drop_inside_the_destination", a_drop_inside_the_destination),
        needs_root("a_reject_inside_the_destination", a_reject_inside_the_destination),
        needs_root("an_answer_lost_on_the_way", an_answer_lost_on_the_way),
        needs_root("a_rejection_by_the_router", a_rejection_by_the_router),
        needs_root("a_missing_route", a_missing_route),
        needs_root("a_redirect_in_the_source", a_redirect_in_the_source),
        needs_root("nat_in_the_source_hides_no_probe", nat_in_the_source_hides_no_probe),
        needs_root(
            "a_server_that_talks_first_is_not_reset",
            a_server_that_talks_first_is_not_reset,
        ),
        needs_root("dns_questions", dns_questions),
        needs_root("icmp_echoes", icmp_echoes),
        needs_root("many_probes_at_once", many_probes_at_once),
        needs_root("a_node_agents_capabilities_suffice", a_node_agents_capabilities_suffice),
        needs_root("what_is_left_without_capabilities", what_is_left_without_capabilities),
        needs_root(
            "net_raw_alone_learns_the_mark_from_the_watch",
            net_raw_alone_learns_the_mark_from_the_watch,
        ),
    ]
}

/// A session with client and server located and watched.
struct Lab {
    world: World,
    plugin: Plugin,
    facts: Vec<PlaceFacts>,
    agent: Agent,
    timeout_ms: u32,
}

/// For what is answered. The kernel sends a second SYN after a second: the first may be lost to a neighbour that is not resolved yet, and an
/// ICMP error that comes back within connect() counts only when it comes again.
const TIMEOUT_MS: u32 = 5000;
/// For what is not.
const SHORT_MS: u32 = 500;
const FAMILIES: [bool; 2] = [false, true];

impl Lab {
    fn new() -> Self {
        Self::with(Agent::start())
    }

    fn with(agent: Agent) -> Self {
        let world = World::new();
        let mut plugin = Plugin::joining(&agent);
        let located = plugin.task(Task::Locate { places: world.places() });
        let facts = located
            .into_iter()
            .map(|event| match event {
                Event::Located(placed) => placed.outcome.unwrap(),
                other => panic!("{other:?}"),
            })
            .collect();
        let watch = plugin.start(Task::Watch {
            places: vec![CLIENT, SERVER],
        });
        for event in plugin.wait_for_events(watch, 2) {
            assert!(
                matches!(&event, Event::Watching(placed) if placed.outcome.is_ok()),
                "{event:?}"
            );
        }
        Self {
            world,
            plugin,
            facts,
            agent,
            timeout_ms: TIMEOUT_MS,
        }
    }

    fn probe(&mut self, kinds: Vec<ProbeKind>) -> Vec<ProbeResult> {
        let probes = kinds
            .into_iter()
            .zip(1..)
            .map(|(kind, id)| Probe { id, from: CLIENT, kind })
            .collect();
        let mut results: Vec<_> = self
            .plugin
            .task(Task::Probe {
                probes,
                timeout_ms: self.timeout_ms,
                parallel: 512,
            })
            .into_iter()
            .map(|event| match event {
                Event::Probed(result) => result,
                other => panic!("{other:?}"),
            })
            .collect();
        results.sort_by_key(|result| result.id);
        for result in &results {
            assert_eq!(result.source_missed, 0);
        }
        results
    }

    fn tcp(&mut self, is_v6: bool, port: u16) -> ProbeResult {
        let to = SocketAddr::new(self.world.server(is_v6), port);
        self.probe(vec![ProbeKind::Tcp { to }]).remove(0)
    }

    /// What the server's namespace saw.
    fn server_saw(&mut self, result: &ProbeResult) -> Vec<Sighting> {
        let mark = result.mark.clone().expect("the probe has no mark");
        let query = Query {
            probe: result.id,
            place: SERVER,
            mark,
        };
        match self.plugin.task(Task::Look { queries: vec![query] }).remove(0) {
            Event::Seen(sightings) => {
                assert_eq!(
                    (sightings.probe, sightings.place, sightings.missed),
                    (result.id, SERVER, 0)
                );
                sightings.seen.unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// The network stays until the lab goes: servers of the test may still wait for the last packets of their connections.
    fn finish(&mut self) {
        self.plugin.finish_with(&mut self.agent);
    }
}

/// Packets and their directions in order, what is only sent again left out.
fn story(sightings: &[Sighting]) -> Vec<(Direction, Packet)> {
    let mut story = Vec::new();
    for seen in sightings {
        let step = (seen.direction, seen.packet.clone());
        if !story.contains(&step) {
            story.push(step);
        }
    }
    story
}

fn failed(errno: &str) -> Outcome {
    Outcome::Failed {
        errno: errno.to_owned(),
    }
}

use Direction::{In, Out};

fn a_connection_is_seen_at_both_ends() {
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    for (facts, node) in lab.facts.iter().zip(["client", "server"]) {
        assert_eq!(
            (facts.inode, facts.found_by.as_str()),
            (lab.world.netns(node).inode(), "address")
        );
        assert_eq!(
            (facts.cannot_watch.as_deref(), facts.cannot_ping.as_deref()),
            (None, None)
        );
        assert!(
            facts.addresses.iter().any(|address| address.interface == "eth0"),
            "{facts:?}"
        );
    }
    for is_v6 in FAMILIES {
        let dumps = ["client", "server"].map(|node| Tcpdump::start(&lab.world, node));
        let result = lab.tcp(is_v6, 8080);
        assert_eq!(result.outcome, Outcome::Connected);
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn), (In, Packet::SynAck)]);
        let server_saw = lab.server_saw(&result);
        assert_eq!(story(&server_saw), [(In, Packet::Syn), (Out, Packet::SynAck)]);
        assert_eq!(
            server_saw[0].destination,
            SocketAddr::new(lab.world.server(is_v6), 8080)
        );
        assert_eq!(
            (server_saw[0].interface.as_str(), server_saw[0].source),
            ("eth0", result.source_saw[0].source)
        );
        assert!(result.source_saw[0].at_ns <= server_saw[0].at_ns);

        let Some(Mark::Tcp { isn }) = result.mark else {
            panic!("{result:?}")
        };
        let is_syn = |line: &&String| line.contains("Flags [S],");
        for dump in dumps {
            let lines = dump.stop_once("the SYN and its answer", |lines| {
                lines.iter().any(|line| line.contains("Flags [S.],"))
            });
            let syn = lines.iter().find(is_syn).unwrap_or_else(|| panic!("{lines:?}"));
            assert!(syn.contains(&format!("seq {isn},")), "we say {isn}, tcpdump: {syn}");
            assert!(!lines.iter().any(|line| line.contains("Flags [R")), "{lines:?}");
        }
    }
    lab.finish();
}

fn a_port_without_listener_resets() {
    let mut lab = Lab::new();
    for is_v6 in FAMILIES {
        let result = lab.tcp(is_v6, 81);
        assert_eq!(result.outcome, failed("ECONNREFUSED"));
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn), (In, Packet::Rst)]);
        assert_eq!(story(&lab.server_saw(&result)), [(In, Packet::Syn), (Out, Packet::Rst)]);
    }
    lab.finish();
}

fn a_drop_inside_the_destination() {
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    lab.world.rule("server", "input", "tcp dport 8080 drop");
    lab.timeout_ms = SHORT_MS;
    for is_v6 in FAMILIES {
        let result = lab.tcp(is_v6, 8080);
        assert_eq!(result.outcome, Outcome::TimedOut);
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn)]);
        assert_eq!(story(&lab.server_saw(&result)), [(In, Packet::Syn)]);
    }
    lab.finish();
}

fn a_reject_inside_the_destination() {
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    lab.world.rule("server", "input", "tcp dport 8080 reject");
    for (is_v6, kind, code) in [(false, 3, 3), (true, 1, 4)] {
        let result = lab.tcp(is_v6, 8080);
        let error = Packet::IcmpError { kind, code };
        assert_eq!(result.outcome, failed("ECONNREFUSED"));
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn), (In, error.clone())]);
        assert_eq!(story(&lab.server_saw(&result)), [(In, Packet::Syn), (Out, error)]);
    }
    lab.finish();
}

fn an_answer_lost_on_the_way() {
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    lab.world.rule("router", "forward", "tcp sport 8080 drop");
    lab.timeout_ms = SHORT_MS;
    for is_v6 in FAMILIES {
        let result = lab.tcp(is_v6, 8080);
        assert_eq!(result.outcome, Outcome::TimedOut);
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn)]);
        assert_eq!(
            story(&lab.server_saw(&result)),
            [(In, Packet::Syn), (Out, Packet::SynAck)]
        );
    }
    lab.finish();
}

fn a_rejection_by_the_router() {
    let mut lab = Lab::new();
    lab.world
        .rule("router", "forward", "tcp dport 8080 reject with icmpx admin-prohibited");
    for (is_v6, kind, code, errno) in [(false, 3, 13, "EHOSTUNREACH"), (true, 1, 1, "EACCES")] {
        let result = lab.tcp(is_v6, 8080);
        assert_eq!(result.outcome, failed(errno));
        assert_eq!(
            story(&result.source_saw),
            [(Out, Packet::Syn), (In, Packet::IcmpError { kind, code })]
        );
        assert_eq!(result.source_saw[1].source.ip(), lab.world.router(is_v6));
        assert_eq!(lab.server_saw(&result), []);
    }
    lab.finish();
}

fn a_missing_route() {
    let mut lab = Lab::new();
    lab.world.run("client", "ip route del default; ip -6 route del default");
    for is_v6 in FAMILIES {
        let result = lab.tcp(is_v6, 8080);
        assert_eq!(
            (result.outcome, result.mark, result.source_saw),
            (failed("ENETUNREACH"), None, vec![])
        );
    }
    lab.finish();
}

fn a_redirect_in_the_source() {
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    lab.world.run(
        "client",
        "nft 'add table ip t; add chain ip t c { type nat hook output priority -100; }; add rule ip t c tcp dport 8080 redirect to :15001'",
    );
    let listener = SocketAddr::from(([0; 4], 15001));
    let _proxy = netcheck_node_state::within(&lab.world.netns("client"), || std::net::TcpListener::bind(listener))
        .unwrap()
        .unwrap();
    let result = lab.tcp(false, 8080);
    assert_eq!(result.outcome, Outcome::Connected);
    assert!(result.mark.is_some());
    assert!(
        result.source_saw.iter().all(|seen| seen.interface == "lo"),
        "{:?}",
        result.source_saw
    );
    assert_eq!(lab.server_saw(&result), []);
    lab.finish();
}

fn nat_in_the_source_hides_no_probe() {
    // As a node's own connection to a Service: destination, source and source port are all rewritten before the packet leaves.
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    let server = lab.world.server(false);
    lab.world.run(
        "client",
        &format!(
            "nft 'add table ip t
                  add chain ip t o {{ type nat hook output priority -100; }}
                  add chain ip t p {{ type nat hook postrouting priority 100; }}
                  add rule ip t o ip daddr 203.0.113.1 tcp dport 80 dnat to {server}:8080
                  add rule ip t p tcp dport 8080 masquerade random,fully-random'"
        ),
    );
    let result = lab
        .probe(vec![ProbeKind::Tcp {
            to: "203.0.113.1:80".parse().unwrap(),
        }])
        .remove(0);
    assert_eq!(result.outcome, Outcome::Connected);
    assert_eq!(story(&result.source_saw), [(Out, Packet::Syn), (In, Packet::SynAck)]);
    assert_eq!(result.source_saw[0].destination, SocketAddr::new(server, 8080));
    assert_eq!(
        story(&lab.server_saw(&result)),
        [(In, Packet::Syn), (Out, Packet::SynAck)]
    );
    lab.finish();
}

fn a_server_that_talks_first_is_not_reset() {
    let mut lab = Lab::new();
    let server = Tcp::new(&lab.world, 2525, b"220 ready\r\n");
    let dump = Tcpdump::start(&lab.world, "server");
    for is_v6 in FAMILIES {
        assert_eq!(lab.tcp(is_v6, 2525).outcome, Outcome::Connected);
    }
    let ends = server.ends.clone();
    wait_for("both connections to end", || ends.lock().unwrap().len() == 2);
    for end in ends.lock().unwrap().iter() {
        assert!(matches!(end, Ok(0)), "{end:?}");
    }
    let lines = dump.stop_once("two whole connections", |lines| lines.len() >= 12);
    assert!(!lines.iter().any(|line| line.contains("Flags [R")), "{lines:#?}");
    lab.finish();
}

fn dns_questions() {
    let mut lab = Lab::new();
    let _server = Dns::new(&lab.world, 5353, 0);
    let _lossy = Dns::new(&lab.world, 5354, 1);
    for is_v6 in FAMILIES {
        let to = |port| SocketAddr::new(lab.world.server(is_v6), port);
        let ask = |port| ProbeKind::Dns {
            to: to(port),
            name: "web.shop.svc.cluster.local.".to_owned(),
            record: Record::A,
        };
        let (good, from) = (ask(5353), to(5353));
        let nobody = ask(5355);
        let results = lab.probe(vec![good, nobody]);
        let expected = Outcome::Resolved {
            rcode: 0,
            addresses: vec!["192.0.2.7".parse().unwrap()],
            from,
        };
        assert_eq!(
            (&results[0].outcome, &results[1].outcome),
            (&expected, &failed("ECONNREFUSED"))
        );
        assert_eq!(
            story(&results[0].source_saw),
            [(Out, Packet::Request), (In, Packet::Reply)]
        );
        assert_eq!(
            story(&lab.server_saw(&results[0])),
            [(In, Packet::Request), (Out, Packet::Reply)]
        );
        let (kind, code) = if is_v6 { (1, 4) } else { (3, 3) };
        assert_eq!(
            story(&lab.server_saw(&results[1])),
            [(In, Packet::Request), (Out, Packet::IcmpError { kind, code })]
        );
        let Some(Mark::Dns { name, .. }) = &results[0].mark else {
            panic!("{results:?}")
        };
        assert_eq!(name.to_lowercase(), "web.shop.svc.cluster.local");
    }
    // One question lost is asked again, with the same mark.
    let lost = ProbeKind::Dns {
        to: SocketAddr::new(lab.world.server(false), 5354),
        name: "a.b".to_owned(),
        record: Record::A,
    };
    let result = lab.probe(vec![lost]).remove(0);
    assert!(matches!(result.outcome, Outcome::Resolved { .. }), "{result:?}");
    let packets: Vec<_> = result
        .source_saw
        .iter()
        .map(|seen| (seen.direction, seen.packet.clone()))
        .collect();
    assert_eq!(
        packets,
        [(Out, Packet::Request), (Out, Packet::Request), (In, Packet::Reply)]
    );
    lab.finish();
}

fn icmp_echoes() {
    let mut lab = Lab::new();
    for is_v6 in FAMILIES {
        let to = lab.world.server(is_v6);
        let result = lab.probe(vec![ProbeKind::Icmp { to }]).remove(0);
        assert_eq!(result.outcome, Outcome::Echoed);
        assert_eq!(story(&result.source_saw), [(Out, Packet::Request), (In, Packet::Reply)]);
        assert_eq!(
            story(&lab.server_saw(&result)),
            [(In, Packet::Request), (Out, Packet::Reply)]
        );
        assert_eq!(lab.server_saw(&result)[0].destination, SocketAddr::new(to, 0));
    }
    lab.world.rule(
        "router",
        "forward",
        "meta l4proto { icmp, ipv6-icmp } reject with icmpx admin-prohibited",
    );
    for (is_v6, kind, code, errno) in [(false, 3, 13, "EHOSTUNREACH"), (true, 1, 1, "EACCES")] {
        let result = lab
            .probe(vec![ProbeKind::Icmp {
                to: lab.world.server(is_v6),
            }])
            .remove(0);
        assert_eq!(result.outcome, failed(errno), "{result:?}");
        assert_eq!(
            story(&result.source_saw),
            [(Out, Packet::Request), (In, Packet::IcmpError { kind, code })]
        );
    }
    lab.finish();
}

fn many_probes_at_once() {
    let mut lab = Lab::new();
    let _server = Tcp::new(&lab.world, 8080, b"");
    lab.world.rule("server", "input", "tcp dport 9999 drop");
    let kinds = (0..600u32).map(|number| {
        // One in three waits for the timeout: they must do so together.
        let port = if number % 3 == 0 { 9999 } else { 8080 };
        ProbeKind::Tcp {
            to: SocketAddr::new(lab.world.server(number % 2 == 0), port),
        }
    });
    let probes: Vec<_> = kinds
        .zip(0..)
        .map(|(kind, id)| Probe { id, from: CLIENT, kind })
        .collect();
    let started = std::time::Instant::now();
    let events = lab.plugin.task(Task::Probe {
        probes,
        timeout_ms: TIMEOUT_MS,
        parallel: 1000,
    });
    let elapsed = started.elapsed();
    assert_eq!(events.len(), 600);
    let mut marks = std::collections::BTreeSet::new();
    for event in &events {
        let Event::Probed(result) = event else {
            panic!("{event:?}")
        };
        let expected = if result.id % 3 == 0 {
            Outcome::TimedOut
        } else {
            Outcome::Connected
        };
        assert_eq!(result.outcome, expected, "{result:?}");
        marks.insert(result.mark.clone().unwrap());
    }
    assert_eq!(marks.len(), 600);
    // One after the other the 200 timeouts alone would take 160 s.
    assert!(elapsed.as_secs() < 15, "{elapsed:?}");
    lab.finish();
}

fn a_node_agents_capabilities_suffice() {
    // What a node agent's pod adds after dropping all: to watch, to enter namespaces, to find them.
    let confine = [
        "setpriv",
        "--inh-caps=-all",
        "--bounding-set=-all,+net_raw,+sys_admin,+sys_ptrace",
    ];
    let mut lab = Lab::with(Agent::start_by(&confine, &["--deadline", "60"]));
    let _server = Tcp::new(&lab.world, 8080, b"hello");
    for facts in &lab.facts {
        assert_eq!(
            (facts.cannot_watch.as_deref(), facts.cannot_ping.as_deref()),
            (None, None)
        );
    }
    let kinds = (0..400)
        .map(|number| ProbeKind::Tcp {
            to: SocketAddr::new(lab.world.server(number % 2 == 0), 8080),
        })
        .collect();
    let results = lab.probe(kinds);
    assert_eq!(results.len(), 400);
    for result in &results {
        assert_eq!(result.outcome, Outcome::Connected);
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn), (In, Packet::SynAck)]);
        assert_eq!(
            story(&lab.server_saw(result)),
            [(In, Packet::Syn), (Out, Packet::SynAck)]
        );
    }
    lab.finish();
}

/// An agent in the client's namespace with the given capabilities and user.
fn confined(world: &World, setpriv: &[&str]) -> Agent {
    let netns = format!("--net={}", world.path("client").display());
    let prefix: Vec<&str> = ["nsenter", &netns, "setpriv"]
        .into_iter()
        .chain(setpriv.iter().copied())
        .collect();
    Agent::start_by(&prefix, &["--deadline", "60"])
}

fn locate_own(plugin: &mut Plugin) -> PlaceFacts {
    let place = netcheck_wire::probe::Place {
        id: CLIENT,
        whereabouts: netcheck_wire::probe::Whereabouts::Own,
    };
    match plugin.task(Task::Locate { places: vec![place] }).remove(0) {
        Event::Located(placed) => placed.outcome.unwrap(),
        other => panic!("{other:?}"),
    }
}

fn what_is_left_without_capabilities() {
    let world = World::new();
    let _server = Tcp::new(&world, 8080, b"");
    let mut agent = confined(
        &world,
        &["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all"],
    );
    let mut plugin = Plugin::joining(&agent);
    let facts = locate_own(&mut plugin);
    assert_eq!(plugin.hello.as_ref().unwrap().capabilities, 0);
    assert_eq!(
        (facts.inode, facts.found_by.as_str()),
        (world.netns("client").inode(), "own")
    );
    assert_eq!(
        facts.cannot_watch.as_deref(),
        Some("watching packets needs the capability NET_RAW")
    );
    assert!(facts.cannot_ping.unwrap().contains("ping_group_range"));
    let watching = plugin.start(Task::Watch { places: vec![CLIENT] });
    let Event::Watching(placed) = plugin.wait_for_events(watching, 1).remove(0) else {
        panic!()
    };
    assert_eq!(
        placed.outcome,
        Err("watching packets needs the capability NET_RAW".to_owned())
    );
    let to = SocketAddr::new(world.server(false), 8080);
    let kinds = [ProbeKind::Tcp { to }, ProbeKind::Icmp { to: to.ip() }];
    let probes = kinds
        .into_iter()
        .zip(0..)
        .map(|(kind, id)| Probe { id, from: CLIENT, kind })
        .collect();
    let events = plugin.task(Task::Probe {
        probes,
        timeout_ms: TIMEOUT_MS,
        parallel: 4,
    });
    let outcome = |id: u32| {
        let result = events.iter().find_map(|event| match event {
            Event::Probed(result) if result.id == id => Some(result.clone()),
            _ => None,
        });
        result.unwrap()
    };
    assert_eq!(
        (outcome(0).outcome, outcome(0).mark, outcome(0).source_saw),
        (Outcome::Connected, None, vec![])
    );
    assert!(
        matches!(outcome(1).outcome, Outcome::NotSent { .. }),
        "{:?}",
        outcome(1)
    );
    plugin.finish_with(&mut agent);
}

fn net_raw_alone_learns_the_mark_from_the_watch() {
    let world = World::new();
    let _server = Tcp::new(&world, 8080, b"");
    let mut agent = confined(
        &world,
        &["--bounding-set=-all,+net_raw", "--inh-caps=-all", "--ambient-caps=-all"],
    );
    let mut plugin = Plugin::joining(&agent);
    assert_eq!(locate_own(&mut plugin).cannot_watch, None);
    for is_v6 in FAMILIES {
        let dump = Tcpdump::start(&world, "server");
        let to = SocketAddr::new(world.server(is_v6), 8080);
        let probes = vec![Probe {
            id: 1,
            from: CLIENT,
            kind: ProbeKind::Tcp { to },
        }];
        let Event::Probed(result) = plugin
            .task(Task::Probe {
                probes,
                timeout_ms: TIMEOUT_MS,
                parallel: 1,
            })
            .remove(0)
        else {
            panic!()
        };
        assert_eq!(result.outcome, Outcome::Connected);
        assert_eq!(story(&result.source_saw), [(Out, Packet::Syn), (In, Packet::SynAck)]);
        let Some(Mark::Tcp { isn }) = result.mark else {
            panic!("{result:?}")
        };
        let syn = format!("seq {isn},");
        dump.stop_once(&format!("a SYN with {syn}"), |lines| {
            lines
                .iter()
                .any(|line| line.contains("Flags [S],") && line.contains(&syn))
        });
    }
    plugin.finish_with(&mut agent);
}
