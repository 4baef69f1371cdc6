//! What is heard of changes that `ip` and `bridge` make. Needs root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test stops at what it did not expect"
)]

mod sandbox;

use libtest_mimic::Arguments;
use netcheck_node_state::{Changer, Monitor, News, Table, snapshot, within};
use sandbox::{Sandbox, trial};
use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

fn main() {
    let arguments = Arguments::from_args();
    let trials = vec![
        trial("each_change_is_heard_of", each_change_is_heard_of),
        trial("what_did_not_fit_is_everything", what_did_not_fit_is_everything),
        trial("nothing_is_heard_of_elsewhere", nothing_is_heard_of_elsewhere),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

/// Waits until all of this was heard.
fn hears(monitor: &mut Monitor, after: &str, wanted: &[(Table, Option<&str>)]) {
    let mut missing: BTreeSet<_> = wanted
        .iter()
        .map(|(table, device)| (*table, device.map(str::to_owned)))
        .collect();
    let deadline = Instant::now() + Duration::from_secs(20);
    while !missing.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "after {after:?}, nothing is heard of {missing:?}");
        match monitor.wait(left).unwrap() {
            News::Touched(touched) => missing.retain(|one| !touched.contains(one)),
            News::Everything => panic!("so little does not overflow"),
        }
    }
}

fn each_change_is_heard_of() {
    use Table::{Addresses, Fdb, Links, Neighbours, Routes};
    let sandbox = Sandbox::new();
    sandbox.run("ip link add eth0 type veth peer name wire; ip link set wire up; ip link set eth0 up; ip addr add 192.0.2.1/24 dev eth0");
    let mut monitor = within(&sandbox.netns(), || Monitor::open().unwrap()).unwrap();
    for (command, wanted) in [
        (
            "ip link add vx type vxlan id 1 dstport 8472 local 192.0.2.1 dev eth0",
            vec![(Links, Some("vx"))],
        ),
        ("ip link set vx up", vec![(Links, Some("vx"))]),
        (
            "ip addr add 10.0.0.0/32 dev vx",
            vec![(Addresses, Some("vx")), (Routes, Some("vx"))],
        ),
        ("ip addr add fd00::/128 dev vx nodad", vec![(Addresses, Some("vx"))]),
        (
            "ip neigh add 10.0.1.0 lladdr 0a:00:00:00:00:01 dev vx nud permanent",
            vec![(Neighbours, Some("vx"))],
        ),
        (
            "ip neigh replace 10.0.1.0 lladdr 0a:00:00:00:00:02 dev vx nud permanent",
            vec![(Neighbours, Some("vx"))],
        ),
        (
            "bridge fdb add 0a:00:00:00:00:01 dev vx dst 192.0.2.2 self permanent",
            vec![(Fdb, Some("vx"))],
        ),
        (
            "ip route add 10.0.1.0/24 via 10.0.1.0 dev vx onlink",
            vec![(Routes, Some("vx"))],
        ),
        ("ip route add unreachable 10.0.2.0/24", vec![(Routes, None)]),
        ("ip -6 route add fd00:1::/64 dev eth0", vec![(Routes, Some("eth0"))]),
        ("ip -6 route del fd00:1::/64 dev eth0", vec![(Routes, Some("eth0"))]),
        (
            "bridge fdb del 0a:00:00:00:00:01 dev vx dst 192.0.2.2 self",
            vec![(Fdb, Some("vx"))],
        ),
        ("ip neigh del 10.0.1.0 dev vx", vec![(Neighbours, Some("vx"))]),
        ("ip link set vx address 0a:00:00:00:00:09", vec![(Links, Some("vx"))]),
        ("ip link set vx alias hello", vec![(Links, Some("vx"))]),
        ("ip link set vx down", vec![(Links, Some("vx"))]),
        ("ip link set vx name renamed", vec![(Links, Some("renamed"))]),
        (
            "ip addr del 10.0.0.0/32 dev renamed",
            vec![(Addresses, Some("renamed"))],
        ),
        ("ip link del renamed", vec![(Links, Some("renamed"))]),
        (
            "ip link add br0 type bridge; ip link set eth0 master br0",
            vec![(Links, Some("br0")), (Links, Some("eth0"))],
        ),
        ("ip link set eth0 nomaster", vec![(Links, Some("eth0"))]),
        ("ip link set eth0 mtu 1400", vec![(Links, Some("eth0"))]),
        ("ip addr add 192.0.2.9/24 dev eth0", vec![(Addresses, Some("eth0"))]),
    ] {
        sandbox.run(command);
        hears(&mut monitor, command, &wanted);
    }
}

fn what_did_not_fit_is_everything() {
    let sandbox = Sandbox::new();
    sandbox.run("ip link add eth0 type veth peer name wire; ip link set wire up; ip link set eth0 up");
    let mut monitor = within(&sandbox.netns(), || Monitor::open().unwrap()).unwrap();
    let batch: Vec<String> = (0..8000)
        .map(|n| format!("route add 10.{}.{}.0/24 dev eth0", n / 256, n % 256))
        .collect();
    sandbox.run(&format!("ip -batch - <<'END'\n{}\nEND", batch.join("\n")));
    assert_eq!(monitor.take().unwrap(), News::Everything);
    // Looked at everything, one goes on hearing.
    let state = within(&sandbox.netns(), snapshot).unwrap().unwrap();
    assert!(state.routes.len() >= 8000);
    sandbox.run("ip route del 10.0.0.0/24");
    hears(&mut monitor, "the flood", &[(Table::Routes, Some("eth0"))]);
}

fn nothing_is_heard_of_elsewhere() {
    let (here, there) = (Sandbox::new(), Sandbox::new());
    let mut monitor = within(&here.netns(), || Monitor::open().unwrap()).unwrap();
    there.run("ip link add eth0 type veth peer name wire; ip link set eth0 up; ip link set lo up");
    // One's own questions are no changes either.
    within(&here.netns(), || {
        snapshot().unwrap();
        Changer::open().unwrap();
    })
    .unwrap();
    assert_eq!(monitor.wait(Duration::ZERO).unwrap(), News::Touched(BTreeSet::new()));
}
