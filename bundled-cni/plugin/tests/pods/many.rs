//! Many calls at once.

use crate::{
    sandbox::{Sandbox, trial},
    world::{World, ip, wait},
};
use libtest_mimic::Trial;
use std::collections::BTreeSet;

const PODS: usize = 50;

pub fn trials() -> Vec<Trial> {
    vec![trial(
        "fifty_pods_at_once_share_nothing",
        fifty_pods_at_once_share_nothing,
    )]
}

fn fifty_pods_at_once_share_nothing() {
    let world = World::new();
    let pods: Vec<_> = (0..PODS).map(|_| Sandbox::new()).collect();
    let id = |number: usize| format!("c{number}");
    let all = pods.iter().enumerate();
    let started: Vec<_> = all
        .map(|(number, pod)| world.call("ADD").id(&id(number)).pod(pod).start())
        .collect();
    let mut given = BTreeSet::new();
    for child in started {
        let result = wait(child).done().json();
        for one in result["ips"].as_array().unwrap() {
            let address = one["address"].as_str().unwrap().to_owned();
            assert!(given.insert(address.clone()), "{address} twice");
        }
    }
    assert_eq!(given.len(), 2 * PODS);
    let in_kernel: BTreeSet<_> = ["-4", "-6"]
        .iter()
        .flat_map(|family| world.ip(&format!("{family} route show table main proto 147")))
        .map(|route| route["dst"].as_str().unwrap().to_owned())
        .map(|ip| {
            if ip.contains(':') {
                format!("{ip}/128")
            } else {
                format!("{ip}/32")
            }
        })
        .collect();
    assert_eq!(in_kernel, given);
    pods[PODS - 1].run("ping -q -c 1 -W 5 10.244.1.2 >/dev/null");

    // Half go while as many others come.
    let anew: Vec<_> = (0..PODS / 2).map(|_| Sandbox::new()).collect();
    let mut children = Vec::new();
    for (number, pod) in anew.iter().enumerate() {
        children.push(world.call("DEL").id(&id(number)).start());
        children.push(world.call("ADD").id(&id(PODS + number)).pod(pod).start());
    }
    for child in children {
        wait(child).done();
    }
    assert_eq!((world.links().len(), world.attachments().len()), (2 * PODS, PODS));
    let left = PODS / 2..PODS + PODS / 2;
    let started: Vec<_> = left.map(|number| world.call("DEL").id(&id(number)).start()).collect();
    for child in started {
        wait(child).done();
    }
    assert!(pods.iter().all(|pod| ip(pod, "link").len() == 1));
    world.assert_empty("DEL of all");
}
