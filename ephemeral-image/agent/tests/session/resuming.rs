//! Streams that break: cut at every frame boundary and inside frames, `join` killed at any moment, a reader that does not read.

use crate::support::{
    PATIENCE, plain,
    plugin::{Agent, Plugin},
};
use libtest_mimic::Trial;
use netcheck_wire::{
    Event, FromAgent, Task,
    probe::{Mark, Outcome, Place, Probe, ProbeKind, Query, Whereabouts},
};
use std::{
    net::{SocketAddr, TcpListener},
    time::Instant,
};

pub fn trials() -> Vec<Trial> {
    vec![
        plain(
            "cut_once_at_any_byte_the_results_are_the_same",
            cut_once_at_any_byte_the_results_are_the_same,
        ),
        plain(
            "cut_again_and_again_the_results_are_the_same",
            cut_again_and_again_the_results_are_the_same,
        ),
        plain("join_killed_at_any_moment", join_killed_at_any_moment),
        plain("a_second_stream_replaces_the_first", a_second_stream_replaces_the_first),
        plain(
            "a_plugin_that_does_not_read_holds_the_tasks_up",
            a_plugin_that_does_not_read_holds_the_tasks_up,
        ),
    ]
}

/// Bytes per stream that let hellos and the largest message of the script through.
const UNCUT: usize = 1 << 20;

/// What a run found, without what differs from run to run.
type Findings = Vec<(u32, String)>;

/// One session on loopback: locate, probe, look.
fn run(plugin: &mut Plugin, targets: &Targets) -> Findings {
    let located = plugin.task(Task::Locate {
        places: vec![Place {
            id: 1,
            whereabouts: Whereabouts::Own,
        }],
    });
    let [Event::Located(placed)] = located.as_slice() else {
        panic!("{located:?}")
    };
    assert!(placed.outcome.is_ok());
    let probes = (0..6)
        .map(|id| Probe {
            id,
            from: 1,
            kind: ProbeKind::Tcp {
                to: if id % 2 == 0 { targets.open } else { targets.closed },
            },
        })
        .collect();
    let mut findings = Findings::new();
    for event in plugin.task(Task::Probe {
        probes,
        timeout_ms: 5000,
        parallel: 8,
    }) {
        let Event::Probed(result) = event else {
            panic!("{event:?}")
        };
        let expected = if result.id % 2 == 0 {
            Outcome::Connected
        } else {
            Outcome::Failed {
                errno: "ECONNREFUSED".to_owned(),
            }
        };
        assert_eq!(result.outcome, expected);
        findings.push((result.id, format!("{:?}", result.outcome)));
    }
    let queries = (0..4)
        .map(|probe| Query {
            probe,
            place: 9,
            mark: Mark::Icmp { nonce: probe.into() },
        })
        .collect();
    for event in plugin.task(Task::Look { queries }) {
        let Event::Seen(sightings) = event else {
            panic!("{event:?}")
        };
        findings.push((sightings.probe, format!("{:?}", sightings.seen)));
    }
    findings.sort();
    findings
}

/// A port of loopback that takes connections, and one that refuses them.
struct Targets {
    open: SocketAddr,
    closed: SocketAddr,
    /// Bound but not listening: nobody else gets the port.
    _reserved: socket2::Socket,
}

impl Targets {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let open = listener.local_addr().unwrap();
        // It ends with the test's process.
        std::thread::spawn(move || listener.incoming().for_each(drop));
        let reserved = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let closed = reserved.local_addr().unwrap().as_socket().unwrap();
        Self {
            open,
            closed,
            _reserved: reserved,
        }
    }
}

fn cut_once_at_any_byte_the_results_are_the_same() {
    let targets = Targets::new();
    let mut agent = Agent::start();
    let mut plugin = Plugin::cut(&agent, vec![UNCUT]);
    let expected = run(&mut plugin, &targets);
    plugin.finish_with(&mut agent);
    let total = plugin.bytes_in;
    let boundaries: Vec<usize> = plugin
        .frame_ends
        .iter()
        .flat_map(|&end| [end - 1, end, end + 1])
        .collect();
    assert!(
        boundaries.len() > 30 && total > 1000,
        "{total} bytes, {} frames",
        plugin.frame_ends.len()
    );
    // Both directions share a stream's bytes, so the cuts fall into what the plugin sends as well.
    for cut in boundaries.into_iter().chain((0..2 * total).step_by(97)) {
        let mut agent = Agent::start();
        let mut plugin = Plugin::cut(&agent, vec![cut, UNCUT]);
        assert_eq!(run(&mut plugin, &targets), expected, "cut after {cut} bytes");
        plugin.finish_with(&mut agent);
    }
}

