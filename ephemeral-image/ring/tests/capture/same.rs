//! The ring sees exactly what tcpdump sees.

use crate::{
    support::{PORT, Record, World, drain, now, take, to, to_port, trial, wait_for},
    tcpdump::Tcpdump,
};
use libtest_mimic::Trial;
use netcheck_ring::{Options, Vlan};
use std::{
    io::{Read as _, Write as _},
    net::UdpSocket,
    os::fd::AsRawFd as _,
    thread,
    time::Duration,
};

const WHOLE: u32 = 262_144;

pub fn trials() -> Vec<Trial> {
    let trial = |name, test| trial(name, &["tcpdump"], test);
    vec![
        trial(
            "datagrams_are_those_of_tcpdump_to_the_nanosecond",
            datagrams_are_those_of_tcpdump_to_the_nanosecond,
        ),
        trial("tagged_frames_are_those_of_tcpdump", tagged_frames_are_those_of_tcpdump),
        trial("segments_of_64_kib_are_whole", segments_of_64_kib_are_whole),
        trial("what_is_cut_keeps_its_length", what_is_cut_keeps_its_length),
    ]
}

/// Has the kernel stamp each packet once, for all who ask, while the socket lives (`SO_TIMESTAMPNS`, socket(7)).
fn stamp_early(world: &World) -> UdpSocket {
    let socket = world.socket("far");
    let on: libc::c_int = 1;
    // SAFETY: the pointer is to a live `int` whose size is given.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
    let mut ring = world.ring(Options {
        block_timeout: Duration::from_millis(1),
        ..Options::default()
    });
    wait_for("early stamps", || {
        world.send(b"stamped?");
        take(&mut ring, 1, |_| ());
        !ring.watermark().is_exact
    });
    socket
}

/// Whose clock readings are compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    /// The kernel stamps each packet once.
    OfKernel,
    /// It keeps something else in the stamp's place, the time at which TCP meant to send; each socket reads the clock for itself.
    OfSocket,
}

/// Has both capture what `traffic` makes, and compares; the ring's packets are given back.
fn same(world: &World, clock: Clock, snap_length: u32, traffic: impl FnOnce()) -> Vec<Record> {
    let _stamping = stamp_early(world);
    let begin = now();
    let tcpdump = Tcpdump::start(world, snap_length);
    let mut ring = world.ring(Options {
        snap_length,
        ..Options::default()
    });
    let before = world.traffic();
    traffic();
    wait_for("the packets to arrive", || {
        ring.statistics().unwrap().accepted >= world.traffic() - before
    });
    let ours = drain(&mut ring, |packet| Record::of(packet, snap_length));
    let end = now();
    let mut theirs = tcpdump.records(ours.len());
    for (number, ours) in ours.iter().enumerate() {
        assert!(
            (begin..end).contains(&ours.at_ns),
            "packet {number} is of {}",
            ours.at_ns
        );
    }
    if clock == Clock::OfSocket {
        // The two directions of a connection come by different processors: two sockets may see them in different order. Its last
        // acknowledgement may have come after ours had stopped.
        for (number, ours) in ours.iter().enumerate() {
            let is_it =
                |theirs: &Record| (&theirs.bytes, theirs.original_length) == (&ours.bytes, ours.original_length);
            let place = theirs.iter().position(is_it);
            theirs.remove(place.unwrap_or_else(|| panic!("tcpdump has not seen packet {number}: {ours:?}")));
        }
        return ours;
    }
    assert_eq!(ours.len(), theirs.len(), "as many");
    for (number, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert!(ours == theirs, "packet {number}: {ours:?} is not {theirs:?}");
    }
    ours
}

fn datagrams_are_those_of_tcpdump_to_the_nanosecond() {
    let world = World::new();
    let socket = world.socket("near");
    let back = world.socket("far");
    let records = same(&world, Clock::OfKernel, WHOLE, || {
        for length in 0..=1472usize {
            let payload: Vec<u8> = (0..length).map(|at| (at * 7 + length) as u8).collect();
            socket.send_to(&payload, to(2)).unwrap();
            if length % 3 == 0 {
                back.send_to(&payload, to(1)).unwrap();
            }
        }
        // In fragments.
        socket.send_to(&vec![0xf5; 20_000], to(2)).unwrap();
    });
    assert!(records.len() >= 1473 + 491 + 14, "{} packets", records.len());
}

