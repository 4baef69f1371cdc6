//! CHECK finds what is broken, by hand with `ip`, and nothing else.

use crate::{
    sandbox::{Sandbox, trial},
    world::{World, veth},
};
use libtest_mimic::Trial;
use serde_json::{Value, json};
use std::{fs, os::unix::fs::symlink};

pub fn trials() -> Vec<Trial> {
    vec![
        trial("what_is_broken_has_its_code", what_is_broken_has_its_code),
        trial("what_others_add_is_fine", what_others_add_is_fine),
        trial("a_result_that_is_not_this_pods", a_result_that_is_not_this_pods),
    ]
}

fn config_with(world: &World, result: Value) -> Value {
    let mut config = world.config("1.1.0");
    config["prevResult"] = result;
    config
}

fn what_is_broken_has_its_code() {
    let world = World::new();
    let host = veth("a1b2c3d4");
    for (code, place, damage) in [
        (111, "node", format!("ip link set {host} down")),
        (111, "node", format!("ip link del {host}")),
        (111, "node", format!("ip link set {host} alias other")),
        (111, "node", format!("ip link set {host} mtu 9000")),
        (118, "node", format!("ip link set {host} address 02:00:00:00:00:01")),
        (112, "node", "ip route del 10.244.1.2".to_owned()),
        (112, "node", "ip -6 route del fd00:10:244:1::2".to_owned()),
        (
            112,
            "node",
            "ip route replace 10.244.1.2 dev eth0 scope link proto 147".to_owned(),
        ),
        (113, "node", format!("ip neigh del 10.244.1.2 dev {host}")),
        (
            113,
            "node",
            format!("ip neigh replace fd00:10:244:1::2 lladdr 02:00:00:00:00:01 dev {host} nud permanent"),
        ),
        (114, "pod", "ip link set eth0 down".to_owned()),
        (
            114,
            "pod",
            "ip link set eth0 down; ip link set eth0 name eth1".to_owned(),
        ),
        (115, "pod", "ip addr del 10.244.1.2/32 dev eth0".to_owned()),
        (115, "pod", "ip addr del fd00:10:244:1::2/128 dev eth0".to_owned()),
        (116, "pod", "ip route del default".to_owned()),
        (116, "pod", "ip -6 route del default".to_owned()),
        (
            116,
            "pod",
            "ip route replace default via 169.254.1.1 dev eth0 mtu 1500".to_owned(),
        ),
        (117, "pod", "ip neigh del 169.254.1.1 dev eth0".to_owned()),
        (
            117,
            "pod",
            "ip neigh replace fe80::1 lladdr 02:00:00:00:00:01 dev eth0 nud permanent".to_owned(),
        ),
        (118, "pod", "ip link set eth0 address 02:00:00:00:00:01".to_owned()),
    ] {
        let pod = Sandbox::new();
        // The same addresses each time, whatever the cursor says.
        let mut config = world.config("1.1.0");
        config["runtimeConfig"] = json!({"ips": ["10.244.1.2", "fd00:10:244:1::2"]});
        let result = world.call("ADD").pod(&pod).config(&config).end().done().json();
        let check = || {
            world
                .call("CHECK")
                .pod(&pod)
                .config(&config_with(&world, result.clone()))
                .end()
        };
        check().done();
        let broken = if place == "pod" { &pod } else { &world.node };
        broken.run(&damage);
        let answer = check();
        assert_eq!(answer.refused(), code, "{damage}: {answer:?}");
        world.del("a1b2c3d4");
        // What was made another's is not for DEL to remove.
        world.node.run(&format!(
            "ip route flush 10.244.1.2; ip link del {host} 2>/dev/null || true"
        ));
    }
    for (damage, is_file) in [
        ("remove", true),
        ("cut", true),
        ("intent", true),
        ("remove", false),
        ("another's", false),
    ] {
        let pod = Sandbox::new();
        let result = world.add("a1b2c3d4", &pod);
        let file = world.state().join("att/netcheck@a1b2c3d4@eth0");
        let address = result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap();
        let link = world.state().join("ipam/ip").join(address);
        match (damage, is_file) {
            ("remove", true) => fs::remove_file(&file).unwrap(),
            ("cut", _) => fs::write(&file, &fs::read(&file).unwrap()[..50]).unwrap(),
            ("intent", _) => {
                let text = fs::read_to_string(&file).unwrap().replace("\"done\"", "\"intent\"");
                fs::write(&file, text).unwrap();
            }
            ("remove", false) => fs::remove_file(&link).unwrap(),
            _ => {
                fs::remove_file(&link).unwrap();
                symlink("netcheck@other@eth0", &link).unwrap();
            }
        }
        let answer = world.call("CHECK").pod(&pod).config(&config_with(&world, result)).end();
        assert_eq!(answer.refused(), 110, "{damage}: {answer:?}");
        world.del("a1b2c3d4");
        if damage == "another's" {
            fs::remove_file(&link).unwrap();
        }
    }
    world.assert_empty("all repairs");
}

/// Chained plugins add to a pod, and the daemon changes its routes' MTU.
fn what_others_add_is_fine() {
    let world = World::new();
    let pod = Sandbox::new();
    let mut result = world.add("a1b2c3d4", &pod);
    let host = veth("a1b2c3d4");
    pod.run(
        "ip addr add 198.51.100.1/24 dev eth0
         ip route add 203.0.113.0/24 dev eth0
         ip link set eth0 mtu 1400
         ip link add extra type bridge",
    );
    world.node.run(&format!(
        "tc qdisc add dev {host} root tbf rate 100mbit burst 32kbit latency 50ms; ip link set {host} mtu 1400"
    ));
    result["interfaces"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "extra"}));
    result["ips"]
        .as_array_mut()
        .unwrap()
        .push(json!({"address": "203.0.113.9/32", "interface": 2}));
    let config = config_with(&world, result);
    let check = || world.call("CHECK").pod(&pod).config(&config).end();
    check().done();
    let mut node: Value = serde_json::from_slice(&fs::read(world.state().join("node.json")).unwrap()).unwrap();
    node["routeMtu"] = json!(1300);
    world.write_node(&node);
    check().done();
    pod.run(
        "ip route replace default via 169.254.1.1 dev eth0 mtu 1300
         ip -6 route replace default via fe80::1 dev eth0 metric 1024 mtu 1300",
    );
    check().done();
    world.del("a1b2c3d4");
    world.assert_empty("DEL");
}

fn a_result_that_is_not_this_pods() {
    let world = World::new();
    let (pod, other) = (Sandbox::new(), Sandbox::new());
    let result = world.add("a1b2c3d4", &pod);
    let others = world.add("other", &other);
    let code = |pod: &Sandbox, result: &Value| {
        let answer = world
            .call("CHECK")
            .pod(pod)
            .config(&config_with(&world, result.clone()))
            .end();
        answer.refused()
    };
    assert_eq!(code(&pod, &others), 110);
    assert_eq!(code(&other, &result), 110);
    assert_eq!(code(&pod, &json!({})), 110);
    let mut changed = result;
    changed["ips"][0]["address"] = json!("10.244.1.99/32");
    assert_eq!(code(&pod, &changed), 110);
    assert_eq!(world.call("CHECK").pod(&pod).end().refused(), 7);
    let unknown = world
        .call("CHECK")
        .id("unknown")
        .pod(&pod)
        .config(&config_with(&world, changed))
        .end();
    assert_eq!(unknown.refused(), 110);
}
