//! What is lost is counted, and what is counted comes.

use crate::support::{EndOfFlood, PORT, World, drain, now, take, to, to_port, trial, wait_for, wait_for_packets};
use libtest_mimic::Trial;
use netcheck_ring::{Event, Options};
use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

pub fn trials() -> Vec<Trial> {
    let trial = |name, test| trial(name, &["ip"], test);
    vec![
        trial("a_tiny_ring_counts_each_loss", a_tiny_ring_counts_each_loss),
        trial(
            "stopped_in_a_flood_the_counts_agree",
            stopped_in_a_flood_the_counts_agree,
        ),
        trial(
            "an_idle_rings_watermark_follows_the_clock",
            an_idle_rings_watermark_follows_the_clock,
        ),
        trial(
            "no_packet_comes_below_the_watermark",
            no_packet_comes_below_the_watermark,
        ),
    ]
}

fn tiny() -> Options<'static> {
    Options {
        snap_length: 64,
        ring_bytes: 8192,
        ..Options::default()
    }
}

fn a_tiny_ring_counts_each_loss() {
    const COUNT: u64 = 5000;
    let world = World::new();
    let program = to_port(PORT);
    let mut ring = world.ring(Options {
        program: &program,
        ..tiny()
    });
    assert_eq!(ring.size().bytes(), 8192);
    let socket = world.socket("near");
    for number in 0..COUNT {
        socket.send_to(&number.to_be_bytes(), to(2)).unwrap();
    }
    wait_for_packets(&mut ring, COUNT);
    let seen = drain(&mut ring, |packet| packet.bytes[42..].to_vec());
    let statistics = ring.statistics().unwrap();
    assert_eq!(statistics.accepted, COUNT);
    assert_eq!(statistics.delivered(), seen.len() as u64);
    assert!(
        statistics.dropped > COUNT / 2 && statistics.freezes > 0,
        "{statistics:?}"
    );
    // Those that came are the first ones: the ring was not emptied meanwhile.
    let first: Vec<_> = (0..seen.len() as u64)
        .map(|number| number.to_be_bytes().to_vec())
        .collect();
    assert_eq!(seen, first);
    assert!(
        matches!(ring.next(Duration::ZERO).unwrap(), Event::End),
        "and stays at its end"
    );
    assert_eq!(ring.watermark().at_ns, u64::MAX);
}

fn stopped_in_a_flood_the_counts_agree() {
    let world = World::new();
    let program = to_port(PORT);
    for round in 0..10 {
        let mut ring = world.ring(Options {
            program: &program,
            block_timeout: Duration::from_millis(20),
            ..tiny()
        });
        let (is_over, sent) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            let end = EndOfFlood(&is_over);
            for _ in 0..2 {
                let socket = world.socket("near");
                let (is_over, sent) = (&is_over, &sent);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        socket.send_to(b"flood", to(2)).unwrap();
                        sent.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut seen = take(&mut ring, 100 * round, |_| ()).len();
            seen += drain(&mut ring, |_| ()).len();
            drop(end);
            let statistics = ring.statistics().unwrap();
            assert_eq!(statistics.delivered(), seen as u64, "{statistics:?}");
        });
        let after = ring.statistics().unwrap();
        assert!(after.accepted <= sent.load(Ordering::Relaxed));
        assert!(
            matches!(ring.next(Duration::ZERO).unwrap(), Event::End),
            "nothing entered since"
        );
        assert_eq!(ring.statistics().unwrap(), after);
    }
}

fn an_idle_rings_watermark_follows_the_clock() {
    let world = World::new();
    let mut ring = world.ring(Options::default());
    assert_eq!(
        ring.watermark().at_ns / 1_000_000_000_000_000,
        now() / 1_000_000_000_000_000
    );
    world.send(b"one");
    let times = take(&mut ring, 1, |packet| packet.at_ns);
    assert!(ring.watermark().at_ns >= times[0]);
    let later = now();
    wait_for("the watermark", || {
        assert!(!matches!(ring.next(Duration::from_millis(1)).unwrap(), Event::End));
        ring.watermark().at_ns > later
    });
}

fn no_packet_comes_below_the_watermark() {
    let world = World::new();
    let mut ring = world.ring(Options {
        block_timeout: Duration::from_millis(1),
        ..Options::default()
    });
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = EndOfFlood(&is_over);
        for _ in 0..2 {
            let (is_over, socket) = (&is_over, world.socket("near"));
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    // In bursts, so that the ring is now idle and now not.
                    for _ in 0..20 {
                        socket.send_to(b"burst", to(2)).unwrap();
                    }
                    thread::sleep(Duration::from_micros(100));
                }
            });
        }
        let (mut seen, mut marks) = (0, 0);
        while seen < 50_000 {
            let mark = ring.watermark();
            let earliest = match ring.next(Duration::from_millis(1)).unwrap() {
                Event::Packets(block) => {
                    seen += block.packets().count();
                    block.packets().map(|packet| packet.at_ns).min()
                }
                _ => None,
            };
            // Others on this machine may have the kernel stamp early: then it says so.
            if ring.watermark().is_exact
                && let Some(earliest) = earliest
            {
                assert!(earliest >= mark.at_ns, "{} ns below", mark.at_ns - earliest);
                marks += 1;
            }
        }
        drop(end);
        assert!(marks > 0 || !ring.watermark().is_exact);
    });
}