fn cut_again_and_again_the_results_are_the_same() {
    let targets = Targets::new();
    let mut agent = Agent::start();
    let mut plugin = Plugin::cut(&agent, vec![UNCUT]);
    let expected = run(&mut plugin, &targets);
    plugin.finish_with(&mut agent);
    // A stream must carry both hellos, what the plugin has to repeat, and one message, or nothing ever moves.
    let ends = [0].iter().chain(&plugin.frame_ends).zip(&plugin.frame_ends);
    let largest = ends.map(|(start, end)| end - start).max().unwrap();
    let all = plugin.bytes_in;
    assert!(largest + 1500 < all, "{all} bytes are too few to be cut");
    for every in (largest + 1500..all).step_by(331) {
        let mut agent = Agent::start();
        let mut plugin = Plugin::cut(&agent, vec![every]);
        assert_eq!(run(&mut plugin, &targets), expected, "cut every {every} bytes");
        plugin.finish_with(&mut agent);
        assert!(plugin.connects > 1, "never cut at {every}");
    }
}

fn join_killed_at_any_moment() {
    let targets = Targets::new();
    let mut agent = Agent::start();
    let mut plugin = Plugin::joining(&agent);
    let mut expected = None;
    for round in 0..40u64 {
        plugin.connect();
        let pid = plugin.join_pid().unwrap();
        let pid = rustix::process::Pid::from_raw(pid.try_into().unwrap()).unwrap();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_micros(round * 137 % 5000));
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
        });
        let findings = run(&mut plugin, &targets);
        // The process is waited for by the plugin alone, so its number is not reused before it was killed or replaced.
        let _ = killer.join().unwrap();
        assert_eq!(&findings, expected.get_or_insert(findings.clone()), "round {round}");
    }
    assert!(plugin.connects > 20, "{} streams only", plugin.connects);
    plugin.finish_with(&mut agent);
}

fn a_second_stream_replaces_the_first() {
    let mut agent = Agent::start();
    let mut first = Plugin::joining(&agent);
    first.connect();
    let mut join = agent.join();
    let mut second = Plugin::cut(&agent, vec![UNCUT]);
    second.connect();
    // The first stream's join ends by itself, with code 0, though nobody closed its input.
    let pid = first.join_pid().unwrap();
    crate::support::wait_for("the first join to end", || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('Z')
    });
    second.finish_with(&mut agent);
    drop(join.stdin.take());
    join.wait().unwrap();
}

fn a_plugin_that_does_not_read_holds_the_tasks_up() {
    const QUERIES: u32 = 60_000;
    const TASKS: u32 = 20;
    let agent = Agent::start();
    let mut plugin = Plugin::cut(&agent, vec![usize::MAX]);
    for part in 0..TASKS {
        let numbers = part * QUERIES / TASKS..(part + 1) * QUERIES / TASKS;
        let query = |probe: u32| Query {
            probe,
            place: 9,
            mark: Mark::Icmp { nonce: probe.into() },
        };
        plugin.start(Task::Look {
            queries: numbers.map(query).collect(),
        });
    }
    // All of it would be some 8 MB, twice what both sides may hold. What is not read stays undone: memory stands still, and the agent lives.
    let before = Instant::now();
    let mut last = (0, Instant::now());
    while last.1.elapsed().as_millis() < 300 {
        let resident = agent.resident_kb();
        assert!(resident < 64 << 10, "{resident} kB");
        if resident != last.0 {
            last = (resident, Instant::now());
        }
        assert!(before.elapsed() < PATIENCE);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    for _ in 0..QUERIES + TASKS {
        plugin.receive();
    }
    assert!(matches!(plugin.messages.last(), Some(FromAgent::Done { .. })));
    let totals = plugin.finish();
    assert_eq!(totals.events, u64::from(QUERIES));
}
