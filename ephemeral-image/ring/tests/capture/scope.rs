//! Which packets the ring sees.

use crate::support::{EndOfFlood, PATIENCE, PORT, World, drain, ip, take, to, to_port, trial, wait_for_packets};
use libtest_mimic::Trial;
use netcheck_ring::{Event, Options, Ring, RingError};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

pub fn trials() -> Vec<Trial> {
    let trial = |name, test| trial(name, &["ip"], test);
    vec![
        trial("direction_is_told", direction_is_told),
        trial("nothing_passes_before_the_filter", nothing_passes_before_the_filter),
        trial("every_interface_also_a_later_one", every_interface_also_a_later_one),
        trial("a_lone_packet_comes", a_lone_packet_comes),
        trial("two_rings_see_the_same", two_rings_see_the_same),
        trial(
            "strangers_are_heard_when_promiscuous",
            strangers_are_heard_when_promiscuous,
        ),
        trial("net_raw_is_enough_and_needed", net_raw_is_enough_and_needed),
        trial("errors_name_the_interface", errors_name_the_interface),
    ]
}

fn direction_is_told() {
    let world = World::new();
    let program = to_port(PORT);
    let mut ring = world.ring(Options {
        program: &program,
        ..Options::default()
    });
    world.socket("near").send_to(b"in", to(2)).unwrap();
    world.socket("far").send_to(b"out", to(1)).unwrap();
    let mut seen = take(&mut ring, 2, |packet| {
        (
            packet.packet_type,
            packet.hardware_type,
            String::from_utf8_lossy(&packet.bytes[42..]).into_owned(),
        )
    });
    seen.sort_unstable();
    let expected = [(libc::PACKET_HOST, "in"), (libc::PACKET_OUTGOING, "out")]
        .map(|(direction, payload)| (direction, libc::ARPHRD_ETHER, payload.to_owned()));
    assert_eq!(seen, expected);
}

fn nothing_passes_before_the_filter() {
    let world = World::new();
    let socket = world.socket("near");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let end = EndOfFlood(&is_over);
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let _ = socket.send_to(b"flood", "198.18.0.2:9");
            }
        });
        for _ in 0..20 {
            let mut ring = world.ring(Options {
                program: &to_port(PORT),
                ..Options::default()
            });
            world.send(b"wanted");
            wait_for_packets(&mut ring, 1);
            let seen = drain(&mut ring, |packet| packet.bytes[42..].to_vec());
            assert_eq!(seen, [b"wanted"]);
        }
        drop(end);
    });
}

fn every_interface_also_a_later_one() {
    let world = World::new();
    let program = to_port(PORT);
    let mut ring = world.ring_on_all(Options {
        program: &program,
        ..Options::default()
    });
    world.send(b"first");
    let (near, far) = (world.ns("near"), world.ns("far"));
    ip(&format!("-n {near} link add late type veth peer name late netns {far}"));
    ip(&format!("-n {near} addr add 198.18.7.1/24 dev late"));
    ip(&format!("-n {far} addr add 198.18.7.2/24 dev late"));
    ip(&format!("-n {far} link set late up"));
    ip(&format!("-n {near} link set late up"));
    world.socket("near").send_to(b"second", "198.18.7.2:4000").unwrap();
    let seen = take(&mut ring, 2, |packet| (packet.interface, packet.bytes[42..].to_vec()));
    let expected = [
        (world.index("far", "eth0"), b"first".to_vec()),
        (world.index("far", "late"), b"second".to_vec()),
    ];
    assert_eq!(seen, expected);
    // One of them vanishing is no event of a ring on all.
    ip(&format!("-n {far} link del late"));
    world.send(b"third");
    assert!(matches!(ring.next(PATIENCE).unwrap(), Event::Packets(_)));
}

fn a_lone_packet_comes() {
    let world = World::new();
    let program = to_port(PORT);
    let mut ring = world.ring(Options {
        program: &program,
        ..Options::default()
    });
    assert!(matches!(ring.next(Duration::ZERO).unwrap(), Event::Quiet));
    world.send(b"alone");
    let Event::Packets(block) = ring.next(PATIENCE).unwrap() else {
        panic!("it does not come");
    };
    assert_eq!(block.packets().count(), 1);
}

fn two_rings_see_the_same() {
    const COUNT: u32 = 2000;
    let world = World::new();
    let program = to_port(PORT);
    let options = Options {
        program: &program,
        ..Options::default()
    };
    let mut rings = [world.ring(options), world.ring_on_all(options)];
    let socket = world.socket("near");
    for number in 0..COUNT {
        socket.send_to(&number.to_be_bytes(), to(2)).unwrap();
    }
    let expected: Vec<_> = (0..COUNT).map(|number| number.to_be_bytes().to_vec()).collect();
    for ring in &mut rings {
        wait_for_packets(ring, u64::from(COUNT));
        let seen = drain(ring, |packet| packet.bytes[42..].to_vec());
        assert!(seen == expected, "{} of {COUNT}, or another order", seen.len());
    }
}

fn strangers_are_heard_when_promiscuous() {
    let world = World::new();
    let is_promiscuous = || {
        world
            .run("far", "ip -d -j link show eth0")
            .contains(r#""promiscuity":1"#)
    };
    let options = Options {
        promiscuous: true,
        ..Options::default()
    };
    let ring = world.ring(options);
    assert!(is_promiscuous());
    drop(ring);
    assert!(!is_promiscuous(), "only while it is open");
    let _ring = world.ring(Options::default());
    assert!(!is_promiscuous(), "not unless asked");
}

fn net_raw_is_enough_and_needed() {
    let world = World::new();
    let open_with = |capabilities| {
        let interface = Some(world.index("far", "eth0"));
        world.within("far", || {
            // Of this thread, which ends with this.
            set_capabilities(
                None,
                CapabilitySets {
                    effective: capabilities,
                    permitted: capabilities,
                    inheritable: CapabilitySet::empty(),
                },
            )
            .unwrap();
            Ring::open(&Options {
                interface,
                promiscuous: true,
                ..Options::default()
            })
        })
    };
    let mut ring = open_with(CapabilitySet::NET_RAW).unwrap();
    world.send(b"seen");
    take(&mut ring, 1, |_| ());
    let error = open_with(CapabilitySet::empty()).unwrap_err();
    assert!(
        matches!(error, RingError::Open(_)) && error.to_string().contains("NET_RAW"),
        "{error}"
    );
}

fn errors_name_the_interface() {
    let world = World::new();
    let open = |options: Options<'_>| world.within("far", || Ring::open(&options)).unwrap_err();
    let error = open(Options {
        interface: Some(4711),
        ..Options::default()
    });
    assert!(
        matches!(error, RingError::Bind { interface: 4711, .. }) && error.to_string().contains("4711"),
        "{error}"
    );
    let mut program = to_port(PORT);
    program[1].jf = 200;
    let error = open(Options {
        program: &program,
        ..Options::default()
    });
    assert!(
        matches!(
            error,
            RingError::Filter {
                instructions: 6,
                interface: 0,
                ..
            }
        ),
        "{error}"
    );
}
