//! What the agent tells of an interval in which packets died in a known way.

use crate::support::{
    needs_root,
    plugin::{Agent, Plugin},
    wait_for,
    world::{CLIENT, World},
};
use libtest_mimic::Trial;
use netcheck_node_state::observation::NodeObservation;
use netcheck_wire::{Event, FromAgent, Task, TaskId, ToAgent, message::ObserveOrder};
use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt as _, process::Command};

pub fn trials() -> Vec<Trial> {
    vec![
        needs_root("an_interval_tells_why_packets_die", an_interval_tells_why_packets_die),
        needs_root(
            "without_the_right_counters_are_told",
            without_the_right_counters_are_told,
        ),
        needs_root("half_an_interval_is_none", half_an_interval_is_none),
    ]
}

/// An agent whose node is the router, with these capabilities.
fn on_the_router(world: &World, capabilities: &str) -> Agent {
    let namespace = format!("--net={}", world.path("router").display());
    let bounding = format!("--bounding-set=-all,{capabilities}");
    let words = ["nsenter", &namespace, "setpriv", "--inh-caps=-all", &bounding];
    Agent::start_by(&words, &["--deadline", "120"])
}

/// Starts to observe, and waits until it has begun: whether drops are counted.
fn begin(plugin: &mut Plugin, order: ObserveOrder) -> (TaskId, Result<(), String>) {
    let id = plugin.start(Task::Observe(order));
    match plugin.wait_for_events(id, 1).remove(0) {
        Event::Observing { drops } => (id, drops),
        other => panic!("{other:?}"),
    }
}

fn end(plugin: &mut Plugin, id: TaskId) -> NodeObservation {
    plugin.done(id);
    let pieces = plugin.data.iter().filter(|(of, _)| *of == id);
    let pieces: Vec<&[u8]> = pieces.map(|(_, bytes)| bytes.as_slice()).collect();
    serde_json::from_slice(&pieces.concat()).unwrap()
}

/// Much longer than it takes to lose two packets.
const INTERVAL_MS: u64 = 5000;

/// Two packets that the router has no way for.
fn lose_two(world: &World) {
    world.run(
        "client",
        "for n in 1 2; do bash -c 'echo x >/dev/udp/203.0.113.9/9'; done",
    );
}

fn an_interval_tells_why_packets_die() {
    let world = World::new();
    let mut agent = on_the_router(&world, "+net_admin,+net_raw,+sys_admin,+sys_ptrace");
    let mut plugin = Plugin::joining(&agent);
    plugin.task(Task::Locate { places: world.places() });
    // Before it: not of it.
    lose_two(&world);
    let (id, drops) = begin(
        &mut plugin,
        ObserveOrder {
            places: vec![CLIENT, 99],
            for_ms: INTERVAL_MS,
        },
    );
    assert_eq!(drops, Ok(()));
    lose_two(&world);
    let seen = end(&mut plugin, id);
    plugin.finish_with(&mut agent);

    let inode = |node: &str| fs::metadata(world.path(node)).unwrap().ino();
    assert_eq!(seen.node.inode, inode("router"));
    assert!(seen.elapsed_ms >= INTERVAL_MS);
    let router = seen.node.counters.between();
    assert_eq!(router.protocol("IpExtInNoRoutes"), 2);
    assert!(router.device("to-client", "rx_packets") >= 2);
    let client = seen.pods[&CLIENT].as_ref().unwrap();
    assert_eq!(client.inode, inode("client"));
    assert_eq!(client.counters.between().protocol("UdpOutDatagrams"), 2);
    assert_eq!(seen.pods[&99], Err("place 99 was not located".to_owned()));
    assert!(seen.softnet.is_ok());
    let drops = seen.drops.unwrap();
    let here = drops
        .counts
        .iter()
        .filter(|one| one.inode == inode("router") && one.reason == "IP_INNOROUTES");
    let index = seen.node.counters.after.devices["to-client"].index;
    assert_eq!(
        here.map(|one| (one.device, one.packets)).collect::<Vec<_>>(),
        [(index, 2)]
    );
}

fn without_the_right_counters_are_told() {
    let world = World::new();
    let mut agent = on_the_router(&world, "+net_raw");
    let mut plugin = Plugin::joining(&agent);
    let (id, drops) = begin(
        &mut plugin,
        ObserveOrder {
            places: vec![],
            for_ms: INTERVAL_MS,
        },
    );
    lose_two(&world);
    let seen = end(&mut plugin, id);
    plugin.finish_with(&mut agent);
    let why = drops.unwrap_err();
    assert!(why.contains("not permitted"), "{why}");
    assert_eq!(seen.drops, Err(why));
    assert_eq!(seen.node.counters.between().protocol("IpExtInNoRoutes"), 2);
}

fn half_an_interval_is_none() {
    let world = World::new();
    let mut agent = on_the_router(&world, "+net_raw,+sys_admin");
    let mut plugin = Plugin::joining(&agent);
    let (id, _) = begin(
        &mut plugin,
        ObserveOrder {
            places: vec![],
            for_ms: 600_000,
        },
    );
    let there = programs();
    assert!(!there.is_empty(), "the oracle does not see it");
    plugin.send(&ToAgent::Stop { id });
    let error = loop {
        plugin.receive();
        if let Some(FromAgent::Done { error, .. }) = plugin.messages.last() {
            break error.clone();
        }
    };
    assert_eq!(error.as_deref(), Some("stopped before its interval was over"));
    assert!(plugin.data.is_empty());
    plugin.finish_with(&mut agent);
    // Those of other tests go as well.
    wait_for("the program to go with it", || programs().is_disjoint(&there));
}

/// Numbers of programs like the agent's that are in the kernel.
fn programs() -> BTreeSet<u64> {
    let listed = Command::new("bpftool")
        .args(["prog", "list", "--json"])
        .output()
        .unwrap();
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    let programs = listed.as_array().unwrap().iter();
    let ours = programs.filter(|one| one["type"] == "tracing" && one["name"] == "count");
    ours.map(|one| one["id"].as_u64().unwrap()).collect()
}