fn tagged_frames_are_those_of_tcpdump() {
    const ADDRESSES: [u8; 12] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    let world = World::new();
    let link = world.link_socket("near");
    let frames = [
        [ADDRESSES.as_slice(), &[0x88, 0xb5], &[1; 60]].concat(),
        [ADDRESSES.as_slice(), &[0x81, 0x00, 0x60, 0x64, 0x88, 0xb5], &[2; 60]].concat(),
        [ADDRESSES.as_slice(), &[0x88, 0xa8, 0x60, 0xc8, 0x88, 0xb5], &[3; 60]].concat(),
        // Tagged twice: the outer tag is the kernel's, the inner one stays in the bytes.
        [
            ADDRESSES.as_slice(),
            &[0x88, 0xa8, 0x00, 0xc8, 0x81, 0x00, 0x00, 0x64, 0x88, 0xb5],
            &[4; 60],
        ]
        .concat(),
    ];
    let mut beside = world.ring(Options::default());
    for snap_length in [WHOLE, 70, 15] {
        let records = same(&world, Clock::OfKernel, snap_length, || {
            for frame in &frames {
                link.send(frame).unwrap();
            }
        });
        assert_eq!(records.len(), frames.len());
        for (record, frame) in records.iter().zip(&frames) {
            let kept = frame.len().min(snap_length as usize);
            assert!(record.bytes == frame[..kept], "{record:?} is not {frame:?}");
            assert_eq!(record.original_length as usize, frame.len());
        }
    }
    let vlans: Vec<_> = drain(&mut beside, |packet| packet.vlan).into_iter().flatten().collect();
    let expected = [(0x6064, 0x8100), (0x60c8, 0x88a8), (0x00c8, 0x88a8)].map(|(tci, tpid)| Vlan { tci, tpid });
    assert_eq!(vlans[..3], expected);
}

fn segments_of_64_kib_are_whole() {
    const BYTES: usize = 8 << 20;
    let world = World::new();
    let records = same(&world, Clock::OfSocket, WHOLE, || {
        let (mut near, mut far) = world.connection();
        let reading = thread::spawn(move || far.read_to_end(&mut Vec::new()).unwrap());
        near.write_all(&vec![0x5a; BYTES]).unwrap();
        drop(near);
        assert_eq!(reading.join().unwrap(), BYTES);
    });
    let longest = records.iter().map(|record| record.bytes.len()).max().unwrap();
    assert!(longest > 60_000, "the longest is {longest} bytes");
    assert!(
        records
            .iter()
            .all(|record| record.bytes.len() == record.original_length as usize)
    );
}

fn what_is_cut_keeps_its_length() {
    let world = World::new();
    let socket = world.socket("near");
    let records = same(&world, Clock::OfKernel, 96, || {
        for length in [10usize, 54, 55, 500, 1472] {
            socket.send_to(&vec![1; length], to(2)).unwrap();
        }
    });
    let lengths: Vec<_> = records
        .iter()
        .map(|record| (record.bytes.len(), record.original_length))
        .filter(|(_, original)| [52, 96, 97, 542, 1514].contains(original))
        .collect();
    assert_eq!(lengths, [(52, 52), (96, 96), (96, 97), (96, 542), (96, 1514)]);

    // A program that returns a length of its own (`BPF_RET | BPF_A`) is cut too.
    let mut program = to_port(PORT);
    program[4].code = 0x16;
    let mut ring = world.ring(Options {
        snap_length: 30,
        program: &program,
        ..Options::default()
    });
    socket.send_to(&[1; 500], to(2)).unwrap();
    let lengths = take(&mut ring, 1, |packet| (packet.bytes.len(), packet.original_length));
    assert_eq!(lengths, [(30, 542)]);
}
