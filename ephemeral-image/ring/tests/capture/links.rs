//! Interfaces that go down, come back, and vanish.

use crate::support::{PATIENCE, PORT, World, drain, ip, to_port, trial, wait_for_packets};
use libtest_mimic::Trial;
use netcheck_ring::{Event, Options, Ring};
use std::time::{Duration, Instant};

pub fn trials() -> Vec<Trial> {
    let trial = |name, test| trial(name, &["ip"], test);
    vec![
        trial(
            "down_is_told_once_and_capture_goes_on",
            down_is_told_once_and_capture_goes_on,
        ),
        trial("what_came_before_deletion_comes", what_came_before_deletion_comes),
        trial("deletion_of_what_was_down_is_told", deletion_of_what_was_down_is_told),
    ]
}

/// The next thing told that is neither silence nor packets.
fn news(ring: &mut Ring) -> &'static str {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match ring.next(Duration::from_millis(50)).unwrap() {
            Event::Packets(_) | Event::Quiet => {}
            Event::InterfaceDown => return "down",
            Event::InterfaceGone => return "gone",
            Event::End => return "end",
        }
    }
    "none"
}

fn down_is_told_once_and_capture_goes_on() {
    let world = World::new();
    let program = to_port(PORT);
    let mut ring = world.ring(Options {
        program: &program,
        ..Options::default()
    });
    for _ in 0..2 {
        ip(&format!("-n {} link set eth0 down", world.ns("far")));
        assert_eq!(news(&mut ring), "down");
        ip(&format!("-n {} link set eth0 up", world.ns("far")));
        world.meet();
        world.send(b"again");
        assert!(
            matches!(ring.next(PATIENCE).unwrap(), Event::Packets(_)),
            "packets are the next event"
        );
    }
    drain(&mut ring, |_| ());
    assert_eq!(ring.statistics().unwrap().accepted, 2);
}

fn what_came_before_deletion_comes() {
    let world = World::new();
    let program = to_port(PORT);
    let options = Options {
        program: &program,
        block_timeout: Duration::from_millis(500),
        ..Options::default()
    };
    let mut ring = world.ring(options);
    let mut unread = world.ring(options);
    world.send(b"last words");
    for ring in [&mut ring, &mut unread] {
        wait_for_packets(ring, 1);
    }
    ip(&format!("-n {} link del eth0", world.ns("far")));
    // One that is stopped with all still in the ring, and one that goes on.
    assert_eq!(
        drain(&mut unread, |packet| packet.bytes[42..].to_vec()),
        [b"last words"]
    );
    let mut seen = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while !seen.ends_with(&["gone"]) {
        assert!(Instant::now() < deadline, "only {seen:?}");
        seen.push(match ring.next(Duration::from_millis(50)).unwrap() {
            Event::Packets(block) => {
                assert!(block.packets().all(|packet| packet.bytes.ends_with(b"last words")));
                "packet"
            }
            Event::InterfaceDown => "down",
            Event::InterfaceGone => "gone",
            Event::Quiet => continue,
            Event::End => "end",
        });
    }
    seen.sort_unstable();
    assert_eq!(seen, ["down", "gone", "packet"]);
    assert!(matches!(ring.next(Duration::from_millis(1)).unwrap(), Event::Quiet));
    drain(&mut ring, |_| ());
}

fn deletion_of_what_was_down_is_told() {
    let world = World::new();
    ip(&format!("-n {} link set eth0 down", world.ns("far")));
    let mut ring = world.ring(Options::default());
    assert_eq!(news(&mut ring), "down", "also if it was so from the start");
    ip(&format!("-n {} link del eth0", world.ns("far")));
    assert_eq!(news(&mut ring), "gone");
    ring.stop().unwrap();
    assert_eq!(news(&mut ring), "end");
}
