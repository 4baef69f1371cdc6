//! A process that is killed after any step leaves nothing that a DEL, or another ADD, does not clear away (SPEC.md 7.3).

use crate::{
    sandbox::{Sandbox, trial},
    world::{World, ip},
};
use libtest_mimic::Trial;
use netcheck_cni::steps::Step;
use serde_json::Value;
use std::collections::BTreeSet;

const KILLED: Option<i32> = Some(9);

pub fn trials() -> Vec<Trial> {
    vec![
        trial("an_add_that_dies_is_cleared_by_del", an_add_that_dies_is_cleared_by_del),
        trial(
            "an_add_that_dies_is_cleared_by_another_add",
            an_add_that_dies_is_cleared_by_another_add,
        ),
        trial(
            "a_del_that_dies_is_finished_by_another_del",
            a_del_that_dies_is_finished_by_another_del,
        ),
        trial("what_a_delegate_gave_is_given_back", what_a_delegate_gave_is_given_back),
    ]
}

fn steps_of(verb: &str) -> Vec<Step> {
    let is_of = |step: &Step| step.text().to_uppercase().starts_with(verb);
    Step::ALL.into_iter().filter(is_of).collect()
}

/// Addresses of another pod, which has to keep them all the time.
struct Bystander<'a> {
    world: &'a World,
    pod: Sandbox,
    ips: Value,
}

impl<'a> Bystander<'a> {
    fn new(world: &'a World) -> Self {
        let pod = Sandbox::new();
        let ips = world.add("bystander", &pod)["ips"].clone();
        Self { world, pod, ips }
    }

    fn is_unharmed(&self) {
        let addresses = ip(&self.pod, "addr show eth0").remove(0)["addr_info"].to_string();
        let links = self.world.links();
        for one in self.ips.as_array().unwrap() {
            let address = one["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
            assert!(addresses.contains(&format!("\"{address}\"")), "{addresses}");
            assert!(links.contains(&address), "{links:?}");
        }
        self.pod.run("ping -q -c 1 -W 5 192.0.2.11 >/dev/null");
    }

    fn leaves(self) {
        self.is_unharmed();
        self.world.del("bystander");
        self.world.assert_empty("the last DEL");
    }
}

fn die(world: &World, verb: &str, pod: &Sandbox, step: Step) {
    let answer = world.call(verb).pod(pod).die_after(step).end();
    assert_eq!(answer.signal, KILLED, "{step:?}: {answer:?}");
}

fn an_add_that_dies_is_cleared_by_del() {
    let world = World::new();
    let bystander = Bystander::new(&world);
    for step in steps_of("ADD") {
        let pod = Sandbox::new();
        die(&world, "ADD", &pod, step);
        world.del("a1b2c3d4");
        assert_eq!(ip(&pod, "link").len(), 1, "{step:?}");
        assert_eq!((world.links().len(), world.attachments().len()), (2, 1), "{step:?}");
        assert_eq!(world.ip("link").len(), 3, "{step:?}");
    }
    bystander.leaves();
}

fn an_add_that_dies_is_cleared_by_another_add() {
    let world = World::new();
    let bystander = Bystander::new(&world);
    for step in steps_of("ADD") {
        // In the same namespace, and in another one, as a runtime may give a sandbox that it tries again.
        for same in [true, false] {
            let pod = Sandbox::new();
            die(&world, "ADD", &pod, step);
            let other = Sandbox::new();
            let pod = if same { &pod } else { &other };
            let answer = world.call("ADD").pod(pod).end();
            if step == Step::AddDone {
                assert_eq!(answer.refused(), 101);
                world.del("a1b2c3d4");
                continue;
            }
            let result = answer.done().json();
            pod.run("ping -q -c 1 -W 5 192.0.2.11 >/dev/null; ping -q -c 1 -W 5 2001:db8:99::11 >/dev/null");
            let mut config = world.config("1.1.0");
            config["prevResult"] = result;
            world.call("CHECK").pod(pod).config(&config).end().done();
            // Two pods, two addresses each: what the dead one had reserved is free again.
            assert_eq!((world.links().len(), world.attachments().len()), (4, 2), "{step:?}");
            bystander.is_unharmed();
            world.del("a1b2c3d4");
        }
    }
    bystander.leaves();
}

fn a_del_that_dies_is_finished_by_another_del() {
    let world = World::new();
    let bystander = Bystander::new(&world);
    for step in steps_of("DEL") {
        let pod = Sandbox::new();
        world.add("a1b2c3d4", &pod);
        die(&world, "DEL", &pod, step);
        // Meanwhile addresses may be given out again: the second DEL must not take those away.
        let other = Sandbox::new();
        let given = world.add("other", &other)["ips"].clone();
        world.del("a1b2c3d4");
        let links: BTreeSet<_> = world.links().into_iter().collect();
        for one in given.as_array().unwrap() {
            let address = one["address"].as_str().unwrap().split('/').next().unwrap();
            assert!(
                links.contains(address),
                "{step:?}: {address} was taken from another pod"
            );
        }
        world.del("other");
        assert_eq!((world.links().len(), world.attachments().len()), (2, 1), "{step:?}");
    }
    bystander.leaves();
}

fn what_a_delegate_gave_is_given_back() {
    let world = World::new();
    let config = world.delegating();
    let has_step = |step: &Step| *step != Step::AddOneLink;
    for step in steps_of("ADD").into_iter().filter(has_step) {
        let pod = Sandbox::new();
        let died = world.call("ADD").pod(&pod).config(&config).die_after(step).end();
        assert_eq!(died.signal, KILLED, "{step:?}: {died:?}");
        world.call("DEL").config(&config).end().done();
        assert_eq!(ip(&pod, "link").len(), 1, "{step:?}");
        world.assert_empty(&step.text());
    }
}
